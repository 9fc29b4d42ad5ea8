"""Running statistics of sampled values ``[A, F]``; none of them keeps the samples.

The weight of a sample is a scalar, or a number for each example, ``[A, 1]``. In a state, ``n`` is
the sum of the weights, ``m`` the mean, and ``m2``, ``m3``, ``m4`` the sums of the powers of the
deviations from it. "The first half" of the samples is every other sample, from the first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfxai.core import batch
from tfxai.core.types import Aggregator
from tfxai.estimation import bridges

State = tuple[tf.Tensor, ...]


class Estimate(NamedTuple):
    """A statistic of samples whose weights are 0 or 1."""

    value: tf.Tensor
    """The statistic, ``[A, F]``; NaN for an example without samples."""
    standard_error: tf.Tensor
    """Its standard error, ``[A, F]``; NaN for less than two samples."""
    half_difference: tf.Tensor
    """The statistic of the first half of the samples minus that of the second half, ``[A, F]``.

    NaN for less than two samples.
    """
    samples: tf.Tensor
    """The number of samples, ``[A, 1]``."""


class PathMean(NamedTuple):
    """A mean ``[A, F]`` over ascending nodes, and the square of its L2 error ``[A]``."""

    mean: tf.Tensor
    squared_error: tf.Tensor


def mean() -> Aggregator:
    """Give the mean; its standard error is s / sqrt(n), with s^2 the unbiased variance."""

    def update(state: State, value: tf.Tensor, weight: tf.Tensor) -> State:
        n, m, m2, half_m = state
        _, half_m = _with_mean((_half(n), half_m), value, weight * _in_first_half(n))
        return *_with_variance((n, m, m2), value, weight), half_m

    def result(state: State) -> Estimate:
        n, m, m2, half_m = state
        other_m = (n * m - _half(n) * half_m) / (n - _half(n))
        return Estimate(
            _known(m, n >= 1),
            _known(tf.sqrt(m2 / (n - 1) / n), n >= 2),
            _known(half_m - other_m, n >= 2),
            n,
        )

    return Aggregator(_start(4), update, result)


def mean_square() -> Aggregator:
    """Give the mean of the squares."""
    squares = mean()
    return squares._replace(
        update=lambda state, value, weight: squares.update(state, value * value, weight)
    )


def variance() -> Aggregator:
    """Give the biased variance, E[v^2] - E[v]^2, computed without cancellation.

    Its standard error is sqrt((mu_4 - mu_2^2) / n), with mu_k the k-th central moment.
    """

    def update(state: State, value: tf.Tensor, weight: tf.Tensor) -> State:
        n, *moments, half_m, half_m2 = state
        half = (_half(n), half_m, half_m2)
        _, half_m, half_m2 = _with_variance(half, value, weight * _in_first_half(n))
        return *_with_fourth_moment((n, *moments), value, weight), half_m, half_m2

    def result(state: State) -> Estimate:
        n, m, m2, _, m4, half_m, half_m2 = state
        half_n, other_n = _half(n), n - _half(n)
        other_m2 = m2 - half_m2 - (half_m - m) ** 2 * n * half_n / other_n  # Chan et al. 1979
        standard_error = tf.sqrt(tf.maximum(m4 / n - (m2 / n) ** 2, 0) / n)
        return Estimate(
            _known(m2 / n, n >= 1),
            _known(standard_error, n >= 2),
            _known(half_m2 / half_n - other_m2 / other_n, n >= 2),
            n,
        )

    return Aggregator(_start(7), update, result)


def path_mean(nodes: np.ndarray) -> Aggregator:
    """Give the weighted mean over ascending nodes in [0, 1], with an estimate of its error.

    `tfxai.estimation.bridges` estimates the error of the trapezoid rule through the nodes, which
    takes the outermost values as constant up to 0 and 1. The difference between the weighted mean
    and the trapezoid rule is added. A positive correlation counts as 0, so that the error of a
    rule of high order on a smooth network is overestimated.
    """
    widths = np.diff(nodes, prepend=nodes[:1])
    cell_edges = np.concatenate([[0], (nodes[1:] + nodes[:-1]) / 2, [1]])
    trapezoid = np.diff(cell_edges)

    def init(like: tf.Tensor) -> State:
        column = tf.zeros_like(like[:, :1])
        squares = tf.repeat(column, max(len(nodes) - 1, 1), axis=1)
        products = tf.repeat(column, max(len(nodes) - 2, 0), axis=1)
        return column, *_start(2)(like), *[tf.zeros_like(like)] * 3, squares, products

    def update(state: State, value: tf.Tensor, weight: tf.Tensor) -> State:
        k, n, m, offset, previous, previous_bridge, squares, products = state
        width, trapezoid_weight = (
            tf.gather(tf.constant(x, k.dtype), tf.cast(k, tf.int32)) for x in (widths, trapezoid)
        )
        bridge = (value - previous) * width
        return (
            k + 1,
            *_with_mean((n, m), value, weight),
            offset + (weight - trapezoid_weight) * value,
            value,
            bridge,
            _append_to_window(squares, tf.reduce_sum(bridge**2, 1)),
            _append_to_window(products, tf.reduce_sum(bridge * previous_bridge, 1)),
        )

    def result(state: State) -> PathMean:
        _, _, m, offset, _, _, squares, products = state
        rho = tf.minimum(bridges.correlation(squares, products), 0)
        error = bridges.squared_error(squares, products, rho)
        return PathMean(m, error + batch.norm(offset) ** 2)

    return Aggregator(init, update, result)


def finite(aggregator: Aggregator) -> Aggregator:
    """Leave out an example's samples that have a NaN or infinite feature, and count them.

    The result is a pair: the aggregator's result, and how many samples were left out, ``[A, 1]``.
    """

    def init(like: tf.Tensor) -> State:
        return (tf.zeros_like(like[:, :1]), *aggregator.init(like))

    def update(state: State, value: tf.Tensor, weight: tf.Tensor) -> State:
        dropped, *inner = state
        is_finite = tf.reduce_all(tf.math.is_finite(value), 1, keepdims=True)
        value = tf.where(is_finite, value, tf.zeros_like(value))
        count = tf.cast(is_finite, value.dtype)
        return (dropped + 1 - count, *aggregator.update(tuple(inner), value, weight * count))

    def result(state: State) -> tuple[Any, tf.Tensor]:
        dropped, *inner = state
        return aggregator.result(tuple(inner)), dropped

    return Aggregator(init, update, result)


def _start(count: int) -> Callable[[tf.Tensor], State]:
    """Give a state of zeros: the number of samples ``[A, 1]`` and `count` - 1 arrays ``[A, F]``."""
    return lambda like: (tf.zeros_like(like[:, :1]), *[tf.zeros_like(like)] * (count - 1))


def _append_to_window(window: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Append values ``[A]`` to a window ``[A, n]`` and drop the first of the window."""
    return tf.concat([window, values[:, None]], 1)[:, 1:]


