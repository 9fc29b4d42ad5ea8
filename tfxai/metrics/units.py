"""What perturbing metrics take away at a time, and which units are the most important.

A unit is a pixel, a step in time, a feature, a cell of a coarse mask, a patch, or a group.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from string import ascii_lowercase
from typing import Any, NamedTuple

import numpy as np

from tfxai.core.interpolation import align_corners
from tfxai.core.layout import Layout, along_positions, layout_of
from tfxai.core.named_inputs import check_option_names, of_input
from tfxai.metrics.curves import descending_rank
from tfxai.metrics.scored_inputs import ScoredInputs


class Units(NamedTuple):
    """The units of one input, with their values for each example."""

    values: np.ndarray
    """How important each unit is, ``[B, n]``."""
    spread: Callable[[np.ndarray], np.ndarray]
    """Booleans ``[N, n]``, which units are chosen -> what share of each element is,
    ``[N, *layout.shape]``."""


MostImportant = Callable[[np.ndarray, np.ndarray], list[np.ndarray]]
"""Indices of examples ``[N]``, numbers of units ``[N]`` -> for each input which units are among
that many most important ones, booleans ``[N, n]``."""


def most_important(units: Sequence[Units]) -> tuple[MostImportant, int]:
    """Rank the units of all inputs together, the most important first.

    Returns:
        The function that tells the most important ones, and the number of units.
    """
    counts = [u.values.shape[1] for u in units]
    rank = descending_rank(np.concatenate([u.values for u in units], 1))

    def chosen(indices: np.ndarray, taken: np.ndarray) -> list[np.ndarray]:
        return np.split(rank[indices] < taken[:, None], np.cumsum(counts)[:-1], 1)

    return chosen, sum(counts)


def layouts(scored: ScoredInputs, groups: Any, *, per_channel: bool = False) -> list[Layout]:
    """Give the layout of the units of each explained input.

    Args:
        scored: the inputs.
        groups: what `checked_covering` gives: an array, or a dict of arrays by the inputs' names.
        per_channel: whether single channels are units.
    """
    names = [scored.given.names[place] for place in scored.places]
    check_option_names("groups", groups, names)
    return [
        layout_of(x, per_channel=per_channel, groups=of_input(groups, name))
        for name, x in zip(names, scored.inputs, strict=True)
    ]


def with_channels(label: str, maps: np.ndarray, x: np.ndarray, layout: Layout) -> np.ndarray:
    """Give the maps of an input ``[B, *positions, C | 1]``, of a table ``[B, F]``.

    Args:
        label: what messages call the maps.
        maps: the same, or ``[B, *positions]``.
        x: the inputs, their channels last.
        layout: the layout of the units.

    Raises:
        ValueError: another shape.
    """
    whole = maps
    if layout.channels is not None and maps.ndim == x.ndim - 1:
        whole = maps[..., None]
    channels = ((),) if layout.channels is None else ((1,), x.shape[-1:])
    if whole.shape not in [(len(x), *layout.positions, *c) for c in channels]:
        expected = list(x.shape)
        or_one = "" if layout.channels is None else ", or one channel"
        raise ValueError(
            f"{label} has shape {list(maps.shape)}: expected {expected}{or_one}, in the order of "
            "the inputs' axes"
        )
    return whole


def grouped(
    label: str, maps: np.ndarray, x: np.ndarray, layout: Layout, numbers: np.ndarray
) -> Units:
    """Give groups as units; the value of a group is the mean over its elements.

    Args:
        label: what messages call the maps.
        maps: as in `with_channels`; one channel where the groups do not part channels.
        x: the inputs, their channels last.
        layout: the layout of the groups.
        numbers: the number of each element's group, of the layout's shape.

    Raises:
        ValueError: a shape that does not fit.
    """
    whole = with_channels(label, maps, x, layout)
    if whole.shape[1:] != layout.shape:
        raise ValueError(
            f"{label} has {whole.shape[-1]} channels, and the groups have {layout.channels}: "
            "expected as many"
        )
    values = group_means(whole.reshape(len(whole), -1, 1), numbers.reshape(-1))
    return Units(values[..., 0], lambda chosen: chosen[:, numbers])


def cells(label: str, maps: np.ndarray, x: np.ndarray, layout: Layout) -> Units:
    """Give the cells of maps as units: single positions, or parts with soft edges of coarse maps.

    Coarse maps are enlarged as those of I-GOS are (docs/methods.md). The features of tables and
    single channels are not: their maps have the shape of the inputs.

    Args:
        label: what messages call the maps.
        maps: ``[B, *cells]`` or ``[B, *cells, 1]``, with the channels where these are units.
        x: the inputs, their channels last.
        layout: the layout of the units.

    Raises:
        ValueError: a shape that does not fit, or more than one channel.
    """
    if layout.channels != 1:
        whole = with_channels(label, maps, x, layout)
        if whole.shape[1:] != layout.shape:
            raise ValueError(
                f"{label} has shape {list(maps.shape)}: per_channel=True needs {list(x.shape)}"
            )
        flat = whole.reshape(len(whole), -1)
        return Units(flat, lambda chosen: chosen.reshape(-1, *layout.shape))
    if maps.ndim == x.ndim and maps.shape[-1] != 1:
        raise ValueError(
            f"{label} has {maps.shape[-1]} channels: say how to join them, e.g. "
            "np.abs(maps).sum(-1), or pass per_channel=True to take single channels"
        )
    coarse = maps[..., 0] if maps.ndim == x.ndim else maps
    size = coarse.shape[1:]
    fits = coarse.ndim == x.ndim - 1 and len(coarse) == len(x) and 0 not in size
    if not fits or any(m > n for m, n in zip(size, layout.positions, strict=True)):
        letters = ", ".join("dhw"[-len(layout.positions) :] if x.ndim > 3 else "t")
        raise ValueError(
            f"{label} has shape {list(maps.shape)}: expected [{len(x)}, {letters}, 1], {letters} "
            f"at most {list(layout.positions)}, in the order of the inputs' axes"
        )
    return Units(coarse.reshape(len(coarse), -1), _enlarged(size, layout, x.dtype))


def patch_numbers(layout: Layout, patch: Any) -> np.ndarray:
    """Give patches along each axis; the last ones are smaller where they must be.

    Args:
        layout: the layout of the positions.
        patch: the size of a patch, a number or one for each axis.

    Returns:
        The number of each position's patch, of the layout's shape.
    """
    sides = along_positions("patch", patch, layout)
    numbers = np.zeros((), int)
    for n, side in zip(layout.positions, sides, strict=True):
        along = np.arange(n) // side
        numbers = numbers[..., None] * (along[-1] + 1) + along
    return numbers.reshape(layout.shape)


def patch_means(values: np.ndarray, layout: Layout, patch: Any) -> np.ndarray:
    """Average ``[B, *positions, C]`` over the patches of `patch_numbers`: ``[B, n, C]``."""
    for axis, side in enumerate(along_positions("patch", patch, layout), 1):
        starts = np.arange(0, values.shape[axis], side)
        widths = np.diff(np.append(starts, values.shape[axis]))
        shape = [-1 if a == axis else 1 for a in range(values.ndim)]
        values = np.add.reduceat(values, starts, axis) / widths.reshape(shape).astype(values.dtype)
    return values.reshape(len(values), -1, values.shape[-1])


def group_means(values: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Average ``[B, P, C]`` over groups of P, by the number of each one's group: ``[B, n, C]``.

    Example:
        >>> group_means(np.array([[[1.0], [5.0], [3.0]]]), np.array([1, 0, 1]))[..., 0]
        array([[5., 2.]])
    """
    order = np.argsort(numbers, kind="stable")
    starts = np.searchsorted(numbers[order], np.arange(numbers.max() + 1))
    sizes = np.diff(np.append(starts, len(numbers)))[:, None]
    return np.add.reduceat(values[:, order], starts, 1) / sizes.astype(values.dtype)


def _enlarged(
    size: tuple[int, ...], layout: Layout, dtype: np.dtype
) -> Callable[[np.ndarray], np.ndarray]:
    """Give the function that draws cells larger, booleans ``[N, n]`` -> ``[N, *positions, 1]``."""
    first, *others = (
        align_corners(n, m).astype(dtype) for n, m in zip(layout.positions, size, strict=True)
    )
    small = ascii_lowercase[: len(size)]
    matrix = [f"{letter.upper()}{letter}" for letter in small]
    subscripts = ",".join([matrix[0], f"n{small}", *matrix[1:]]) + f"->n{small.upper()}"

    def spread(chosen: np.ndarray) -> np.ndarray:
        grid = chosen.reshape(-1, *size)
        return np.einsum(subscripts, first, grid, *others, optimize=True)[..., None]

    return spread
