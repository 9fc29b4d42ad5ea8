"""How alike two attributions are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import rankdata

from tfxai.metrics.arrays import feature_rows
from tfxai.metrics.rows import correlation


def rank_correlation(attributions: Any, others: Any) -> np.ndarray:
    """Give Spearman's rank correlation of each map with another one, value by value.

    Zhou et al. 2024a (AdaptGrad) and 2024b (smoothing kernels) first sum the maps of colour images
    over channels, ``maps.sum(-1)``, and so does the benchmark.

    Args:
        attributions: ``[B, ...]``; of several inputs a dict by name, whose features count together.
        others: attributions of the same shapes.

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
    first, second = feature_rows("attributions", attributions), feature_rows("others", others)
    shapes = [_shapes(maps) for maps in (attributions, others)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"attributions have shapes {shapes[0]} and {shapes[1]}: expected the same, [B, ...]"
        )
    return correlation(*(rankdata(maps, axis=1) for maps in (first, second)))


def _shapes(maps: Any) -> Any:
    """Give the shape of maps, of several inputs by name."""
    if isinstance(maps, Mapping):
        return {name: list(np.shape(part)) for name, part in maps.items()}
    return list(np.shape(maps))
