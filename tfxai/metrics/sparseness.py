"""Sparseness of attributions (Chalasani et al. 2020)."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfxai.metrics.arrays import feature_rows
from tfxai.metrics.rows import ratio


def gini(attributions: Any) -> np.ndarray:
    """Give the Gini index of each map's absolute values.

    G = sum_i (2 i - n - 1) a_i / (n sum_i a_i),  a = |s| in ascending order, i = 1..n

    Args:
        attributions: ``[B, ...]``; of several inputs a dict by name, whose features count together.

    Returns:
        ``[B]`` in [0, (n - 1) / n]: 0 where all absolute values are equal, and the largest value
        where a single one is not 0. Scaling a map does not change its index.

    Raises:
        ValueError: a map without features, or values that are not finite.

    Reference:
        Chalasani et al. 2020; used by Zhou et al. 2024a (AdaptGrad) and 2024b (smoothing kernels).
        The published codes add 1e-7 to each value, which makes maps with small values look less
        sparse; this function does not (docs/methods.md, Gini index).

    Example:
        >>> gini(np.array([[0.0, 0.0, 0.0, -3.0], [1.0, -1.0, 1.0, 1.0]]))
        array([0.75, 0.  ])
    """
    rows = np.sort(np.abs(feature_rows("attributions", attributions)), axis=1)
    count = rows.shape[1]
    weights = 2 * np.arange(1, count + 1) - count - 1
    return ratio(rows @ weights, count * rows.sum(1), 0)
