"""Figures of several maps: images beside the maps of methods, and whole explanations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfxai.plot.maps import draw_map
from tfxai.plot.scaling import channels_last, displayable

MOST_ROWS = 8
"""How many examples of an explanation are drawn, at most."""


def panel(
    images: Sequence[np.ndarray],
    maps: Mapping[str, Sequence[np.ndarray]],
    *,
    labels: Sequence[str] | None = None,
    signs: Sequence[str] | str = "signed",
    percentile: float | None = 99,
    across: int | None = None,
) -> Figure:
    """Draw each image beside its maps, with a row for each image and a column for each method.

    Args:
        images: ``[N, H, W, 3 | 1]``, in any range.
        maps: title of a method -> attributions ``[N, ...]``.
        labels: a line under each image.
        signs: "signed" or "absolute", one for all methods or one for each.
        percentile: as in `scale`.
        across: how many maps are beside each other, at most; the others follow below, beside the
            images again.
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
            label = None if labels is None else labels[i]
            _draw_image(grid[block * len(images) + i, 0], image, label)
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
    """Draw an `Explanation`, up to eight examples of it; images stand beside their maps.

    Args:
        record: the `Explanation`.
        images: what is drawn beside the maps; None takes the inputs of the record, if it has them.
    """
    inputs = record.inputs if images is None else images
    if not isinstance(record.attributions, np.ndarray):
        return _several_inputs(record)
    axis = record.channels
    inputs = channels_last(inputs, axis) if isinstance(inputs, np.ndarray) else inputs
    labels = [f"{n[:24]}  {s:.3g}" for n, s in zip(record.target_names, record.scores, strict=True)]
    rows = slice(0, MOST_ROWS)
    maps = channels_last(record.attributions[rows], axis)
    if isinstance(inputs, np.ndarray) and inputs.ndim == 4 and inputs.shape[-1] in (1, 3):
        title = record.settings["method"].replace("_", " ")
        return panel(list(inputs[rows]), {title: list(maps)}, labels=labels[rows])
    figure = Figure(figsize=(5, 2.6 * len(maps)), layout="constrained")
    for axes, values, label in zip(
        figure.subplots(len(maps), squeeze=False)[:, 0], maps, labels, strict=False
    ):
        draw_map(values, axes=axes)
        axes.set_title(label, size=9, parse_math=False)
    return figure


def _several_inputs(record: Any) -> Figure:
    """Draw the maps of a model of several inputs, with a column for each input."""
    parts = (
        record.attributions.items()
        if isinstance(record.attributions, dict)
        else enumerate(record.attributions)
    )
    known = record.channels is not None
    columns = [
        (str(name), channels_last(values, record.channels[name] if known else None))
        for name, values in parts
    ]
    rows = min(len(record.targets), MOST_ROWS)
    figure = Figure(figsize=(4 * len(columns), 2.6 * rows), layout="constrained")
    grid = figure.subplots(rows, len(columns), squeeze=False)
    for j, (name, values) in enumerate(columns):
        grid[0, j].set_title(name, size=10, parse_math=False)
        for i in range(rows):
            draw_map(values[i], axes=grid[i, j])
    return figure


def _draw_image(axes: Axes, image: np.ndarray, label: str | None) -> None:
    """Draw an image, with a line of text under it."""
    pixels = displayable(image)
    grey = pixels.ndim == 3 and pixels.shape[-1] == 1
    axes.imshow(pixels[..., 0] if grey else pixels, cmap="gray", vmin=0, vmax=1)
    if label is not None:
        place: dict[str, Any] = {"transform": axes.transAxes, "ha": "center", "va": "top"}
        axes.text(0.5, -0.03, label, size=9, parse_math=False, **place)
