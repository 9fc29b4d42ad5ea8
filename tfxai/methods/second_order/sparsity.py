"""The sparsity of maps, and the search for the lambda1 that makes them sparse enough."""

from __future__ import annotations

import math
from collections.abc import Callable

import tensorflow as tf

from tfxai.core import axes
from tfxai.core.axes import Order
from tfxai.core.types import Tensors

FIRST_DECADE = 1e-5
"""The smallest lambda1 of the sweep."""
MAX_DECADES = 20
"""How many values, by factors of ten, the sweep may try."""
HALVINGS = 8
"""How many further values the sweep tries if no decade will do."""
BISECTIONS = 12
"""How many values the bisection tries."""
LEAST_SPARSITY = 0.75
"""The share of zero pixels from which a map is sparse enough."""


def choose_lambda1(
    lambda1: float | str,
    solve: Callable[[tf.Tensor], tf.Tensor],
    gradient: tf.Tensor,
    inputs: Tensors,
    order: Order,
) -> tf.Tensor:
    """Give lambda1 of each example, ``[B, 1]``: the option, or the result of a search.

    Args:
        lambda1: a number, "auto" for `sweep_lambda1`, or "bisect" for `bisect_lambda1`.
        solve: lambda1 ``[B, K]`` -> maps ``[B, K, F]``.
        gradient: the loss's gradient, ``[B, F]``.
        inputs: the explained inputs.
        order: the order of their axes.
    """
    if not isinstance(lambda1, str):
        return tf.fill([tf.shape(gradient)[0], 1], tf.constant(lambda1, gradient.dtype))
    search = SEARCHES[lambda1]
    return search(solve, gradient, lambda maps: sparsity(maps, inputs, order))[:, None]


def sparsity(maps: tf.Tensor, inputs: Tensors, order: Order | None = None) -> tf.Tensor:
    """Give the share of zeros, eta, ``[B, K]``, of maps ``[B, K, F]`` of inputs.

    A pixel of an image is zero where all its channels are zero. In inputs of other shapes, and in
    images whose channels' axis is not known, each feature counts.
    """
    order = order or axes.order_of(inputs)
    flat = tf.nest.flatten(inputs)
    sizes = [tf.reduce_prod(tf.shape(x)[1:]) for x in flat]
    num_zeros, num_units = tf.zeros(tf.shape(maps)[:2], maps.dtype), 0
    for part, x, channel in zip(tf.split(maps, sizes, axis=2), flat, order.channels, strict=True):
        shape = tf.concat([tf.shape(maps)[:2], tf.shape(x)[1:]], 0)
        is_zero = tf.equal(tf.reshape(part, shape), 0)
        if x.shape.rank == 4 and channel is not None:
            is_zero = tf.reduce_all(is_zero, channel)
        num_zeros += tf.reduce_sum(tf.cast(is_zero, maps.dtype), range(2, is_zero.shape.rank))
        num_units += tf.reduce_prod(tf.shape(is_zero)[2:])
    return num_zeros / tf.cast(num_units, maps.dtype)


def sweep_lambda1(
    solve: Callable[[tf.Tensor], tf.Tensor],
    gradient: tf.Tensor,
    sparsity_of: Callable[[tf.Tensor], tf.Tensor],
) -> tf.Tensor:
    """Find lambda1 by the sweep of Singla et al. 2019, ``[B]`` (docs/methods.md, CAFO and CASO).

    The sweep begins with 1e-5 and goes up by factors of ten until the map vanishes, which is where
    lambda1 >= max |g|. The smallest lambda1 whose map has .75 <= eta < 1 is taken. If there is
    none, the first lambda1 that made the map vanish is halved again and again, until it no longer
    makes the map vanish; of this value and its next halves, the smallest one that makes the map
    sparse enough is taken. If none of these does, the largest of them is taken.

    Args:
        solve: lambda1 ``[B, K]`` -> maps ``[B, K, F]``; all K values are solved for together.
        gradient: the loss's gradient g, ``[B, F]``.
        sparsity_of: maps ``[B, K, F]`` -> eta ``[B, K]``.
    """
    largest = tf.reduce_max(tf.abs(gradient), 1)
    decades = tf.constant([FIRST_DECADE * 10**j for j in range(MAX_DECADES)], gradient.dtype)
    is_below = decades < largest[:, None]
    num_below = tf.reduce_sum(tf.cast(is_below, tf.int32), 1)
    num_tried = tf.maximum(tf.reduce_max(num_below), 1)
    values = tf.zeros_like(largest)[:, None] + decades[:num_tried]
    is_sparse = (sparsity_of(solve(values)) >= LEAST_SPARSITY) & is_below[:, :num_tried]
    decade = tf.gather(decades, tf.argmax(is_sparse, 1))
    found = tf.reduce_any(is_sparse, 1)

    def halved() -> tf.Tensor:
        vanishing = tf.gather(decades, tf.minimum(num_below, MAX_DECADES - 1))
        first_power = tf.floor(tf.math.log(vanishing / largest) / math.log(2)) + 1
        powers = tf.maximum(first_power, 1)[:, None] + tf.range(HALVINGS, dtype=gradient.dtype)
        values = vanishing[:, None] * 2.0**-powers
        is_sparse = sparsity_of(solve(values)) >= LEAST_SPARSITY
        smallest = HALVINGS - 1 - tf.argmax(is_sparse[:, ::-1], 1, tf.int32)
        smallest = tf.where(tf.reduce_any(is_sparse, 1), smallest, tf.zeros_like(smallest))
        return tf.where(found, decade, tf.gather(values, smallest, axis=1, batch_dims=1))

    return tf.cond(tf.reduce_all(found), lambda: decade, halved)


def bisect_lambda1(
    solve: Callable[[tf.Tensor], tf.Tensor],
    gradient: tf.Tensor,
    sparsity_of: Callable[[tf.Tensor], tf.Tensor],
) -> tf.Tensor:
    """Find the smallest lambda1 with eta >= .75 by bisection, to .4 %, ``[B]``.

    The search is between max |g|, where the map vanishes, and a millionth of it.

    Args:
        solve: as in `sweep_lambda1`.
        gradient: as in `sweep_lambda1`.
        sparsity_of: as in `sweep_lambda1`.
    """
    largest = tf.reduce_max(tf.abs(gradient), 1)

    def halve(bisections: tf.Tensor, low: tf.Tensor, high: tf.Tensor) -> tuple:
        middle = tf.sqrt(low * high)
        is_sparse = sparsity_of(solve(middle[:, None]))[:, 0] >= LEAST_SPARSITY
        low, high = tf.where(is_sparse, low, middle), tf.where(is_sparse, middle, high)
        return bisections + 1, low, high

    _, low, high = tf.while_loop(
        lambda bisections, low, high: bisections < BISECTIONS,
        halve,
        (0, 1e-6 * largest, largest),
        parallel_iterations=1,
    )
    return tf.where(high < largest, high, low)


SEARCHES = {"auto": sweep_lambda1, "bisect": bisect_lambda1}
"""The searches for lambda1, by the name of the option."""
