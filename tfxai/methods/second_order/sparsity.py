"""Sparsity of maps, and the lambda1 that makes them sparse enough (paper 003, METHODS 4.5)."""

from __future__ import annotations

import math
from collections.abc import Callable

import tensorflow as tf

from tfxai.core import axes
from tfxai.core.axes import Order
from tfxai.core.types import Tensors

FIRST = 1e-5
MOST_DECADES = 20
HALVINGS = 8
BISECTIONS = 12
SPARSE = 0.75
"""The least share of zero pixels."""


def sparsity(maps: tf.Tensor, inputs: Tensors, order: Order | None = None) -> tf.Tensor:
    """Give the share of zeros eta, ``[B, K]``, of maps ``[B, K, F]`` of inputs.

    A pixel of an image is zero where all its channels are; in inputs of other shapes, and in
    images whose order nothing tells, each feature counts.
    """
    order = order or axes.order_of(inputs)
    flat = tf.nest.flatten(inputs)
    sizes = [tf.reduce_prod(tf.shape(x)[1:]) for x in flat]
    zeros, units = tf.zeros(tf.shape(maps)[:2], maps.dtype), 0
    for part, x, channel in zip(tf.split(maps, sizes, axis=2), flat, order.channels, strict=True):
        shape = tf.concat([tf.shape(maps)[:2], tf.shape(x)[1:]], 0)
        blank = tf.equal(tf.reshape(part, shape), 0)
        if x.shape.rank == 4 and channel is not None:
            blank = tf.reduce_all(blank, channel)
        zeros += tf.reduce_sum(tf.cast(blank, maps.dtype), range(2, blank.shape.rank))
        units += tf.reduce_prod(tf.shape(blank)[2:])
    return zeros / tf.cast(units, maps.dtype)


def sparse_enough(
    solve: Callable[[tf.Tensor], tf.Tensor],
    linear: tf.Tensor,
    share: Callable[[tf.Tensor], tf.Tensor],
) -> tf.Tensor:
    """Find lambda1 by the paper's sweep, ``[B]``.

    It begins with 1e-5 and goes up by factors of ten until the map vanishes, which is where
    lambda1 >= max |c|. The smallest one whose map has .75 <= eta < 1 is taken. If there is none,
    the first that made the map vanish is halved, and halved again; what makes it vanish still is
    left out. If none of these will do either, the largest of them is taken.

    Args:
        solve: lambda1 ``[B, K]`` -> maps ``[B, K, F]``; all values are solved for together.
        linear: c, the gradient, ``[B, F]``.
        share: maps -> eta ``[B, K]``.
    """
    largest = tf.reduce_max(tf.abs(linear), 1)
    decades = tf.constant([FIRST * 10**j for j in range(MOST_DECADES)], linear.dtype)
    below = decades < largest[:, None]
    count = tf.reduce_sum(tf.cast(below, tf.int32), 1)
    tried = tf.maximum(tf.reduce_max(count), 1)
    values = tf.zeros_like(largest)[:, None] + decades[:tried]
    enough = (share(solve(values)) >= SPARSE) & below[:, :tried]
    decade = tf.gather(decades, tf.argmax(enough, 1))
    sparse = tf.reduce_any(enough, 1)

    def halved() -> tf.Tensor:
        vanishing = tf.gather(decades, tf.minimum(count, MOST_DECADES - 1))
        first = tf.floor(tf.math.log(vanishing / largest) / math.log(2)) + 1
        powers = tf.maximum(first, 1)[:, None] + tf.range(HALVINGS, dtype=linear.dtype)
        values = vanishing[:, None] * 2.0**-powers
        enough = share(solve(values)) >= SPARSE
        last = HALVINGS - 1 - tf.argmax(enough[:, ::-1], 1, tf.int32)
        last = tf.where(tf.reduce_any(enough, 1), last, tf.zeros_like(last))
        return tf.where(sparse, decade, tf.gather(values, last, axis=1, batch_dims=1))

    return tf.cond(tf.reduce_all(sparse), lambda: decade, halved)


def just_sparse_enough(
    solve: Callable[[tf.Tensor], tf.Tensor],
    linear: tf.Tensor,
    share: Callable[[tf.Tensor], tf.Tensor],
) -> tf.Tensor:
    """Find the smallest lambda1 with eta >= .75 by bisection, to .4 %, ``[B]``.

    It is sought between max |c|, where the map vanishes, and a millionth of it.

    Args:
        solve: as in `sparse_enough`.
        linear: as in `sparse_enough`.
        share: as in `sparse_enough`.
    """
    largest = tf.reduce_max(tf.abs(linear), 1)

    def halve(i: tf.Tensor, low: tf.Tensor, high: tf.Tensor) -> tuple:
        middle = tf.sqrt(low * high)
        enough = share(solve(middle[:, None]))[:, 0] >= SPARSE
        return i + 1, tf.where(enough, low, middle), tf.where(enough, middle, high)

    _, low, high = tf.while_loop(
        lambda i, low, high: i < BISECTIONS,
        halve,
        (0, 1e-6 * largest, largest),
        parallel_iterations=1,
    )
    return tf.where(high < largest, high, low)
