"""The model of a command: read from a file, or one of the zoo, with what it is shown photos as."""

from __future__ import annotations

import mimetypes
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
import typer

import tfxai
from tfxai import zoo
from tfxai.cli.terminal import UserError, one_line
from tfxai.core import synonyms
from tfxai.models import keras_graph

UNREADABLE = (
    OSError,
    RuntimeError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    ImportError,
    SyntaxError,
    zipfile.BadZipFile,
)
"""What Keras raises on damaged or refused files."""
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
"""Of ImageNet's colours in 0..1, by which most PyTorch models have their inputs normalised."""
SCALES = {
    "raw": (0.0, 255.0),
    "unit": (0.0, 1.0),
    "signed": (-1.0, 1.0),
    "imagenet": (-MEAN / DEVIATION, (1 - MEAN) / DEVIATION),
}
"""What black and white become."""
CHOICES = (
    "raw (pixels as they are, 0..255), unit (0..1), signed (-1..1) or imagenet (colours of mean 0 "
    "and deviation 1, as PyTorch's models have it)"
)
Preprocess = Annotated[
    str | None, typer.Option(help=f"What a file's model is shown photos as: {CHOICES}.")
]
"""The option of the commands."""
SAME_RANGE = (
    keras.layers.CenterCrop,
    keras.layers.Cropping2D,
    keras.layers.Identity,
    keras.layers.Permute,
    keras.layers.RandomBrightness,
    keras.layers.RandomContrast,
    keras.layers.RandomCrop,
    keras.layers.RandomFlip,
    keras.layers.RandomRotation,
    keras.layers.RandomTranslation,
    keras.layers.RandomZoom,
    keras.layers.Reshape,
    keras.layers.Resizing,
    keras.layers.ZeroPadding2D,
)
"""Layers that leave the range of pixels as it is when a model predicts."""
SAVE_ALL = "save the Keras model itself, model.save('model.keras')"
CONVERT = "convert it once, keras.saving.load_model(FILE).save('model.keras')"
TO_ONNX = "export the module to .onnx, or use tfxai.converters.from_torch in Python"
ELSEWHERE = {
    ".weights.h5": f"weights alone: {SAVE_ALL}",
    ".h5": f"Keras's older format: {CONVERT}",
    ".hdf5": f"Keras's older format: {CONVERT}",
    ".pb": f"a TensorFlow graph without Keras layers: {SAVE_ALL}",
    ".tflite": f"a LiteRT model, which has no gradients: {SAVE_ALL}",
    ".pt": f"a PyTorch file: {TO_ONNX}",
    ".pth": f"a PyTorch file: {TO_ONNX}",
}
"""What files of other kinds are, and what to do."""


def classifier(name: str, preprocess: str | None) -> zoo.Classifier:
    """Load a model with what it takes to show it a photo.

    Args:
        name: a file, or a model of the zoo.
        preprocess: one of `SCALES`. None for models that know it: those of the zoo, and files whose
            first layer takes pixels.
    """
    if name.endswith((".keras", ".onnx")):
        return _from_file(name, preprocess)
    path = Path(name)
    if path.name != name or path.suffix or path.exists():
        raise UserError(f"MODEL {name}: {_of_another_kind(path)}")
    if preprocess is not None:
        raise UserError(
            f"--preprocess {preprocess}: is for files; {name} of the zoo is shown photos as it was "
            "trained, so leave it out"
        )
    try:
        return zoo.load(name)._replace(preprocessing=f"that of {name}")
    except Exception as error:
        raise UserError(f"MODEL {name}: {one_line(error)}") from error


def onnx_model(path: str | Path, input_shape: str | None = None) -> keras.Model:
    """Convert an ONNX file; the shape is sizes with commas between."""
    try:
        shape = None if input_shape is None else [int(n) for n in input_shape.split(",")]
    except ValueError as error:
        raise UserError(f"--input-shape {input_shape}: expected sizes as in 3,224,224") from error
    try:
        return tfxai.converters.from_onnx(path, input_shape=shape)
    except ImportError as error:
        raise UserError(str(error)) from error
    except (OSError, ValueError) as error:
        raise UserError(f"MODEL {path}: {one_line(error)}") from error


def shown_as(name: str, classifier: zoo.Classifier) -> str:
    """Say what a model is shown photos as."""
    if classifier.preprocessing not in SCALES:
        return f"{name} is shown photos as it was trained"
    told = f"{name} is shown photos as {classifier.preprocessing}: {_range(classifier)}"
    own = taking_pixels(classifier.model)
    if own is None:
        return told
    if classifier.preprocessing == "raw":
        return f"{told}, which its layer {own} takes"
    return f"{told}, although its layer {own} takes 0..255"


