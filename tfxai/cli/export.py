"""``tfxai export``: a model and methods as one SavedModel."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import tfxai
from tfxai.cli import arguments, scores
from tfxai.cli.methods import method_builders, method_names, options_by_name
from tfxai.cli.models import describe_preprocessing, load_classifier
from tfxai.cli.terminal import UserError, console, print_line
from tfxai.serving import saved_model


def export(
    model: arguments.Model,
    path: Annotated[
        Path, typer.Argument(help="The folder to write, a SavedModel; it must not exist yet.")
    ],
    methods: arguments.Methods = "integrated_gradients",
    inputs: Annotated[
        str,
        typer.Option(
            help="What the SavedModel takes: tensor (what the model takes), uint8 (pixels of the "
            "model's size) or bytes (JPEG or PNG files of any size)."
        ),
    ] = "tensor",
    options: arguments.OptionsByName = None,
    patterns: arguments.Patterns = None,
    preprocess: arguments.Preprocess = None,
    output: scores.Output = None,
    score: scores.Name = None,
) -> None:
    """Write one SavedModel that predicts and explains, for TensorFlow Serving."""
    classifier = load_classifier(model, preprocess)
    names = method_names(methods, patterns)
    by_name = options_by_name(options or [], names)
    builders = method_builders(classifier, names, by_name, patterns, output=output, score=score)
    explainers = {name: build(classifier.model) for name, build in builders.items()}
    try:
        tfxai.export(
            classifier.model, path, explainers, inputs=inputs, class_names=classifier.names,
            preprocess=classifier.preprocess if inputs in ("uint8", "bytes") else None,
        )  # fmt: skip
    except (OSError, TypeError, ValueError) as error:
        raise UserError(str(error)) from error
    print_line(describe_preprocessing(model, classifier))
    for name, difference in saved_model.metadata(path)["parity"].items():
        console.print(f"{name}: largest difference from here {difference:.3g}", highlight=False)
    print_line(f"wrote {path}")
