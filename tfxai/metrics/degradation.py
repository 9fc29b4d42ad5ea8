"""Degradation: the score while patches lose their detail, the most important first.

Paper 000, section 4.2 and Fig. 3; METHODS 1.6.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tfxai.core import checks
from tfxai.core.types import Score
from tfxai.metrics.curves import Curve, curve_of, descending_rank, scored_points, unless_constant
from tfxai.metrics.scoring import (
    checked_images,
    checked_maps,
    references_of,
    score_function,
)


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

    A patch is as important as the mean over its pixels of the attributions, summed over channels
    with their signs.

    Args:
        model: images ``[N, H, W, C]`` -> outputs ``[N, classes]``.
        images: ``[B, H, W, C]``.
        attributions: ``[B, H, W, C]`` or ``[B, H, W, 1]``.
        targets: class indices, ``[B]`` or one for all.
        patch: side of a patch in pixels; where the image is no multiple, those at its right and
            lower edges are smaller.
        most: patches to degrade, or all if there are fewer.
        substrate: None for each patch's mean colour, as published; else as in `deletion`.
        score: as in `deletion`.
        batch_size: images that the model is given at once.
        bounds: for a substrate by name, as in `deletion`.
        data_format: as in `deletion`.

    Returns:
        A `Curve` from the intact image to `most` patches; its `fractions` are of all patches.

    Raises:
        ValueError: shapes that do not fit, or values that are not finite.

    Reference:
        METHODS 1.6, as intended: the published code never degrades the most important patch, and
        leaves channels alone whose mean is negative.

    Example:
        >>> image = np.array([[[[1.0], [3.0], [7.0], [9.0]]]])
        >>> degradation(lambda x: x[:, 0, 0], image, -image, 0, patch=2).scores
        array([[1., 2., 2.]])
    """
    given = checked_images(images)
    scored, order = score_function(model, score, given, data_format)
    images = order.to_channels_last(given)
    maps = checked_maps("attributions", attributions, images, order).sum(-1)
    chosen = checks.targets(targets, len(images), None, None)
    side = checks.positive_integer("patch", patch)
    importance = patch_means(maps[..., None], side)[..., 0]
    patches = importance[0].size
    rank = descending_rank(importance.reshape(len(images), -1)).reshape(importance.shape)
    rank = per_pixel(rank[..., None], side, images.shape)
    if substrate is None:
        plain = per_pixel(patch_means(images, side), side, images.shape)
    else:
        plain = order.to_channels_last(references_of("substrate", substrate, bounds, given, order))
    taken = np.arange(min(checks.positive_integer("most", most), patches) + 1)

    def points(which: np.ndarray, number: np.ndarray) -> np.ndarray:
        gone = rank[which] < number[:, None, None, None]
        return np.where(gone, plain[which], images[which])

    size = checks.positive_integer("batch_size", batch_size)
    scores = scored_points(points, taken, order.channels_last_model(scored), chosen, size)
    return curve_of(taken / patches, unless_constant(scores, maps), "degradation")


def patch_means(values: np.ndarray, side: int) -> np.ndarray:
    """Average ``[B, H, W, C]`` over patches, ``[B, ceil(H / side), ceil(W / side), C]``."""
    for axis in (1, 2):
        starts = np.arange(0, values.shape[axis], side)
        widths = np.diff(np.append(starts, values.shape[axis]))
        shape = [-1 if a == axis else 1 for a in range(4)]
        values = np.add.reduceat(values, starts, axis) / widths.reshape(shape).astype(values.dtype)
    return values


def per_pixel(patches: np.ndarray, side: int, shape: tuple[int, ...]) -> np.ndarray:
    """Give each pixel of an image of `shape` its patch's value."""
    return patches.repeat(side, 1).repeat(side, 2)[:, : shape[1], : shape[2]]
