"""Operations that choose and place entries of tensors: transposing, slicing, joining, padding."""

from __future__ import annotations

from math import prod

import keras
import numpy as np

from tfxai.models.converted_layers import Apply, Pad, Slice

from ..constants import Operand, PerBatch
from ..layout import Value, file_order, order_without, tensor_in_order
from ..onnx_graph import Node, UnsupportedError
from .broadcasting import constant_tensor
from .operands import axis_after_batch, expect_value, integers

LARGEST_INDEX = 2**31 - 1
"""An index of at least this size stands for the end of the axis."""


def transpose(node: Node, operands: list[Operand]) -> Value:
    """Transpose: the order of axes is noted; the Keras tensor stays as it is."""
    value = expect_value(node, operands[0])
    axes = node.attributes.get("perm", file_order(value.rank)[::-1])
    return value._replace(order=tuple(list(axes).index(axis) for axis in value.order))


def concat(node: Node, operands: list[Operand]) -> Value:
    """Concat: join tensors along an axis; all get the order of the first one.

    Constants among them, such as a class token, are repeated for each example.
    """
    first = next(operand for operand in operands if isinstance(operand, Value))
    if len(operands) == 1:
        return first
    axis = axis_after_batch(node, first, node.attributes["axis"])
    tensors = [
        tensor_in_order(operand, first.order, node, f"_{i}")
        if isinstance(operand, Value)
        else constant_tensor(node, operand, first, f"{node.name}_constant_{i}")
        for i, operand in enumerate(operands)
    ]
    return first._replace(tensor=keras.layers.Concatenate(axis, name=node.name)(tensors))


