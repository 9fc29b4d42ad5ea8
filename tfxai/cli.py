"""The command line: ``tfxai explain``, ``benchmark``, ``convert``, ``export``, ``demo``."""

from __future__ import annotations

import re
import sys
import warnings
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

import tfxai
from tfxai import cli_arguments as arguments
from tfxai import cli_ranking as ranking
from tfxai import demonstration, plot, serving, zoo
from tfxai.cli_arguments import METHODS, UNREADABLE, UserError
from tfxai.explanation import Explanation

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Explain what image classifiers look at.",
)
console = Console()
errors = Console(stderr=True)


def main() -> None:
    """Run the command line; a user's mistake ends in one line, not in a traceback."""
    try:
        app()
    except UserError as error:
        errors.print(f"tfxai: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)


@app.command()
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
    preprocess: Annotated[
        str,
        typer.Option(
            help="For a file: raw (0..255), unit (0..1), signed (-1..1) or imagenet (PyTorch's)."
        ),
    ] = "raw",
    seed: Annotated[int, typer.Option(help="For methods with random numbers.")] = 0,
) -> None:
    """Explain images; write NAME.png (image and map) and NAME.npz (the record) for each."""
    classifier = arguments.classifier(model, preprocess)
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
    for file, stem in track(files, "Explaining", console=console, disable=len(files) < 2):
        try:
            pixels = arguments.pixels(file, classifier)
        except (*UNREADABLE, Image.DecompressionBombError) as error:
            broken += 1
            errors.print(
                f"{file}: not a readable image ({error})", style="red", markup=False, soft_wrap=True
            )
            continue
        try:
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always", UserWarning)
                record = explainer.explain(
                    classifier.preprocess(pixels)[None], chosen, verbose=0, seed=seed
                )
        except (TypeError, ValueError) as error:
            raise UserError(str(error)) from error
        for warning in told:
            line = f"{file.name}: {warning.message}"
            errors.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
        record.save(out / f"{stem}.npz")
        _picture(record, pixels).savefig(out / f"{stem}.png", dpi=120)
        console.print(_summary(file, record), markup=False, highlight=False, soft_wrap=True)
    if broken:
        errors.print(f"{broken} of {len(files)} images could not be read", style="red")
        raise typer.Exit(1)


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="An .onnx file.")],
    target: Annotated[Path, typer.Argument(help="The .keras file to write.")],
    input_shape: Annotated[
        str | None,
        typer.Option(help="Sizes that the file leaves open, without the batch: 3,224,224."),
    ] = None,
    samples: Annotated[
        int, typer.Option(min=1, help="Inputs that the models are compared on.")
    ] = 8,
    seed: Annotated[int, typer.Option(help="Of these inputs.")] = 0,
) -> None:
    """Rebuild an ONNX model as a Keras model, and certify that it computes the same.

    The certificate is written beside the model, as JSON. Where the models differ, nothing is
    written, and the exit code is 1.
    """
    if target.suffix != ".keras":
        raise UserError(f"TARGET {target}: expected a name that ends with .keras")
    if not target.parent.is_dir():
        raise UserError(f"TARGET {target}: no such folder")
    model = arguments.onnx_model(source, input_shape)
    certificate = tfxai.converters.certify(model, source, samples=samples, seed=seed)
    table = Table("certificate", str(source), box=None)
    for name, value in certificate.lines().items():
        table.add_row(name, value)
    console.print(table)
    if not certificate.holds:
        errors.print(f"tfxai: the models differ; {target} is not written", style="red")
        raise typer.Exit(1)
    model.save(target)
    certificate.save(target.with_suffix(".json"))
    console.print(
        f"wrote {target} and {target.with_suffix('.json')}", markup=False, highlight=False
    )


