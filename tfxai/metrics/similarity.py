"""How alike two attributions are."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import rankdata

from tfxai.metrics.arrays import finite, one_array
from tfxai.metrics.rows import correlation


def rank_correlation(attributions: Any, others: Any) -> np.ndarray:
    """Give Spearman's rank correlation of each map with another one, value by value.

    Zhou et al. 2024a (AdaptGrad) and 2024b (smoothing kernels) first sum the maps of colour images
    over channels, ``maps.sum(-1)``, and so does the benchmark.

    Args:
        attributions: ``[B, ...]``.
        others: attributions of the same shape.

    Returns:
        ``[B]`` in [-1, 1]; NaN where one of the two maps is constant.

    Raises:
        ValueError: shapes that differ or are empty, or values that are not finite.

    Reference:
        Zhou et al. 2024a, Table 1, and 2024b, appendix F: between the maps of two models the
        absolute value is consistency, if one model has learnt random labels, and invariance, if one
        was trained on shifted inputs (docs/methods.md, Consistency and invariance).

    Example:
        >>> rank_correlation(np.array([[1.0, 2.0, 9.0]]), np.array([[3.0, 4.0, 5.0]])).round(6)
        array([1.])
    """
    first, second = (
        finite(name, one_array(name, values, np.float64))
        for name, values in (("attributions", attributions), ("others", others))
    )
    if first.shape != second.shape or first.ndim < 2 or first.size == 0:
        raise ValueError(
            f"attributions have shapes {list(first.shape)} and {list(second.shape)}: expected "
            "the same, [B, ...], and not empty"
        )
    return correlation(*(rankdata(m.reshape(len(m), -1), axis=1) for m in (first, second)))
