"""Where things stand: reshaping, transposing, cutting and joining."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from tfxai.models.converted_layers import Apply, Pad, Slice

from ..constants import BATCHES, Operand, PerBatch
from ..layout import Value, ordered, plain, same, without
from ..onnx_graph import Node, UnsupportedError
from .elementwise import tensor_of

FAR = 2**31 - 1
"""Ends beyond it mean the end of the axis."""


def transpose(node: Node, operands: list[Operand]) -> Value:
    """Transpose: the axes get other names; they stay where they are."""
    value = tensor_of(node, operands[0])
    axes = node.attributes.get("perm", same(value.rank)[::-1])
    return value._replace(order=tuple(list(axes).index(axis) for axis in value.order))


def flatten(node: Node, operands: list[Operand]) -> Value:
    """Flatten all but the batch."""
    value = tensor_of(node, operands[0])
    if node.attributes.get("axis", 1) % value.rank != 1:
        raise UnsupportedError(node, "it flattens the batch, too")
    return _reshaped(node, value, (int(np.prod(_known(node, value))),))


def reshape(node: Node, operands: list[Operand]) -> Value:
    """Reshape each example; the batch stays along the first axis."""
    value = tensor_of(node, operands[0])
    first, *sizes = _target(node, operands[1])
    known = _known(node, value)
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
    """Squeeze: drop axes of size 1."""
    value = tensor_of(node, operands[0])
    axes = axes_of(node, operands, value.rank)
    if axes is None:
        axes = [i for i, n in enumerate(value.shape) if n == 1]
    left = without(value.order, set(axes))
    shape = [n for i, n in zip(value.order, value.tensor.shape, strict=True) if i not in axes]
    return Value(keras.layers.Reshape(shape[1:], name=node.name)(value.tensor), left)


def unsqueeze(node: Node, operands: list[Operand]) -> Value:
    """Unsqueeze: add axes of size 1."""
    value = tensor_of(node, operands[0])
    given = axes_of(node, operands, None) or []
    rank = value.rank + len(given)
    axes = {axis % rank for axis in given}
    if 0 in axes:
        raise UnsupportedError(node, "it needs the batch elsewhere than along the first axis")
    tensor = ordered(value, same(value.rank), node)
    sizes = iter(tensor.shape)
    shape = [1 if axis in axes else next(sizes) for axis in range(rank)]
    return plain(keras.layers.Reshape(shape[1:], name=node.name)(tensor))


def concat(node: Node, operands: list[Operand]) -> Value:
    """Concat along an axis, in the order of the first tensor."""
    values = [tensor_of(node, operand) for operand in operands]
    order = values[0].order
    tensors = [ordered(value, order, node, f"_{i}") for i, value in enumerate(values)]
    if len(tensors) == 1:
        return values[0]
    axis = _inner(node, values[0], node.attributes["axis"])
    return Value(keras.layers.Concatenate(axis, name=node.name)(tensors), order)


def split(node: Node, operands: list[Operand]) -> list[Value]:
    """Split along an axis, into the sizes given or as equal as can be."""
    value = tensor_of(node, operands[0])
    axis = _inner(node, value, node.attributes.get("axis", 0))
    sizes = operands[1] if len(operands) > 1 else node.attributes.get("split")
    if sizes is None:
        whole, count = value.tensor.shape[axis], len(node.outputs)
        largest = -(-whole // count)
        sizes = [min(largest, whole - i * largest) for i in range(count)]
    stops = np.cumsum(np.asarray(sizes))
    return [
        _part(f"{node.name}_{i}", value, {axis: [int(stop - size), int(stop), 1]})
        for i, (size, stop) in enumerate(zip(np.asarray(sizes), stops, strict=True))
    ]


def slice_(node: Node, operands: list[Operand]) -> Value:
    """Slice along axes, as Python does."""
    value = tensor_of(node, operands[0])
    given = [_integers(node, operand) for operand in operands[1:]]
    if node.opset < 10:
        given = [node.attributes.get(name) for name in ("starts", "ends", "axes")]
    starts, stops, axes, steps = (*given, None, None, None)[:4]
    if starts is None or stops is None:
        raise UnsupportedError(node, "a slice without start or end")
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    slices = {}
    for axis, start, stop, step in zip(axes, starts, stops, steps, strict=True):
        if (start, step) == (0, 1) and stop >= FAR:
            continue  # the whole axis, which may be the batch
        far = [None if abs(n) >= FAR else n for n in (start, stop)]
        slices[_inner(node, value, axis)] = [*far, step]
    return _part(node.name, value, slices) if slices else value


def gather(node: Node, operands: list[Operand]) -> Value:
    """Gather known places along an axis."""
    value, places = tensor_of(node, operands[0]), operands[1]
    if not isinstance(places, np.ndarray) or places.ndim > 1:
        raise UnsupportedError(node, "places that are computed from the input, or in rows")
    axis = _inner(node, value, node.attributes.get("axis", 0))
    if places.ndim:
        arguments = {"indices": places.tolist(), "axis": axis}
        return value._replace(tensor=Apply("take", arguments, name=node.name)(value.tensor))
    place = int(places) % value.tensor.shape[axis]
    part = _part(f"{node.name}_part", value, {axis: [place, place + 1, 1]})
    shape = [n for i, n in enumerate(part.tensor.shape) if i != axis]
    tensor = keras.layers.Reshape(shape[1:], name=node.name)(part.tensor)
    return Value(tensor, without(value.order, {value.order[axis]}))


def pad(node: Node, operands: list[Operand]) -> Value:
    """Pad with a constant, by reflection or by the edge's value."""
    value = tensor_of(node, operands[0])
    pads = node.attributes.get("pads") if node.opset < 11 else _integers(node, operands[1])
    modes = {"constant": "constant", "reflect": "reflect", "edge": "symmetric"}
    mode = node.attributes.get("mode", "constant")
    fill = node.attributes.get("value", 0.0) if len(operands) < 3 else operands[2]
    if pads is None or mode not in modes or min(pads) < 0 or isinstance(fill, Value):
        raise UnsupportedError(node, f"mode {mode!r} with pads {pads}")
    if mode == "edge" and max(pads) > 1:
        raise UnsupportedError(node, f"mode 'edge' with pads {pads}, more than 1")
    named = _integers(node, operands[3]) if len(operands) > 3 else None
    axes = list(range(value.rank)) if named is None else named
    widths = [[0, 0]] * value.rank
    for i, axis in enumerate(axes):
        widths[value.axis(axis)] = [int(pads[i]), int(pads[i + len(axes)])]
    if any(widths[0]):
        raise UnsupportedError(node, "it pads the batch")
    amount = 0.0 if fill is None else float(np.asarray(fill).item())
    layer = Pad(widths[1:], modes[mode], amount, name=node.name)
    return value._replace(tensor=layer(value.tensor))


