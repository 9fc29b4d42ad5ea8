"""Operations that give the numbers of a tensor another shape, with the batch joined with others."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Any, NamedTuple

import keras
import numpy as np

from tfxai.models.converted_layers import Apply

from ..constants import BATCHES, Operand, PerBatch
from ..layout import Value, order_without, tensor_in_order
from ..onnx_graph import Node, UnsupportedError
from .operands import axes_of, expect_value


class Target(NamedTuple):
    """The shape that a reshape gives."""

    sizes: tuple[int, ...]
    """The sizes of all axes; of the batch's axis, the rows that an example has along it."""
    batch: int
    """The axis along which the batch is."""

    def order(self) -> tuple[int, ...]:
        """Give the order with the batch first."""
        axes = range(len(self.sizes))
        return (self.batch, *(axis for axis in axes if axis != self.batch))


def flatten(node: Node, operands: list[Operand]) -> Value:
    """Flatten: all axes before a certain one become one, and all from it on another one."""
    value = expect_value(node, operands[0])
    sizes = _rows_and_sizes(node, value)
    axis = node.attributes.get("axis", 1)
    axis = axis + value.rank if axis < 0 else axis
    target = Target((prod(sizes[:axis]), prod(sizes[axis:])), int(value.batch >= axis))
    return _reshaped(node, value, target)


def reshape(node: Node, operands: list[Operand]) -> Value:
    """Reshape; the batch remains an axis, or part of one: it may be joined with other axes."""
    value = expect_value(node, operands[0])
    return _reshaped(node, value, _target(node, operands[1], value))


def squeeze(node: Node, operands: list[Operand]) -> Value:
    """Squeeze: remove axes of size 1."""
    value = expect_value(node, operands[0])
    axes = axes_of(node, operands, value.rank)
    if axes is None:
        axes = [i for i, n in enumerate(value.shape) if n == 1]
    if value.batch in axes:
        raise UnsupportedError(node, "it removes the axis of the batch")
    order = order_without(value.order, set(axes))
    shape = [n for i, n in zip(value.order, value.tensor.shape, strict=True) if i not in axes]
    return Value(keras.layers.Reshape(shape[1:], name=node.name)(value.tensor), order)


def unsqueeze(node: Node, operands: list[Operand]) -> Value:
    """Unsqueeze: add axes of size 1."""
    value = expect_value(node, operands[0])
    new_axes = axes_of(node, operands, None) or []
    rank = value.rank + len(new_axes)
    axes = {axis % rank for axis in new_axes}
    old_axes = [axis for axis in range(rank) if axis not in axes]
    batch = old_axes[value.batch]
    tensor = tensor_in_order(value, value.batch_first, node)
    sizes = iter(tensor.shape[1:])
    order = (batch, *(axis for axis in range(rank) if axis != batch))
    shape = [1 if axis in axes else next(sizes) for axis in order[1:]]
    return Value(keras.layers.Reshape(shape, name=node.name)(tensor), order)


def with_axes_in_front(node: Node, value: Value, rank: int) -> Value:
    """Give a tensor with axes of size 1 in front, so that it has at least some rank."""
    new = rank - value.rank
    if new <= 0:
        return value
    sizes = [value.tensor.shape[value.axis(axis)] for axis in value.batch_first[1:]]
    tensor = tensor_in_order(value, value.batch_first, node)
    tensor = keras.layers.Reshape([1] * new + sizes, name=f"{node.name}_axes")(tensor)
    others = [axis for axis in range(rank) if axis != value.batch + new]
    return value._replace(tensor=tensor, order=(value.batch + new, *others))


def _rows_and_sizes(node: Node, value: Value) -> tuple[int, ...]:
    """Give the sizes in the file, all of which must be known; for the batch, an example's rows."""
    sizes = [prod(value.rows) if i == value.batch else n for i, n in enumerate(value.shape)]
    if None in sizes:
        raise UnsupportedError(
            node, f"an input of shape {value.shape}", "pass input_shape= to from_onnx"
        )
    return tuple(n for n in sizes if n is not None)


