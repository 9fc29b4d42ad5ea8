"""Running statistics of sampled values ``[A, F]``; none keeps the samples.

The weight of a sample is a scalar, or one for each example ``[A, 1]``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfxai.core import batch
from tfxai.core.types import Aggregator
from tfxai.estimation import bridges

State = tuple[tf.Tensor, ...]


class Estimate(NamedTuple):
    """A statistic of samples of weight 1 (or 0), all ``[A, F]`` but for their number ``[A, 1]``."""

    value: tf.Tensor
    """NaN for an example without samples."""
    standard_error: tf.Tensor
    """NaN for less than two samples."""
    half_difference: tf.Tensor
    """The statistic of every other sample less that of the others; NaN for less than two."""
    samples: tf.Tensor


class PathMean(NamedTuple):
    """A mean ``[A, F]`` over ascending nodes, and the square of its L2 error ``[A]``."""

    mean: tf.Tensor
    squared_error: tf.Tensor


def mean() -> Aggregator:
    """Mean; its standard error is s / sqrt(n), with s^2 the unbiased variance."""

    def update(state: State, value: tf.Tensor, weight: tf.Tensor) -> State:
        n, m, m2, half = state
        _, half = _with_mean((_half(n), half), value, weight * _first_half(n))
        return *_with_variance((n, m, m2), value, weight), half

    def result(state: State) -> Estimate:
        n, m, m2, half = state
        other = (n * m - _half(n) * half) / (n - _half(n))
        return Estimate(
            _known(m, n >= 1),
            _known(tf.sqrt(m2 / (n - 1) / n), n >= 2),
            _known(half - other, n >= 2),
            n,
        )

    return Aggregator(_start(4), update, result)


def mean_square() -> Aggregator:
    """Mean of the squares."""
    squares = mean()
    return squares._replace(
        update=lambda state, value, weight: squares.update(state, value * value, weight)
    )


def variance() -> Aggregator:
    """Biased variance, E[v^2] - E[v]^2 without its cancellation.

    Its standard error is sqrt((mu_4 - mu_2^2) / n), with mu_k the k-th central moment.
    """

    def update(state: State, value: tf.Tensor, weight: tf.Tensor) -> State:
        n, *moments, half, half2 = state
        halves = _with_variance((_half(n), half, half2), value, weight * _first_half(n))
        return *_with_fourth_moment((n, *moments), value, weight), *halves[1:]

    def result(state: State) -> Estimate:
        n, m, m2, _, m4, half, half2 = state
        first, others = _half(n), n - _half(n)
        other2 = m2 - half2 - (half - m) ** 2 * n * first / others  # Chan et al. 1979
        spread = tf.sqrt(tf.maximum(m4 / n - (m2 / n) ** 2, 0) / n)
        return Estimate(
            _known(m2 / n, n >= 1),
            _known(spread, n >= 2),
            _known(half2 / first - other2 / others, n >= 2),
            n,
        )

    return Aggregator(_start(7), update, result)


def path_mean(nodes: np.ndarray) -> Aggregator:
    """Weighted mean over ascending nodes in [0, 1], with the error of `tfxai.estimation.bridges`.

    That is the error of the trapezoid rule through the nodes, with the outermost values kept up
    to 0 and 1; what the mean differs from this rule by is added. A positive correlation is not
    made use of: the error of a rule of high order on a smooth network is overestimated.
    """
    widths = np.diff(nodes, prepend=nodes[:1])
    ends = np.concatenate([[0], (nodes[1:] + nodes[:-1]) / 2, [1]])
    trapezoid = np.diff(ends)

    def init(like: tf.Tensor) -> State:
        column = tf.zeros_like(like[:, :1])
        squares = tf.repeat(column, max(len(nodes) - 1, 1), axis=1)
        products = tf.repeat(column, max(len(nodes) - 2, 0), axis=1)
        return column, *_start(2)(like), *[tf.zeros_like(like)] * 3, squares, products

    def update(state: State, value: tf.Tensor, weight: tf.Tensor) -> State:
        k, n, m, offset, last, last_bridge, squares, products = state
        width, usual = (
            tf.gather(tf.constant(x, k.dtype), tf.cast(k, tf.int32)) for x in (widths, trapezoid)
        )
        bridge = (value - last) * width
        return (
            k + 1,
            *_with_mean((n, m), value, weight),
            offset + (weight - usual) * value,
            value,
            bridge,
            _shifted(squares, tf.reduce_sum(bridge**2, 1)),
            _shifted(products, tf.reduce_sum(bridge * last_bridge, 1)),
        )

    def result(state: State) -> PathMean:
        _, _, mean, offset, _, _, squares, products = state
        rho = tf.minimum(bridges.correlation(squares, products), 0)
        error = bridges.squared_error(squares, products, rho)
        return PathMean(mean, error + batch.norm(offset) ** 2)

    return Aggregator(init, update, result)


def finite(aggregator: Aggregator) -> Aggregator:
    """Leave out the samples in which any feature of an example is NaN or infinite, and count them.

    Gives a pair: the aggregator's result, and how many samples were left out, ``[A, 1]``.
    """

    def init(like: tf.Tensor) -> State:
        return (tf.zeros_like(like[:, :1]), *aggregator.init(like))

    def update(state: State, value: tf.Tensor, weight: tf.Tensor) -> State:
        dropped, *inner = state
        kept = tf.reduce_all(tf.math.is_finite(value), 1, keepdims=True)
        value = tf.where(kept, value, tf.zeros_like(value))
        counted = tf.cast(kept, value.dtype)
        return (dropped + 1 - counted, *aggregator.update(tuple(inner), value, weight * counted))

    return Aggregator(init, update, lambda s: (aggregator.result(tuple(s[1:])), s[0]))


def _start(count: int) -> Callable[[tf.Tensor], State]:
    """Give the number of samples ``[A, 1]`` and `count` - 1 moments ``[A, F]``, all zero."""
    return lambda like: (tf.zeros_like(like[:, :1]), *[tf.zeros_like(like)] * (count - 1))


def _shifted(window: tf.Tensor, new: tf.Tensor) -> tf.Tensor:
    """Put the new values ``[A]`` behind the others of a window ``[A, n]`` and drop the first."""
    return tf.concat([window, new[:, None]], 1)[:, 1:]


def _half(n: tf.Tensor) -> tf.Tensor:
    """How many of n samples are in the first half: every other one, from the first."""
    return tf.math.ceil(n / 2)


def _first_half(n: tf.Tensor) -> tf.Tensor:
    """1 if the sample after n others is in the first half, else 0."""
    return 1 - n % 2


def _with_mean(state: State, value: tf.Tensor, weight: tf.Tensor) -> State:
    n, m = state
    share = tf.math.divide_no_nan(tf.zeros_like(n) + weight, n + weight)
    return n + weight, m + share * (value - m)


def _with_variance(state: State, value: tf.Tensor, weight: tf.Tensor) -> State:
    """Add w (v - m)(v - m') to the sum of squared deviations (West 1979)."""
    n, m, m2 = state
    total, new = _with_mean((n, m), value, weight)
    return total, new, m2 + weight * (value - m) * (value - new)


def _with_fourth_moment(state: State, value: tf.Tensor, weight: tf.Tensor) -> State:
    """Add one value to the sums of powers of deviations (Pebay 2008, for one point)."""
    n, m, m2, m3, m4 = state
    total, new = _with_mean((n, m), value, weight)
    step = new - m
    square = step * (value - m) * n
    return (
        total,
        new,
        m2 + square,
        m3 + square * step * (total - 2) - 3 * step * m2,
        m4 + square * step**2 * (total**2 - 3 * total + 3) + 6 * step**2 * m2 - 4 * step * m3,
    )


def _known(value: tf.Tensor, enough: tf.Tensor) -> tf.Tensor:
    return tf.where(enough, value, tf.constant(np.nan, value.dtype))
