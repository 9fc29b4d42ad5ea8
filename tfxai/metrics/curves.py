"""Curves of a score while the pixels of an image go or come, in the order of a heatmap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tfxai.core import checks
from tfxai.core.axes import Order
from tfxai.core.interpolation import align_corners
from tfxai.core.map_checks import is_constant
from tfxai.core.types import Score
from tfxai.metrics.scoring import checked_images, finite, one_array, references_of, score_function

STEPS = 50
"""Of a curve, about, unless told."""


@dataclass(frozen=True)
class Curve:
    """Scores of each image as a growing part of it has gone or come."""

    fractions: np.ndarray
    """Of the pixels, from 0 to 1, ``[n]``."""
    scores: np.ndarray
    """``[B, n]``; NaN for an image whose map is constant."""
    auc: np.ndarray
    """The area under each curve by the trapezoid rule, over its width: its mean height, ``[B]``."""
    name: str

    def plot(self, *, axes: Any = None) -> Any:
        """Draw each image's curve, and their mean, as `tfxai.plot.curve` does."""
        from tfxai import plot

        return plot.curve(self, axes=axes)


@dataclass(frozen=True)
class Curves:
    """Deletion and insertion of the same heatmaps."""

    deletion: Curve
    insertion: Curve

    @property
    def difference(self) -> np.ndarray:
        """Insertion less deletion, the area between the curves, ``[B]``: the more the better."""
        return self.insertion.auc - self.deletion.auc

    def plot(self, *, axes: Any = None) -> Any:
        """Draw both curves' means and the area between them."""
        from tfxai import plot

        return plot.curves(self, axes=axes)


class Rule(NamedTuple):
    """What is done to the images, and how they are scored: the options of `deletion`."""

    substrate: Any
    step: int | None
    score: Score | None
    batch_size: int
    bounds: tuple[Any, Any] | None
    data_format: str | None


def drawn(
    names: Sequence[str], rule: Rule, model: Callable, images: Any, heatmaps: Any, targets: Any
) -> list[Curve]:
    """Give curves by their names, "deletion" or "insertion"."""
    given = checked_images(images)
    scored, order = score_function(model, rule.score, given, rule.data_format)
    images, maps = _checked(given, heatmaps, order)
    count, cells = len(images), maps.shape[1] * maps.shape[2]
    chosen = checks.targets(targets, count, None, None)
    forward = order.channels_last_model(scored)
    substrate = order.to_channels_last(
        references_of("substrate", rule.substrate, rule.bounds, given, order)
    )
    step = max(1, cells // STEPS)
    if rule.step is not None:
        step = checks.positive_integer("step", rule.step)
    size = checks.positive_integer("batch_size", rule.batch_size)
    taken = np.append(np.arange(0, cells, step), cells)
    rank = descending_rank(maps.reshape(count, -1)).reshape(maps.shape)
    rows, columns = (
        align_corners(images.shape[axis], maps.shape[axis]).astype(images.dtype) for axis in (1, 2)
    )

    def along(name: str) -> Curve:
        def points(which: np.ndarray, number: np.ndarray) -> np.ndarray:
            first = rank[which] < number[:, None, None]
            shown = first if name == "insertion" else ~first
            up = np.einsum("Hh,nhw,Ww->nHW", rows, shown, columns, optimize=True)[..., None]
            return substrate[which] + up * (images[which] - substrate[which])

        scores = scored_points(points, taken, forward, chosen, size)
        return curve_of(taken / cells, unless_constant(scores, maps), name)

    return [along(name) for name in names]


def descending_rank(values: np.ndarray) -> np.ndarray:
    """Rank each row of ``[B, n]``, the largest first; equal values in their order."""
    order = np.argsort(-values, axis=1, kind="stable")
    return np.argsort(order, axis=1)


def unless_constant(scores: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Give scores ``[B, n]``, NaN for maps ``[B, ...]`` that are constant.

    These rank nothing: their scores would be those of the order of rows.
    """
    return np.where(is_constant(maps)[:, None], np.nan, scores)


def scored_points(
    points: Callable[[np.ndarray, np.ndarray], np.ndarray],
    taken: np.ndarray,
    forward: Callable[[np.ndarray, np.ndarray], np.ndarray],
    targets: np.ndarray,
    size: int,
) -> np.ndarray:
    """Score every image at every number of taken parts, `size` at a time, ``[B, n]``.

    `points` maps which images ``[N]`` and numbers ``[N]`` to changed images.
    """
    count = len(targets)
    pairs = np.stack(np.meshgrid(np.arange(count), taken, indexing="ij"), -1).reshape(-1, 2)
    scores = []
    for start in range(0, len(pairs), size):
        which, number = pairs[start : start + size].T
        scores.append(forward(points(which, number), targets[which]))
    return np.concatenate(scores).reshape(count, -1)


def curve_of(fractions: np.ndarray, scores: np.ndarray, name: str) -> Curve:
    """Make a `Curve` of scores ``[B, n]`` at fractions ``[n]``."""
    widths = np.diff(fractions)
    auc = (scores[:, 1:] + scores[:, :-1]) / 2 @ widths / widths.sum()
    return Curve(fractions, scores, auc, name)


def _checked(given: np.ndarray, heatmaps: Any, order: Order) -> tuple[np.ndarray, np.ndarray]:
    """Give images ``[B, H, W, C]`` and heatmaps ``[B, h, w]``."""
    images, maps = order.to_channels_last(given), one_array("heatmaps", heatmaps)
    maps = order.to_channels_last(maps) if maps.ndim == 4 else maps
    if maps.ndim == 4 and maps.shape[-1] != 1:
        raise ValueError(
            f"heatmaps has {maps.shape[-1]} channels: say how to join them, e.g. "
            "np.abs(maps).sum(-1)"
        )
    maps = maps[..., 0] if maps.ndim == 4 else maps
    fits = maps.ndim == 3 and len(maps) == len(images)
    if not fits or any(m > n for m, n in zip(maps.shape[1:], images.shape[1:3], strict=True)):
        raise ValueError(
            f"heatmaps has shape {list(np.shape(heatmaps))}: expected [{len(images)}, h, w, 1], h "
            f"and w at most {list(images.shape[1:3])}, in the order of the images' axes"
        )
    finite("heatmaps", maps)
    return images, maps
