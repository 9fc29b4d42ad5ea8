"""What the words on the command line stand for: models, methods, options, files."""

from __future__ import annotations

import ast
import inspect
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image

import tfxai
from tfxai import zoo

METHODS = {
    function.__name__: function
    for function in (
        tfxai.gradient,
        tfxai.gradient_times_input,
        tfxai.integrated_gradients,
        tfxai.smoothgrad,
        tfxai.smoothgrad_squared,
        tfxai.vargrad,
        tfxai.adaptgrad,
        tfxai.noisegrad,
        tfxai.fusiongrad,
        tfxai.cafo,
        tfxai.caso,
        tfxai.guided_backprop,
        tfxai.deconvnet,
        tfxai.excitation_backprop,
        tfxai.grad_cam,
        tfxai.guided_grad_cam,
        tfxai.igos,
        tfxai.meaningful_perturbation,
        tfxai.rise,
        tfxai.occlusion,
        tfxai.pattern_net,
        tfxai.pattern_attribution,
        tfxai.pattern_guided_integrated_gradients,
        tfxai.random_attribution,
    )
}
UNREADABLE = (
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
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
"""Of ImageNet's colours in 0..1, by which most PyTorch models have their inputs normalised."""
SCALES = {
    "raw": (0.0, 255.0),
    "unit": (0.0, 1.0),
    "signed": (-1.0, 1.0),
    "imagenet": (-MEAN / DEVIATION, (1 - MEAN) / DEVIATION),
}
"""What black and white become."""
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}


class UserError(Exception):
    """What the user can mend; printed as one line, exit code 2."""


def classifier(name: str, preprocess: str) -> zoo.Classifier:
    """Load a model with what it takes to show it a photo."""
    if not name.endswith((".keras", ".onnx")):
        if Path(name).suffix or Path(name).exists():
            raise UserError(f"MODEL {name}: expected a .keras or .onnx file, or a model of the zoo")
        try:
            return zoo.load(name)
        except (ValueError, ModuleNotFoundError) as error:
            raise UserError(f"MODEL {error}") from error
        except Exception as error:
            raise UserError(f"MODEL {name}: {_one_line(error)}") from error
    return _from_file(name, preprocess)


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
        raise UserError(f"MODEL {path}: {_one_line(error)}") from error


def _from_file(name: str, preprocess: str) -> zoo.Classifier:
    if preprocess not in SCALES:
        raise UserError(f"--preprocess {preprocess}: expected one of {', '.join(SCALES)}")
    if not Path(name).is_file():
        raise UserError(f"MODEL {name}: no such file")
    model = onnx_model(name) if name.endswith(".onnx") else _keras_model(name)
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[-1] not in (1, 3):
        raise UserError(f"MODEL {name} takes inputs {shape}; expected images (batch, H, W, 3 or 1)")
    if None in shape[1:3]:
        raise UserError(f"MODEL {name} takes images of any size {shape}; give it a fixed one")
    low, high = (np.asarray(bound) for bound in SCALES[preprocess])
    if low.ndim and shape[-1] == 1:
        raise UserError(f"--preprocess {preprocess} is for colours, but MODEL {name} has none")

    def to_range(pixels: np.ndarray) -> np.ndarray:
        return low + pixels / 255 * (high - low)

    return zoo.Classifier(model, shape[1:3], to_range, (low.tolist(), high.tolist()), None)


def _keras_model(name: str) -> keras.Model:
    try:
        return keras.saving.load_model(name, compile=False)
    except (*UNREADABLE, zipfile.BadZipFile) as error:
        raise UserError(f"MODEL {name}: {_one_line(error)}") from error


def explainer(
    classifier: zoo.Classifier, method: str, options: list[str], patterns: Path | None
) -> tfxai.Explainer:
    """Build a method by its name, with options as key=value."""
    return builder(classifier, method, options, patterns)(classifier.model)


def builder(
    classifier: zoo.Classifier, method: str, options: list[str], patterns: Path | None
) -> Callable[[keras.Model], tfxai.Explainer]:
    """Give a method by its name as a function of a model."""
    if method not in METHODS:
        raise UserError(f"--method {method}: expected one of {', '.join(METHODS)}")
    function = METHODS[method]
    allowed = {
        name: p.default
        for name, p in inspect.signature(function).parameters.items()
        if p.kind is inspect.Parameter.KEYWORD_ONLY
    }
    keywords = dict(keyword(text, method, allowed) for text in options)
    if "bounds" in allowed:
        keywords.setdefault("bounds", classifier.bounds)
    learnt = _patterns(function, method, patterns)

    def build(model: keras.Model) -> tfxai.Explainer:
        try:
            return function(model, *learnt, **keywords)
        except (TypeError, ValueError) as error:
            raise UserError(str(error) if learnt else f"--option {error}") from error

    return build


def _patterns(builder: Callable, method: str, path: Path | None) -> list[tfxai.Patterns]:
    """Read the patterns of the methods that take some."""
    if "patterns" not in inspect.signature(builder).parameters:
        if path is not None:
            raise UserError(f"--patterns {path}: {method} takes none")
        return []
    if path is None:
        raise UserError(
            f"--method {method} needs --patterns FILE, which "
            "tfxai.fit_patterns(model, data).save(FILE) writes"
        )
    try:
        return [tfxai.Patterns.load(path)]
    except OSError as error:
        raise UserError(f"--patterns {path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"--patterns {error}") from error


def keyword(text: str, method: str, allowed: dict[str, Any]) -> tuple[str, Any]:
    """Read key=value: a Python literal, the name of a rule, score or kernel, or text."""
    key, separator, value = text.partition("=")
    if not separator or key not in allowed:
        raise UserError(f"--option {text}: {method} takes {', '.join(allowed) or 'no options'}")
    for known, module in (
        ("quadrature", tfxai.quadrature),
        ("score", tfxai.scores),
        ("kernel", tfxai.kernels),
        ("proposal", tfxai.kernels),
    ):
        if key == known:
            return key, getattr(module, value, value)
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value


def pixels(file: Path, classifier: zoo.Classifier) -> np.ndarray:
    """Read the middle of a photo as the classifier wants it, ``[H, W, 3 | 1]`` in 0..255."""
    with Image.open(file) as image:
        found = zoo.centre_crop(image, classifier.size, margin=classifier.crop_margin)
    grey = classifier.model.input_shape[-1] == 1
    return found.mean(-1, keepdims=True) if grey else found


def image_files(paths: list[Path]) -> list[tuple[Path, str]]:
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


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
