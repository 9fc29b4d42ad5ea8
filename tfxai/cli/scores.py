"""The options --output and --score: which output of a model is explained, and by which score."""

from __future__ import annotations

import ast
import inspect
from typing import Annotated, Any

import typer

from tfxai import scores
from tfxai.cli.terminal import UserError
from tfxai.core import synonyms
from tfxai.core.types import Score

OF_CLASSES = {
    score.__name__: score
    for score in (
        scores.logit,
        scores.probability,
        scores.log_probability,
        scores.cross_entropy,
        scores.margin,
    )
}
OF_PARTS = {
    part.__name__: part
    for part in (scores.output, scores.position, scores.region, scores.box, scores.unit)
}

Output = Annotated[
    str | None,
    typer.Option(
        help="Which output of a model with several to explain: its key, its place in a list from "
        "0, or both with / between them where they are nested."
    ),
]
Name = Annotated[
    str | None,
    typer.Option(
        help=f"What to explain: {', '.join(OF_CLASSES)}, or a part of the output, such as region, "
        "box, position(-1), unit(2) or region(score=probability). By default, what the method "
        "explains."
    ),
]


def parse_score(option: str, text: str) -> Score:
    """Give the score of a name, or of a call such as ``position(-1, margin)``.

    Args:
        option: the option with its text, for messages.
        text: calls and names of scores, and Python literals; nothing else is run.

    Raises:
        UserError: the text is something else, or arguments that a score does not take.
    """
    try:
        score = _value(ast.parse(text.strip(), mode="eval").body)
        if score in OF_PARTS.values():
            score = score()
    except SyntaxError as error:
        raise UserError(f"{option}: expected a score, such as region or position(-1)") from error
    except (TypeError, ValueError) as error:
        raise UserError(f"{option}: {error}") from error
    if not callable(score):
        raise UserError(f"{option}: expected a score, such as region or position(-1)")
    return score


def score_of_options(method: Any, output: str | None, score: str | None) -> Score | None:
    """Give the score that --output and --score ask for; None if both are left out.

    Args:
        method: the builder, whose own score is that of the output where `score` is left out.
        output: the text of --output.
        score: the text of --score.
    """
    if output is None and score is None:
        return None
    default = inspect.signature(method).parameters["score"].default
    chosen = default if score is None else parse_score(f"--score {score}", score)
    if output is None:
        return chosen
    keys = [int(key) if key.lstrip("-").isdigit() else key for key in output.split("/")]
    return scores.output(tuple(keys), chosen)


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Name):
        return _named(node.id)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        function = OF_PARTS.get(node.func.id)
        if function is None:
            raise ValueError(f"{_named(node.func.id).__name__} takes no arguments here")
        keywords = {k.arg: _value(k.value) for k in node.keywords if k.arg is not None}
        return function(*map(_value, node.args), **keywords)
    return ast.literal_eval(node)


def _named(name: str) -> Any:
    known = OF_CLASSES | OF_PARTS
    if name not in known:
        raise ValueError(
            f"{name} is no score; expected one of {', '.join(known)}{synonyms.hint(name, known)}"
        )
    return known[name]
