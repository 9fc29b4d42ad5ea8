"""The figure of one attribution: alone, or over its image."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfxai.core.map_checks import is_constant
from tfxai.plot.scaling import check_sign, displayable, flat_map, scale

GREY = 0.35
"""How much of the photo shows through the strongest attribution of an overlay."""
MOST_BARS = 20
"""How many features are drawn as bars, at most."""


def overlay(
    image: np.ndarray,
    attribution: np.ndarray,
    *,
    sign: str = "signed",
    percentile: float | None = 99,
    axes: Axes | None = None,
) -> Axes:
    """Draw an attribution ``[H, W, C]`` over its image ``[H, W, 3 | 1]``.

    The image is grey; strong attributions hide it and weak ones let it through. Red speaks for the
    target, blue against it.
    """
    axes = axes or Figure(figsize=(4, 4)).subplots()
    values = scale(flat_map(attribution, sign=sign), sign=sign, percentile=percentile)
    axes.imshow(displayable(image).mean(-1), cmap="gray", vmin=0, vmax=1)
    strength = np.clip(np.abs(values), 0, 1) ** 0.5 * (1 - GREY / 2)
    axes.imshow(values, alpha=strength, **_colours(sign))
    axes.set_axis_off()
    return axes


def draw_map(
    attribution: np.ndarray,
    *,
    sign: str = "signed",
    percentile: float | None = 99,
    axes: Axes | None = None,
) -> Axes:
    """Draw one example's attribution.

    Images ``[H, W, C]`` and sequences ``[T, C]`` are drawn as a map, volumes ``[D, H, W, C]`` as
    the map of their sum over the depth, features ``[F]`` as bars. In place of a constant map stands
    a note, because its colours would look like a finding.
    """
    check_sign(sign)
    axes = axes or Figure(figsize=(4, 4)).subplots()
    if attribution.ndim not in (1, 2, 3, 4):
        raise ValueError(
            f"attribution has shape {list(attribution.shape)}: expected [D, H, W, C], "
            "[H, W, C], [T, C] or [F]; draw a part of it"
        )
    if attribution.ndim == 1:
        return _bars(attribution, axes)
    flat = flat_map(attribution, sign=sign)
    axes.set_axis_off()
    if is_constant(flat[None])[0]:
        return _note(axes, "the same everywhere" if flat.any() else "zero everywhere", flat.shape)
    values = scale(flat, sign=sign, percentile=percentile)
    axes.imshow(values, interpolation="nearest", **_colours(sign))
    axes.set_aspect("equal" if attribution.ndim > 2 else "auto")
    return axes


def _bars(values: np.ndarray, axes: Axes) -> Axes:
    """Draw the features with the largest absolute values as bars, the largest on top."""
    order = np.argsort(-np.abs(values))[:MOST_BARS][::-1]
    colours = ["tab:red" if v > 0 else "tab:blue" for v in values[order]]
    axes.barh([str(i) for i in order], values[order], color=colours)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_ylabel("feature")
    return axes


def _note(axes: Axes, text: str, shape: tuple[int, ...]) -> Axes:
    """Write a text in the place of a map."""
    axes.imshow(np.full(shape, 0.94), cmap="gray", vmin=0, vmax=1)
    axes.text(
        0.5, 0.5, text, size=9, color="0.35", ha="center", va="center", transform=axes.transAxes
    )
    return axes


def _colours(sign: str) -> dict[str, Any]:
    """Give the options of a map's colours and their limits."""
    if sign == "signed":
        return {"cmap": "RdBu_r", "vmin": -1, "vmax": 1}
    return {"cmap": "magma", "vmin": 0, "vmax": 1}
