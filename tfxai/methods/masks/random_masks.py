"""The masks of RISE (Petsiuk et al. 2018): coarse grids, enlarged and shifted at random."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfxai.core.axes import move_axis
from tfxai.core.interpolation import half_pixel
from tfxai.core.layout import Layout, Sizes, along_positions
from tfxai.estimation.samplers import split_seed

PROBABILITY = 0.5
"""The published probability that a cell of a mask lets the image through."""
GRID = 7
"""The published number of cells of the coarse mask along each axis."""
DrawMasks = Callable[[tf.Tensor, tf.Tensor, tf.DType], tf.Tensor]
"""The masks' numbers ``[K]``, a seed ``[2]``, a data type -> masks ``[K, *layout.shape]``."""
DrawMask = Callable[[tf.Tensor, tf.DType], tf.Tensor]
"""A seed ``[2]``, a data type -> a mask ``[*layout.shape]``."""


def random_masks(layout: Layout, grid: Sizes, probability: float) -> DrawMasks:
    """Give the function that draws masks of zeros and ones, each from a seed of its own.

    Groups, and the features of tables without a `grid`, are drawn one by one; grids are enlarged
    and shifted.
    """
    if layout.groups is not None:
        draw_one = _groups(layout.groups, probability)
    elif grid is None and not layout.has_neighbours:
        draw_one = _groups(np.arange(np.prod(layout.shape)).reshape(layout.shape), probability)
    else:
        cells = along_positions("grid", GRID if grid is None else grid, layout)
        draw_one = _shifted_grids(layout, cells, probability)

    def draw(ks: tf.Tensor, seed: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
        return tf.map_fn(
            lambda k: draw_one(tf.random.fold_in(seed, k), dtype),
            ks,
            fn_output_signature=tf.TensorSpec(layout.shape, dtype),
        )

    return draw


def given_masks(masks: np.ndarray, layout: Layout) -> DrawMasks:
    """Give the function that takes masks from an array ``[N, ...]`` by their numbers.

    Raises:
        ValueError: the masks have another shape than the layout's.
    """
    without_channels = layout.channels == 1 and masks.ndim == len(layout.shape)
    shaped = masks[..., None] if without_channels else masks
    if shaped.shape[1:] != layout.shape:
        expected = layout.positions if layout.channels == 1 else layout.shape
        raise ValueError(
            f"masks has shape {list(masks.shape)}: expected [N, {', '.join(map(str, expected))}], "
            "like the inputs"
        )
    with tf.init_scope():  # A graph refers to this tensor instead of holding a copy of it.
        all_masks = tf.constant(shaped)
    return lambda ks, seed, dtype: tf.cast(tf.gather(all_masks, ks), dtype)


def _groups(numbers: np.ndarray, probability: float) -> DrawMask:
    """Give the function that draws a mask of groups, by the number of each element's group."""
    count = int(numbers.max()) + 1

    def draw_one(seed: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
        is_visible = tf.random.stateless_uniform([count], seed) < probability
        return tf.cast(tf.gather(is_visible, numbers), dtype)

    return draw_one


def _shifted_grids(layout: Layout, cells: tuple[int, ...], probability: float) -> DrawMask:
    """Give the function that draws a grid, enlarges it along each axis, and cuts it at an offset.

    All channels are shifted together, if they have cells of their own.
    """
    size = layout.positions
    cell_sizes = [-(-positions // n) for positions, n in zip(size, cells, strict=True)]
    channels = () if layout.channels in (None, 1) else (layout.channels,)

    def draw_one(seed: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
        grid_seed, *offset_seeds = split_seed(seed, 1 + len(size))
        grid = tf.random.stateless_uniform((*cells, *channels), grid_seed) < probability
        cuts = []
        for i, offset_seed in enumerate(offset_seeds):
            enlarging = half_pixel((cells[i] + 1) * cell_sizes[i], cells[i])
            offset = tf.random.stateless_uniform([], offset_seed, 0, cell_sizes[i], tf.int32)
            cuts.append(tf.constant(enlarging, dtype)[offset : offset + size[i]])
        return tf.reshape(_enlarged(tf.cast(grid, dtype), cuts, size), layout.shape)

    return draw_one


def _enlarged(grid: tf.Tensor, matrices: list[tf.Tensor], size: tuple[int, ...]) -> tf.Tensor:
    """Multiply each of the first axes of a grid by its matrix ``[positions, cells]``."""
    if grid.shape.rank == len(matrices) == 2:  # Images round as they always have.
        return matrices[0] @ grid @ tf.transpose(matrices[1])
    first, *others = matrices
    cells = grid.shape.as_list()
    enlarged = tf.reshape(first @ tf.reshape(grid, [cells[0], -1]), [size[0], *cells[1:]])
    for matrix in others:  # Each puts its axis to the end, so that the next one comes second.
        enlarged = tf.tensordot(enlarged, matrix, [[1], [1]])
    has_channels = len(cells) > len(size)
    return move_axis(enlarged, 1 - len(cells), -1) if has_channels and others else enlarged
