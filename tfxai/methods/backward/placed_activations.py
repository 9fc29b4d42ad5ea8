"""Activations of tokens and sequences, put back to the places in the input that they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfxai.core.axes import Order
from tfxai.models import graph_axes
from tfxai.models.positions import Positions, positions_behind, tensors_behind
from tfxai.models.token_grids import Grid, grid_of_tokens, order_of_axes

_PRODUCTS = {"MatMul", "BatchMatMul", "BatchMatMulV2", "Einsum"}
"""Operations inside attention and dense layers, whose results are no activations of tokens yet."""


class Places:
    """Where the values of activations lie in an input.

    Args:
        image: a symbolic input ``[B, ...]``; the model has been called on it in the same graph.
        order: the order of its axes.
    """

    def __init__(self, image: tf.Tensor, order: Order):
        rank = image.shape.rank or 0
        channel = order.channels[0] if rank > 2 else None
        # The channels of images whose order is not known are at the end: nothing reads them.
        last = rank - 1 if channel is None else rank + channel
        axes = [a for a in range(1, rank) if rank == 2 or a != last]
        self.image = image
        self.order = order
        self._found = positions_behind(image, axes)

    @cached_property
    def _behind(self) -> set:
        return tensors_behind(self.image)

    def of(self, activation: tf.Tensor) -> Positions | None:
        """Give the positions of an activation, None if they are not known."""
        found = self._found.get(activation.ref())
        return found if found is not None and found.fit(activation) else None

    def can_map(self, activation: tf.Tensor) -> bool:
        """Whether an activation has a place in the input for each of its positions."""
        rank = activation.shape.rank
        if rank is None or rank < 3:
            return False
        if not self._found:
            return True
        positions = self.of(activation)
        if positions is None:
            return rank == self.image.shape.rank and graph_axes.is_formatted(activation)
        if rank == 3:
            return activation.op.type not in _PRODUCTS and grid_of_tokens(positions) is not None
        return rank == self.image.shape.rank and order_of_axes(positions) is not None

    def are_before(self, activation: tf.Tensor) -> bool:
        """Whether an activation is computed from the input."""
        return activation.ref() in self._behind

    def lead_to(self, activation: tf.Tensor) -> bool:
        """Whether the positions of an activation stand for several places of this very input."""
        if not (self.are_before(activation) and self.can_map(activation)):
            return False
        positions = self.of(activation)
        if (
            positions is None
        ):  # The size of the input is open, or the way to the activation unknown.
            return activation.shape.rank == max(self.image.shape.rank, 3)
        return positions.are_several()

    def grid(self, activation: tf.Tensor) -> Grid | None:
        """Give the grid of the tokens of an activation ``[B, N, C]``, None for any other."""
        positions = self.of(activation)
        return grid_of_tokens(positions) if activation.shape.rank == 3 and positions else None


class Placed(NamedTuple):
    """Values with the axes of the input's places in their order, and the channels at the end."""

    values: list[tf.Tensor]
    """``[B, ..., C]``."""
    left_out: np.ndarray
    """The numbers of the tokens that stand for no place, class tokens and registers."""


def placed(values: Sequence[tf.Tensor], activation: tf.Tensor, places: Places, name: str) -> Placed:
    """Put values with the axes of an activation in the order of the input's places.

    Args:
        values: tensors with the activation's shape.
        activation: the activation, in the graph of the input.
        places: where activations lie in the input.
        name: what the activation is called in messages.

    Raises:
        ValueError: nothing tells where its tokens lie in the input.
    """
    grid = places.grid(activation)
    if grid is not None:
        return Placed([grid.arrange(v) for v in values], grid.left_out)
    if activation.shape.rank == 3 and places.image.shape.rank != 3 and places.image.shape.rank > 2:
        raise ValueError(
            f"{name} gives {activation.shape} for inputs {places.image.shape}, and nothing tells "
            "where in the input its positions lie: name a layer whose tokens can be followed back "
            "to patches of an input of fixed size, or explain the head of tfxai.split(model, "
            "layer) by another method"
        )
    last = graph_axes.channels_last(values, activation)
    positions = places.of(activation)
    order = None if positions is None else order_of_axes(positions)
    if order is None or len(order) + 2 != activation.shape.rank or order == sorted(order):
        return Placed(last, np.array([], int))
    axes = [sorted(order).index(axis) + 1 for axis in order]
    moved = [tf.transpose(v, [0, *axes, len(axes) + 1]) for v in last]
    return Placed(moved, np.array([], int))
