"""What a served model is sent, and how it becomes what the model takes, within the graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfxai.core.axes import expect_channels_last
from tfxai.core.named_inputs import flatten_with_paths
from tfxai.core.types import Tensors

KINDS = ("tensor", "uint8", "bytes")

Preprocess = Callable[[tf.Tensor], tf.Tensor]
"""Maps pixels ``[B, H, W, C]`` in 0..255, float32, to what the model takes."""


def from_served(
    kind: str, specs: Tensors, preprocess: Preprocess | None
) -> tuple[Callable[[dict[str, tf.Tensor]], Tensors], dict[str, tf.TensorSpec]]:
    """Give how the signature's inputs become the model's, and their TensorSpecs by name."""
    if kind == "tensor":
        if preprocess is not None:
            raise ValueError("preprocess is for inputs='uint8' or 'bytes'")
        names = list(by_name("inputs", specs))
        flat = tf.nest.flatten(specs)
        return (
            lambda given: tf.nest.pack_sequence_as(specs, [given[name] for name in names]),
            dict(zip(names, flat, strict=True)),
        )
    if not isinstance(specs, tf.TensorSpec) or specs.shape.rank != 4 or None in specs.shape[1:3]:
        raise ValueError(f"inputs={kind!r} needs a model of one input of images of a fixed size")
    size, channels = tuple(specs.shape[1:3]), specs.shape[3]

    def to_model(pixels: tf.Tensor) -> tf.Tensor:
        pixels = tf.cast(pixels, tf.float32)
        ready = pixels if preprocess is None else preprocess(pixels)
        return tf.ensure_shape(tf.cast(ready, specs.dtype), specs.shape)

    if kind == "uint8":
        return lambda given: to_model(given["inputs"]), {
            "inputs": tf.TensorSpec(specs.shape, tf.uint8)
        }

    expect_channels_last("inputs='bytes': the model's images", specs)

    def decoded(given: dict[str, tf.Tensor]) -> tf.Tensor:
        pixels = tf.map_fn(
            lambda encoded: middle(encoded, size, channels),
            given["inputs"],
            fn_output_signature=tf.TensorSpec([*size, channels], tf.float32),
        )
        return to_model(pixels)

    return decoded, {"inputs": tf.TensorSpec([None], tf.string)}


def middle(encoded: tf.Tensor, size: tuple[int, int], channels: int) -> tf.Tensor:
    """Decode an image, cut its middle in the model's proportions and resize it."""
    image = tf.io.decode_image(encoded, channels=channels, expand_animations=False)
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    ratio = tf.cast(size[0] / size[1], tf.float32)
    tall, wide = tf.cast(height, tf.float32), tf.cast(width, tf.float32)
    rows = tf.cast(tf.round(tf.minimum(tall, wide * ratio)), tf.int32)
    columns = tf.cast(tf.round(tf.minimum(wide, tall / ratio)), tf.int32)
    cut = tf.image.crop_to_bounding_box(
        image, (height - rows) // 2, (width - columns) // 2, rows, columns
    )
    resized = tf.image.resize(cut, size, method="bicubic", antialias=True)
    return tf.ensure_shape(tf.clip_by_value(resized, 0.0, 255.0), [*size, channels])


def by_name(name: str, values: Tensors) -> dict[str, Any]:
    """Give the tensors of a structure by name: the name alone for one, else name_key."""
    paths = list(flatten_with_paths(values))
    if len(paths) == 1 and not paths[0][0]:
        return {name: values}
    return {"_".join([name, *map(str, p)]): leaf for p, leaf in paths}


def as_argument(values: dict[str, Any]) -> Any:
    """Give what a served function is called with: the inputs by name, or the only one itself."""
    return values["inputs"] if set(values) == {"inputs"} else values


def of_argument(given: Any) -> dict[str, tf.Tensor]:
    """Give the inputs by name, from what a served function is called with."""
    return given if isinstance(given, dict) else {"inputs": given}
