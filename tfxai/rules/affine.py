"""Kernels, and the affine operations after a kernel that act on each channel alone.

A kernel is an operation that is linear in its data and has weights: a convolution or a product with
a matrix.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf


class KernelForm(NamedTuple):
    """Where a kernel operation takes its data and its weights."""

    data: int
    """The number of the input that is data."""
    kernel: int
    """The number of the input that is weights."""
    neurons: tuple[int, ...]
    """The axes of the weights that count neurons; a neuron sums over the other axes."""


KERNELS = {
    "MatMul": KernelForm(0, 1, (-1,)),
    "BatchMatMulV2": KernelForm(0, 1, (-1,)),
    "Conv2D": KernelForm(0, 1, (-1,)),
    "Conv3D": KernelForm(0, 1, (-1,)),
    "DepthwiseConv2dNative": KernelForm(0, 1, (-2, -1)),
    "Conv2DBackpropInput": KernelForm(2, 1, (-2,)),  # transposed convolutions
    "Conv3DBackpropInputV2": KernelForm(2, 1, (-2,)),
}
REARRANGING = {
    *("Identity", "Cast", "EnsureShape", "Reshape", "Squeeze", "ExpandDims", "BatchToSpaceND"),
}
"""Operations that rearrange values without changing them."""


class Folded(NamedTuple):
    """An affine operation that follows a kernel and is folded into it."""

    operation: tf.Operation
    data: int
    """The number of its input that comes from the kernel."""
    scale: tf.Tensor | None
    """The factor by which it multiplies, one number or one for each channel; None for 1."""


def kernel_form(operation: tf.Operation, data: tuple[int, ...]) -> KernelForm | None:
    """Give the form of a kernel; None for an operation that is no kernel, or of another layout.

    Args:
        operation: any operation.
        data: the numbers of its inputs that depend on the network's input.
    """
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


def foldable_after(kernel: tf.Operation, consumers: dict, data: dict, stops: set) -> list[Folded]:
    """List the affine operations after a kernel, up to the first that cannot be folded into it.

    Each of them must be the only one that reads the result of the operation before it.

    Args:
        kernel: the kernel operation.
        consumers: a tensor's reference -> the operations that read it.
        data: an operation's name -> the numbers of its inputs that depend on the network's input.
        stops: references of tensors behind which nothing is folded.
    """
    foldable: list[Folded] = []
    y = kernel.outputs[0]
    while y.ref() not in stops and len(consumers.get(y.ref(), [])) == 1:
        operation = consumers[y.ref()][0]
        folded = _folded(operation, data[operation.name], y)
        if folded is None:
            break
        foldable.append(folded)
        y = operation.outputs[0]
    return foldable


def _folded(operation: tf.Operation, data: tuple[int, ...], y: tf.Tensor) -> Folded | None:
    """Describe an operation on y as affine in each channel; None if it is not."""
    if operation.type in REARRANGING:
        shape = operation.outputs[0].shape
        keeps_channels = shape.rank and shape[-1] == y.shape[-1]
        return Folded(operation, 0, None) if keeps_channels else None
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
    """Whether weights are one number, or one number for each element of the last axis of y."""
    size, channels = weights.shape.num_elements(), y.shape[-1]
    fits = size == 1 or (size is not None and size == channels == weights.shape[-1])
    return fits and weights.shape.rank <= y.shape.rank
