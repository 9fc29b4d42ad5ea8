"""The argument MODEL: a model from a file or from the zoo, with its preprocessing of photos."""

from __future__ import annotations

import mimetypes
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

import tfxai
from tfxai import zoo
from tfxai.cli.terminal import UserError, one_line
from tfxai.core import synonyms
from tfxai.models import keras_graph

LOAD_ERRORS = (
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
"""The mean and standard deviation of ImageNet's colours in 0..1, channel by channel.

Most PyTorch models are trained on inputs that are normalised by them.
"""
PIXEL_RANGES = {
    "raw": (0.0, 255.0),
    "unit": (0.0, 1.0),
    "signed": (-1.0, 1.0),
    "imagenet": (-MEAN / DEVIATION, (1 - MEAN) / DEVIATION),
}
"""The model's inputs for black and for white, by the name of the preprocessing."""
PREPROCESSING = (
    "raw (pixels as they are, 0..255), unit (0..1), signed (-1..1) or imagenet (colours of mean 0 "
    "and deviation 1, as PyTorch's models have it)"
)
"""The names in `PIXEL_RANGES` with their meanings, for help and messages."""
RANGE_PRESERVING_LAYERS = (
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
"""Layers that do not change the range of pixel values when a model predicts."""
SAVE_ALL = "save the Keras model itself, model.save('model.keras')"
CONVERT = "convert it once, keras.saving.load_model(FILE).save('model.keras')"
TO_ONNX = "export the module to .onnx, or use tfxai.converters.from_torch in Python"
OTHER_FORMATS = {
    ".weights.h5": f"weights alone: {SAVE_ALL}",
    ".h5": f"Keras's older format: {CONVERT}",
    ".hdf5": f"Keras's older format: {CONVERT}",
    ".pb": f"a TensorFlow graph without Keras layers: {SAVE_ALL}",
    ".tflite": f"a LiteRT model, which has no gradients: {SAVE_ALL}",
    ".pt": f"a PyTorch file: {TO_ONNX}",
    ".pth": f"a PyTorch file: {TO_ONNX}",
}
"""The formats of files that cannot be read, by their suffixes, each with a remedy."""


def load_classifier(name: str, preprocess: str | None) -> zoo.Classifier:
    """Load a model together with its preprocessing of photos.

    Args:
        name: a .keras or .onnx file, or the name of a model of the zoo.
        preprocess: a name in `PIXEL_RANGES`, for a model from a file. None for a model of the zoo,
            and for a model from a file that starts with a layer that takes pixels.

    Raises:
        UserError: a model that cannot be loaded or explained, or unknown preprocessing.
    """
    if name.endswith((".keras", ".onnx")):
        return _from_file(name, preprocess)
    path = Path(name)
    if path.name != name or path.suffix or path.exists():
        raise UserError(f"MODEL {name}: {_not_a_model(path)}")
    if preprocess is not None:
        raise UserError(
            f"--preprocess {preprocess}: is for files; {name} of the zoo is shown photos as it was "
            "trained, so leave it out"
        )
    try:
        return zoo.load(name)._replace(preprocessing=f"that of {name}")
    except Exception as error:
        raise UserError(f"MODEL {name}: {one_line(error)}") from error


def load_onnx(path: str | Path, input_shape: str | None = None) -> keras.Model:
    """Convert an ONNX file.

    Args:
        path: the file.
        input_shape: the sizes of one example with commas between them, such as "3,224,224".

    Raises:
        UserError: a file that cannot be converted, or a shape that is not of this form.
    """
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


def describe_preprocessing(name: str, classifier: zoo.Classifier) -> str:
    """Give a line about the inputs that photos become for a model."""
    if classifier.preprocessing not in PIXEL_RANGES:
        return f"{name} is shown photos as it was trained"
    line = f"{name} is shown photos as {classifier.preprocessing}: {_range(classifier)}"
    layer = layer_that_takes_pixels(classifier.model)
    if layer is None:
        return line
    if classifier.preprocessing == "raw":
        return f"{line}, which its layer {layer} takes"
    return f"{line}, although its layer {layer} takes 0..255"


def layer_that_takes_pixels(model: keras.Model) -> str | None:
    """Give the name of a model's first layer if it takes pixels in 0..255, else None.

    A Rescaling or Normalization takes them if it makes numbers smaller; one that makes numbers
    larger takes inputs in 0..1. Layers that only move pixels may stand before it.
    """
    first = keras_graph.first_operations(model, lambda o: isinstance(o, RANGE_PRESERVING_LAYERS))
    return first[0].name if first and all(map(_shrinks, first)) else None


def _shrinks(operation: keras.Operation) -> bool:
    if isinstance(operation, keras.layers.Rescaling):
        return bool(np.max(np.abs(operation.scale)) < 1)
    if isinstance(operation, keras.layers.Normalization) and not operation.invert:
        return bool(np.min(operation.variance) > 1)
    return False


def _range(classifier: zoo.Classifier) -> str:
    black, white = (np.round(bound, 3).tolist() for bound in classifier.bounds)
    return f"black is {black}, white {white}"


def _from_file(name: str, preprocess: str | None) -> zoo.Classifier:
    if preprocess is not None and preprocess not in PIXEL_RANGES:
        suggestion = synonyms.hint(preprocess, PIXEL_RANGES)
        raise UserError(f"--preprocess {preprocess}: expected {PREPROCESSING}{suggestion}")
    if not Path(name).is_file():
        kind = "is a folder" if Path(name).is_dir() else "no such file"
        raise UserError(f"MODEL {name}: {kind}")
    model = load_onnx(name) if name.endswith(".onnx") else _load_keras(name)
    size, channels = _image_shape(name, model)
    if preprocess is None:
        if layer_that_takes_pixels(model) is None:
            raise UserError(
                f"--preprocess: {name} has no Rescaling or Normalization at its input that takes "
                f"pixels, so say what it was trained on: {PREPROCESSING}"
            )
        preprocess = "raw"
    black, white = (np.asarray(bound) for bound in PIXEL_RANGES[preprocess])
    if black.ndim and channels == 1:
        raise UserError(f"--preprocess {preprocess} is for colours, but MODEL {name} has none")
    bounds = (black.tolist(), white.tolist())
    rescale = _rescaling(preprocess, black, white)
    return zoo.Classifier(model, size, rescale, bounds, None, preprocessing=preprocess)


def _image_shape(name: str, model: keras.Model) -> tuple[tuple[int, int], int]:
    """Give height and width, and the number of channels, of the images that a model takes."""
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[-1] not in (1, 3):
        raise UserError(f"MODEL {name} takes inputs {shape}; expected images (batch, H, W, 3 or 1)")
    if None in shape[1:3]:
        raise UserError(f"MODEL {name} takes images of any size {shape}; give it a fixed one")
    return shape[1:3], shape[-1]


def _rescaling(name: str, black: np.ndarray, white: np.ndarray) -> Callable[[Any], Any]:
    """Give the function from pixels in 0..255 to inputs between those of black and white."""

    def rescale(pixels: Any) -> Any:
        return black + pixels / 255 * (white - black)

    rescale.__name__ = name  # which the metadata of an exported model notes
    return rescale


def _load_keras(name: str) -> keras.Model:
    if not zipfile.is_zipfile(name):
        raise UserError(
            f"MODEL {name}: is no Keras file, or only a part of one (they are zip archives)"
        )
    try:
        return keras.saving.load_model(name, compile=False)
    except LOAD_ERRORS as error:
        message = one_line(error)
        raise UserError(f"MODEL {name}: {_remedy(message)}Keras says: {message}") from error


def _remedy(message: str) -> str:
    """Give a remedy for an error message of Keras, or "" if none is known."""
    custom_object = re.search(r"Could not locate (?:class|function) '(\w+)'", message)
    if custom_object is not None:
        name = custom_object[1]
        return (
            f"it has code of your own, {name}, which this command does not know; in Python, load "
            f"it by keras.saving.load_model(FILE, custom_objects={{'{name}': {name}}}) and explain "
            "it by tfxai's functions. "
        )
    if "Lambda" in message:
        return (
            "it has Python code in a Lambda layer, which this command does not run; if you trust "
            "it, load it in Python with safe_mode=False and explain it by tfxai's functions. "
        )
    return ""


def _not_a_model(path: Path) -> str:
    """Say why a path is no model that can be loaded, and what is expected instead."""
    expected = "expected a .keras or .onnx file, or a model of the zoo"
    if not path.exists():
        return f"no such file; {expected}"
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return f"{expected}; this folder is a SavedModel, {OTHER_FORMATS['.pb']}"
        return f"{expected}; this is a folder"
    if (mimetypes.guess_type(path)[0] or "").startswith("image/"):
        return f"{expected}; this is a photo, and the model comes before the photos"
    for suffix, description in OTHER_FORMATS.items():
        if path.name.endswith(suffix):
            return f"{expected}; this is {description}"
    return expected
