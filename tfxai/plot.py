"""Figures: here, and only here, attributions are summed over channels, scaled and clipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfxai.core.axes import expect_channels_last
from tfxai.core.map_checks import is_constant

SIGNS = ("signed", "absolute")
GREY = 0.35
"""How much of the photo shines through an overlay's map at its strongest."""
MOST_ROWS = 8
MOST_BARS = 20


def flat_map(attribution: np.ndarray, *, sign: str = "signed") -> np.ndarray:
    """Sum one example's attribution over channels, ``[H, W, C]`` -> ``[H, W]``.

    "signed" sums the values, "absolute" their sizes. Other ranks keep their shape.

    Example:
        >>> flat_map(np.array([[[1.0, -3.0]]]), sign="absolute")
        array([[4.]])
    """
    _check_sign(sign)
    expect_channels_last("attributions", attribution[None])
    values = np.abs(attribution) if sign == "absolute" else attribution
    return values.sum(-1) if values.ndim == 3 else values


def scale(values: np.ndarray, *, sign: str = "signed", percentile: float | None = 99) -> np.ndarray:
    """Scale a map to [-1, 1] ("signed", 0 stays 0) or [0, 1] ("absolute") for drawing.

    Args:
        values: any shape.
        sign: "signed" or "absolute".
        percentile: the value (of the sizes) that becomes 1; larger ones are clipped. Where it is
            0, as on sparse maps, the maximum serves. None takes the maximum.

    Returns:
        The scaled map; all zeros for a constant "absolute" map or a zero "signed" one.

    Reference:
        PAIR's visualisations and METHODS 4.7, 6.7.

    Example:
        >>> scale(np.array([0.0, 0.0, -4.0, 2.0]), percentile=None)
        array([ 0. ,  0. , -1. ,  0.5])
    """
    _check_sign(sign)
    values = np.asarray(values, np.float64)
    low = values.min() if sign == "absolute" else 0.0
    sizes = np.abs(values - low)
    top = sizes.max() if percentile is None else np.percentile(sizes, percentile)
    top = top or sizes.max()
    if top < np.finfo(np.float32).tiny:
        return np.zeros_like(values)
    return np.clip((values - low) / top, 0 if sign == "absolute" else -1, 1)


