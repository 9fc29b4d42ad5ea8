"""Localisation: whether attributions lie on the object."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_edt

from tfxai.core import checks
from tfxai.core.axes import expect_channels_last
from tfxai.metrics.arrays import finite, one_array
from tfxai.metrics.rows import ratio


def pointing_game(attributions: Any, regions: Any, *, tolerance: float = 15.0) -> np.ndarray:
    """Tell whether the largest attribution lies on the object, or near it.

    Args:
        attributions: ``[B, H, W, C]`` or ``[B, H, W]``; summed over channels with their signs.
        regions: where the object is: masks ``[B, H, W]``, or for each image its boxes, ``[n, 4]``
            or ``[4]``. A box is left, top, right and bottom in pixels; right and bottom are
            excluded.
        tolerance: the distance from the object, in pixels, at which a point still hits it.

    Returns:
        ``[B]``, 1 for a hit and 0 for a miss. Where several values are the largest, it is the share
        of them that hit; so a constant map scores what a random point would.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, or an empty region.

    Reference:
        Zhang et al. 2018, who tolerate 15 pixels, as TorchRay does; Zhou et al. 2024b (smoothing
        kernels) and Qi et al. 2020 (I-GOS) tolerate none. Quantus counts a hit where any
        of several maxima hits (docs/methods.md, Pointing game, top-k share and mass share).

    Example:
        >>> maps = np.array([[[0.0, 9.0, 0.0, 0.0]], [[1.0, 1.0, 1.0, 1.0]]])
        >>> pointing_game(maps, [[1, 0, 2, 1], [0, 0, 1, 1]], tolerance=0)
        array([1.  , 0.25])
    """
    maps, masks = _maps_and_masks(attributions, regions)
    distance = checks.real("tolerance", tolerance, least=0)
    near = np.stack([distance_transform_edt(~mask) <= distance for mask in masks])
    largest = maps == maps.max((1, 2), keepdims=True)
    return (largest & near).sum((1, 2)) / largest.sum((1, 2))


def top_k_share(attributions: Any, regions: Any, *, k: int = 5) -> np.ndarray:
    """Give the share of the k largest attributions that lie on the object.

    Args:
        attributions: as in `pointing_game`.
        regions: as in `pointing_game`.
        k: how many attributions are looked at.

    Returns:
        ``[B]`` in [0, 1]. Where several pixels have the k-th largest value, the share of them that
        lie on the object counts, so that their order does not matter.

    Raises:
        ValueError: as in `pointing_game`, or k is more than the number of pixels.

    Reference:
        Zhou et al. 2024b (smoothing kernels), appendix F, where k = 5; Quantus's TopKIntersection
        (docs/methods.md, Pointing game, top-k share and mass share).

    Example:
        >>> top_k_share(np.array([[[4.0, 9.0, 1.0, 1.0]]]), [[0, 0, 1, 1]], k=2)
        array([0.5])
    """
    maps, masks = _maps_and_masks(attributions, regions)
    values, inside = maps.reshape(len(maps), -1), masks.reshape(len(maps), -1)
    count = checks.positive_integer("k", k)
    if count > values.shape[1]:
        raise ValueError(f"k={k}: the maps have {values.shape[1]} pixels")
    kth = -np.sort(-values, axis=1)[:, count - 1 : count]
    larger, tied = values > kth, values == kth
    hits = (larger & inside).sum(1)
    hits_of_tied = (count - larger.sum(1)) * (tied & inside).sum(1) / tied.sum(1)
    return (hits + hits_of_tied) / count


def mass_share(attributions: Any, regions: Any) -> np.ndarray:
    """Give the share of the positive attribution that lies on the object.

    Args:
        attributions: as in `pointing_game`.
        regions: as in `pointing_game`.

    Returns:
        ``[B]`` in [0, 1]; NaN for a map that is nowhere positive.

    Raises:
        ValueError: as in `pointing_game`.

    Reference:
        The energy-based pointing game (Wang et al. 2020); on compositions of photos it is the grid
        pointing game (Boehle et al. 2021).

    Example:
        >>> mass_share(np.array([[[3.0, -9.0, 1.0, 0.0]]]), [[0, 0, 2, 1]])
        array([0.75])
    """
    maps, masks = _maps_and_masks(attributions, regions)
    positive = np.maximum(maps, 0)
    return ratio((positive * masks).sum((1, 2)), positive.sum((1, 2)), np.nan)


def region_masks(regions: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Give masks or boxes as masks ``[B, H, W]``.

    Args:
        regions: as in `pointing_game`.
        shape: ``(B, H, W)``.

    Raises:
        ValueError: another number of regions than of images, or a region without pixels.

    Example:
        >>> region_masks([[1, 0, 3, 1]], (1, 2, 3)).astype(int)
        array([[[0, 1, 1], [0, 0, 0]]])
    """
    if len(regions) != shape[0]:
        raise ValueError(f"regions: {len(regions)} for {shape[0]} images")
    masks = np.asarray([_mask(region, shape[1:]) for region in regions])
    for i, mask in enumerate(masks):
        if not mask.any():
            raise ValueError(f"regions[{i}] has no pixel of the image")
    return masks


def _mask(region: Any, shape: tuple[int, ...]) -> np.ndarray:
    values = np.asarray(region)
    if values.shape == shape:
        return values.astype(bool)
    if values.shape != (4,) and (values.ndim != 2 or values.shape[1] != 4):
        raise ValueError(
            f"regions: got an array of shape {list(values.shape)}; expected a mask {list(shape)} "
            "or boxes [n, 4] of left, top, right, bottom"
        )
    mask = np.zeros(shape, bool)
    for left, top, right, bottom in np.maximum(values.reshape(-1, 4).round().astype(int), 0):
        mask[top:bottom, left:right] = True
    return mask


def _maps_and_masks(attributions: Any, regions: Any) -> tuple[np.ndarray, np.ndarray]:
    """Give maps summed over channels and the masks of the regions, both ``[B, H, W]``."""
    maps = one_array("attributions", attributions)
    expect_channels_last("attributions", maps)
    maps = maps.sum(-1) if maps.ndim == 4 else maps
    if maps.ndim != 3 or maps.size == 0:
        raise ValueError(
            f"attributions has shape {list(np.shape(attributions))}: expected [B, H, W, C]"
        )
    return finite("attributions", maps), region_masks(regions, maps.shape)
