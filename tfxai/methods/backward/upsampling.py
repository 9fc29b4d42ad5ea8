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
    """Resize maps to the size of the inputs, and put their axes in the inputs' order.

    Args:
        maps: ``[B, h, w, 1]``, ``[B, t, 1]`` for sequences, or ``[B, d, h, w, 1]`` for volumes.
        inputs: images, sequences or volumes, of the same rank as the maps; or ``[B, T]``, such as
            token ids, which get maps ``[B, T]``.
        method: "bilinear", "nearest", or None to leave the maps' size as it is.
        order: the order of the inputs' axes.
        keep_sums: whether to divide the maps by the factor by which the number of positions grows,
            so that the sum of each map stays about the same.

    Raises:
        ValueError: the maps and the inputs have different ranks, or are neither images,
            sequences nor volumes.
    """
    if method is None:
        return order.from_channels_last(maps) if maps.shape.rank == inputs.shape.rank else maps
    if inputs.shape.rank == 2 and maps.shape.rank == 3:
        steps = upsample_maps(maps, inputs[:, :, None], method, Order((-1,)), keep_sums=keep_sums)
        return steps[:, :, 0]
    inputs = order.to_channels_last(inputs)
    if maps.shape.rank != inputs.shape.rank or maps.shape.rank not in (3, 4, 5):
        raise ValueError(
            f"upsample={method!r}: cannot bring maps of shape {maps.shape} to the resolution of "
            f"inputs {inputs.shape}; pass upsample=None for the maps as they are"
        )
    old_size, new_size = tf.shape(maps)[1:-1], tf.shape(inputs)[1:-1]
    resized = tf.cast(_resize(maps, new_size, method), maps.dtype)
    if keep_sums:
        resized *= tf.cast(tf.reduce_prod(old_size) / tf.reduce_prod(new_size), maps.dtype)
    return order.from_channels_last(tf.ensure_shape(resized, [*inputs.shape[:-1], 1]))


def _resize(maps: tf.Tensor, size: tf.Tensor, method: str) -> tf.Tensor:
    """Resize maps of one, two or three axes of positions, ``[B, ..., 1]``.

    A volume is resized slice by slice, and then along its first axis: the weights are products of
    weights along each axis.
    """
    rank = maps.shape.rank
    if rank == 3:
        return tf.image.resize(maps[:, :, None], [size[0], 1], method)[:, :, 0]
    if rank == 4:
        return tf.image.resize(maps, size, method)
    depth = tf.shape(maps)[1]
    slices = tf.reshape(maps, tf.concat([[-1], tf.shape(maps)[2:]], 0))
    slices = tf.image.resize(slices, size[1:], method)
    columns = tf.reshape(slices, [-1, depth, size[1] * size[2], 1])
    resized = tf.image.resize(columns, [size[0], size[1] * size[2]], method)
    return tf.reshape(resized, tf.concat([[-1], size, [1]], 0))


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
