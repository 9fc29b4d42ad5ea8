"""The grid of places that the values of an activation lie on: rows and columns of an image, say."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfxai.models.positions import Positions


class Grid(NamedTuple):
    """How the tokens of an activation are put back to the places in the input that they are of."""

    axis: int
    """The axis of the tokens in the activation, 1 or 2."""
    tokens: np.ndarray
    """The number of the token at each place, in the order of the input's places."""
    sizes: tuple[int, ...]
    """How many places there are along each axis of the input's places."""
    left_out: np.ndarray
    """The numbers of the tokens of no place: class tokens and registers."""

    def arrange(self, values: tf.Tensor) -> tf.Tensor:
        """Bring values of the tokens, ``[B, N, C]`` or ``[B, C, N]``, to ``[B, *sizes, C]``."""
        rows = values if self.axis == 1 else tf.transpose(values, [0, 2, 1])
        placed = tf.gather(rows, self.tokens, axis=1)
        shape = tf.concat([tf.shape(placed)[:1], self.sizes, tf.shape(placed)[2:]], 0)
        return tf.ensure_shape(tf.reshape(placed, shape), [None, *self.sizes, rows.shape[-1]])


def grid_of_tokens(positions: Positions) -> Grid | None:
    """Give the grid of an activation ``[B, N, C]``, None if its tokens are on no regular grid.

    Every place has exactly one token.
    """
    varies = [[_varies(c, a) for c in positions.coordinates] for a in (0, 1)]
    axis = 2 if any(varies[1]) and not any(varies[0]) else 1
    swapped = positions.coordinates if axis == 1 else tuple(c.T for c in positions.coordinates)
    places = np.stack(Positions(swapped, positions.exact).by_row(), -1).round(6)
    is_out = np.isnan(places).any(1)
    inside = np.flatnonzero(~is_out)
    if not len(inside):
        return None
    sizes = tuple(len(np.unique(along)) for along in places[inside].T)
    distinct = len(np.unique(places[inside], axis=0))
    if not distinct == len(inside) == np.prod(sizes):
        return None
    in_order = inside[np.lexsort(places[inside].T[::-1])]
    return Grid(axis, in_order, sizes, np.flatnonzero(is_out))


def order_of_axes(positions: Positions) -> list[int] | None:
    """Give which axis of an activation lies along each axis of places, counted without the batch.

    Returns:
        None where one axis lies along several, or several along one.
    """
    along = [[a for a in range(c.ndim) if _varies(c, a)] for c in positions.coordinates]
    if any(len(found) > 1 for found in along):
        return None
    known = [found[0] for found in along if found]
    return known if len(set(known)) == len(known) else None


def _varies(values: np.ndarray, axis: int) -> bool:
    """Whether values differ along an axis; those of no place differ from all others."""
    if values.shape[axis] < 2 or values.strides[axis] == 0:
        return False
    filled = np.where(np.isnan(values), -1, values)
    return bool((filled != np.take(filled, [0], axis)).any())