def _half(n: tf.Tensor) -> tf.Tensor:
    """Give how many of n samples are in the first half."""
    return tf.math.ceil(n / 2)


def _in_first_half(n: tf.Tensor) -> tf.Tensor:
    """Give 1 if the sample after n others is in the first half, else 0."""
    return 1 - n % 2


def _with_mean(state: State, value: tf.Tensor, weight: tf.Tensor) -> State:
    """Add one value to the mean."""
    n, m = state
    share = tf.math.divide_no_nan(tf.zeros_like(n) + weight, n + weight)
    return n + weight, m + share * (value - m)


def _with_variance(state: State, value: tf.Tensor, weight: tf.Tensor) -> State:
    """Add one value to the mean and the sum of squared deviations (West 1979)."""
    n, m, m2 = state
    share = tf.math.divide_no_nan(tf.zeros_like(n) + weight, n + weight)
    deviation = value - m
    return n + weight, m + share * deviation, m2 + share * n * tf.square(deviation)


def _with_fourth_moment(state: State, value: tf.Tensor, weight: tf.Tensor) -> State:
    """Add one value to the mean and the sums of powers of deviations (Pebay 2008)."""
    n, m, m2, m3, m4 = state
    new_n, new_m = _with_mean((n, m), value, weight)
    step = new_m - m
    square = step * (value - m) * n
    return (
        new_n,
        new_m,
        m2 + square,
        m3 + square * step * (new_n - 2) - 3 * step * m2,
        m4 + square * step**2 * (new_n**2 - 3 * new_n + 3) + 6 * step**2 * m2 - 4 * step * m3,
    )


def _known(value: tf.Tensor, enough: tf.Tensor) -> tf.Tensor:
    """Give the values where there are enough samples, and NaN elsewhere."""
    return tf.where(enough, value, tf.constant(np.nan, value.dtype))
