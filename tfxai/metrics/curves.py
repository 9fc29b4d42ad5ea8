"""Curves of a score while an image changes step by step, in the order of a heatmap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tfxai.core.map_checks import is_constant
from tfxai.core.types import Tensors


@dataclass(frozen=True)
class Curve:
    """The score of each image, as a growing part of it is removed or comes back."""

    fractions: np.ndarray
    """How much of the image has changed, from 0 to 1, ``[n]``."""
    scores: np.ndarray
    """``[B, n]``; NaN for an image whose map is constant."""
    auc: np.ndarray
    """The area under each curve by the trapezoid rule over its width, the mean height, ``[B]``."""
    name: str
    """The name of the metric."""

    def plot(self, *, axes: Any = None) -> Any:
        """Draw the curve of each image, and their mean, as `tfxai.plot.curve` does."""
        from tfxai import plot

        return plot.curve(self, axes=axes)


@dataclass(frozen=True)
class Curves:
    """The curves of deletion and insertion for the same heatmaps."""

    deletion: Curve
    insertion: Curve

    @property
    def difference(self) -> np.ndarray:
        """The insertion area minus the deletion area, ``[B]``; more is better."""
        return self.insertion.auc - self.deletion.auc

    def plot(self, *, axes: Any = None) -> Any:
        """Draw the mean of each curve and the area between them, as `tfxai.plot.curves` does."""
        from tfxai import plot

        return plot.curves(self, axes=axes)


def curve_from_scores(fractions: np.ndarray, scores: np.ndarray, name: str) -> Curve:
    """Make a `Curve` of the scores ``[B, n]`` at fractions ``[n]``."""
    widths = np.diff(fractions)
    auc = (scores[:, 1:] + scores[:, :-1]) / 2 @ widths / widths.sum()
    return Curve(fractions, scores, auc, name)


def descending_rank(values: np.ndarray) -> np.ndarray:
    """Rank the values of each row of ``[B, n]``; the largest has rank 0.

    Equal values are ranked in the order in which they stand.
    """
    order = np.argsort(-values, axis=1, kind="stable")
    return np.argsort(order, axis=1)


def nan_where_constant(scores: np.ndarray, maps: Tensors) -> np.ndarray:
    """Give scores ``[B, n]`` with NaN in the rows whose map, of ``[B, ...]``, is constant.

    The maps of several inputs are one.

    A constant map ranks nothing: its scores would only show the order of the pixels.
    """
    return np.where(is_constant(maps)[:, None], np.nan, scores)
