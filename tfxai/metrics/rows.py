"""Arithmetic that metrics share, for each row of an array ``[B, n]``."""

from __future__ import annotations

from typing import Any

import numpy as np


def ratio(numerator: np.ndarray, denominator: np.ndarray, undefined: Any) -> np.ndarray:
    """Divide; where the denominator is not positive, give what `undefined` says, in float64.

    Example:
        >>> ratio(np.array([1.0, 2.0]), np.array([2.0, 0.0]), np.nan)
        array([0.5, nan])
    """
    out = np.full(denominator.shape, undefined, np.float64)
    return np.divide(numerator, denominator, out=out, where=denominator > 0)


def correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Give Pearson's correlation of each row of ``[B, n]`` with the same row of another array.

    Returns:
        ``[B]`` in [-1, 1]; NaN where one of the two rows has equal values only.

    Example:
        >>> correlation(np.array([[1.0, 2.0], [3.0, 3.0]]), np.array([[4.0, 0.0]] * 2)).round(6)
        array([-1., nan])
    """
    a, b = (rows - rows.mean(1, keepdims=True) for rows in (first, second))
    return ratio((a * b).sum(1), np.sqrt((a**2).sum(1) * (b**2).sum(1)), np.nan)
