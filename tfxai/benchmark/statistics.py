"""Which differences are real: intervals by the bootstrap, and comparisons on the same images."""

from __future__ import annotations

import math
import warnings
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy import stats

RESAMPLES = 9999
FLIPS = 99_999
"""So many that the smallest p stays below .05 when it counts for each of 300 pairs."""
MANY = 50
"""Images beyond which the mean is normal enough for Student's paired test."""
LEVEL = 0.95
"""Of the intervals; 1 - LEVEL is the chance that the comparisons of one metric err at all."""


class Interval(NamedTuple):
    """A mean, and where the mean over all such images lies with 95 % confidence."""

    mean: float
    low: float
    high: float


class Comparison(NamedTuple):
    """Two methods on the same images."""

    first: str
    second: str
    difference: Interval
    """Of the first less the second."""
    p: float
    """Chance of such a difference, or a larger one, if the two were alike."""
    adjusted: float
    """The same for all comparisons together (Holm)."""

    @property
    def real(self) -> bool:
        """Whether the difference is more than chance."""
        return self.adjusted < 1 - LEVEL


def interval(values: np.ndarray, *, seed: int = 0) -> Interval:
    """Give the mean of ``[n]`` with its bootstrap interval (BCa, Efron 1987).

    The interval is NaN for a single image, and no wider than a point where all are equal. All are
    NaN where there is no image.

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
        # BCa has no value for some tiny samples; the percentiles then serve.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        for method in ("BCa", "percentile"):
            found = stats.bootstrap(
                (values,),
                np.mean,
                n_resamples=RESAMPLES,
                confidence_level=LEVEL,
                method=method,
                batch=max(1, 10_000_000 // len(values)),
                rng=np.random.default_rng(seed),
            ).confidence_interval
            if np.isfinite(found).all():
                break
    return Interval(mean, float(found.low), float(found.high))


def comparisons(values: dict[str, np.ndarray], *, seed: int = 0) -> list[Comparison]:
    """Compare every two methods on the same images.

    The test asks how often the mean difference would be as large if, on each image, chance decided
    which method got which value; beyond `MANY` images it is Student's.

    Args:
        values: of one metric, method -> ``[n]``, images in the same order.
        seed: of the draws.

    Returns:
        One for each pair; none for fewer than two images.

    Example:
        >>> a = np.arange(12.0)
        >>> one, = comparisons({"a": a, "b": a + 1})
        >>> one.difference.mean, one.real
        (-1.0, True)
    """
    pairs = list(combinations(values, 2))
    if not pairs or len(values[pairs[0][0]]) < 2:
        return []
    differences = np.stack([values[a] - values[b] for a, b in pairs])
    ps = [_p(row, seed) for row in differences]
    adjusted = _holm(np.array(ps))
    return [
        Comparison(a, b, interval(row, seed=seed), p, q)
        for (a, b), row, p, q in zip(pairs, differences, ps, adjusted, strict=True)
    ]


def enough(methods: int) -> int:
    """Give how many images it takes for a difference between methods to be able to be real.

    Of n images the smallest p is 2 / 2^n, and it counts once for each pair of methods.

    Example:
        >>> enough(2), enough(11)
        (6, 12)
    """
    pairs = methods * (methods - 1) // 2
    return math.floor(math.log2(2 * max(pairs, 1) / (1 - LEVEL))) + 1


def _p(difference: np.ndarray, seed: int) -> float:
    if not difference.any():
        return 1.0
    if len(difference) > MANY:
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
    """Adjust for several tests (Holm 1979)."""
    order = np.argsort(ps, kind="stable")
    steps = np.maximum.accumulate(ps[order] * np.arange(len(ps), 0, -1))
    adjusted = np.empty_like(ps)
    adjusted[order] = np.minimum(steps, 1)
    return adjusted.tolist()
