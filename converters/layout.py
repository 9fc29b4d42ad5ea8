"""Tensors whose axes are in another order than in the file, so that images are channels-last.

A transpose in the file only changes the order that is noted here. Axes are really moved where an
operation needs a certain order. The batch is always the first axis of a Keras tensor, wherever it
is in the file. There, a reshape may join it with other axes: with windows, heads or tokens, whose
rows then count as examples. A Keras tensor has the rows of an example one after another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from .onnx_graph import Node, UnsupportedError


class Value(NamedTuple):
    """A Keras tensor that stands for a tensor in the file, and the order of its axes."""

    tensor: keras.KerasTensor
    order: tuple[int, ...]
    """Axis i of the Keras tensor is axis ``order[i]`` in the file."""
    rows: tuple[int, int] = (1, 1)
    """The sizes joined with the batch, before and after it: m and n of m B n rows in the file."""
    examples: int = 0
    """The size of the batch where the file fixes it; 0 where the file leaves it open."""

    @property
    def batch(self) -> int:
        """The file's axis along which the batch is."""
        return self.order[0]

    @property
    def batch_first(self) -> tuple[int, ...]:
        """The order with the batch first, and all other axes as in the file."""
        return (self.batch, *(axis for axis in range(self.rank) if axis != self.batch))

    @property
    def rank(self) -> int:
        """The number of axes."""
        return len(self.order)

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The shape in the file; None for the batch, and for what is joined with it."""
        return tuple(self.tensor.shape[self.axis(i)] for i in range(self.rank))

    def axis(self, index: int) -> int:
        """Give the axis of the Keras tensor for an axis in the file, which may be negative."""
        return self.order.index(index % self.rank)


def single_or_list(tensors: Sequence[Any]) -> Any:
    """Give several tensors as a list, and a single one itself, as Keras models take them."""
    return list(tensors) if len(tensors) > 1 else tensors[0]


def file_order(rank: int) -> tuple[int, ...]:
    """Give the order in which axes are as in the file."""
    return tuple(range(rank))


def channels_last_order(rank: int) -> tuple[int, ...]:
    """Give the order batch, space, channels of what is batch, channels, space in the file."""
    return (0, *range(2, rank), 1)


def value_in_file_order(tensor: keras.KerasTensor) -> Value:
    """Give a Keras tensor with its axes in the file's order as a Value."""
    return Value(tensor, file_order(len(tensor.shape)))


def tensor_in_order(
    value: Value, order: tuple[int, ...], node: Node, suffix: str = ""
) -> keras.KerasTensor:
    """Give the Keras tensor with its axes in another order, by a Permute layer if needed.

    Args:
        value: the tensor.
        order: the order.
        node: the node that needs the order; the layer is named after it.
        suffix: what is added to the layer's name.

    Raises:
        UnsupportedError: the batch would not be first.
    """
    if value.order == order:
        return value.tensor
    axes = [value.order.index(axis) for axis in order]
    if axes[0] != 0:
        raise UnsupportedError(node, "it needs the batch elsewhere than along the first axis")
    return keras.layers.Permute(axes[1:], name=f"{node.name}_permute{suffix}")(value.tensor)


def order_without(order: tuple[int, ...], axes: set[int]) -> tuple[int, ...]:
    """Give the order of the axes that remain when some of the file's axes are removed."""
    remaining = [axis for axis in order if axis not in axes]
    return tuple(int(rank) for rank in np.argsort(np.argsort(remaining)))


def constant_in_order(array: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    """Give a constant with its axes in an order, to broadcast to tensors in that order."""
    if array.ndim == 0:
        return array
    of_full_rank = array.reshape((1,) * (len(order) - array.ndim) + array.shape)
    return np.ascontiguousarray(of_full_rank.transpose(order))
