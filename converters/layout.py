"""Tensors whose axes stand in another order than in the file.

A transpose in the file only renames axes here. It is carried out where an operation needs an
order of its own, so that images are channels-last throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from .onnx_graph import Node, UnsupportedError


class Value(NamedTuple):
    """A Keras tensor, and the axes of the file's tensor that its own are."""

    tensor: keras.KerasTensor
    order: tuple[int, ...]
    """Axis i of the tensor is this axis in the file."""

    @property
    def rank(self) -> int:
        """How many axes there are."""
        return len(self.order)

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The shape in the file."""
        return tuple(self.tensor.shape[self.axis(i)] for i in range(self.rank))

    def axis(self, index: int) -> int:
        """Give the tensor's axis that is this one in the file."""
        return self.order.index(index % self.rank)


def as_keras(tensors: Sequence[Any]) -> Any:
    """Give what a model takes or gives: a list, or the one tensor that there is."""
    return list(tensors) if len(tensors) > 1 else tensors[0]


def same(rank: int) -> tuple[int, ...]:
    """Give the order of the file itself."""
    return tuple(range(rank))


def channels_last(rank: int) -> tuple[int, ...]:
    """Give the order batch, space, channels."""
    return (0, *range(2, rank), 1)


def plain(tensor: keras.KerasTensor) -> Value:
    """Give a tensor whose axes are in the file's order."""
    return Value(tensor, same(len(tensor.shape)))


def ordered(
    value: Value, order: tuple[int, ...], node: Node, suffix: str = ""
) -> keras.KerasTensor:
    """Give the tensor in another order, for a node.

    Raises:
        UnsupportedError: the order has not the batch first.
    """
    if value.order == order:
        return value.tensor
    axes = [value.order.index(axis) for axis in order]
    if axes[0] != 0:
        raise UnsupportedError(node, "it needs the batch elsewhere than along the first axis")
    return keras.layers.Permute(axes[1:], name=f"{node.name}_permute{suffix}")(value.tensor)


def without(order: tuple[int, ...], axes: set[int]) -> tuple[int, ...]:
    """Give the order of what is left when some of the file's axes are gone."""
    left = [axis for axis in order if axis not in axes]
    return tuple(int(rank) for rank in np.argsort(np.argsort(left)))


def constant_in(array: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    """Give a constant that broadcasts to tensors of this order as the file's does to the file's."""
    if array.ndim == 0:
        return array
    full = array.reshape((1,) * (len(order) - array.ndim) + array.shape)
    return np.ascontiguousarray(full.transpose(order))