@app.command()
def benchmark(
    model: Annotated[str, typer.Argument(help="A .keras or .onnx file, or a model of the zoo.")],
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    methods: Annotated[
        str, typer.Option(help="Names with commas between, as of explain, or all.")
    ] = ",".join(ranking.METHODS),
    metrics: Annotated[
        str, typer.Option(help=f"Some of {', '.join(ranking.MEASURES)}.")
    ] = ",".join(ranking.METRICS),
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
    preprocess: Annotated[
        str, typer.Option(help="For a file: raw, unit, signed or imagenet, as for explain.")
    ] = "raw",
    sign: Annotated[
        str, typer.Option(help="How channels are joined: signed, or positive (their sizes).")
    ] = "signed",
    batch_size: Annotated[int, typer.Option(help="Images at once.")] = 8,
    seed: Annotated[int, typer.Option(help="For random numbers.")] = 0,
) -> None:
    """Rank methods on a model: tables, curves and OUT/report.html.

    A run that was stopped goes on where it was when the command is repeated; methods and metrics
    may be added.
    """
    classifier = arguments.classifier(model, preprocess)
    builds, measures = ranking.chosen(classifier, methods, metrics, option or [], patterns)
    files = [file for file, _ in arguments.image_files(images)]
    cases = ranking.cases(classifier, files, labels, regions, compositions, seed)
    try:
        results = tfxai.benchmark.run(
            classifier.model, cases, builds, measures, out, bounds=classifier.bounds, sign=sign,
            batch_size=batch_size, seed=seed, class_names=classifier.names,
        )  # fmt: skip
    except (TypeError, ValueError) as error:
        raise UserError(str(error)) from error
    console.print(ranking.table(results))
    console.print(f"wrote {out / 'report.html'}", markup=False, highlight=False)
    if results.broken or results.failed:
        told = f"{len(results.broken)} images and {len(results.failed)} cells have no result"
        errors.print(told, style="red")
        raise typer.Exit(1)


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="A .keras or .onnx file, or a model of the zoo.")],
    path: Annotated[Path, typer.Argument(help="The folder to write, a SavedModel.")],
    methods: Annotated[str, typer.Option(help="Names with commas between, as of explain.")] = (
        "integrated_gradients"
    ),
    inputs: Annotated[
        str,
        typer.Option(help="tensor, uint8 (pixels of the model's size) or bytes (JPEG or PNG)."),
    ] = "tensor",
    option: Annotated[
        list[str] | None, typer.Option(help="method.key=value, e.g. integrated_gradients.steps=32")
    ] = None,
    patterns: Annotated[
        Path | None, typer.Option(help="For the pattern methods: a file saved by tfxai.Patterns.")
    ] = None,
    preprocess: Annotated[
        str, typer.Option(help="For a file: raw, unit, signed or imagenet, as for explain.")
    ] = "raw",
) -> None:
    """Write one SavedModel that predicts and explains, for TensorFlow Serving."""
    classifier = arguments.classifier(model, preprocess)
    names = ranking.named(methods, patterns)
    options = ranking.by_name(option or [], names)
    builds = ranking.builders(classifier, names, options, patterns)
    prepare = classifier.preprocess if inputs in ("uint8", "bytes") else None
    try:
        tfxai.export(
            classifier.model, path, {n: build(classifier.model) for n, build in builds.items()},
            inputs=inputs, preprocess=prepare, class_names=classifier.names,
        )  # fmt: skip
    except (OSError, TypeError, ValueError) as error:
        raise UserError(str(error)) from error
    told = serving.metadata(path)
    for name, difference in told["parity"].items():
        console.print(f"{name}: largest difference from here {difference:.3g}", highlight=False)
    console.print(f"wrote {path}", markup=False, highlight=False)


@app.command()
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
        console.print(f"{name}: {line}", markup=False, highlight=False, soft_wrap=True)
    records = demonstration.records(model, classifier, photos, console)
    console.print(demonstration.accuracy_table(records, list(photos)))
    out.mkdir(parents=True, exist_ok=True)
    path = out / "panel.png"
    demonstration.panel(photos, records).savefig(path, dpi=110)
    console.print(f"wrote {path}", markup=False, highlight=False)


def _picture(record: Explanation, pixels: np.ndarray) -> Figure:
    title = record.settings["method"].replace("_", " ")
    label = f"{record.target_names[0]}  {record.scores[0]:.3g}"
    maps = {title: record.attributions, f"{title}, size": record.attributions}
    return plot.panel([pixels], maps, labels=[label], signs=["signed", "positive"])


def _summary(file: Path, record: Explanation) -> str:
    parts = [f"{file.name}: {record.target_names[0]} (score {record.scores[0]:.4g})"]
    parts += [f"{k} {v[0]:.3g}" for k, v in record.numbers.items() if np.ndim(v) == 1]
    return ", ".join(parts)


if __name__ == "__main__":
    main()
