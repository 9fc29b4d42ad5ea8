"""Commands that write models: ``tfxai convert`` and ``tfxai export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

import tfxai
from tfxai.cli import models, ranking
from tfxai.cli.terminal import UserError, console, errors, say
from tfxai.serving import saved_model


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
    model = models.onnx_model(source, input_shape)
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
    say(f"wrote {target} and {target.with_suffix('.json')}")


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
    preprocess: models.Preprocess = None,
) -> None:
    """Write one SavedModel that predicts and explains, for TensorFlow Serving."""
    classifier = models.classifier(model, preprocess)
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
    say(models.shown_as(model, classifier))
    told = saved_model.metadata(path)
    for name, difference in told["parity"].items():
        console.print(f"{name}: largest difference from here {difference:.3g}", highlight=False)
    say(f"wrote {path}")
