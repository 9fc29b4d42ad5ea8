"""``tfxai benchmark``: methods ranked by metrics, on images with labels and regions."""

from __future__ import annotations

import csv
import inspect
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image
from rich.progress import track
from rich.table import Column, Table

import tfxai
from tfxai import zoo
from tfxai.benchmark import METRICS, Case, Compositions, Metric, Photos, Results
from tfxai.cli import arguments
from tfxai.cli.images import image_files, read_pixels
from tfxai.cli.methods import (
    comma_separated,
    method_builders,
    method_names,
    options_by_name,
    parse_option,
)
from tfxai.cli.models import describe_preprocessing, load_classifier
from tfxai.cli.terminal import (
    UserError,
    collected_warnings,
    console,
    error_console,
    print_error,
    print_line,
    print_warning,
)
from tfxai.core import checks, synonyms

DEFAULT_METHOD_NAMES = (
    "gradient,gradient_times_input,integrated_gradients,smoothgrad,guided_backprop,grad_cam,"
    "random_attribution"
)
DEFAULT_METRICS = "deletion,insertion,gini"


def benchmark(
    model: arguments.Model,
    images: arguments.Images,
    methods: arguments.Methods = DEFAULT_METHOD_NAMES,
    metrics: Annotated[
        str,
        typer.Option(
            help=f"The names of metrics, with commas between them: some of {', '.join(METRICS)}."
        ),
    ] = DEFAULT_METRICS,
    out: arguments.ResultFolder = Path("benchmark"),
    options: arguments.OptionsByName = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="A CSV file with a line for each image: its file name, a comma, and the index or "
            "name of the class to explain. By default, predicted classes are explained."
        ),
    ] = None,
    regions: Annotated[
        Path | None,
        typer.Option(
            help="A folder of masks NAME.png that are white on the object; pointing_game, "
            "top_k_share and mass_share need them."
        ),
    ] = None,
    compositions: Annotated[
        int | None,
        typer.Option(
            help="The number of photos along each side of a grid. Grids of photos of different "
            "classes are explained then; the region is the photo whose class is explained."
        ),
    ] = None,
    patterns: arguments.Patterns = None,
    preprocess: arguments.Preprocess = None,
    sign: Annotated[
        str,
        typer.Option(
            help="How the channels of a map are joined: signed (the sum) or absolute (the sum of "
            "absolute values)."
        ),
    ] = "signed",
    batch_size: Annotated[
        int, typer.Option(help="The number of images that are explained at once.")
    ] = 8,
    seed: Annotated[int, typer.Option(help="The seed of all random numbers.")] = 0,
) -> None:
    """Rank methods on a model: write tables, curves and OUT/report.html.

    When the command is repeated, a run that was stopped continues where it was; methods and
    metrics may be added.
    """
    classifier = load_classifier(model, preprocess)
    metric_names = _metric_names(metrics)
    names = method_names(methods, patterns)
    by_name = options_by_name(options or [], [*names, *metric_names])
    metrics_by_name = {name: _metric(name, by_name[name]) for name in metric_names}
    builders = method_builders(classifier, names, by_name, patterns)
    files = [file for file, _ in image_files(images)]
    cases = benchmark_cases(classifier, files, labels, regions, compositions, seed)
    print_line(describe_preprocessing(model, classifier))
    try:
        with collected_warnings() as warnings:
            results = tfxai.benchmark.run(
                classifier.model, cases, builders, metrics_by_name, out, bounds=classifier.bounds,
                sign=sign, batch_size=batch_size, seed=seed, class_names=classifier.names,
            )  # fmt: skip
    except (TypeError, ValueError) as error:
        raise UserError(str(error)) from error
    console.print(results_table(results))
    for message in warnings:
        print_warning(message)
    print_line(f"wrote {out / 'report.html'}")
    if results.broken or results.failed:
        images_and_cells = f"{len(results.broken)} images and {len(results.failed)} cells"
        print_error(f"{images_and_cells} have no result")
        raise typer.Exit(1)


