"""Whether attributions lie on the object: METHODS 3 (Metrics), 5.9 and 6.6."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_edt

from tfxai.core import checks
from tfxai.core.axes import expect_channels_last
from tfxai.metrics.scoring import finite, one_array


def pointing_game(attributions: Any, regions: Any, *, tolerance: float = 15.0) -> np.ndarray:
    """Tell whether the largest attribution lies on the object, or near it.

    Args:
        attributions: ``[B, H, W, C]`` or ``[B, H, W]``; summed over channels with their signs.
        regions: where the object is: masks ``[B, H, W]``, or for each image its boxes
            ``[n, 4]`` or ``[4]``: left, top, right, bottom in pixels, right and bottom excluded.
        tolerance: distance in pixels that still counts; 0 for none.

    Returns:
        ``[B]``, 1 for a hit and 0 for a miss. Among several equal maxima, the share of those that
        hit: a map that is the same everywhere scores what a random point would.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, or an empty region.

    Reference:
        METHODS 5.9: papers 002 and 004 allow no tolerance, Zhang et al. (2018) and TorchRay
        15 pixels. Quantus calls it a hit if any of several maxima is one.

    Example:
        >>> maps = np.array([[[0.0, 9.0, 0.0, 0.0]], [[1.0, 1.0, 1.0, 1.0]]])
        >>> pointing_game(maps, [[1, 0, 2, 1], [0, 0, 1, 1]], tolerance=0)
        array([1.  , 0.25])
    """
    maps, inside = _checked(attributions, regions)
    reach = checks.real("tolerance", tolerance, least=0)
    near = np.stack([distance_transform_edt(~mask) <= reach for mask in inside])
    largest = maps == maps.max((1, 2), keepdims=True)
    return (largest & near).sum((1, 2)) / largest.sum((1, 2))


def top_k_share(attributions: Any, regions: Any, *, k: int = 5) -> np.ndarray:
    """Give the share of the k largest attributions that lie on the object.

    Args:
        attributions: as in `pointing_game`.
        regions: as in `pointing_game`.
        k: how many.

    Returns:
        ``[B]`` in [0, 1]. Equal values at the end of the k count by their share, so that their
        order does not matter.

    Raises:
        ValueError: as `pointing_game`, or more than there are pixels.

    Reference:
        Paper 002's Localization has k = 5 (METHODS 3, Metrics; 6.6).

    Example:
        >>> top_k_share(np.array([[[4.0, 9.0, 1.0, 1.0]]]), [[0, 0, 1, 1]], k=2)
        array([0.5])
    """
    maps, inside = _checked(attributions, regions)
    values, inside = maps.reshape(len(maps), -1), inside.reshape(len(maps), -1)
    count = checks.positive_integer("k", k)
    if count > values.shape[1]:
        raise ValueError(f"k={k}: the maps have {values.shape[1]} pixels")
    last = -np.sort(-values, axis=1)[:, count - 1 : count]
    above, tied = values > last, values == last
    sure = (above & inside).sum(1)
    return (sure + (count - above.sum(1)) * (tied & inside).sum(1) / tied.sum(1)) / count


def mass_share(attributions: Any, regions: Any) -> np.ndarray:
    """Give the share of the positive attribution that lies on the object.

    Args:
        attributions: as in `pointing_game`.
        regions: as in `pointing_game`.

    Returns:
        ``[B]`` in [0, 1]; NaN for a map that is nowhere positive.

    Raises:
        ValueError: as `pointing_game`.

    Reference:
        The energy-based pointing game (Wang et al. 2020); on compositions of photos the grid
        pointing game (Boehle et al. 2021).

    Example:
        >>> mass_share(np.array([[[3.0, -9.0, 1.0, 0.0]]]), [[0, 0, 2, 1]])
        array([0.75])
    """
    maps, inside = _checked(attributions, regions)
    positive = np.maximum(maps, 0)
    total = positive.sum((1, 2))
    part = (positive * inside).sum((1, 2))
    return np.divide(part, total, out=np.full(len(maps), np.nan), where=total > 0)


def region_masks(regions: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Give masks or boxes as masks ``[B, H, W]``, or raise a ValueError.

    Args:
        regions: as in `pointing_game`.
        shape: ``(B, H, W)``.

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


def _checked(attributions: Any, regions: Any) -> tuple[np.ndarray, np.ndarray]:
    maps = one_array("attributions", attributions)
    expect_channels_last("attributions", maps)
    maps = maps.sum(-1) if maps.ndim == 4 else maps
    if maps.ndim != 3 or maps.size == 0:
        raise ValueError(
            f"attributions has shape {list(np.shape(attributions))}: expected [B, H, W, C]"
        )
    return finite("attributions", maps), region_masks(regions, maps.shape)
