"""Coarse maps at the resolution of the input."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tfxai.core.axes import Order
from tfxai.core.tracing import any_batch_specs
from tfxai.core.types import Attribution, Tensors

UPSAMPLINGS = ("bilinear", "nearest", None)


def upsampled(
    maps: tf.Tensor, inputs: tf.Tensor, method: str | None, order: Order, *, density: bool = False
) -> tf.Tensor:
    """Give maps ``[B, h, w, 1]`` (or ``[B, t, 1]``) the height and width, and order, of the inputs.

    Args:
        maps: one channel.
        inputs: of the same rank.
        method: "bilinear", "nearest", or None for the maps as they are.
        order: of the inputs.
        density: divide by the gain in positions, so that the maps' sums stay.

    Raises:
        ValueError: maps and inputs have different numbers of axes, or three of position.
    """
    if method is None:
        return order.from_channels_last(maps) if maps.shape.rank == inputs.shape.rank else maps
    inputs = order.to_channels_last(inputs)
    if maps.shape.rank != inputs.shape.rank or maps.shape.rank not in (3, 4):
        raise ValueError(
            f"upsample={method!r}: cannot bring maps of shape {maps.shape} to the resolution of "
            f"inputs {inputs.shape}; pass upsample=None for the maps as they are"
        )
    flat = maps[:, :, None] if maps.shape.rank == 3 else maps
    before = tf.shape(flat)[1:3]
    after = tf.shape(inputs[:, :, None] if maps.shape.rank == 3 else inputs)[1:3]
    large = tf.cast(tf.image.resize(flat, after, method), maps.dtype)
    if density:
        large *= tf.cast(tf.reduce_prod(before) / tf.reduce_prod(after), maps.dtype)
    large = large[:, :, 0] if maps.shape.rank == 3 else large
    return order.from_channels_last(tf.ensure_shape(large, [*inputs.shape[:-1], 1]))


def maps_like(attribution: Attribution) -> Callable[[Tensors], Tensors]:
    """Give inputs -> arrays of the maps' shapes, which a trace of the attribution tells."""

    def like(inputs: Tensors) -> Tensors:
        integers = tf.TensorSpec([None], tf.int32), tf.TensorSpec([2], tf.int32)
        traced = tf.function(lambda *arguments: attribution(*arguments), autograph=False)
        result = traced.get_concrete_function(any_batch_specs(inputs), *integers).structured_outputs
        count = tf.shape(tf.nest.flatten(inputs)[0])[0]
        return tf.nest.map_structure(
            lambda maps: tf.zeros([count, *maps.shape[1:]], maps.dtype), result.attributions
        )

    return like
