r"""Sampling that knows its own error.

The relative L2 error of a sampled map m is that of single features, \|s\| / \|mu\|, with s the
standard error and, since E \|m\|^2 = \|mu\|^2 + \|s\|^2, \|mu\|^2 = \|m\|^2 - \|s\|^2.

What the eye sees is \|m\| summed over channels, averaged over the cells of a coarse grid, and
scaled at will. The error of this picture P, up to a factor, is the sine of the angle between P
and its limit. It has two parts. One is chance: half the angle between the pictures of two halves
of the samples. The other is a bias: noise makes cells brighter, since \|mu + e\| is larger than
\|mu\| in the mean, and dark cells most. If the features of a cell are like normal numbers, the
limit's cell is P sqrt(1 - S / Q), with Q and S the cell's means of m^2 and of s^2.
`examples/benchmarks/sampling_error.py` compares both errors with the truth.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfxai.core import axes, batch, checks
from tfxai.core.axes import Order, OrderOf
from tfxai.core.types import Aggregator, Attribution, Result, Tensors
from tfxai.estimation import aggregators
from tfxai.estimation.aggregators import Estimate
from tfxai.estimation.estimate import Evaluate, Until, estimate

FIRST_SAMPLES = 16
GROWTH = 4
"""With a tolerance, the error is looked at after each quarter more samples."""


class Budget(NamedTuple):
    """How many samples to take."""

    samples: int
    tolerance: float | None
    """Of the pooled error; takes the place of `samples`."""
    max_samples: int
    resolution: int
    """Of the pooled map."""

    @property
    def most(self) -> int:
        """The most that an example gets."""
        return self.samples if self.tolerance is None else self.max_samples


def budget(
    samples: int, tolerance: float | None, max_samples: int, resolution: int, *, least: int = 1
) -> Budget:
    """Check how many samples to take.

    Raises:
        TypeError, ValueError: a number of the wrong type or out of range.
    """
    checks.positive_integer("samples", samples, least=least)
    checks.positive_integer("max_samples", max_samples, least=2)
    checks.positive_integer("resolution", resolution)
    if tolerance is not None:
        checks.real("tolerance", tolerance, above=0)
    return Budget(samples, tolerance, max_samples, resolution)


def sampled(
    evaluate: Evaluate,
    aggregator: Aggregator,
    budget: Budget,
    *,
    rows: int,
    each: int = 1,
    like: Callable[[Tensors], Tensors] | None = None,
    order: OrderOf,
) -> Attribution:
    """Aggregate samples, without those that are not finite, and report the error.

    Args:
        evaluate: as in `estimate`.
        aggregator: as in `estimate`.
        budget: how many samples.
        rows: as in `estimate`.
        each: how many samples of the budget one of `evaluate` stands for.
        like: inputs -> arrays of the maps' shapes; None for the inputs themselves.
        order: which axes of the inputs, and so of the maps, are rows, columns and channels.

    Returns:
        An Attribution with the diagnostics ``standard_error``, like the map; ``map_error`` and
        ``pooled_error`` ``[B]``; ``samples`` ``[B]``, that were aggregated; and ``dropped``
        ``[B]``, that were not finite. Errors are NaN for one sample.
    """
    shaped = like or (lambda inputs: inputs)

    def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
        maps = shaped(inputs)
        estimated, dropped = estimation(inputs, targets, seed)
        diagnostics = {
            "standard_error": batch.from_rows(estimated.standard_error, maps),
            "map_error": map_error(estimated),
            "pooled_error": pooled_error(estimated, maps, budget.resolution, order(inputs)),
            "samples": each * tf.cast(estimated.samples[:, 0], tf.int32),
            "dropped": each * tf.cast(dropped[:, 0], tf.int32),
        }
        return Result(batch.from_rows(estimated.value, maps), diagnostics)

    def enough(so_far: tuple[Estimate, tf.Tensor], inputs: Tensors) -> tf.Tensor:
        error = pooled_error(so_far[0], shaped(inputs), budget.resolution, order(inputs))
        return error <= budget.tolerance

    counts = [count // each for count in _counts(budget.most)]
    until = None if budget.tolerance is None else Until(counts, enough)
    kept = aggregators.finite(aggregator)
    estimation = estimate(evaluate, budget.most // each, kept, rows=rows, like=shaped, until=until)
    return attribute


def _counts(most: int) -> list[int]:
    counts = [FIRST_SAMPLES]
    while counts[-1] < most:
        counts.append(counts[-1] + counts[-1] // GROWTH)
    return counts


def map_error(estimated: Estimate) -> tf.Tensor:
    """Give the estimated relative L2 error of the map, ``[B]``; infinite for nothing but noise."""
    error = batch.norm(estimated.standard_error)
    size = tf.sqrt(tf.maximum(batch.norm(estimated.value) ** 2 - error**2, 0))
    return batch.relative_error(error, size)


def pooled_error(
    estimated: Estimate, like: Tensors, resolution: int, order: Order | None = None
) -> tf.Tensor:
    """Give the estimated relative L2 error of the picture, up to a factor, ``[B]``.

    Args:
        estimated: of `batch.rows`.
        like: maps of that many features; images among them are pooled.
        resolution: of the picture, cells for its height and for its width.
        order: of the maps' axes; images whose order nothing tells are not pooled.
    """
    order = order or axes.order_of(like)
    half = estimated.half_difference / 2
    sizes = [tf.abs(v) for v in (estimated.value, estimated.value + half, estimated.value - half)]
    squares = [estimated.value**2, estimated.standard_error**2]
    picture, first, second, square, noise = (
        _pooled(x, like, resolution, order) for x in (*sizes, *squares)
    )
    limit = picture * tf.sqrt(tf.maximum(1 - tf.math.divide_no_nan(noise, square), 0))
    signed = tf.reduce_any(estimated.value < 0, 1)
    bias = tf.where(signed, _sine(picture, limit), tf.zeros_like(limit[:, 0]))
    return tf.sqrt((_sine(first, second) / 2) ** 2 + bias**2)


def _pooled(values: tf.Tensor, like: Tensors, resolution: int, order: Order) -> tf.Tensor:
    """Sum the channels and average over the cells of each image; keep what is no image."""

    def pooled(x: tf.Tensor, channel: int | None) -> tf.Tensor:
        known = x.shape.rank == 4 and channel is not None
        return _cells(Order((channel,)).to_channels_last(x), resolution) if known else x

    parts = tf.nest.flatten(batch.from_rows(values, like))
    return batch.rows([pooled(*pair) for pair in zip(parts, order.channels, strict=True)])


def _cells(image: tf.Tensor, resolution: int) -> tf.Tensor:
    size = tf.minimum(tf.shape(image)[1:3], resolution)
    pooled = tf.image.resize(tf.reduce_sum(image, -1, keepdims=True), size, "area")
    return tf.cast(pooled, image.dtype)


def _sine(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Give the sine of the angle between rows, ``[B]``; 0 if both are 0, 1 if only one is."""
    wide = [tf.cast(x, tf.float64) for x in (a, b)]  # 1 - cos^2 cancels
    lengths = tf.norm(wide[0], axis=1) * tf.norm(wide[1], axis=1)
    same = tf.cast(tf.reduce_all(a == b, 1), tf.float64)
    cosine = tf.where(lengths == 0, same, tf.reduce_sum(wide[0] * wide[1], 1) / lengths)
    return tf.cast(tf.sqrt(tf.maximum(1 - cosine**2, 0)), a.dtype)
