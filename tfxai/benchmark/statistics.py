"""Bootstrap intervals of means, and tests of the differences between methods on the same images."""

from __future__ import annotations

import math
import warnings
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy import stats

RESAMPLES = 9999
FLIPS = 99_999
"""Sign flips of a permutation test: the smallest p stays below .05 when it counts for 300 pairs."""
MANY_IMAGES = 50
"""Above this number of images, their mean is normal enough for Student's paired test."""
LEVEL = 0.95
"""The confidence of intervals; 1 - LEVEL is the chance that any comparison of a metric errs."""


class Interval(NamedTuple):
    """A mean over images, and its 95 % confidence interval for all images like these."""

    mean: float
    low: float
    high: float


class Comparison(NamedTuple):
    """Two methods compared on the same images."""

    first: str
    second: str
    difference: Interval
    """The mean of the first method's value minus the second's."""
    p: float
    """The probability of a difference at least that large, if the two methods were alike."""
    p_adjusted: float
    """p, adjusted for the number of comparisons (Holm 1979)."""

    @property
    def significant(self) -> bool:
        """Whether the difference is more than chance."""
        return self.p_adjusted < 1 - LEVEL


def interval(values: np.ndarray, *, seed: int = 0) -> Interval:
    """Give the mean of values ``[n]`` with its bootstrap interval (BCa, Efron 1987).

    The ends of the interval are NaN for a single image, and equal to the mean where all values are
    equal. Everything is NaN where there is no image.

    Example:
        >>> interval(np.array([1.0, 1.0, 1.0]))
        Interval(mean=1.0, low=1.0, high=1.0)
    """
    mean = float(np.mean(values)) if len(values) else float("nan")
    if len(values) < 2:
        return Interval(mean, float("nan"), float("nan"))
    if np.ptp(values) == 0:
        return Interval(mean, mean, mean)
    with warnings.catch_warnings():
        # BCa has no value for some tiny samples; percentiles serve instead.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        for method in ("BCa", "percentile"):
            bounds = stats.bootstrap(
                (values,),
                np.mean,
                n_resamples=RESAMPLES,
                confidence_level=LEVEL,
                method=method,
                batch=max(1, 10_000_000 // len(values)),
                rng=np.random.default_rng(seed),
            ).confidence_interval
            if np.isfinite(bounds).all():
                break
    return Interval(mean, float(bounds.low), float(bounds.high))


def comparisons(values: dict[str, np.ndarray], *, seed: int = 0) -> list[Comparison]:
    """Compare every two methods on the same images.

    The permutation test asks how often the mean difference would be at least that large if, on each
    image, chance decided which method got which value. Above `MANY_IMAGES` images Student's paired
    test takes its place.

    Args:
        values: method -> its values of one metric ``[n]``, for images in the same order.
        seed: for the draws of the bootstrap and of the permutation test.

    Returns:
        A comparison for each pair of methods; none for fewer than two images.

    Example:
        >>> a = np.arange(12.0)
        >>> comparison, = comparisons({"a": a, "b": a + 1})
        >>> comparison.difference.mean, comparison.significant
        (-1.0, True)
    """
    pairs = list(combinations(values, 2))
    if not pairs or len(values[pairs[0][0]]) < 2:
        return []
    differences = np.stack([values[a] - values[b] for a, b in pairs])
    ps = [_p(row, seed) for row in differences]
    adjusted = _holm(np.array(ps))
    return [
        Comparison(a, b, interval(row, seed=seed), p, p_adjusted)
        for (a, b), row, p, p_adjusted in zip(pairs, differences, ps, adjusted, strict=True)
    ]


def images_needed(methods: int) -> int:
    """Give the smallest number of images with which two methods can differ significantly.

    With n images the smallest p is 2 / 2^n, and it counts once for each pair of methods.

    Example:
        >>> images_needed(2), images_needed(11)
        (6, 12)
    """
    pairs = methods * (methods - 1) // 2
    return math.floor(math.log2(2 * max(pairs, 1) / (1 - LEVEL))) + 1


def _p(difference: np.ndarray, seed: int) -> float:
    """Give the p of a paired test, from the difference of two methods on each image ``[n]``."""
    if not difference.any():
        return 1.0
    if len(difference) > MANY_IMAGES:
        return float(stats.ttest_1samp(difference, 0).pvalue)
    return float(
        stats.permutation_test(
            (difference,),
            lambda x, axis: np.mean(x, axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=FLIPS,
            batch=10_000,
            rng=np.random.default_rng(seed),
        ).pvalue
    )


def _holm(ps: np.ndarray) -> list[float]:
    """Adjust the p of several tests for their number (Holm 1979)."""
    order = np.argsort(ps, kind="stable")
    steps = np.maximum.accumulate(ps[order] * np.arange(len(ps), 0, -1))
    adjusted = np.empty_like(ps)
    adjusted[order] = np.minimum(steps, 1)
    return adjusted.tolist()
