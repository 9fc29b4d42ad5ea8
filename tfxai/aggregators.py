"""Running statistics of the sampled values; none keeps the samples (West 1979, weighted)."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfxai import batch
from tfxai.types import Aggregator

State = tuple[tf.Tensor, ...]


class MeanWithError(NamedTuple):
    """A mean and its standard error, both ``[B, ...]``."""

    mean: tf.Tensor
    standard_error: tf.Tensor


class PathMean(NamedTuple):
    """A mean ``[B, ...]`` over ascending nodes, and the square of its L2 error ``[B]``."""

    mean: tf.Tensor
    squared_error: tf.Tensor


def mean() -> Aggregator:
    """Weighted mean: sum_k w_k v_k / sum_k w_k."""
    return Aggregator(_start_mean, _update_mean, lambda state: state[1])


def mean_square() -> Aggregator:
    """Weighted mean of the squares."""
    return squared(mean())


def variance() -> Aggregator:
    """Weighted biased variance, E[v^2] - E[v]^2 without its cancellation (Welford)."""
    return Aggregator(_start_moments, _update_moments, lambda state: state[2] / state[0])


def mean_with_error() -> Aggregator:
    """Mean and its standard error s / sqrt(n), s^2 the unbiased variance; NaN for one sample."""

    def result(state: State) -> MeanWithError:
        n, m, m2 = state
        return MeanWithError(m, tf.sqrt(m2 / (n - 1) / n))

    return Aggregator(_start_moments, _update_moments, result)


def path_mean() -> Aggregator:
    """Weighted mean over ascending nodes, with the error of `tfxai.path` for a random walk.

    The width between two nodes is the mean of their weights.
    """

    def init(like: tf.Tensor) -> State:
        n, m = _start_mean(like)
        return n, m, n, tf.zeros_like(like), tf.zeros(tf.shape(like)[:1], like.dtype)

    def update(state: State, value: tf.Tensor, weight: tf.Tensor) -> State:
        n, m, last_weight, last, squared_error = state
        width = tf.where(n > 0, (weight + last_weight) / 2, tf.zeros_like(weight))
        jump = batch.norm(value - last)
        return (
            *_update_mean((n, m), value, weight),
            weight,
            value,
            squared_error + (jump * width) ** 2 / 12,
        )

    return Aggregator(init, update, lambda state: PathMean(state[1], state[4]))


def squared(aggregator: Aggregator) -> Aggregator:
    """Give the statistic of the squared values."""
    return aggregator._replace(
        update=lambda state, value, weight: aggregator.update(state, value * value, weight)
    )


def _start_mean(like: tf.Tensor) -> State:
    return tf.zeros([], like.dtype), tf.zeros_like(like)


def _update_mean(state: State, value: tf.Tensor, weight: tf.Tensor) -> State:
    total = state[0] + weight
    return total, state[1] + (weight / total) * (value - state[1])


def _start_moments(like: tf.Tensor) -> State:
    return tf.zeros([], like.dtype), tf.zeros_like(like), tf.zeros_like(like)


def _update_moments(state: State, value: tf.Tensor, weight: tf.Tensor) -> State:
    total, m = _update_mean(state[:2], value, weight)
    return total, m, state[2] + weight * (value - state[1]) * (value - m)
