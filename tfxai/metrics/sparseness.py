"""Sparseness of attributions (Chalasani et al. 2020; papers 001 and 002)."""

from __future__ import annotations

import numpy as np

from tfxai.metrics.scoring import one_array


def gini(attributions: np.ndarray) -> np.ndarray:
    """Give the Gini index of each map's absolute values.

    G = sum_i (2 i - n - 1) a_i / (n sum_i a_i),  a = |s| in ascending order, i = 1..n

    Args:
        attributions: ``[B, ...]``, of one input.

    Returns:
        ``[B]``, in [0, (n - 1) / n]: 0 where all values are of the same size (or all 0), the
        most for a single one that is not 0. Scaling a map does not change it.

    Raises:
        ValueError: no features, or values that are not finite.

    Reference:
        METHODS 6.3. The published codes add 1e-7 to each value, which makes maps with small
        values look less sparse; this one does not.

    Example:
        >>> gini(np.array([[0.0, 0.0, 0.0, -3.0], [1.0, -1.0, 1.0, 1.0]]))
        array([0.75, 0.  ])
    """
    rows = np.abs(one_array("attributions", attributions, np.float64))
    if rows.ndim < 2 or rows.size == 0:
        raise ValueError(f"attributions has shape {list(rows.shape)}: expected [batch, ...]")
    if not np.isfinite(rows).all():
        raise ValueError("attributions has NaN or infinite values")
    rows = np.sort(rows.reshape(len(rows), -1), axis=1)
    count = rows.shape[1]
    ranks = 2 * np.arange(1, count + 1) - count - 1
    total = rows.sum(1)
    return np.divide(rows @ ranks, count * total, out=np.zeros_like(total), where=total > 0)
