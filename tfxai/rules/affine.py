"""Kernels, and the affine operations after them that act on channels alone."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf


class Form(NamedTuple):
    """Where an operation takes its data and its weights."""

    data: int
    kernel: int
    neurons: tuple[int, ...]
    """The kernel's axes that count output neurons; the others are the inputs of each."""


KERNELS = {
    "MatMul": Form(0, 1, (-1,)),
    "BatchMatMulV2": Form(0, 1, (-1,)),
    "Conv2D": Form(0, 1, (-1,)),
    "Conv3D": Form(0, 1, (-1,)),
    "DepthwiseConv2dNative": Form(0, 1, (-2, -1)),
    "Conv2DBackpropInput": Form(2, 1, (-2,)),  # transposed convolutions
    "Conv3DBackpropInputV2": Form(2, 1, (-2,)),
}
REARRANGING = {
    *("Identity", "Cast", "EnsureShape", "Reshape", "Squeeze", "ExpandDims", "BatchToSpaceND"),
}


class Folded(NamedTuple):
    """An affine operation that follows a kernel."""

    operation: tf.Operation
    data: int
    """Which of its inputs is the kernel's result."""
    scale: tf.Tensor | None
    """A factor, one for all or one for each channel."""


def form_of(operation: tf.Operation, data: tuple[int, ...]) -> Form | None:
    """Give the form of a kernel that we can fold into and give patterns to."""
    form = KERNELS.get(operation.type)
    if form is None or data != (form.data,) or not operation.inputs[form.kernel].shape[-1]:
        return None
    names = {a.name for a in operation.op_def.attr}
    if "data_format" in names and not operation.get_attr("data_format").endswith(b"C"):
        return None
    if operation.type in ("MatMul", "BatchMatMulV2"):
        flags = ("transpose_a", "transpose_b") if operation.type == "MatMul" else ("adj_x", "adj_y")
        if operation.get_attr(flags[0]) or operation.inputs[1].shape.rank != 2:
            return None
        if operation.get_attr(flags[1]):
            return form._replace(neurons=(-2,))
    return form


def following(kernel: tf.Operation, consumers: dict, data: dict, stops: set) -> list[Folded]:
    """List the affine operations that only the kernel's result goes through, one after another."""
    folded: list[Folded] = []
    y = kernel.outputs[0]
    while y.ref() not in stops and len(consumers.get(y.ref(), [])) == 1:
        operation = consumers[y.ref()][0]
        next_one = _folding(operation, data[operation.name], y)
        if next_one is None:
            break
        folded.append(next_one)
        y = operation.outputs[0]
    return folded


def _folding(operation: tf.Operation, data: tuple[int, ...], y: tf.Tensor) -> Folded | None:
    """See an operation on y as one that acts on channels alone, if it does."""
    if operation.type in REARRANGING:
        same = operation.outputs[0].shape.rank and operation.outputs[0].shape[-1] == y.shape[-1]
        return Folded(operation, 0, None) if same else None
    if operation.type == "Neg":
        return Folded(operation, 0, tf.constant(-1, y.dtype))
    if operation.type not in ("BiasAdd", "AddV2", "Sub", "Mul", "RealDiv") or len(data) != 1:
        return None
    (position,) = data
    other = operation.inputs[1 - position]
    if not _is_row(other, y):
        return None
    if operation.type == "RealDiv":
        return Folded(operation, 0, 1 / other) if position == 0 else None
    if operation.type == "Sub" and position == 1:
        return Folded(operation, 1, tf.constant(-1, y.dtype))
    return Folded(operation, position, other if operation.type == "Mul" else None)


def _is_row(weights: tf.Tensor, y: tf.Tensor) -> bool:
    """Whether weights are one number, or one for each of the last axis of y."""
    size, channels = weights.shape.num_elements(), y.shape[-1]
    fits = size == 1 or (size is not None and size == channels == weights.shape[-1])
    return fits and weights.shape.rank <= y.shape.rank
