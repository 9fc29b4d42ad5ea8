"""The command line: ``tfxai explain`` and ``tfxai demo``."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import zipfile
from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
import typer
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console
from rich.progress import track

import tfxai
from tfxai import demonstration, plot, zoo
from tfxai.explanation import Explanation

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Explain what image classifiers look at.",
)
console = Console()
errors = Console(stderr=True)

METHODS = {
    function.__name__: function
    for function in (
        tfxai.gradient,
        tfxai.gradient_times_input,
        tfxai.integrated_gradients,
        tfxai.smoothgrad,
        tfxai.smoothgrad_squared,
        tfxai.vargrad,
        tfxai.random_attribution,
    )
}
_UNREADABLE = (
    OSError,
    RuntimeError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    ImportError,
    SyntaxError,
)
"""What Pillow and Keras raise on damaged or refused files."""
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}


class UserError(Exception):
    """What the user can mend; printed as one line, exit code 2."""


def main() -> None:
    """Run the command line; a user's mistake ends in one line, not in a traceback."""
    try:
        app()
    except UserError as error:
        errors.print(f"tfxai: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)


@app.command()
def explain(
    model: Annotated[str, typer.Argument(help="A .keras file, or a model of the zoo.")],
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    method: Annotated[str, typer.Option(help=f"One of {', '.join(METHODS)}.")] = (
        "integrated_gradients"
    ),
    target: Annotated[str | None, typer.Option(help="Class index or name [predicted]")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("explanations"),
    option: Annotated[
        list[str] | None, typer.Option(help="key=value for the method, e.g. steps=128")
    ] = None,
    preprocess: Annotated[
        str, typer.Option(help="For a .keras file: raw (0..255), unit (0..1) or signed (-1..1).")
    ] = "raw",
    seed: Annotated[int, typer.Option(help="For methods with random numbers.")] = 0,
) -> None:
    """Explain images; write NAME.png (image and map) and NAME.npz (the record) for each."""
    classifier = _classifier(model, preprocess)
    explainer = _explainer(classifier, method, option or [])
    files = _image_files(images)
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
            pixels = _read(file, classifier)
        except (*_UNREADABLE, Image.DecompressionBombError) as error:
            broken += 1
            errors.print(
                f"{file}: not a readable image ({error})", style="red", markup=False, soft_wrap=True
            )
            continue
        try:
            record = explainer.explain(
                classifier.preprocess(pixels)[None], chosen, verbose=0, seed=seed
            )
        except (TypeError, ValueError) as error:
            raise UserError(str(error)) from error
        record.save(out / f"{stem}.npz")
        _picture(record, pixels).savefig(out / f"{stem}.png", dpi=120)
        console.print(_summary(file, record), markup=False, highlight=False, soft_wrap=True)
    if broken:
        errors.print(f"{broken} of {len(files)} images could not be read", style="red")
        raise typer.Exit(1)


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
    records = demonstration.records(classifier, photos, console)
    console.print(demonstration.accuracy_table(records, list(photos)))
    out.mkdir(parents=True, exist_ok=True)
    path = out / "panel.png"
    demonstration.panel(photos, records).savefig(path, dpi=110)
    console.print(f"wrote {path}", markup=False, highlight=False)


def _classifier(name: str, preprocess: str) -> zoo.Classifier:
    if not name.endswith(".keras"):
        if Path(name).suffix or Path(name).exists():
            raise UserError(f"MODEL {name}: expected a .keras file, or a model of the zoo")
        try:
            return zoo.load(name)
        except (ValueError, ModuleNotFoundError) as error:
            raise UserError(f"MODEL {error}") from error
        except Exception as error:
            raise UserError(f"MODEL {name}: {_one_line(error)}") from error
    if not Path(name).is_file():
        raise UserError(f"MODEL {name}: no such file")
    return _keras_file(name, preprocess)


def _keras_file(name: str, preprocess: str) -> zoo.Classifier:
    scales = {"raw": (0.0, 255.0), "unit": (0.0, 1.0), "signed": (-1.0, 1.0)}
    if preprocess not in scales:
        raise UserError(f"--preprocess {preprocess}: expected one of {', '.join(scales)}")
    try:
        model = keras.saving.load_model(name, compile=False)
    except (*_UNREADABLE, zipfile.BadZipFile) as error:
        raise UserError(f"MODEL {name}: {_one_line(error)}") from error
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[-1] not in (1, 3):
        raise UserError(f"MODEL {name} takes inputs {shape}; expected images (batch, H, W, 3 or 1)")
    if None in shape[1:3]:
        raise UserError(f"MODEL {name} takes images of any size {shape}; give it a fixed one")
    low, high = scales[preprocess]

    def to_range(pixels: np.ndarray) -> np.ndarray:
        return low + pixels / 255 * (high - low)

    return zoo.Classifier(model, shape[1:3], to_range, (low, high), None)


def _explainer(classifier: zoo.Classifier, method: str, options: list[str]) -> tfxai.Explainer:
    if method not in METHODS:
        raise UserError(f"--method {method}: expected one of {', '.join(METHODS)}")
    builder = METHODS[method]
    allowed = {
        name: p.default
        for name, p in inspect.signature(builder).parameters.items()
        if p.kind is inspect.Parameter.KEYWORD_ONLY
    }
    keywords = dict(_option(text, method, allowed) for text in options)
    if "bounds" in allowed:
        keywords.setdefault("bounds", classifier.bounds)
    try:
        return builder(classifier.model, **keywords)
    except (TypeError, ValueError) as error:
        raise UserError(f"--option {error}") from error


def _option(text: str, method: str, allowed: dict[str, Any]) -> tuple[str, Any]:
    """Read key=value: a Python literal, the name of a rule, score or kernel, or text."""
    key, separator, value = text.partition("=")
    if not separator or key not in allowed:
        raise UserError(f"--option {text}: {method} takes {', '.join(allowed) or 'no options'}")
    for known, module in (
        ("quadrature", tfxai.quadrature),
        ("score", tfxai.scores),
        ("kernel", tfxai.kernels),
    ):
        if key == known:
            return key, getattr(module, value, value)
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value


def _image_files(paths: list[Path]) -> list[tuple[Path, str]]:
    """List image files, folders opened, each with a name for its results that no other has."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(f for f in path.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES)
            if not inside:
                raise UserError(f"IMAGES {path}: the folder has no images")
            files += inside
        elif path.is_file():
            files.append(path)
        else:
            raise UserError(f"IMAGES {path}: no such file or folder")
    seen: set[str] = set()
    named = []
    for file in files:
        stem, count = file.stem, 1
        while stem in seen:
            count += 1
            stem = f"{file.stem}_{count}"
        seen.add(stem)
        named.append((file, stem))
    return named


def _read(file: Path, classifier: zoo.Classifier) -> np.ndarray:
    with Image.open(file) as image:
        pixels = zoo.centre_crop(image, classifier.size, margin=classifier.crop_margin)
    grey = classifier.model.input_shape[-1] == 1
    return pixels.mean(-1, keepdims=True) if grey else pixels


def _picture(record: Explanation, pixels: np.ndarray) -> Figure:
    title = record.settings["method"].replace("_", " ")
    label = f"{record.target_names[0]}  {record.scores[0]:.3g}"
    maps = {title: record.attributions, f"{title}, size": record.attributions}
    return plot.panel([pixels], maps, labels=[label], signs=["signed", "positive"])


def _summary(file: Path, record: Explanation) -> str:
    parts = [f"{file.name}: {record.target_names[0]} (score {record.scores[0]:.4g})"]
    parts += [f"{k} {v[0]:.3g}" for k, v in record.numbers.items() if np.ndim(v) == 1]
    return ", ".join(parts)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


if __name__ == "__main__":
    main()