def _target(node: Node, operand: Operand) -> list[Any]:
    """Give the shape for Reshape; None stands for the batch."""
    if isinstance(operand, PerBatch):
        two, three = (array.tolist() for array in operand.arrays)
        if (two[0], three[0]) == BATCHES and two[1:] == three[1:]:
            return [None, *two[1:]]
        raise UnsupportedError(node, "it joins the batch with other axes")
    if not isinstance(operand, np.ndarray) or not operand.size:
        raise UnsupportedError(node, "a target that is computed from the input")
    return operand.tolist()


def _reshaped(node: Node, value: Value, sizes: tuple[int, ...]) -> Value:
    """Reshape each example, which needs the file's own order, unless but one axis is large."""
    order = [axis for axis in value.order if value.shape[axis] != 1]
    tensor = value.tensor
    if order != sorted(order):
        tensor = ordered(value, same(value.rank), node)
    if len(sizes) == 1:
        return plain(keras.layers.Flatten(name=node.name)(tensor))
    return plain(keras.layers.Reshape(sizes, name=node.name)(tensor))


def _known(node: Node, value: Value) -> tuple[int, ...]:
    """Give the sizes of an example."""
    sizes = value.shape[1:]
    if value.order[0] != 0 or None in sizes:
        raise UnsupportedError(
            node, f"an input of shape {value.shape}", "pass input_shape= to from_onnx"
        )
    return tuple(n for n in sizes if n is not None)


def _integers(node: Node, operand: Operand) -> list[int] | None:
    if operand is None:
        return None
    if not isinstance(operand, np.ndarray):
        raise UnsupportedError(node, "numbers that are computed from the input or the batch")
    return [int(n) for n in operand.ravel()]


def axes_of(node: Node, operands: list[Operand], rank: int | None) -> list[int] | None:
    """Give the axes of Squeeze, Unsqueeze and reductions, by an attribute or, later, an input."""
    axes = node.attributes.get("axes")
    if len(operands) > 1:
        axes = _integers(node, operands[1])
    if axes is None or rank is None:
        return axes
    return [axis % rank for axis in axes]


def _inner(node: Node, value: Value, axis: int) -> int:
    """Give the tensor's axis that is this one in the file; it must not be the batch's."""
    found = value.axis(axis)
    if found == 0:
        raise UnsupportedError(node, "it cuts or joins examples of the batch")
    return found


def _part(name: str, value: Value, slices: dict[int, list[int | None]]) -> Value:
    whole = [slices.get(axis, [None, None, None]) for axis in range(1, value.rank)]
    return value._replace(tensor=Slice(whole, name=name)(value.tensor))
