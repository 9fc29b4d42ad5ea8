r"""Samples aggregated into a map that states its own error.

Let m be a sampled map, s its standard error, and mu its limit for many samples. The relative L2
error of the map, taken over single features, is \|s\| / \|mu\|. Since E \|m\|^2 = \|mu\|^2 +
\|s\|^2, the norm of the limit is estimated by \|mu\|^2 = \|m\|^2 - \|s\|^2.

A person sees a picture P of the map: \|m\| summed over channels, averaged over the cells of a
coarse grid, and scaled to any brightness. The error of P, up to a factor, is the sine of the angle
between P and its limit. The error has two parts. The first is chance: half the angle between the
pictures of two halves of the samples. The second is a bias: noise makes cells brighter, since
\|mu + e\| is larger than \|mu\| on average, and it brightens dark cells most. If the features of a
cell are distributed like normal numbers, the limit of the cell is P sqrt(1 - S / Q), where Q and S
are the means of m^2 and of s^2 over the cell. `examples/benchmarks/sampling_error.py` compares both
errors with the truth.
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
from tfxai.estimation.estimate import Evaluate, StoppingRule, estimate

ARRAYS_PER_EXAMPLE = 10
"""How many arrays of an example's size `sampled` keeps in memory for each example."""
SAMPLES_BEFORE_FIRST_CHECK = 16
"""With a tolerance, the error is first estimated after so many samples."""
GROWTH_DIVISOR = 4
"""With a tolerance, the error is estimated again each time the samples have grown by a quarter."""


class Budget(NamedTuple):
    """How many samples to take."""

    samples: int
    tolerance: float | None
    """The pooled error at which an example is done; None for a fixed number of samples."""
    max_samples: int
    """The most samples of an example, if there is a tolerance."""
    resolution: int
    """Height and width of the pooled map, in cells."""

    @property
    def limit(self) -> int:
        """The largest number of samples that an example gets."""
        return self.samples if self.tolerance is None else self.max_samples


