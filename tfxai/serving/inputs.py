"""The inputs of a served model, and how they become the model's own inputs, within the graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfxai.core.axes import expect_channels_last
from tfxai.core.named_inputs import flatten_with_paths
from tfxai.core.types import Tensors

INPUT_KINDS = ("tensor", "uint8", "bytes")
"""A served model takes the model's own inputs, pixels, or encoded images."""

Preprocess = Callable[[tf.Tensor], tf.Tensor]
"""Maps pixels ``[B, H, W, C]`` in 0..255, float32, to the model's inputs."""

Prepare = Callable[[dict[str, tf.Tensor]], Tensors]
"""Maps the inputs of a request, by name, to the model's inputs."""


def prepare_and_signature(
    input_kind: str, specs: Tensors, preprocess: Preprocess | None
) -> tuple[Prepare, dict[str, tf.TensorSpec]]:
    """Give the function that prepares a request's inputs, and the inputs' TensorSpecs by name.

    Args:
        input_kind: one of `INPUT_KINDS`.
        specs: the TensorSpecs of the model's inputs.
        preprocess: for pixels and encoded images; None where the model takes pixels.

    Raises:
        ValueError: a kind that does not fit the model, or `preprocess` for "tensor".
    """
    if input_kind == "tensor":
        if preprocess is not None:
            raise ValueError("preprocess is for inputs='uint8' or 'bytes'")
        return _own_inputs(specs)
    if not isinstance(specs, tf.TensorSpec) or specs.shape.rank != 4 or None in specs.shape[1:3]:
        raise ValueError(
            f"inputs={input_kind!r} needs a model of one input of images of a fixed size"
        )
    kinds = {"uint8": _pixels, "bytes": _encoded_images}
    return kinds[input_kind](specs, preprocess)


def _own_inputs(specs: Tensors) -> tuple[Prepare, dict[str, tf.TensorSpec]]:
    names = list(by_name("inputs", specs))
    return (
        lambda served: tf.nest.pack_sequence_as(specs, [served[name] for name in names]),
        dict(zip(names, tf.nest.flatten(specs), strict=True)),
    )


def _pixels(
    spec: tf.TensorSpec, preprocess: Preprocess | None
) -> tuple[Prepare, dict[str, tf.TensorSpec]]:
    return (
        lambda served: _preprocessed(served["inputs"], spec, preprocess),
        {"inputs": tf.TensorSpec(spec.shape, tf.uint8)},
    )


def _encoded_images(
    spec: tf.TensorSpec, preprocess: Preprocess | None
) -> tuple[Prepare, dict[str, tf.TensorSpec]]:
    expect_channels_last("inputs='bytes': the model's images", spec)
    size, channels = tuple(spec.shape[1:3]), spec.shape[3]

    def prepare(served: dict[str, tf.Tensor]) -> tf.Tensor:
        pixels = tf.map_fn(
            lambda encoded: decode_and_crop(encoded, size, channels),
            served["inputs"],
            fn_output_signature=tf.TensorSpec([*size, channels], tf.float32),
        )
        return _preprocessed(pixels, spec, preprocess)

    return prepare, {"inputs": tf.TensorSpec([None], tf.string)}


def _preprocessed(
    pixels: tf.Tensor, spec: tf.TensorSpec, preprocess: Preprocess | None
) -> tf.Tensor:
    """Give pixels as the model takes them, of the model's type and shape."""
    pixels = tf.cast(pixels, tf.float32)
    inputs = pixels if preprocess is None else preprocess(pixels)
    return tf.ensure_shape(tf.cast(inputs, spec.dtype), spec.shape)


def decode_and_crop(encoded: tf.Tensor, size: tuple[int, int], channels: int) -> tf.Tensor:
    """Decode an image, crop its centre to the proportions of `size`, and resize it to `size`.

    Args:
        encoded: the content of an image file that TensorFlow decodes, a scalar string.
        size: height and width.
        channels: 1 or 3.

    Returns:
        Pixels ``[*size, channels]`` in 0..255, float32.
    """
    image = tf.io.decode_image(encoded, channels=channels, expand_animations=False)
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    ratio = tf.cast(size[0] / size[1], tf.float32)
    real_height, real_width = tf.cast(height, tf.float32), tf.cast(width, tf.float32)
    rows = tf.cast(tf.round(tf.minimum(real_height, real_width * ratio)), tf.int32)
    columns = tf.cast(tf.round(tf.minimum(real_width, real_height / ratio)), tf.int32)
    cropped = tf.image.crop_to_bounding_box(
        image, (height - rows) // 2, (width - columns) // 2, rows, columns
    )
    resized = tf.image.resize(cropped, size, method="bicubic", antialias=True)
    return tf.ensure_shape(tf.clip_by_value(resized, 0.0, 255.0), [*size, channels])


def by_name(name: str, values: Tensors) -> dict[str, Any]:
    """Give the tensors of a structure by name: ``name`` for a single tensor, else ``name_key``."""
    paths = list(flatten_with_paths(values))
    if len(paths) == 1 and not paths[0][0]:
        return {name: values}
    return {"_".join([name, *map(str, p)]): leaf for p, leaf in paths}


def to_argument(inputs: dict[str, Any]) -> Any:
    """Give a served function's first argument: a single input itself, several inputs by name."""
    return inputs["inputs"] if set(inputs) == {"inputs"} else inputs


def from_argument(argument: Any) -> dict[str, tf.Tensor]:
    """Give the inputs by name from a served function's first argument; inverts `to_argument`."""
    return argument if isinstance(argument, dict) else {"inputs": argument}
