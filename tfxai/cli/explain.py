"""``tfxai explain``: a picture and a record for each image."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from matplotlib.figure import Figure
from rich.progress import track

import tfxai
from tfxai import plot, zoo
from tfxai.cli import arguments, scores
from tfxai.cli.images import UnreadableImageError, image_files, read_pixels
from tfxai.cli.methods import BUILDERS, method_builder
from tfxai.cli.models import describe_preprocessing, load_classifier
from tfxai.cli.terminal import (
    UserError,
    collected_warnings,
    console,
    print_error,
    print_line,
    print_warning,
)
from tfxai.explaining.explanation import Explanation


def explain(
    model: arguments.Model,
    images: arguments.Images,
    method: Annotated[
        str, typer.Option(help=f"The method: one of {', '.join(BUILDERS)}.")
    ] = "integrated_gradients",
    target: Annotated[
        str | None,
        typer.Option(
            help="The index or name of the class to explain. By default, each image's predicted "
            "class is explained."
        ),
    ] = None,
    out: arguments.ResultFolder = Path("explanations"),
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            help="An option of the method as key=value, such as steps=128; may be given several "
            "times.",
        ),
    ] = None,
    patterns: arguments.Patterns = None,
    preprocess: arguments.Preprocess = None,
    output: scores.Output = None,
    score: scores.Name = None,
    seed: arguments.Seed = 0,
) -> None:
    """Explain images: write NAME.png (the image and its map) and NAME.npz (the record) for each."""
    classifier = load_classifier(model, preprocess)
    build = method_builder(classifier, method, options or [], patterns, output=output, score=score)
    explainer = build(classifier.model)
    files = image_files(images)
    target_class = int(target) if target and re.fullmatch("-?[0-9]+", target) else target
    _make_folder(out, files)
    unreadable = 0
    is_described = False
    for file, stem in track(files, "Explaining", console=console, disable=len(files) < 2):
        try:
            pixels = read_pixels(file, classifier)
        except UnreadableImageError as error:
            unreadable += 1
            print_error(f"{file}: not a readable image ({error})")
            continue
        # Several photos have a progress bar already.
        status = console.status(f"Explaining {file.name} ...") if len(files) < 2 else nullcontext()
        with status:
            record, warnings = explain_photo(explainer, classifier, pixels, target_class, seed)
        if not is_described:
            print_line(describe_preprocessing(model, classifier))
            is_described = True
        for message in warnings:
            print_warning(f"{file.name}: {message}")
        record.save(out / f"{stem}.npz")
        picture(record, pixels).savefig(out / f"{stem}.png", dpi=120)
        print_line(summary(file, record))
    if unreadable:
        print_error(f"{unreadable} of {len(files)} images could not be read")
        raise typer.Exit(1)


def explain_photo(
    explainer: tfxai.Explainer,
    classifier: zoo.Classifier,
    pixels: np.ndarray,
    target: int | str | None,
    seed: int,
) -> tuple[Explanation, list[str]]:
    """Explain one photo; give the record, with its preprocessing, and the messages of warnings."""
    inputs = classifier.preprocess(pixels)[None]
    try:
        with collected_warnings() as warnings:
            record = explainer.explain(inputs, target, verbose=0, seed=seed)
    except (TypeError, ValueError) as error:
        raise UserError(str(error)) from error
    settings = {**record.settings, "preprocess": classifier.preprocessing}
    return dataclasses.replace(record, settings=settings), warnings


def picture(record: Explanation, pixels: np.ndarray) -> Figure:
    """Draw a photo beside its map, once with signs and once by absolute value."""
    title = record.settings["method"].replace("_", " ")
    label = f"{record.target_names[0]}  {record.scores[0]:.3g}"
    maps = {title: record.attributions, f"{title}, size": record.attributions}
    return plot.panel([pixels], maps, labels=[label], signs=["signed", "absolute"])


def summary(file: Path, record: Explanation) -> str:
    """Give one line with the explained class, its score and the map's diagnostics."""
    parts = [f"{file.name}: {record.target_names[0]} (score {record.scores[0]:.4g})"]
    parts += [f"{k} {v[0]:.3g}" for k, v in record.diagnostics.items() if np.ndim(v) == 1]
    return ", ".join(parts)


def _make_folder(out: Path, files: Sequence[tuple[Path, str]]) -> None:
    """Make the folder of results, unless they would overwrite the images."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out}: {error.strerror}") from error
    if any((out / f"{stem}.png").resolve() == file.resolve() for file, stem in files):
        raise UserError(f"--out {out}: would overwrite the images")