def taking_pixels(model: keras.Model) -> str | None:
    """Give the name of the layer at a model's input that takes pixels in 0..255, if there is one.

    That is a Rescaling or Normalization that makes numbers smaller; one that makes them larger
    takes 0..1.
    """
    first = keras_graph.first_operations(model, lambda o: isinstance(o, SAME_RANGE))
    return first[0].name if first and all(map(_shrinks, first)) else None


def _shrinks(operation: keras.Operation) -> bool:
    if isinstance(operation, keras.layers.Rescaling):
        return bool(np.max(np.abs(operation.scale)) < 1)
    if isinstance(operation, keras.layers.Normalization) and not operation.invert:
        return bool(np.min(operation.variance) > 1)
    return False


def _range(classifier: zoo.Classifier) -> str:
    low, high = (np.round(b, 3).tolist() for b in classifier.bounds)
    return f"black is {low}, white {high}"


def _from_file(name: str, preprocess: str | None) -> zoo.Classifier:
    if preprocess is not None and preprocess not in SCALES:
        told = synonyms.hint(preprocess, SCALES)
        raise UserError(f"--preprocess {preprocess}: expected {CHOICES}{told}")
    if not Path(name).is_file():
        kind = "is a folder" if Path(name).is_dir() else "no such file"
        raise UserError(f"MODEL {name}: {kind}")
    model = onnx_model(name) if name.endswith(".onnx") else _keras_model(name)
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[-1] not in (1, 3):
        raise UserError(f"MODEL {name} takes inputs {shape}; expected images (batch, H, W, 3 or 1)")
    if None in shape[1:3]:
        raise UserError(f"MODEL {name} takes images of any size {shape}; give it a fixed one")
    if preprocess is None:
        if taking_pixels(model) is None:
            raise UserError(
                f"--preprocess: {name} has no Rescaling or Normalization at its input that takes "
                f"pixels, so say what it was trained on: {CHOICES}"
            )
        preprocess = "raw"
    low, high = (np.asarray(bound) for bound in SCALES[preprocess])
    if low.ndim and shape[-1] == 1:
        raise UserError(f"--preprocess {preprocess} is for colours, but MODEL {name} has none")
    bounds = (low.tolist(), high.tolist())
    scaled = _scaled(preprocess, low, high)
    return zoo.Classifier(model, shape[1:3], scaled, bounds, None, preprocessing=preprocess)


def _scaled(name: str, low: np.ndarray, high: np.ndarray) -> Callable[[Any], Any]:
    def scaled(pixels: Any) -> Any:
        return low + pixels / 255 * (high - low)

    scaled.__name__ = name  # which the metadata of an exported model notes
    return scaled


def _keras_model(name: str) -> keras.Model:
    if not zipfile.is_zipfile(name):
        raise UserError(
            f"MODEL {name}: is no Keras file, or only a part of one (they are zip archives)"
        )
    try:
        return keras.saving.load_model(name, compile=False)
    except UNREADABLE as error:
        told = one_line(error)
        raise UserError(f"MODEL {name}: {_remedy(told)}Keras says: {told}") from error


def _remedy(told: str) -> str:
    """Say what to do about what Keras says, if that is known."""
    unknown = re.search(r"Could not locate (?:class|function) '(\w+)'", told)
    if unknown is not None:
        name = unknown[1]
        return (
            f"it has code of your own, {name}, which this command does not know; in Python, load "
            f"it by keras.saving.load_model(FILE, custom_objects={{'{name}': {name}}}) and explain "
            "it by tfxai's functions. "
        )
    if "Lambda" in told:
        return (
            "it has Python code in a Lambda layer, which this command does not run; if you trust "
            "it, load it in Python with safe_mode=False and explain it by tfxai's functions. "
        )
    return ""


def _of_another_kind(path: Path) -> str:
    expected = "expected a .keras or .onnx file, or a model of the zoo"
    if not path.exists():
        return f"no such file; {expected}"
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return f"{expected}; this folder is a SavedModel, {ELSEWHERE['.pb']}"
        return f"{expected}; this is a folder"
    if (mimetypes.guess_type(path)[0] or "").startswith("image/"):
        return f"{expected}; this is a photo, and the model comes before the photos"
    known = next((told for end, told in ELSEWHERE.items() if path.name.endswith(end)), None)
    return expected if known is None else f"{expected}; this is {known}"
