"""The methods of a command: by their names, with their options as text."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import keras

import tfxai
from tfxai import zoo
from tfxai.cli.scores import parse_score, score_of_options
from tfxai.cli.terminal import UserError
from tfxai.core import synonyms

BUILDERS = {
    method.__name__: method
    for method in (
        tfxai.gradient,
        tfxai.gradient_times_input,
        tfxai.integrated_gradients,
        tfxai.smoothgrad,
        tfxai.smoothgrad_squared,
        tfxai.vargrad,
        tfxai.adaptgrad,
        tfxai.noisegrad,
        tfxai.fusiongrad,
        tfxai.cafo,
        tfxai.caso,
        tfxai.guided_backprop,
        tfxai.deconvnet,
        tfxai.excitation_backprop,
        tfxai.grad_cam,
        tfxai.guided_grad_cam,
        tfxai.igos,
        tfxai.meaningful_perturbation,
        tfxai.rise,
        tfxai.occlusion,
        tfxai.pattern_net,
        tfxai.pattern_attribution,
        tfxai.pattern_guided_integrated_gradients,
        tfxai.random_attribution,
    )
}
NEED_PATTERNS = tuple(
    name for name, method in BUILDERS.items() if "patterns" in inspect.signature(method).parameters
)
MODULES_OF_VALUES = {
    "quadrature": tfxai.quadrature,
    "kernel": tfxai.kernels,
    "proposal": tfxai.kernels,
}
"""Options whose values are functions, and the modules in which they are named."""

Builder = Callable[[keras.Model], tfxai.Explainer]
"""Builds a method's explainer of a model, with all options bound."""


def method_builder(
    classifier: zoo.Classifier,
    method: str,
    options: Sequence[str],
    patterns: Path | None,
    *,
    output: str | None = None,
    score: str | None = None,
) -> Builder:
    """Give the function that builds one method's explainer of a model.

    Args:
        classifier: its bounds are the default of the option ``bounds``.
        method: a name in `BUILDERS`.
        options: each as key=value.
        patterns: a file of patterns, for a method in `NEED_PATTERNS`.
        output: which output is explained, as text.
        score: by which score, as text.

    Raises:
        UserError: an unknown method or option, or patterns that are missing, damaged or not taken.
    """
    if method not in BUILDERS:
        suggestion = synonyms.hint(method, BUILDERS)
        raise UserError(f"--method {method}: expected one of {', '.join(BUILDERS)}{suggestion}")
    function = BUILDERS[method]
    names = option_names(method)
    keywords = dict(parse_option(text, method, names) for text in options)
    chosen = score_of_options(function, output, score)
    if chosen is not None:
        if "score" in keywords:
            raise UserError("--option score=...: give --score, or this option, not both")
        keywords["score"] = chosen
    if "bounds" in names:
        keywords.setdefault("bounds", classifier.bounds)
    loaded = _load_patterns(method, patterns)

    def build(model: keras.Model) -> tfxai.Explainer:
        try:
            return function(model, *loaded, **keywords)
        except (TypeError, ValueError) as error:
            raise UserError(str(error) if loaded else f"--option {error}") from error

    return build


def method_builders(
    classifier: zoo.Classifier,
    methods: Sequence[str],
    options: dict[str, list[str]],
    patterns: Path | None,
    *,
    output: str | None = None,
    score: str | None = None,
) -> dict[str, Builder]:
    """Give several methods' builders by name; patterns go to the methods that take them."""
    return {
        method: method_builder(
            classifier,
            method,
            options[method],
            patterns if method in NEED_PATTERNS else None,
            output=output,
            score=score,
        )
        for method in methods
    }


def method_names(text: str, patterns: Path | None) -> list[str]:
    """Give the names in a list with commas; "all" stands for all that can be built.

    Without patterns, these are the methods that need none.
    """
    names = comma_separated("--methods", text)
    if names != ["all"]:
        return names
    return [m for m in BUILDERS if patterns is not None or m not in NEED_PATTERNS]


def comma_separated(option: str, text: str) -> list[str]:
    """Give the names in a list with commas.

    Raises:
        UserError: there is no name, or one is there twice.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UserError(f"{option}: none given")
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise UserError(f"{option}: {min(repeated)} is there twice")
    return names


def options_by_name(options: Sequence[str], names: Sequence[str]) -> dict[str, list[str]]:
    """Distribute options NAME.key=value to their names, each as key=value."""
    distributed: dict[str, list[str]] = {name: [] for name in names}
    for text in options:
        name, _, option = text.partition(".")
        if name not in distributed or not option:
            raise UserError(f"--option {text}: expected NAME.key=value for one of {list(names)}")
        distributed[name].append(option)
    return distributed


def option_names(method: str) -> list[str]:
    """Give the names of a method's options, its keyword-only parameters."""
    parameters = inspect.signature(BUILDERS[method]).parameters.items()
    return [name for name, p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]


def parse_option(text: str, owner: str, names: Collection[str]) -> tuple[str, Any]:
    """Read key=value; the value is a Python literal, a function by its name, or text.

    Args:
        text: the option.
        owner: the method or metric that takes it, for messages.
        names: the options that the owner takes.

    Raises:
        UserError: the owner takes no such option, or the value is missing.
    """
    key, separator, value = text.partition("=")
    if not separator and key in names:
        raise UserError(f"--option {text}: expected {text}=..., a value too")
    if not separator or key not in names:
        suggestion = synonyms.hint(key, names)
        raise UserError(
            f"--option {text}: {owner} takes {', '.join(names) or 'no options'}{suggestion}"
        )
    if key == "score":
        return key, parse_score(f"--option {text}", value)
    if key in MODULES_OF_VALUES:
        return key, getattr(MODULES_OF_VALUES[key], value, value)
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value


def _load_patterns(method: str, path: Path | None) -> list[tfxai.Patterns]:
    """Read the patterns of a method that takes them, as a list of one; else give an empty list."""
    if method not in NEED_PATTERNS:
        if path is not None:
            raise UserError(f"--patterns {path}: {method} takes none")
        return []
    if path is None:
        raise UserError(
            f"--method {method} needs --patterns FILE, which "
            "tfxai.fit_patterns(model, data).save(FILE) writes"
        )
    try:
        return [tfxai.Patterns.load(path)]
    except OSError as error:
        raise UserError(f"--patterns {path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"--patterns {error}") from error
