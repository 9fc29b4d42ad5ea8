"""Operations on shapes: reshaping, transposing, slicing, joining and padding."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from tfxai.models.converted_layers import Apply, Pad, Slice

from ..constants import BATCHES, Operand, PerBatch
from ..layout import Value, file_order, order_without, tensor_in_order, value_in_file_order
from ..onnx_graph import Node, UnsupportedError
from .elementwise import expect_value

LARGEST_INDEX = 2**31 - 1
"""An index of at least this size stands for the end of the axis."""


def transpose(node: Node, operands: list[Operand]) -> Value:
    """Transpose: the order of axes is noted; the Keras tensor stays as it is."""
    value = expect_value(node, operands[0])
    axes = node.attributes.get("perm", file_order(value.rank)[::-1])
    return value._replace(order=tuple(list(axes).index(axis) for axis in value.order))


def flatten(node: Node, operands: list[Operand]) -> Value:
    """Flatten: all axes but the batch become one."""
    value = expect_value(node, operands[0])
    if node.attributes.get("axis", 1) % value.rank != 1:
        raise UnsupportedError(node, "it flattens the batch, too")
    return _reshaped(node, value, (int(np.prod(_known_sizes(node, value))),))


def reshape(node: Node, operands: list[Operand]) -> Value:
    """Reshape each example; the batch remains the first axis."""
    value = expect_value(node, operands[0])
    first, *sizes = _target_shape(node, operands[1])
    known = _known_sizes(node, value)
    if not node.attributes.get("allowzero", 0):
        sizes = [known[i] if n == 0 else n for i, n in enumerate(sizes)]
    total = int(np.prod(known))
    if -1 in sizes:
        if first not in (0, 1, None):
            raise UnsupportedError(
                node,
                f"the target {[first, *sizes]}",
                "export the model with a batch of one, or of any size",
            )
        others = -int(np.prod(sizes))
        sizes = [total // others if n == -1 else n for n in sizes]
    if int(np.prod(sizes)) != total:
        raise UnsupportedError(node, f"it joins or splits the batch: {value.shape} to {sizes}")
    return _reshaped(node, value, tuple(sizes))


def squeeze(node: Node, operands: list[Operand]) -> Value:
    """Squeeze: remove axes of size 1."""
    value = expect_value(node, operands[0])
    axes = axes_of(node, operands, value.rank)
    if axes is None:
        axes = [i for i, n in enumerate(value.shape) if n == 1]
    order = order_without(value.order, set(axes))
    shape = [n for i, n in zip(value.order, value.tensor.shape, strict=True) if i not in axes]
    return Value(keras.layers.Reshape(shape[1:], name=node.name)(value.tensor), order)


def unsqueeze(node: Node, operands: list[Operand]) -> Value:
    """Unsqueeze: add axes of size 1."""
    value = expect_value(node, operands[0])
    new_axes = axes_of(node, operands, None) or []
    rank = value.rank + len(new_axes)
    axes = {axis % rank for axis in new_axes}
    if 0 in axes:
        raise UnsupportedError(node, "it needs the batch elsewhere than along the first axis")
    tensor = tensor_in_order(value, file_order(value.rank), node)
    sizes = iter(tensor.shape)
    shape = [1 if axis in axes else next(sizes) for axis in range(rank)]
    return value_in_file_order(keras.layers.Reshape(shape[1:], name=node.name)(tensor))


def concat(node: Node, operands: list[Operand]) -> Value:
    """Concat: join tensors along an axis; all get the order of the first one."""
    values = [expect_value(node, operand) for operand in operands]
    order = values[0].order
    tensors = [tensor_in_order(value, order, node, f"_{i}") for i, value in enumerate(values)]
    if len(tensors) == 1:
        return values[0]
    axis = _axis_after_batch(node, values[0], node.attributes["axis"])
    return Value(keras.layers.Concatenate(axis, name=node.name)(tensors), order)


def split(node: Node, operands: list[Operand]) -> list[Value]:
    """Split along an axis, into given sizes, or into sizes that are equal but for the last."""
    value = expect_value(node, operands[0])
    axis = _axis_after_batch(node, value, node.attributes.get("axis", 0))
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
    arguments = [_integers(node, operand) for operand in operands[1:]]
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
        slices[_axis_after_batch(node, value, axis)] = [*bounds, step]
    return _sliced(node.name, value, slices) if slices else value


def gather(node: Node, operands: list[Operand]) -> Value:
    """Gather: take the entries at constant indices along an axis."""
    value, indices = expect_value(node, operands[0]), operands[1]
    if not isinstance(indices, np.ndarray) or indices.ndim > 1:
        raise UnsupportedError(node, "indices that are computed from the input, or in rows")
    axis = _axis_after_batch(node, value, node.attributes.get("axis", 0))
    if indices.ndim:
        arguments = {"indices": indices.tolist(), "axis": axis}
        return value._replace(tensor=Apply("take", arguments, name=node.name)(value.tensor))
    index = int(indices) % value.tensor.shape[axis]
    part = _sliced(f"{node.name}_part", value, {axis: [index, index + 1, 1]})
    shape = [n for i, n in enumerate(part.tensor.shape) if i != axis]
    tensor = keras.layers.Reshape(shape[1:], name=node.name)(part.tensor)
    return Value(tensor, order_without(value.order, {value.order[axis]}))


def pad(node: Node, operands: list[Operand]) -> Value:
    """Pad with a constant, by reflection, or with the values at the edge."""
    value = expect_value(node, operands[0])
    pads = node.attributes.get("pads") if node.opset < 11 else _integers(node, operands[1])
    modes = {"constant": "constant", "reflect": "reflect", "edge": "symmetric"}
    mode = node.attributes.get("mode", "constant")
    fill = node.attributes.get("value", 0.0) if len(operands) < 3 else operands[2]
    if pads is None or mode not in modes or min(pads) < 0 or isinstance(fill, Value):
        raise UnsupportedError(node, f"mode {mode!r} with pads {pads}")
    if mode == "edge" and max(pads) > 1:
        raise UnsupportedError(node, f"mode 'edge' with pads {pads}, more than 1")
    padded_axes = _integers(node, operands[3]) if len(operands) > 3 else None
    axes = list(range(value.rank)) if padded_axes is None else padded_axes
    widths = [[0, 0]] * value.rank
    for i, axis in enumerate(axes):
        widths[value.axis(axis)] = [int(pads[i]), int(pads[i + len(axes)])]
    if any(widths[0]):
        raise UnsupportedError(node, "it pads the batch")
    number = 0.0 if fill is None else float(np.asarray(fill).item())
    layer = Pad(widths[1:], modes[mode], number, name=node.name)
    return value._replace(tensor=layer(value.tensor))


def _target_shape(node: Node, operand: Operand) -> list[Any]:
    """Give the target of a Reshape; None stands for the size of the batch."""
    if isinstance(operand, PerBatch):
        two, three = (array.tolist() for array in operand.arrays)
        if (two[0], three[0]) == BATCHES and two[1:] == three[1:]:
            return [None, *two[1:]]
        raise UnsupportedError(node, "it joins the batch with other axes")
    if not isinstance(operand, np.ndarray) or not operand.size:
        raise UnsupportedError(node, "a target that is computed from the input")
    return operand.tolist()


def _reshaped(node: Node, value: Value, sizes: tuple[int, ...]) -> Value:
    """Reshape each example, in the file's order of axes.

    Axes of size 1 may be in any order.
    """
    order = [axis for axis in value.order if value.shape[axis] != 1]
    tensor = value.tensor
    if order != sorted(order):
        tensor = tensor_in_order(value, file_order(value.rank), node)
    if len(sizes) == 1:
        return value_in_file_order(keras.layers.Flatten(name=node.name)(tensor))
    return value_in_file_order(keras.layers.Reshape(sizes, name=node.name)(tensor))


def _known_sizes(node: Node, value: Value) -> tuple[int, ...]:
    """Give the sizes of an example in the file, all of which must be known."""
    sizes = value.shape[1:]
    if value.order[0] != 0 or None in sizes:
        raise UnsupportedError(
            node, f"an input of shape {value.shape}", "pass input_shape= to from_onnx"
        )
    return tuple(n for n in sizes if n is not None)


def _integers(node: Node, operand: Operand) -> list[int] | None:
    """Give a constant operand as integers; None where it is left out."""
    if operand is None:
        return None
    if not isinstance(operand, np.ndarray):
        raise UnsupportedError(node, "numbers that are computed from the input or the batch")
    return [int(n) for n in operand.ravel()]


def axes_of(node: Node, operands: list[Operand], rank: int | None) -> list[int] | None:
    """Give the axes of a node: in old opsets an attribute, in new ones an input; None for neither.

    If `rank` is given, negative axes are replaced by the positive ones that they stand for.
    """
    axes = node.attributes.get("axes")
    if len(operands) > 1:
        axes = _integers(node, operands[1])
    if axes is None or rank is None:
        return axes
    return [axis % rank for axis in axes]


def _axis_after_batch(node: Node, value: Value, axis: int) -> int:
    """Give the axis of the Keras tensor for an axis in the file, which must not be the batch."""
    keras_axis = value.axis(axis)
    if keras_axis == 0:
        raise UnsupportedError(node, "it cuts or joins examples of the batch")
    return keras_axis


def _sliced(name: str, value: Value, slices: dict[int, list[int | None]]) -> Value:
    """Slice a tensor along some of its axes, given as axis -> [start, stop, step]."""
    of_all_axes = [slices.get(axis, [None, None, None]) for axis in range(1, value.rank)]
    return value._replace(tensor=Slice(of_all_axes, name=name)(value.tensor))
