"""From attributions and images to numbers that can be drawn."""

from __future__ import annotations

import numpy as np

from tfxai.core.axes import expect_channels_last

SIGNS = ("signed", "absolute")
"""How attributions are joined over channels: as they are, or by their absolute values."""


def check_sign(sign: str) -> None:
    """Raise a ValueError for what is none of `SIGNS`."""
    if sign not in SIGNS:
        raise ValueError(f"sign={sign!r}: expected one of {', '.join(map(repr, SIGNS))}")


def flat_map(attribution: np.ndarray, *, sign: str = "signed") -> np.ndarray:
    """Sum one example's attribution over channels, from ``[H, W, C]`` to ``[H, W]``.

    "signed" sums the values, "absolute" their absolute values. Volumes ``[D, H, W, C]`` are summed
    over their depth, too. Attributions of another rank keep their shape.

    Example:
        >>> flat_map(np.array([[[1.0, -3.0]]]), sign="absolute")
        array([[4.]])
    """
    check_sign(sign)
    expect_channels_last("attributions", attribution[None])
    values = np.abs(attribution) if sign == "absolute" else attribution
    if values.ndim == 4:
        return values.sum((0, -1))
    return values.sum(-1) if values.ndim == 3 else values


def scale(values: np.ndarray, *, sign: str = "signed", percentile: float | None = 99) -> np.ndarray:
    """Scale a map for drawing: to [-1, 1] if "signed", where 0 stays 0, to [0, 1] if "absolute".

    Args:
        values: a map of any shape.
        sign: "signed" or "absolute".
        percentile: which percentile of the absolute values becomes 1; larger values are clipped.
            Where that percentile is 0, as on sparse maps, the maximum takes its place. None always
            takes the maximum.

    Returns:
        The scaled map; zeros for a constant "absolute" map, and for a "signed" map of zeros.

    Reference:
        The visualisations of PAIR's saliency package; Singla et al. 2019 clip at the same
        percentile (docs/methods.md, Pictures of maps).

    Example:
        >>> scale(np.array([0.0, 0.0, -4.0, 2.0]), percentile=None)
        array([ 0. ,  0. , -1. ,  0.5])
    """
    check_sign(sign)
    values = np.asarray(values, np.float64)
    low = values.min() if sign == "absolute" else 0.0
    sizes = np.abs(values - low)
    top = sizes.max() if percentile is None else np.percentile(sizes, percentile)
    top = top or sizes.max()
    if top < np.finfo(np.float32).tiny:
        return np.zeros_like(values)
    return np.clip((values - low) / top, 0 if sign == "absolute" else -1, 1)


def displayable(image: np.ndarray) -> np.ndarray:
    """Bring an image to [0, 1].

    An image within [0, 1] stays as it is, one within [0, 255] is divided by 255, and any other
    is scaled so that its smallest value becomes 0 and its largest 1.
    """
    image = np.asarray(image, np.float64)
    low, high = image.min(), image.max()
    if low >= 0 and high <= 1:
        return image
    if low >= 0 and high <= 255:
        return image / 255
    return (image - low) / ((high - low) or 1)


def channels_last(values: np.ndarray, axis: int | None) -> np.ndarray:
    """Move the channels of images, or of their maps, from an axis to the end.

    Args:
        values: ``[B, ...]``.
        axis: the axis of the channels, as in the `channels` of an `Explanation`; None leaves the
            values as they are.
    """
    return values if axis is None or values.ndim < 3 else np.moveaxis(values, axis, -1)