def budget(
    samples: int, tolerance: float | None, max_samples: int, resolution: int, *, least: int = 1
) -> Budget:
    """Check the options that say how many samples to take; `samples` is at least `least`.

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
    points_per_sample: int = 1,
    like: Callable[[Tensors], Tensors] | None = None,
    order: OrderOf,
) -> Attribution:
    """Aggregate the finite samples, leave out the others, and report the error.

    Args:
        evaluate: as in `estimate`.
        aggregator: as in `estimate`.
        budget: how many samples to take.
        rows: as in `estimate`.
        points_per_sample: how many points of the budget each sample of `evaluate` stands for.
        like: inputs -> arrays of the maps' shapes; None if the maps have the inputs' shapes.
        order: inputs -> which axes of their maps are rows, columns and channels.

    Returns:
        An Attribution with the diagnostics ``standard_error``, of the maps' shape; ``map_error``
        and ``pooled_error``, ``[B]``; ``samples``, how many were aggregated, ``[B]``; and
        ``dropped``, how many were not finite, ``[B]``. Errors are NaN if there is one sample.
    """
    maps_like = like or (lambda inputs: inputs)

    def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
        maps = maps_like(inputs)
        estimated, dropped = estimation(inputs, targets, seed)
        diagnostics = {
            "standard_error": batch.from_rows(estimated.standard_error, maps),
            "map_error": map_error(estimated),
            "pooled_error": pooled_error(estimated, maps, budget.resolution, order(inputs)),
            "samples": points_per_sample * tf.cast(estimated.samples[:, 0], tf.int32),
            "dropped": points_per_sample * tf.cast(dropped[:, 0], tf.int32),
        }
        return Result(batch.from_rows(estimated.value, maps), diagnostics)

    def is_done(result: tuple[Estimate, tf.Tensor], inputs: Tensors) -> tf.Tensor:
        error = pooled_error(result[0], maps_like(inputs), budget.resolution, order(inputs))
        return error <= budget.tolerance

    stopping = None
    if budget.tolerance is not None:
        counts = [count // points_per_sample for count in _counts(budget.limit)]
        stopping = StoppingRule(counts, is_done)
    estimation = estimate(
        evaluate,
        budget.limit // points_per_sample,
        aggregators.finite(aggregator),
        rows=rows,
        like=maps_like,
        stopping=stopping,
    )
    return attribute


def _counts(limit: int) -> list[int]:
    """Give the numbers of samples after which the error is estimated."""
    counts = [SAMPLES_BEFORE_FIRST_CHECK]
    while counts[-1] < limit:
        counts.append(counts[-1] + counts[-1] // GROWTH_DIVISOR)
    return counts


def map_error(estimated: Estimate) -> tf.Tensor:
    """Give the estimated relative L2 error of the map, ``[B]``; infinite for pure noise."""
    error = batch.norm(estimated.standard_error)
    size = tf.sqrt(tf.maximum(batch.norm(estimated.value) ** 2 - error**2, 0))
    return batch.relative_error(error, size)


def pooled_error(
    estimated: Estimate, like: Tensors, resolution: int, order: Order | None = None
) -> tf.Tensor:
    """Give the estimated relative L2 error of the picture, up to a factor, ``[B]``.

    Args:
        estimated: the statistic of the maps as `batch.rows`, ``[B, F]``.
        like: arrays of the maps' shapes, with F features together; images are pooled.
        resolution: height and width of the picture, in cells.
        order: the order of the maps' axes; None to read it from the shapes. Images whose order is
            not known are not pooled.
    """
    order = order or axes.order_of(like)
    half = estimated.half_difference / 2
    all_and_halves = (estimated.value, estimated.value + half, estimated.value - half)
    magnitudes = [tf.abs(value) for value in all_and_halves]
    squares = [estimated.value**2, estimated.standard_error**2]
    picture, first_half, second_half, mean_square, noise = (
        _pooled(x, like, resolution, order) for x in (*magnitudes, *squares)
    )
    limit = picture * tf.sqrt(tf.maximum(1 - tf.math.divide_no_nan(noise, mean_square), 0))
    has_negative_values = tf.reduce_any(estimated.value < 0, 1)
    bias = tf.where(has_negative_values, _sine(picture, limit), tf.zeros_like(limit[:, 0]))
    return tf.sqrt((_sine(first_half, second_half) / 2) ** 2 + bias**2)


def _pooled(values: tf.Tensor, like: Tensors, resolution: int, order: Order) -> tf.Tensor:
    """Sum each image over its channels and average it over cells; leave other maps as they are.

    The values and the result are rows, ``[B, F]``.
    """

    def pooled(x: tf.Tensor, channel: int | None) -> tf.Tensor:
        is_image = x.shape.rank == 4 and channel is not None
        return _cells(Order((channel,)).to_channels_last(x), resolution) if is_image else x

    maps = tf.nest.flatten(batch.from_rows(values, like))
    return batch.rows([pooled(x, channel) for x, channel in zip(maps, order.channels, strict=True)])


def _cells(image: tf.Tensor, resolution: int) -> tf.Tensor:
    """Average images ``[B, H, W, C]``, summed over C, over the cells of a grid."""
    size = tf.minimum(tf.shape(image)[1:3], resolution)
    pooled = tf.image.resize(tf.reduce_sum(image, -1, keepdims=True), size, "area")
    return tf.cast(pooled, image.dtype)


def _sine(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Give the sine of the angle between rows, ``[B]``; 0 if both are 0, 1 if only one is."""
    # In float64, since 1 - cos^2 cancels.
    a64, b64 = tf.cast(a, tf.float64), tf.cast(b, tf.float64)
    lengths = tf.norm(a64, axis=1) * tf.norm(b64, axis=1)
    equal = tf.cast(tf.reduce_all(a == b, 1), tf.float64)
    cosine = tf.where(lengths == 0, equal, tf.reduce_sum(a64 * b64, 1) / lengths)
    return tf.cast(tf.sqrt(tf.maximum(1 - cosine**2, 0)), a.dtype)
