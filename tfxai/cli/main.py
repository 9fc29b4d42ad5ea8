"""The command line: ``tfxai explain``, ``benchmark``, ``convert``, ``export``, ``demo``."""

from __future__ import annotations

import re
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

import tfxai
from tfxai import zoo
from tfxai.cli import arguments, demonstration, explaining, models, ranking, writing
from tfxai.cli.arguments import METHODS
from tfxai.cli.command import Command
from tfxai.cli.terminal import UserError, console, gathering, say, warn

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Explain what image classifiers look at.",
)


def main() -> None:
    """Run the command line; a user's mistake ends in one line, not in a traceback."""
    try:
        app()
    except UserError as error:
        warn(f"tfxai: {error}", "red")
        sys.exit(2)


@app.command(cls=Command)
def explain(
    model: Annotated[str, typer.Argument(help="A .keras or .onnx file, or a model of the zoo.")],
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    method: Annotated[str, typer.Option(help=f"One of {', '.join(METHODS)}.")] = (
        "integrated_gradients"
    ),
    target: Annotated[str | None, typer.Option(help="Class index or name [predicted]")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("explanations"),
    option: Annotated[
        list[str] | None, typer.Option(help="key=value for the method, e.g. steps=128")
    ] = None,
    patterns: Annotated[
        Path | None, typer.Option(help="For the pattern methods: a file saved by tfxai.Patterns.")
    ] = None,
    preprocess: models.Preprocess = None,
    seed: Annotated[int, typer.Option(help="For methods with random numbers.")] = 0,
) -> None:
    """Explain images; write NAME.png (image and map) and NAME.npz (the record) for each."""
    classifier = models.classifier(model, preprocess)
    explainer = arguments.explainer(classifier, method, option or [], patterns)
    files = arguments.image_files(images)
    chosen = int(target) if target and re.fullmatch("-?[0-9]+", target) else target
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out}: {error.strerror}") from error
    if any((out / f"{s}.png").resolve() == f.resolve() for f, s in files):
        raise UserError(f"--out {out}: would overwrite the images")
    broken = 0
    told = False
    for file, stem in track(files, "Explaining", console=console, disable=len(files) < 2):
        try:
            pixels = arguments.pixels(file, classifier)
        except arguments.UNREADABLE as error:
            broken += 1
            warn(f"{file}: not a readable image ({error})", "red")
            continue
        # Several photos have a progress bar already.
        waiting = console.status(f"Explaining {file.name} ...") if len(files) < 2 else nullcontext()
        with waiting:
            record, warned = explaining.record(explainer, classifier, pixels, chosen, seed)
        if not told:
            say(models.shown_as(model, classifier))
            told = True
        for message in warned:
            warn(f"{file.name}: {message}")
        record.save(out / f"{stem}.npz")
        explaining.picture(record, pixels).savefig(out / f"{stem}.png", dpi=120)
        say(explaining.summary(file, record))
    if broken:
        warn(f"{broken} of {len(files)} images could not be read", "red")
        raise typer.Exit(1)


@app.command(cls=Command)
def benchmark(
    model: Annotated[str, typer.Argument(help="A .keras or .onnx file, or a model of the zoo.")],
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    methods: Annotated[
        str, typer.Option(help="Names with commas between, as of explain, or all.")
    ] = ",".join(ranking.METHODS),
    metrics: Annotated[str, typer.Option(help=f"Some of {', '.join(ranking.METRICS)}.")] = ",".join(
        ranking.DEFAULT_METRICS
    ),
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("benchmark"),
    option: Annotated[
        list[str] | None,
        typer.Option(help="name.key=value for a method or metric, e.g. smoothgrad.samples=20"),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="CSV of file name and class to explain [the predicted class]"),
    ] = None,
    regions: Annotated[
        Path | None,
        typer.Option(help="Folder of masks NAME.png, white on the object; for pointing_game."),
    ] = None,
    compositions: Annotated[
        int | None,
        typer.Option(help="Explain grids of this many photos a side; one cell has the class."),
    ] = None,
    patterns: Annotated[
        Path | None, typer.Option(help="For the pattern methods: a file saved by tfxai.Patterns.")
    ] = None,
    preprocess: models.Preprocess = None,
    sign: Annotated[
        str, typer.Option(help="How channels are joined: signed, or absolute (their sizes).")
    ] = "signed",
    batch_size: Annotated[int, typer.Option(help="Images at once.")] = 8,
    seed: Annotated[int, typer.Option(help="For random numbers.")] = 0,
) -> None:
    """Rank methods on a model: tables, curves and OUT/report.html.

    A run that was stopped goes on where it was when the command is repeated; methods and metrics
    may be added.
    """
    classifier = models.classifier(model, preprocess)
    builds, measures = ranking.chosen(classifier, methods, metrics, option or [], patterns)
    files = [file for file, _ in arguments.image_files(images)]
    cases = ranking.cases(classifier, files, labels, regions, compositions, seed)
    say(models.shown_as(model, classifier))
    try:
        with gathering() as warned:
            results = tfxai.benchmark.run(
                classifier.model, cases, builds, measures, out, bounds=classifier.bounds,
                sign=sign, batch_size=batch_size, seed=seed, class_names=classifier.names,
            )  # fmt: skip
    except (TypeError, ValueError) as error:
        raise UserError(str(error)) from error
    console.print(ranking.table(results))
    for message in warned:
        warn(message)
    say(f"wrote {out / 'report.html'}")
    if results.broken or results.failed:
        told = f"{len(results.broken)} images and {len(results.failed)} cells have no result"
        warn(told, "red")
        raise typer.Exit(1)


@app.command(cls=Command)
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the panel.")] = Path("demo"),
    model: Annotated[str, typer.Option(help="A model of the zoo.")] = "efficientnet-lite0",
) -> None:
    """Explain real photos with a trained ImageNet classifier by every method that there is."""
    try:
        classifier = zoo.load(model)
        photos = demonstration.photos(classifier.size)
    except (ValueError, ModuleNotFoundError) as error:
        raise UserError(str(error)) from error
    for name, line in demonstration.predictions(classifier, photos):
        say(f"{name}: {line}")
    with gathering() as warned:
        records = demonstration.records(model, classifier, photos, console)
    for message in warned:
        warn(message)
    console.print(demonstration.accuracy_table(records, list(photos)))
    out.mkdir(parents=True, exist_ok=True)
    path = out / "panel.png"
    demonstration.panel(photos, records).savefig(path, dpi=110)
    say(f"wrote {path}")


app.command(cls=Command)(writing.convert)
app.command(cls=Command)(writing.export)