def _target(node: Node, operand: Operand, value: Value) -> Target:
    """Give the target of a Reshape, with the numbers that stand for others filled in."""
    known = _rows_and_sizes(node, value)
    copies = not node.attributes.get("allowzero", 0)
    sizes, batch = _given_sizes(node, operand)
    if copies:
        if batch is None and value.batch < len(sizes) and sizes[value.batch] == 0:
            batch = value.batch
        sizes = [known[i] if n == 0 and i < len(known) else n for i, n in enumerate(sizes)]
    if 0 in sizes or prod(known) == 0:
        raise UnsupportedError(node, f"the target {sizes}, with no numbers in it")
    total, rest = prod(known), sizes.index(-1) if -1 in sizes else None
    if batch is not None:
        return _fitting(node, value, _filled(node, sizes, total), [batch], 1)
    if rest is None:
        return _fitting(node, value, sizes, range(len(sizes)), prod(sizes) // total)
    sizes = _filled(node, sizes, total * (value.examples or 1))
    if not value.examples and (sizes[0], value.batch) != (1, 0):
        return _fitting(node, value, sizes, [rest], 1)
    return _fitting(node, value, sizes, range(len(sizes)), value.examples or 1)


def _filled(node: Node, sizes: list[int], total: int) -> list[int]:
    """Give sizes with the number that -1 stands for, if it is among them."""
    if -1 not in sizes:
        return sizes
    missing, remainder = divmod(total, -prod(sizes))
    if remainder:
        raise UnsupportedError(node, f"{total} numbers of an example, to {sizes}")
    return [missing if n == -1 else n for n in sizes]


def _fitting(
    node: Node, value: Value, sizes: list[int], axes: Iterable[int], examples: int
) -> Target:
    """Give the target whose batch is along one of some axes.

    Where a file has one example, several axes may be meant: that is taken which joins the fewest
    axes with the batch. All of them keep the examples apart; if it is not what the file means,
    operations that follow will not fit and are refused.

    Args:
        node: the node.
        value: the tensor that is reshaped.
        sizes: the sizes of the target.
        axes: the axes along which the batch may be.
        examples: the examples that the sizes count.
    """
    targets = []
    for axis in axes:
        rows, remainder = divmod(sizes[axis], max(examples, 1))
        target = Target((*sizes[:axis], rows, *sizes[axis + 1 :]), axis)
        if not remainder and _joined(value, target):
            targets.append(target)
    if not targets:
        raise UnsupportedError(
            node,
            f"it mixes the examples of the batch: {value.shape} to {sizes}",
            "export the model with a batch of one, or of any size",
        )

    def cost(target: Target) -> tuple[bool, int]:
        rows, last = target.sizes[target.batch], len(sizes) - 1
        return rows > 1 and target.batch == last > 0, rows

    return min(targets, key=cost)


def _given_sizes(node: Node, operand: Operand) -> tuple[list[int], int | None]:
    """Give the sizes as in the file, and the axis that follows the batch's size, if one does."""
    if isinstance(operand, PerBatch):
        pairs = list(zip(*(array.tolist() for array in operand.arrays), strict=True))
        growing = [i for i, pair in enumerate(pairs) if pair[0] != pair[1]]
        rows = [pair[0] // BATCHES[0] for pair in pairs]
        per_batch = [tuple(n * batch for batch in BATCHES) for n in rows]
        if len(growing) != 1 or pairs[growing[0]] != per_batch[growing[0]]:
            raise UnsupportedError(node, f"a target that depends on the batch as {pairs} do")
        axis = growing[0]
        return [rows[i] if i == axis else pair[0] for i, pair in enumerate(pairs)], axis
    if not isinstance(operand, np.ndarray) or operand.ndim != 1:
        raise UnsupportedError(node, "a target that is computed from the input")
    return operand.tolist(), None


def _joined(value: Value, target: Target) -> tuple[int, int] | None:
    """Give what the batch is joined with in a target, before and after it; None if it is cut."""
    in_front = prod(n or 1 for n in value.shape[: value.batch]) * value.rows[0]
    behind = prod(n or 1 for n in value.shape[value.batch + 1 :]) * value.rows[1]
    before, cut = divmod(in_front, prod(target.sizes[: target.batch]))
    after, remainder = divmod(target.sizes[target.batch], max(before, 1))
    fits = after * prod(target.sizes[target.batch + 1 :]) == behind
    return (before, after) if fits and not cut and not remainder else None


def _reshaped(node: Node, value: Value, target: Target) -> Value:
    """Reshape; axes of size 1 may be in any order."""
    rows = _joined(value, target)
    if rows is None:
        raise UnsupportedError(node, f"it mixes the examples of the batch: {value.shape}")
    long_axes = [axis for axis in value.order[1:] if value.shape[axis] != 1]
    tensor = value.tensor
    if long_axes != sorted(long_axes):
        tensor = tensor_in_order(value, value.batch_first, node)
    old, new = prod(value.rows), prod(rows)
    others = [n for i, n in enumerate(target.sizes) if i != target.batch]
    if old == new == 1:
        layer = keras.layers.Flatten if len(others) == 1 else keras.layers.Reshape
        arguments = [] if len(others) == 1 else [others]
        return Value(layer(*arguments, name=node.name)(tensor), target.order(), rows)
    in_front = prod(n or 1 for n in value.shape[: value.batch])
    total = prod(target.sizes)
    if old > 1 and in_front > 1:
        sizes = old, in_front, total // (old * in_front)
        tensor = _turned(tensor, sizes, f"{node.name}_apart")
    in_front = prod(target.sizes[: target.batch])
    if new > 1 and in_front > 1:
        sizes = in_front, new, total // (new * in_front)
        tensor = _turned(tensor, sizes, f"{node.name}_joined")
    layer = Apply("reshape", {"newshape": [-1, *others]}, name=node.name)
    return Value(layer(tensor), target.order(), rows)


def _turned(tensor: Any, sizes: tuple[int, int, int], name: str) -> Any:
    """Exchange the first two of three parts into which an example's numbers are cut."""
    parts = Apply("reshape", {"newshape": [-1, *sizes]}, name=f"{name}_parts")
    return keras.layers.Permute((2, 1, 3), name=name)(parts(tensor))
