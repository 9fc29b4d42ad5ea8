"""What the words on the command line stand for: methods, options, images."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image

import tfxai
from tfxai import zoo
from tfxai.cli.terminal import UserError
from tfxai.core import synonyms

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
    SyntaxError,
    Image.DecompressionBombError,
)
"""What Pillow raises on damaged or refused files."""
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}


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
        told = synonyms.hint(method, METHODS)
        raise UserError(f"--method {method}: expected one of {', '.join(METHODS)}{told}")
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
    if not separator and key in allowed:
        raise UserError(f"--option {text}: expected {text}=..., a value too")
    if not separator or key not in allowed:
        told = synonyms.hint(key, allowed)
        raise UserError(
            f"--option {text}: {method} takes {', '.join(allowed) or 'no options'}{told}"
        )
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
    """List image files, folders opened, each once, with a name for its results for itself."""
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
            told = f"; options of the method are --option {path}" if "=" in str(path) else ""
            raise UserError(f"IMAGES {path}: no such file or folder{told}")
    once: dict[Path, Path] = {}
    for file in files:
        once.setdefault(file.resolve(), file)
    seen: set[str] = set()
    named = []
    for file in once.values():
        stem, count = file.stem, 1
        while stem in seen:
            count += 1
            stem = f"{file.stem}_{count}"
        seen.add(stem)
        named.append((file, stem))
    return named
