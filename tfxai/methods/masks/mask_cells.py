"""The cells of masks that are optimised: a coarse grid of positions, single features, or groups.

The masks M of all masked inputs are one row of cells for each example, ``[N, K]``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tfxai.core.interpolation import align_corners
from tfxai.core.layout import Layout, Sizes, along_positions
from tfxai.core.types import Tensors
from tfxai.methods.masks.masked_inputs import MaskedInputs

DEFAULT_RESOLUTION = 28
"""The number of cells along each axis, where the input has at least as many positions."""


class Cells(NamedTuple):
    """The cells of the masks of one input."""

    layout: Layout
    """What a mask looks like at the resolution of the input."""
    shape: tuple[int, ...]
    """The cells of one mask: ``(h, w, 1)`` for images, ``(t, C)`` for single channels of sequences,
    ``(F,)`` for tables, ``(G,)`` for G groups."""

    @property
    def size(self) -> int:
        """The number of cells of one mask."""
        return math.prod(self.shape)

    @property
    def grid(self) -> tuple[int, ...]:
        """The numbers of cells along the axes on which cells have neighbours; () for none."""
        if self.layout.groups is not None or not self.layout.has_neighbours:
            return ()
        return self.shape[:-1]

    def upsample(self, masks: tf.Tensor) -> tf.Tensor:
        """Give up(M): masks ``[N, *shape]`` at the resolution of the input, ``[N, *layout.shape]``.

        The interpolation is linear along each axis with aligned corners (docs/methods.md, I-GOS);
        all elements of a group have its cell.
        """
        if self.layout.groups is not None:
            return tf.gather(masks, self.layout.groups, axis=1)
        matrices = [
            tf.constant(align_corners(*sizes), masks.dtype)
            for sizes in zip(self.layout.positions, self.grid, strict=False)
        ]
        return along_grid(masks, matrices)


def cells_of(layout: Layout, resolution: Sizes = None) -> Cells:
    """Give the cells of the masks of an input.

    Args:
        layout: the layout of the masks at the resolution of the input.
        resolution: the number of cells along each axis of positions, one for all or one for each;
            None for 28, or the number of positions where it is smaller.

    Raises:
        ValueError: the input has no grid, or fewer positions than the mask would have cells.
    """
    if layout.groups is not None or layout.channels is None:
        if resolution is not None:
            raise ValueError(
                f"resolution={resolution}: the cells of a mask are the groups, or the features of "
                "a table, which have no neighbours; leave it out"
            )
        if layout.groups is not None:
            return Cells(layout, (int(layout.groups.max()) + 1,))
        return Cells(layout, layout.positions)
    size = layout.positions
    if resolution is None:
        cells = tuple(min(DEFAULT_RESOLUTION, n) for n in size)
    else:
        cells = along_positions("resolution", resolution, layout)
    if any(n > positions for n, positions in zip(cells, size, strict=True)):
        raise ValueError(
            f"resolution={cells}: the inputs have {size} positions; pass resolution={min(size)} or "
            "less"
        )
    return Cells(layout, (*cells, layout.channels))


def cells_of_inputs(masked: MaskedInputs, resolution: Any, inputs: Tensors) -> list[Cells]:
    """Give the cells of the masks of each masked input; the resolution may be a dict by name."""
    resolutions = masked.for_each("resolution", resolution, inputs)
    return [cells_of(*pair) for pair in zip(masked.layouts(inputs), resolutions, strict=True)]


def split(masks: tf.Tensor, cells: Sequence[Cells]) -> list[tf.Tensor]:
    """Give the masks of each input, ``[N, *shape]``, of rows of cells ``[N, K]``."""
    parts = tf.split(masks, [c.size for c in cells], axis=1)
    return [tf.reshape(p, [-1, *c.shape]) for p, c in zip(parts, cells, strict=True)]


def joined(masks: Sequence[tf.Tensor]) -> tf.Tensor:
    """Give rows of cells ``[N, K]``: put together what `split` takes apart."""
    return tf.concat([tf.reshape(m, [-1, math.prod(m.shape[1:])]) for m in masks], 1)


def along_grid(values: tf.Tensor, matrices: Sequence[tf.Tensor]) -> tf.Tensor:
    """Multiply the i-th axis after the first by the i-th matrix ``[new, old]``.

    Args:
        values: ``[N, ...]``, with at least as many other axes as there are matrices.
        matrices: what the axes are multiplied by; none leaves the values as they are.
    """
    if not matrices:
        return values
    old, new = "abc"[: len(matrices)], "ABC"[: len(matrices)]
    one_channel = values.shape[-1] == 1 and values.shape.rank > len(matrices) + 1
    rest = "" if one_channel or values.shape.rank == len(matrices) + 1 else "z"
    factors = [f"{new[i]}{old[i]}" for i in range(len(matrices))]
    equation = ",".join([factors[0], f"n{old}{rest}", *factors[1:]]) + f"->n{new}{rest}"
    given = values[..., 0] if one_channel else values
    product = tf.einsum(equation, matrices[0], given, *matrices[1:])
    return product[..., None] if one_channel else product
