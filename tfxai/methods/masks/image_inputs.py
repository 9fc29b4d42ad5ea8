"""What the mask methods make of their inputs: images, baseline images, and the size of a mask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfxai.baselines import Baseline
from tfxai.core import checks
from tfxai.core.axes import Order
from tfxai.core.types import Attribution, Result, Tensors
from tfxai.methods.masks.blending import BlendedExamples
from tfxai.methods.masks.masked_inputs import one_reference
from tfxai.models.model_info import ModelInspector

DEFAULT_RESOLUTION = 28
"""The number of cells of a mask for each side, where the image has at least as many pixels."""


def in_model_order(
    build: Callable[[int, Order], Attribution], inspector: ModelInspector
) -> Callable[[int], Attribution]:
    """Turn an attribution of images ``[B, H, W, C]`` into one of a model's inputs, in any order.

    Args:
        build: (rows that may be differentiated at once, order of the axes of the model's inputs)
            -> the attribution of images whose channels are last.
        inspector: the inspector of the model.

    Returns:
        A function from the number of rows to the attribution. Its maps and masks have their axes in
        the order of the model's inputs.
    """

    def build_in_order(rows: int) -> Attribution:
        def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
            order = inspector.order(inputs)
            result = build(rows, order)(order.to_channels_last(inputs), targets, seed)
            diagnostics = {
                name: order.from_channels_last(value) if value.shape.rank == 4 else value
                for name, value in result.diagnostics.items()
            }
            return Result(order.from_channels_last(result.attributions), diagnostics)

        return attribute

    return build_in_order


def rows_and_columns(value: Any, name: str = "resolution") -> tuple[int, int]:
    """Give a pair (rows, columns) as it is, and a number for both sides as a pair.

    Args:
        value: the number or the pair.
        name: the argument's name, for messages.

    Raises:
        TypeError, ValueError: `value` is neither a number nor a pair, or it is less than 1.
    """
    pair = value if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2:
        raise ValueError(f"{name}={value!r}: expected a number or a pair (rows, columns)")
    rows, columns = (checks.positive_integer(name, n) for n in pair)
    return rows, columns


def single_image_input(inputs: Tensors) -> tf.Tensor:
    """Give the images ``[B, H, W, C]`` of a model that has this input only.

    Raises:
        ValueError: the model has several inputs, or inputs that are no images of a known size.
    """
    flat = tf.nest.flatten(inputs)
    if len(flat) > 1:
        raise ValueError(f"a mask covers one input, but the model has {len(flat)}")
    if flat[0].shape.rank != 4:
        raise ValueError(
            f"a mask needs images of a known size [B, H, W, C], and inputs {flat[0].shape} are "
            "none: explain them by gradients, e.g. with tfxai.integrated_gradients"
        )
    if None in flat[0].shape[1:]:
        raise ValueError(
            f"a mask needs images of a known size [B, H, W, C], got {flat[0].shape}; put "
            "keras.Input((height, width, channels)) in front of the model"
        )
    return flat[0]


def single_reference(baseline: Baseline, images: tf.Tensor) -> tf.Tensor:
    """Give the baseline image of each image, ``[B, H, W, C]``.

    Raises:
        ValueError: the baseline gives an image several references.
    """
    return one_reference(baseline(images), images)


def blended_examples(inputs: Tensors, targets: tf.Tensor, baseline: Baseline) -> BlendedExamples:
    """Give the images of a model's inputs with their baseline images.

    Raises:
        ValueError: for the reasons of `single_image_input` and `single_reference`.
    """
    images = single_image_input(inputs)
    return BlendedExamples(images, single_reference(baseline, images), targets)


def mask_size(images: tf.Tensor, resolution: tuple[int, int] | None) -> tuple[int, int]:
    """Give the numbers of rows and columns of a mask for images ``[B, H, W, C]``.

    Args:
        images: only their shape matters.
        resolution: the numbers; None for 28 each, or the number of pixels where it is smaller.

    Raises:
        ValueError: the mask would have more cells than the images have pixels.
    """
    size = tuple(images.shape[1:3])
    if resolution is None:
        return min(DEFAULT_RESOLUTION, size[0]), min(DEFAULT_RESOLUTION, size[1])
    if any(cells > pixels for cells, pixels in zip(resolution, size, strict=True)):
        raise ValueError(
            f"resolution={resolution}: the images have {size} pixels; pass resolution="
            f"{min(size)} or less"
        )
    return resolution


def one_channel(images: Tensors) -> tf.Tensor:
    """Give zeros of the shape of the maps of images ``[B, H, W, C]``, ``[B, H, W, 1]``."""
    return tf.zeros_like(single_image_input(images)[..., :1])


def one_channel_like(inspector: ModelInspector) -> Callable[[Tensors], tf.Tensor]:
    """Give a function from a model's inputs to zeros of the shape of their maps.

    The axes of the zeros are in the order of the model's inputs.
    """

    def like(inputs: Tensors) -> tf.Tensor:
        order = inspector.order(inputs)
        return order.from_channels_last(one_channel(order.to_channels_last(inputs)))

    return like