def benchmark_cases(
    classifier: zoo.Classifier,
    files: Sequence[Path],
    labels: Path | None,
    regions: Path | None,
    compositions: int | None,
    seed: int,
) -> Iterable[Any]:
    """Give the images that a benchmark runs over, with their classes and regions if known.

    Args:
        classifier: the model that they are prepared for.
        files: image files.
        labels: a CSV file of file names and classes.
        regions: a folder of masks.
        compositions: the number of photos along each side of a grid; None for single photos.
        seed: the seed of the grids.

    Raises:
        UserError: labels, regions or grids that do not fit the images.
    """

    def read(file: Path) -> np.ndarray:
        return np.asarray(classifier.preprocess(read_pixels(file, classifier)), np.float32)

    targets = None if labels is None else _read_labels(labels, files, classifier)
    if compositions is not None:
        if regions is not None:
            raise UserError("--regions: compositions have their own")
        return _compositions(classifier, Photos(files, read, targets), compositions, seed)
    if regions is None:
        return Photos(files, read, targets)
    for file in files:
        if not (regions / f"{file.stem}.png").is_file():
            raise UserError(f"--regions {regions}: has no {file.stem}.png, the mask of {file}")
    return Photos(files, read, targets, partial(_read_region, regions, classifier))


def results_table(results: Results) -> Table:
    """Tabulate the means of a benchmark, with methods in rows and metrics in columns."""
    settings = results.settings["metrics"]
    arrows = {"more": "↑", "less": "↓"}
    titles = [f"{metric} {arrows[settings[metric]['better']]}" for metric in results.metrics]
    table = Table(Column("method", no_wrap=True), *(Column(t, justify="right") for t in titles))
    cells = {(c.metric, c.method): c for c in results.cells}
    for method in results.methods:
        row = [cells.get((metric, method)) for metric in results.metrics]
        texts = [f"{c.value.mean:.3g}{'*' if c.best else ''}" if c else "-" for c in row]
        table.add_row(method, *texts)
    table.caption = "* no method is better beyond chance"
    return table


def _metric_names(text: str) -> list[str]:
    names = comma_separated("--metrics", text)
    for name in names:
        if name not in METRICS:
            suggestion = synonyms.hint(name, METRICS)
            raise UserError(f"--metrics {name}: expected some of {', '.join(METRICS)}{suggestion}")
    return names


def _metric(name: str, options: Sequence[str]) -> Metric:
    names = list(inspect.signature(METRICS[name]).parameters)
    return METRICS[name](**dict(parse_option(text, name, names) for text in options))


def _read_labels(path: Path, files: Sequence[Path], classifier: zoo.Classifier) -> dict[str, int]:
    """Read the class of each image by its file name."""
    try:
        with path.open(newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--labels {path}: {error}") from error
    if any(len(row) != 2 for row in rows):
        raise UserError(f"--labels {path}: expected lines of a file name, a comma and a class")
    labels = {name: text.strip() for name, text in rows}
    missing = [file.name for file in files if file.name not in labels]
    if missing:
        raise UserError(f"--labels {path}: {len(missing)} images have none, such as {missing[0]}")
    unknown = set(labels) - {file.name for file in files}
    if unknown:
        raise UserError(f"--labels {path}: there is no image {min(unknown)}")
    count = max(classifier.model.output_shape[-1], 2)
    return {
        name: _class_index(path, text, count, classifier.names) for name, text in labels.items()
    }


def _class_index(path: Path, text: str, count: int, names: Sequence[str] | None) -> int:
    try:
        value = int(text) if text.lstrip("-").isdigit() else text
        return int(checks.targets(value, 1, count, names)[0])
    except ValueError as error:
        raise UserError(f"--labels {path}: {error}") from error


def _read_region(folder: Path, classifier: zoo.Classifier, file: Path) -> np.ndarray:
    """Read a photo's mask, cropped as the photo is, as booleans ``[H, W]``."""
    with Image.open(folder / f"{file.stem}.png") as mask, Image.open(file) as photo:
        if mask.size != photo.size:
            raise ValueError(f"its mask is of {mask.size}, not of {photo.size} pixels")
        cropped = zoo.centre_crop(mask, classifier.size, margin=classifier.crop_margin)
    return cropped.mean(-1) > 127


def _compositions(
    classifier: zoo.Classifier, photos: Photos, cells: int, seed: int
) -> Compositions:
    """Compose the photos that can be read into grids; classes without a label are predicted."""
    read = track(photos, "Reading", console=error_console, total=len(photos))
    cases = [case for case in read if isinstance(case, Case)]
    if not cases:
        raise UserError("IMAGES: none of them can be read")
    inputs = np.stack([case.inputs for case in cases])
    predicted = classifier.model.predict(inputs, verbose=0).argmax(-1).tolist()
    targets = [p if c.target is None else c.target for c, p in zip(cases, predicted, strict=True)]
    try:
        return Compositions(inputs, targets, cells=cells, seed=seed)
    except ValueError as error:
        raise UserError(f"--compositions {error}") from error
