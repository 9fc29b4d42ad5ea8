"""What the words of ``tfxai benchmark`` stand for: methods, metrics, labels, regions."""

from __future__ import annotations

import csv
import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image
from rich.progress import track
from rich.table import Column, Table

import tfxai
from tfxai import zoo
from tfxai.benchmark import METRICS, Case, Compositions, Metric, Photos, Results
from tfxai.cli import arguments
from tfxai.cli.terminal import UserError, errors
from tfxai.core import checks, synonyms

METHODS = (
    "gradient",
    "gradient_times_input",
    "integrated_gradients",
    "smoothgrad",
    "guided_backprop",
    "grad_cam",
    "random_attribution",
)
DEFAULT_METRICS = ("deletion", "insertion", "gini")
"""Unless told otherwise."""
PATTERN_METHODS = ("pattern_net", "pattern_attribution", "pattern_guided_integrated_gradients")

Builds = dict[str, Callable[[keras.Model], tfxai.Explainer]]


def chosen(
    classifier: zoo.Classifier,
    methods: str,
    metrics: str,
    options: Sequence[str],
    patterns: Path | None,
) -> tuple[Builds, dict[str, Metric]]:
    """Give methods and metrics by their names, with options as name.key=value."""
    kinds = _listed("--metrics", metrics)
    for name in kinds:
        if name not in METRICS:
            told = synonyms.hint(name, METRICS)
            raise UserError(f"--metrics {name}: expected some of {', '.join(METRICS)}{told}")
    names = named(methods, patterns)
    given = by_name(options, [*names, *kinds])
    measures = {name: _measure(name, given[name]) for name in kinds}
    return builders(classifier, names, given, patterns), measures


def named(methods: str, patterns: Path | None) -> list[str]:
    """Give the names of methods; all are those that need no patterns, if there are none."""
    names = _listed("--methods", methods)
    if names != ["all"]:
        return names
    return [m for m in arguments.METHODS if patterns is not None or m not in PATTERN_METHODS]


def by_name(options: Sequence[str], names: Sequence[str]) -> dict[str, list[str]]:
    """Give the options name.key=value of each name as key=value."""
    given: dict[str, list[str]] = {name: [] for name in names}
    for text in options:
        name, _, rest = text.partition(".")
        if name not in given or not rest:
            raise UserError(f"--option {text}: expected NAME.key=value for one of {list(given)}")
        given[name].append(rest)
    return given


def builders(
    classifier: zoo.Classifier,
    names: Sequence[str],
    options: dict[str, list[str]],
    patterns: Path | None,
) -> Builds:
    """Give methods by their names as functions of a model; patterns to those that take some."""
    return {
        name: arguments.builder(
            classifier, name, options[name], patterns if name in PATTERN_METHODS else None
        )
        for name in names
    }


def _measure(name: str, options: Sequence[str]) -> Metric:
    parameters = inspect.signature(METRICS[name]).parameters
    allowed = {key: parameter.default for key, parameter in parameters.items()}
    return METRICS[name](**dict(arguments.keyword(text, name, allowed) for text in options))


def cases(
    classifier: zoo.Classifier,
    files: Sequence[Path],
    labels: Path | None,
    regions: Path | None,
    compositions: int | None,
    seed: int,
) -> Iterable[Any]:
    """Give the images of a run."""

    def read(file: Path) -> np.ndarray:
        return np.asarray(classifier.preprocess(arguments.pixels(file, classifier)), np.float32)

    targets = None if labels is None else _labels(labels, files, classifier)
    if compositions is not None:
        if regions is not None:
            raise UserError("--regions: compositions have their own")
        return _composed(classifier, Photos(files, read, targets), compositions, seed)
    if regions is None:
        return Photos(files, read, targets)
    for file in files:
        if not (regions / f"{file.stem}.png").is_file():
            raise UserError(f"--regions {regions}: has no {file.stem}.png, the mask of {file}")
    return Photos(files, read, targets, partial(_region, regions, classifier))


def table(results: Results) -> Table:
    """Tabulate the means, methods in rows and metrics in columns."""
    kinds = results.settings["metrics"]
    arrows = {"more": "↑", "less": "↓"}
    heads = [f"{m} {arrows[kinds[m]['better']]}" for m in results.metrics]
    found = Table(Column("method", no_wrap=True), *(Column(h, justify="right") for h in heads))
    cells = {(c.metric, c.method): c for c in results.cells}
    for method in results.methods:
        row = [cells.get((metric, method)) for metric in results.metrics]
        texts = [f"{c.value.mean:.3g}{'*' if c.best else ''}" if c else "-" for c in row]
        found.add_row(method, *texts)
    found.caption = "* no method is better beyond chance"
    return found


def _listed(option: str, text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UserError(f"{option}: none given")
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UserError(f"{option}: {min(twice)} is there twice")
    return names


def _labels(path: Path, files: Sequence[Path], classifier: zoo.Classifier) -> dict[str, int]:
    """Read the class of each file by its name."""
    try:
        with path.open(newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--labels {path}: {error}") from error
    if any(len(row) != 2 for row in rows):
        raise UserError(f"--labels {path}: expected lines of a file name, a comma and a class")
    found = {name: text.strip() for name, text in rows}
    missing = [file.name for file in files if file.name not in found]
    if missing:
        raise UserError(f"--labels {path}: {len(missing)} images have none, such as {missing[0]}")
    unknown = set(found) - {file.name for file in files}
    if unknown:
        raise UserError(f"--labels {path}: there is no image {min(unknown)}")
    units = classifier.model.output_shape[-1]
    return {name: _class(path, text, units, classifier.names) for name, text in found.items()}


def _class(path: Path, text: str, units: int, names: Sequence[str] | None) -> int:
    try:
        value = int(text) if text.lstrip("-").isdigit() else text
        return int(checks.targets(value, 1, units, names)[0])
    except ValueError as error:
        raise UserError(f"--labels {path}: {error}") from error


def _region(folder: Path, classifier: zoo.Classifier, file: Path) -> np.ndarray:
    """Cut a mask as its photo is cut."""
    with Image.open(folder / f"{file.stem}.png") as mask, Image.open(file) as photo:
        if mask.size != photo.size:
            raise ValueError(f"its mask is of {mask.size}, not of {photo.size} pixels")
        cut = zoo.centre_crop(mask, classifier.size, margin=classifier.crop_margin)
    return cut.mean(-1) > 127


def _composed(classifier: zoo.Classifier, photos: Photos, cells: int, seed: int) -> Compositions:
    shown = track(photos, "Reading", console=errors, total=len(photos))
    good = [case for case in shown if isinstance(case, Case)]
    if not good:
        raise UserError("IMAGES: none of them can be read")
    inputs = np.stack([case.inputs for case in good])
    predicted = classifier.model.predict(inputs, verbose=0).argmax(-1).tolist()
    targets = [p if c.target is None else c.target for c, p in zip(good, predicted, strict=True)]
    try:
        return Compositions(inputs, targets, cells=cells, seed=seed)
    except ValueError as error:
        raise UserError(f"--compositions {error}") from error
