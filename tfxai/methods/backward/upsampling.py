"""Coarse maps of a layer at the resolution of the inputs."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tfxai.core.axes import Order
from tfxai.core.tracing import any_batch_specs
from tfxai.core.types import Attribution, Tensors

UPSAMPLINGS = ("bilinear", "nearest", None)


def upsample_maps(
    maps: tf.Tensor,
    inputs: tf.Tensor,
    method: str | None,
    order: Order,
    *,
    keep_sums: bool = False,
) -> tf.Tensor:
    """Resize maps to the height and width of the inputs, and put their axes in the inputs' order.

    Args:
        maps: ``[B, h, w, 1]``, or ``[B, t, 1]`` for sequences.
        inputs: images or sequences, of the same rank as the maps.
        method: "bilinear", "nearest", or None to leave the maps' size as it is.
        order: the order of the inputs' axes.
        keep_sums: whether to divide the maps by the factor by which the number of positions grows,
            so that the sum of each map stays about the same.

    Raises:
        ValueError: the maps and the inputs have different ranks, or are neither images nor
            sequences.
    """
    if method is None:
        return order.from_channels_last(maps) if maps.shape.rank == inputs.shape.rank else maps
    inputs = order.to_channels_last(inputs)
    if maps.shape.rank != inputs.shape.rank or maps.shape.rank not in (3, 4):
        raise ValueError(
            f"upsample={method!r}: cannot bring maps of shape {maps.shape} to the resolution of "
            f"inputs {inputs.shape}; pass upsample=None for the maps as they are"
        )
    is_sequence = maps.shape.rank == 3
    image_maps = maps[:, :, None] if is_sequence else maps
    old_size = tf.shape(image_maps)[1:3]
    new_size = tf.shape(inputs[:, :, None] if is_sequence else inputs)[1:3]
    resized = tf.cast(tf.image.resize(image_maps, new_size, method), maps.dtype)
    if keep_sums:
        resized *= tf.cast(tf.reduce_prod(old_size) / tf.reduce_prod(new_size), maps.dtype)
    resized = resized[:, :, 0] if is_sequence else resized
    return order.from_channels_last(tf.ensure_shape(resized, [*inputs.shape[:-1], 1]))


def maps_like(attribution: Attribution) -> Callable[[Tensors], Tensors]:
    """Give a function from inputs to zeros of the shapes of their maps.

    The shapes are read from a trace of the attribution.
    """

    def like(inputs: Tensors) -> Tensors:
        targets_and_seed = tf.TensorSpec([None], tf.int32), tf.TensorSpec([2], tf.int32)
        graph = tf.function(lambda *arguments: attribution(*arguments), autograph=False)
        result = graph.get_concrete_function(
            any_batch_specs(inputs), *targets_and_seed
        ).structured_outputs
        batch_size = tf.shape(tf.nest.flatten(inputs)[0])[0]
        return tf.nest.map_structure(
            lambda maps: tf.zeros([batch_size, *maps.shape[1:]], maps.dtype), result.attributions
        )

    return like
