"""``tfxai convert``: an ONNX file as a Keras model, with a certificate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

import tfxai
from tfxai.cli.models import load_onnx
from tfxai.cli.terminal import UserError, console, print_error, print_line


def convert(
    source: Annotated[Path, typer.Argument(help="The .onnx file to read.")],
    target: Annotated[Path, typer.Argument(help="The .keras file to write.")],
    input_shape: Annotated[
        str | None,
        typer.Option(
            help="The shape of one example, without the batch and in the file's order, such as "
            "3,224,224. Needed where the file leaves sizes open."
        ),
    ] = None,
    samples: Annotated[
        int, typer.Option(min=1, help="The number of random inputs that both models are run on.")
    ] = 8,
    seed: Annotated[int, typer.Option(help="The seed of the random inputs.")] = 0,
) -> None:
    """Rebuild an ONNX model as a Keras model, and certify that both compute the same.

    The certificate is written beside the model, as JSON. If the models differ, nothing is written
    and the exit code is 1.
    """
    if target.suffix != ".keras":
        raise UserError(f"TARGET {target}: expected a name that ends with .keras")
    if not target.parent.is_dir():
        raise UserError(f"TARGET {target}: no such folder")
    model = load_onnx(source, input_shape)
    certificate = tfxai.converters.certify(model, source, samples=samples, seed=seed)
    table = Table("certificate", str(source), box=None)
    for name, value in certificate.lines().items():
        table.add_row(name, value)
    console.print(table)
    if not certificate.holds:
        print_error(f"tfxai: the models differ; {target} is not written")
        raise typer.Exit(1)
    model.save(target)
    certificate.save(target.with_suffix(".json"))
    print_line(f"wrote {target} and {target.with_suffix('.json')}")
