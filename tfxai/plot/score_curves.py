"""The figures of metrics that give curves: deletion, insertion and their kin."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = {"deletion": "tab:red", "insertion": "tab:blue"}
"""The colours of curves by name; all others are black."""


class Curve(Protocol):
    """A curve for each of B images, as `tfxai.metrics` gives it."""

    @property
    def fractions(self) -> np.ndarray:
        """``[n]``."""

    @property
    def scores(self) -> np.ndarray:
        """``[B, n]``."""

    @property
    def auc(self) -> np.ndarray:
        """``[B]``; NaN for an image without a curve."""

    @property
    def name(self) -> str:
        """The name of the metric."""


class Curves(Protocol):
    """The curves of deletion and insertion, as `tfxai.metrics` gives them."""

    @property
    def deletion(self) -> Curve:
        """The curve of deletion."""

    @property
    def insertion(self) -> Curve:
        """The curve of insertion."""


def curve(values: Curve, *, axes: Axes | None = None) -> Axes:
    """Draw the curve of each image as a thin line, and the mean of the curves that are finite.

    Raises:
        ValueError: no image has a curve.
    """
    mean = _mean(values)
    axes = axes or Figure(figsize=(4, 3), layout="constrained").subplots()
    colour = COLOURS.get(values.name, "black")
    for row in values.scores if len(values.scores) > 1 else ():
        axes.plot(values.fractions, row, color=colour, alpha=0.25, linewidth=0.8)
    label = f"{values.name} {values.auc[np.isfinite(values.auc)].mean():.3f}"
    axes.plot(values.fractions, mean, color=colour, linewidth=1.8, label=label)
    axes.set_xlabel("share of the pixels")
    axes.set_ylabel("score")
    axes.set_xlim(0, 1)
    axes.legend(frameon=False, fontsize=9)
    return axes


def curves(values: Curves, *, axes: Axes | None = None) -> Axes:
    """Draw the curves of deletion and insertion, and the area between their means.

    Raises:
        ValueError: no image has a curve.
    """
    means = (_mean(values.deletion), _mean(values.insertion))
    axes = axes or Figure(figsize=(4, 3), layout="constrained").subplots()
    fractions = values.deletion.fractions
    axes.fill_between(fractions, *means, color="tab:blue", alpha=0.12, linewidth=0)
    curve(values.deletion, axes=axes)
    return curve(values.insertion, axes=axes)


def _mean(values: Curve) -> np.ndarray:
    """Give the mean of the curves of the images that have one, ``[n]``."""
    rows = values.scores[np.isfinite(values.auc)]
    if not len(rows):
        raise ValueError(
            f"{values.name}: none of {len(values.auc)} images has a curve; those that are not "
            "recognised, or that blurring does not hurt, or whose map is constant, have none"
        )
    return rows.mean(0)
