"""Degradation: the score as patches lose their detail, the most important first.

Schwarzenberg and Castle 2020, section 5 and Fig. 3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tfxai.core import checks
from tfxai.core.types import Score
from tfxai.metrics.curves import Curve, curve_from_scores, descending_rank, nan_where_constant
from tfxai.metrics.scoring import score_perturbed, scored_images


def degradation(
    model: Callable,
    images: np.ndarray,
    attributions: np.ndarray,
    targets: Any,
    *,
    patch: int = 9,
    most: int = 100,
    substrate: Any = None,
    score: Score | None = None,
    batch_size: int = 32,
    bounds: tuple[Any, Any] | None = None,
    data_format: str | None = None,
) -> Curve:
    """Replace patches by their mean colour, the most important first: the score should fall fast.

    The importance of a patch is the mean over its pixels of the attributions, which are summed over
    channels with their signs.

    Args:
        model: maps images ``[N, H, W, C]`` to outputs ``[N, classes]``.
        images: ``[B, H, W, C]``.
        attributions: ``[B, H, W, C]`` or ``[B, H, W, 1]``.
        targets: class indices, ``[B]`` or one for all.
        patch: the side of a patch in pixels; where it does not divide the side of the image, the
            patches at the right and lower edges are smaller.
        most: how many patches are degraded, or all if the image has fewer.
        substrate: None replaces each patch by its mean colour, as published; otherwise as in
            `deletion`.
        score: as in `deletion`.
        batch_size: how many images the model is given at once.
        bounds: for a substrate by name, as in `deletion`.
        data_format: as in `deletion`.

    Returns:
        A `Curve` from the intact image to `most` degraded patches; its `fractions` are shares of
        all patches.

    Raises:
        ValueError: shapes that do not fit, or values that are not finite.

    Reference:
        Schwarzenberg and Castle 2020, section 5, as described there: the published code never
        degrades the most important patch, and leaves channels whose mean is negative as they are
        (docs/methods.md, Degradation).

    Example:
        >>> image = np.array([[[[1.0], [3.0], [7.0], [9.0]]]])
        >>> degradation(lambda x: x[:, 0, 0], image, -image, 0, patch=2).scores
        array([[1., 2., 2.]])
    """
    scored = scored_images(model, images, targets, score, data_format)
    maps = scored.maps("attributions", attributions).sum(-1)
    side = checks.positive_integer("patch", patch)
    shape = scored.images.shape
    importance = patch_means(maps[..., None], side)[..., 0]
    patches = importance[0].size
    rank = descending_rank(importance.reshape(len(maps), -1)).reshape(importance.shape)
    rank = per_pixel(rank[..., None], side, shape)
    if substrate is None:
        degraded = per_pixel(patch_means(scored.images, side), side, shape)
    else:
        degraded = scored.baselines("substrate", substrate, bounds)
    counts = np.arange(min(checks.positive_integer("most", most), patches) + 1)

    def perturb(indices: np.ndarray, taken: np.ndarray) -> np.ndarray:
        most_important = rank[indices] < taken[:, None, None, None]
        return np.where(most_important, degraded[indices], scored.images[indices])

    scores = score_perturbed(scored, perturb, counts, batch_size)
    return curve_from_scores(counts / patches, nan_where_constant(scores, maps), "degradation")


def patch_means(values: np.ndarray, side: int) -> np.ndarray:
    """Average ``[B, H, W, C]`` over patches; give ``[B, ceil(H / side), ceil(W / side), C]``."""
    for axis in (1, 2):
        starts = np.arange(0, values.shape[axis], side)
        widths = np.diff(np.append(starts, values.shape[axis]))
        shape = [-1 if a == axis else 1 for a in range(4)]
        values = np.add.reduceat(values, starts, axis) / widths.reshape(shape).astype(values.dtype)
    return values


def per_pixel(patches: np.ndarray, side: int, shape: tuple[int, ...]) -> np.ndarray:
    """Give each pixel of images of a shape ``(B, H, W, C)`` the value of its patch."""
    return patches.repeat(side, 1).repeat(side, 2)[:, : shape[1], : shape[2]]
