"""The arguments and options that several commands share, with their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tfxai.cli.models import PREPROCESSING

Model = Annotated[
    str,
    typer.Argument(
        help="A .keras or .onnx file, or the name of a model of the zoo, such as "
        "efficientnet-lite0 or ResNet50."
    ),
]
Images = Annotated[list[Path], typer.Argument(help="Image files, or folders of image files.")]
Methods = Annotated[
    str,
    typer.Option(
        help="The names of methods, as the command explain takes them, with commas between them; "
        "or all."
    ),
]
OptionsByName = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        help="An option for one of the names above, as NAME.key=value, such as "
        "integrated_gradients.steps=32; may be given several times.",
    ),
]
Patterns = Annotated[
    Path | None,
    typer.Option(help="The patterns that pattern methods need: a file that tfxai.Patterns saved."),
]
Preprocess = Annotated[
    str | None,
    typer.Option(
        help=f"The inputs that the model of a file was trained on: {PREPROCESSING}. Needed unless "
        "the model starts with a layer that takes pixels."
    ),
]
ResultFolder = Annotated[
    Path, typer.Option("--out", help="The folder that the results are written to.")
]
Seed = Annotated[int, typer.Option(help="The seed of methods that draw random numbers.")]
