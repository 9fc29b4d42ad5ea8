"""Operations that repeat the entries of tensors, and constants that stand beside tensors."""

from __future__ import annotations

from math import prod

import keras
import numpy as np

from tfxai.models.converted_layers import Apply, Constant, call_with_weights

from ..constants import BATCHES, Operand, PerBatch
from ..layout import Value, constant_in_order, tensor_in_order
from ..onnx_graph import Node, UnsupportedError
from .operands import expect_value, integers
from .reshaping import with_axes_in_front


def expand(node: Node, operands: list[Operand]) -> Value:
    """Expand: repeat a tensor along axes of size 1, of which new ones may come in front."""
    value, shape = expect_value(node, operands[0]), operands[1]
    if isinstance(shape, PerBatch):
        pairs = list(zip(*(array.tolist() for array in shape.arrays), strict=True))
    elif isinstance(shape, np.ndarray):
        pairs = [(n, n) for n in shape.tolist()]
    else:
        raise UnsupportedError(node, "a shape that is computed from the input")
    value = with_axes_in_front(node, value, len(pairs))
    pairs = [(1, 1)] * (value.rank - len(pairs)) + pairs
    of_batch = tuple(prod(value.rows) * batch for batch in BATCHES)
    if pairs[value.batch] not in ((1, 1), of_batch):
        raise UnsupportedError(node, f"it repeats the examples of the batch: {pairs[value.batch]}")
    pairs[value.batch] = (1, 1)
    if any(one != other for one, other in pairs):
        raise UnsupportedError(node, "it repeats an example as often as there are examples")
    times = [pairs[axis][0] if value.shape[axis] == 1 else 1 for axis in value.order]
    return _repeated(node, value, times)


def tile(node: Node, operands: list[Operand]) -> Value:
    """Tile: repeat a tensor along its axes."""
    value, repeats = expect_value(node, operands[0]), integers(node, operands[1])
    if repeats is None or repeats[value.batch] != 1:
        raise UnsupportedError(node, f"it repeats the examples of the batch, by {repeats}")
    return _repeated(node, value, [repeats[axis] for axis in value.order])


def where(node: Node, operands: list[Operand]) -> Value:
    """Where: entries of one tensor where a condition holds, of another one elsewhere."""
    values = [operand for operand in operands if isinstance(operand, Value)]
    largest = max(values, key=lambda value: value.rank)
    if any(value.rank != largest.rank for value in values):
        shapes = [value.shape for value in values]
        raise UnsupportedError(node, f"tensors of shapes {shapes}")
    tensors = [
        tensor_in_order(operand, largest.order, node, f"_{i}")
        if isinstance(operand, Value)
        else constant_tensor(node, operand, largest, f"{node.name}_constant_{i}")
        for i, operand in enumerate(operands)
    ]
    return Value(Apply("where", name=node.name)(tensors), largest.order)


def constant_tensor(node: Node, operand: Operand, like: Value, name: str) -> keras.KerasTensor:
    """Give a constant as a tensor of each example, with the rank and order of another tensor.

    Raises:
        UnsupportedError: the constant is not the same for all examples.
    """
    if not isinstance(operand, np.ndarray) or operand.ndim > like.rank:
        raise UnsupportedError(node, f"a constant beside a tensor of shape {like.shape}")
    array = constant_in_order(
        operand.reshape((1,) * (like.rank - operand.ndim) + operand.shape), like.order
    )
    if (array != array[:1]).any():
        raise UnsupportedError(node, f"a constant of shape {operand.shape}, over the batch")
    layer = Constant(array.shape[1:], name=name)
    return call_with_weights(layer, like.tensor, array[0])


def _repeated(node: Node, value: Value, times: list[int]) -> Value:
    if all(n == 1 for n in times):
        return value
    return value._replace(tensor=Apply("tile", {"repeats": times}, name=node.name)(value.tensor))