def split(node: Node, operands: list[Operand]) -> list[Value]:
    """Split along an axis, into given sizes, or into sizes that are equal but for the last."""
    value = expect_value(node, operands[0])
    axis = axis_after_batch(node, value, node.attributes.get("axis", 0))
    sizes = operands[1] if len(operands) > 1 else node.attributes.get("split")
    if sizes is None:
        length, count = value.tensor.shape[axis], len(node.outputs)
        largest = -(-length // count)
        sizes = [min(largest, length - i * largest) for i in range(count)]
    stops = np.cumsum(np.asarray(sizes))
    return [
        _sliced(f"{node.name}_{i}", value, {axis: [int(stop - size), int(stop), 1]})
        for i, (size, stop) in enumerate(zip(np.asarray(sizes), stops, strict=True))
    ]


def slice_(node: Node, operands: list[Operand]) -> Value:
    """Slice along axes, with starts, ends and steps as in Python."""
    value = expect_value(node, operands[0])
    arguments = [integers(node, operand) for operand in operands[1:]]
    if node.opset < 10:
        arguments = [node.attributes.get(name) for name in ("starts", "ends", "axes")]
    starts, stops, axes, steps = (*arguments, None, None, None)[:4]
    if starts is None or stops is None:
        raise UnsupportedError(node, "a slice without start or end")
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    slices = {}
    for axis, start, stop, step in zip(axes, starts, stops, steps, strict=True):
        if (start, step) == (0, 1) and stop >= LARGEST_INDEX:
            continue  # the whole axis, which may be the batch
        bounds = [None if abs(n) >= LARGEST_INDEX else n for n in (start, stop)]
        slices[axis_after_batch(node, value, axis)] = [*bounds, step]
    return _sliced(node.name, value, slices) if slices else value


def gather(node: Node, operands: list[Operand]) -> Value:
    """Gather: take the entries at constant indices along an axis."""
    value, indices = expect_value(node, operands[0]), operands[1]
    if isinstance(indices, PerBatch) or (value.rank == 1 and isinstance(indices, np.ndarray)):
        return _gathered_from_all(node, value, indices)
    if not isinstance(indices, np.ndarray):
        raise UnsupportedError(node, "indices that are computed from the input")
    axis = axis_after_batch(node, value, node.attributes.get("axis", 0))
    if indices.ndim:
        arguments = {"indices": indices.tolist(), "axis": axis}
        tensor = Apply("take", arguments, name=node.name)(value.tensor)
        return value._replace(tensor=tensor, order=_order_with(value, axis, indices.ndim))
    index = int(indices) % value.tensor.shape[axis]
    part = _sliced(f"{node.name}_part", value, {axis: [index, index + 1, 1]})
    shape = [n for i, n in enumerate(part.tensor.shape) if i != axis]
    tensor = keras.layers.Reshape(shape[1:], name=node.name)(part.tensor)
    return value._replace(tensor=tensor, order=order_without(value.order, {value.order[axis]}))


def gather_nd(node: Node, operands: list[Operand]) -> Value:
    """GatherND: take the entries at constant places, given by several indices each."""
    value, places = expect_value(node, operands[0]), operands[1]
    if not isinstance(places, np.ndarray) or node.attributes.get("batch_dims", 0):
        raise UnsupportedError(node, "places that are computed from the input, or for each row")
    count, rank = places.shape[-1], places.ndim - 1
    if value.batch < count:
        raise UnsupportedError(node, "it chooses among the examples of the batch")
    sizes = [value.shape[axis] or 0 for axis in range(count)]
    tensor = tensor_in_order(value, value.batch_first, node)
    rest = list(tensor.shape[1 + count :])
    tensor = keras.layers.Reshape([prod(sizes), *rest], name=f"{node.name}_places")(tensor)
    wrapped = np.moveaxis(places % np.array(sizes), -1, 0)
    indices = np.ravel_multi_index(tuple(wrapped), sizes).tolist()
    tensor = Apply("take", {"indices": indices, "axis": 1}, name=node.name)(tensor)
    batch = value.batch - count + rank
    others = [axis for axis in range(rank + 1 + len(rest)) if axis != batch]
    return Value(tensor, (batch, *others))


def _order_with(value: Value, axis: int, count: int) -> tuple[int, ...]:
    """Give the order of the axes after one axis of the Keras tensor has become several."""
    replaced = value.order[axis]
    order: list[int] = []
    for old in value.order:
        if old == replaced:
            order += range(old, old + count)
        else:
            order.append(old if old < replaced else old + count - 1)
    return tuple(order)


def _gathered_from_all(node: Node, value: Value, indices: np.ndarray | PerBatch) -> Value:
    """Take entries from the numbers of all examples in one row, each example from its own.

    PyTorch writes views so that it takes for strided.
    """
    numbers = prod(value.rows)
    of_batches = indices.arrays if isinstance(indices, PerBatch) else (indices,)
    if value.rank > 1 or value.rows[0] > 1 or not of_batches[0].ndim:
        raise UnsupportedError(node, "indices that depend on how large the batch is")
    arrays = [array - numbers * _column(len(array), array.ndim) for array in of_batches]
    first = arrays[0][:1]
    if any((array != first).any() for array in arrays) or first.min() < 0 or first.max() >= numbers:
        raise UnsupportedError(node, "it mixes the examples of the batch")
    rows = Apply("reshape", {"newshape": [-1, numbers]}, name=f"{node.name}_rows")(value.tensor)
    arguments = {"indices": first[0].tolist(), "axis": 1}
    tensor = Apply("take", arguments, name=node.name)(rows)
    return Value(tensor, file_order(first.ndim))


def _column(length: int, rank: int) -> np.ndarray:
    """Give 0, 1, 2 ... along the first of several axes."""
    return np.arange(length).reshape(length, *[1] * (rank - 1))


def pad(node: Node, operands: list[Operand]) -> Value:
    """Pad with a constant, by reflection, or with the values at the edge."""
    value = expect_value(node, operands[0])
    pads = node.attributes.get("pads") if node.opset < 11 else integers(node, operands[1])
    modes = {"constant": "constant", "reflect": "reflect", "edge": "symmetric"}
    mode = node.attributes.get("mode", "constant")
    fill = node.attributes.get("value", 0.0) if len(operands) < 3 else operands[2]
    if pads is None or mode not in modes or min(pads) < 0 or isinstance(fill, Value):
        raise UnsupportedError(node, f"mode {mode!r} with pads {pads}")
    if mode == "edge" and max(pads) > 1:
        raise UnsupportedError(node, f"mode 'edge' with pads {pads}, more than 1")
    padded_axes = integers(node, operands[3]) if len(operands) > 3 else None
    axes = list(range(value.rank)) if padded_axes is None else padded_axes
    widths = [[0, 0]] * value.rank
    for i, axis in enumerate(axes):
        widths[value.axis(axis)] = [int(pads[i]), int(pads[i + len(axes)])]
    if any(widths[0]):
        raise UnsupportedError(node, "it pads the batch")
    number = 0.0 if fill is None else float(np.asarray(fill).item())
    layer = Pad(widths[1:], modes[mode], number, name=node.name)
    return value._replace(tensor=layer(value.tensor))


def _sliced(name: str, value: Value, slices: dict[int, list[int | None]]) -> Value:
    """Slice a tensor along some of its axes, given as axis -> [start, stop, step]."""
    of_all_axes = [slices.get(axis, [None, None, None]) for axis in range(1, value.rank)]
    return value._replace(tensor=Slice(of_all_axes, name=name)(value.tensor))