def overlay(
    image: np.ndarray,
    attribution: np.ndarray,
    *,
    sign: str = "signed",
    percentile: float | None = 99,
    axes: Axes | None = None,
) -> Axes:
    """Draw an attribution ``[H, W, C]`` over its image ``[H, W, 3 | 1]``.

    Strong attributions hide the (grey) image, weak ones let it through; red speaks for the
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
    """Draw one example's attribution: images and ``[T, C]`` as a map, features ``[F]`` as bars.

    Of a constant map that is said: its colours would look like a finding.
    """
    _check_sign(sign)
    axes = axes or Figure(figsize=(4, 4)).subplots()
    if attribution.ndim not in (1, 2, 3):
        raise ValueError(
            f"attribution has shape {list(attribution.shape)}: expected [H, W, C], [T, C] or [F]; "
            "draw a part of it"
        )
    if attribution.ndim == 1:
        return _bars(attribution, axes)
    flat = flat_map(attribution, sign=sign)
    axes.set_axis_off()
    if is_constant(flat[None])[0]:
        return _said(axes, "the same everywhere" if flat.any() else "zero everywhere", flat.shape)
    values = scale(flat, sign=sign, percentile=percentile)
    axes.imshow(values, interpolation="nearest", **_colours(sign))
    axes.set_aspect("equal" if attribution.ndim == 3 else "auto")
    return axes


def panel(
    images: Sequence[np.ndarray],
    maps: Mapping[str, Sequence[np.ndarray]],
    *,
    labels: Sequence[str] | None = None,
    signs: Sequence[str] | str = "signed",
    percentile: float | None = 99,
    across: int | None = None,
) -> Figure:
    """Draw each image beside its maps, a row for each image and a titled column for each method.

    Args:
        images: ``[N, H, W, 3 | 1]``, in any range.
        maps: title -> attributions ``[N, ...]``.
        labels: a line under each image.
        signs: "signed" or "absolute", for all or for each method.
        percentile: see `scale`.
        across: most maps beside each other; the others follow below, with the images again.
    """
    signs = [signs] * len(maps) if isinstance(signs, str) else signs
    columns = min(across or len(maps), len(maps))
    blocks = -(-len(maps) // columns)
    size = (2.3 * (1 + columns), 2.45 * len(images) * blocks)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(images) * blocks, 1 + columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for block in range(blocks):
        for i, image in enumerate(images):
            axes = grid[block * len(images) + i, 0]
            axes.imshow(_rgb_or_grey(displayable(image)), cmap="gray", vmin=0, vmax=1)
            if labels is not None:
                place = {"transform": axes.transAxes, "ha": "center", "va": "top"}
                axes.text(0.5, -0.03, labels[i], size=9, parse_math=False, **place)
    for number, (title, attributions) in enumerate(maps.items()):
        block, column = divmod(number, columns)
        for i in range(len(images)):
            axes = grid[block * len(images) + i, 1 + column]
            values = np.asarray(attributions[i])
            draw_map(values, sign=signs[number], percentile=percentile, axes=axes)
            if i == 0:
                axes.set_title(title, size=10, parse_math=False)
    return figure


def explanation(record: Any, *, images: Any = None) -> Figure:
    """Draw an `Explanation`, up to eight examples, image inputs beside their maps."""
    inputs = record.inputs if images is None else images
    if not isinstance(record.attributions, np.ndarray):
        return _several_inputs(record)
    axis = record.channels
    inputs = channels_last(inputs, axis) if isinstance(inputs, np.ndarray) else inputs
    labels = [f"{n[:24]}  {s:.3g}" for n, s in zip(record.target_names, record.scores, strict=True)]
    shown = slice(0, MOST_ROWS)
    maps = channels_last(record.attributions[shown], axis)
    if isinstance(inputs, np.ndarray) and inputs.ndim == 4 and inputs.shape[-1] in (1, 3):
        title = record.settings["method"].replace("_", " ")
        return panel(list(inputs[shown]), {title: list(maps)}, labels=labels[shown])
    figure = Figure(figsize=(5, 2.6 * len(maps)), layout="constrained")
    for axes, values, label in zip(
        figure.subplots(len(maps), squeeze=False)[:, 0], maps, labels, strict=False
    ):
        draw_map(values, axes=axes)
        axes.set_title(label, size=9, parse_math=False)
    return figure


def curve(found: Any, *, axes: Axes | None = None) -> Axes:
    """Draw a metric's `Curve`: each image's line, thin, and the mean of those that have one.

    Raises:
        ValueError: no image has a curve.
    """
    mean = _mean_curve(found)
    axes = axes or Figure(figsize=(4, 3), layout="constrained").subplots()
    colour = {"deletion": "tab:red", "insertion": "tab:blue"}.get(found.name, "black")
    for row in found.scores if len(found.scores) > 1 else ():
        axes.plot(found.fractions, row, color=colour, alpha=0.25, linewidth=0.8)
    label = f"{found.name} {found.auc[np.isfinite(found.auc)].mean():.3f}"
    axes.plot(found.fractions, mean, color=colour, linewidth=1.8, label=label)
    axes.set_xlabel("share of the pixels")
    axes.set_ylabel("score")
    axes.set_xlim(0, 1)
    axes.legend(frameon=False, fontsize=9)
    return axes


def curves(found: Any, *, axes: Axes | None = None) -> Axes:
    """Draw the mean `Curves` of deletion and insertion, and the area between them."""
    deleted, inserted = found.deletion, found.insertion
    between = (_mean_curve(deleted), _mean_curve(inserted))
    axes = axes or Figure(figsize=(4, 3), layout="constrained").subplots()
    axes.fill_between(deleted.fractions, *between, color="tab:blue", alpha=0.12, linewidth=0)
    curve(deleted, axes=axes)
    return curve(inserted, axes=axes)


def _mean_curve(found: Any) -> np.ndarray:
    rows = found.scores[np.isfinite(found.auc)]
    if not len(rows):
        raise ValueError(
            f"{found.name}: none of {len(found.auc)} images has a curve; those that are not "
            "recognised, or that blurring does not hurt, or whose map is constant, have none"
        )
    return rows.mean(0)


def channels_last(values: np.ndarray, axis: int | None) -> np.ndarray:
    """Move the channels of images, or of their maps, from an axis to the end.

    Args:
        values: ``[B, ...]``.
        axis: as in a record's `channels`; None leaves them.
    """
    return values if axis is None or values.ndim < 3 else np.moveaxis(values, axis, -1)


def displayable(image: np.ndarray) -> np.ndarray:
    """Bring an image of any range to [0, 1]: 0..255 and 0..1 as they are, others by their ends."""
    image = np.asarray(image, np.float64)
    low, high = image.min(), image.max()
    if low >= 0 and high <= 1:
        return image
    if low >= 0 and high <= 255:
        return image / 255
    return (image - low) / ((high - low) or 1)


def _several_inputs(record: Any) -> Figure:
    parts = (
        record.attributions.items()
        if isinstance(record.attributions, dict)
        else enumerate(record.attributions)
    )
    known = record.channels is not None
    named = [
        (str(name), channels_last(values, record.channels[name] if known else None))
        for name, values in parts
    ]
    rows = min(len(record.targets), MOST_ROWS)
    figure = Figure(figsize=(4 * len(named), 2.6 * rows), layout="constrained")
    grid = figure.subplots(rows, len(named), squeeze=False)
    for j, (name, values) in enumerate(named):
        grid[0, j].set_title(name, size=10, parse_math=False)
        for i in range(rows):
            draw_map(values[i], axes=grid[i, j])
    return figure


def _bars(values: np.ndarray, axes: Axes) -> Axes:
    """Draw the largest features as bars."""
    order = np.argsort(-np.abs(values))[:MOST_BARS][::-1]
    colours = ["tab:red" if v > 0 else "tab:blue" for v in values[order]]
    axes.barh([str(i) for i in order], values[order], color=colours)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_ylabel("feature")
    return axes


def _said(axes: Axes, words: str, shape: tuple[int, ...]) -> Axes:
    """Write in the place of a map."""
    axes.imshow(np.full(shape, 0.94), cmap="gray", vmin=0, vmax=1)
    axes.text(
        0.5, 0.5, words, size=9, color="0.35", ha="center", va="center", transform=axes.transAxes
    )
    return axes


def _colours(sign: str) -> dict[str, Any]:
    if sign == "signed":
        return {"cmap": "RdBu_r", "vmin": -1, "vmax": 1}
    return {"cmap": "magma", "vmin": 0, "vmax": 1}


def _rgb_or_grey(image: np.ndarray) -> np.ndarray:
    return image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image


def _check_sign(sign: str) -> None:
    if sign not in SIGNS:
        raise ValueError(f"sign={sign!r}: expected one of {', '.join(map(repr, SIGNS))}")
