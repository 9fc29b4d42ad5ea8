"""Which axis of an input or of an activation holds the channels, read from a traced graph.

The first operation that reads an input as an image tells: a convolution, a pooling or a resizing.
It may stand behind transposes and operations that work element by element.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfxai.core.axes import move_axis

FORMATTED = {
    "Conv2D", "Conv3D", "DepthwiseConv2dNative", "MaxPool", "MaxPool3D", "AvgPool", "AvgPool3D",
    "FusedBatchNormV3", "SpaceToDepth", "DepthToSpace",
}  # fmt: skip
"""Operations with an attribute that tells their format: NHWC, NCHW ..."""
CHANNELS_LAST = {
    "ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic", "ResizeArea", "ScaleAndTranslate",
    "CropAndResize", "ExtractImagePatches", "LRN",
}  # fmt: skip
"""Operations that exist for channels-last images only."""
POOLING = {"Mean", "Max", "Sum"}
ELEMENTWISE = {
    "Identity", "IdentityN", "Cast", "StopGradient", "Neg", "Abs", "Square", "Sqrt", "Rsqrt",
    "Exp", "Log", "Add", "AddV2", "AddN", "Sub", "Mul", "RealDiv", "Div", "DivNoNan", "Pow",
    "SquaredDifference", "Maximum", "Minimum", "ClipByValue", "BiasAdd", "SelectV2", "Round",
    "Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Softplus", "Sigmoid", "Tanh", "Erf",
    "Pad", "PadV2", "MirrorPad", "Slice", "StridedSlice", "ReverseV2", "ConcatV2",
    "SpaceToBatchND", "BatchToSpaceND",
}  # fmt: skip
"""Operations whose output has the axes of their input, if it has as many axes."""

Axes = tuple[int | None, ...]
"""For each axis of a tensor, the axis of the image that it is; None for an axis of its own."""


def channel_axis(image: tf.Tensor) -> int | None:
    """Find the channels' axis of a symbolic input, by the first operation that reads it.

    Args:
        image: ``[B, ...]``; a model has been called on it in the same graph.

    Returns:
        The axis, counted from the front; None if no operation tells.
    """
    rank = image.shape.rank
    if rank is None or not 3 <= rank <= 5:
        return None
    reached: dict[Any, Axes] = {image.ref(): tuple(range(rank))}
    for operation in image.graph.get_operations():  # created in an order of evaluation
        read = [(t, reached[t.ref()]) for t in operation.inputs if t.ref() in reached]
        if read:
            tensor, axes = read[0]
            position = _channel_read(operation, len(axes))
            if position is not None and axes[position] is not None:
                return axes[position]
            output_axes = _output_axes(operation, tensor, axes)
            if output_axes is not None:
                reached.update((t.ref(), output_axes) for t in operation.outputs)
    return None


def channels_last(values: Sequence[tf.Tensor], activation: tf.Tensor) -> list[tf.Tensor]:
    """Move the channels of tensors with the axes of a symbolic activation to the end.

    The operation that computes the activation tells where the channels are; they are taken to be
    last if it does not.
    """
    axis = _channel_written(activation)
    return [x if axis is None else move_axis(x, axis - activation.shape.rank, -1) for x in values]


def is_formatted(activation: tf.Tensor) -> bool:
    """Whether the operation that computes an activation tells where its channels are."""
    return _channel_written(activation) is not None


def _channel_written(tensor: tf.Tensor) -> int | None:
    """Give the channels' axis of a tensor by the operation that computes it, None if unknown."""
    operation, rank = tensor.op, tensor.shape.rank
    if operation.type in FORMATTED | CHANNELS_LAST:
        return _channel_read(operation, rank)
    if operation.type == "Transpose":
        before, order = _channel_written(operation.inputs[0]), _constant(operation.inputs[1])
        return None if before is None or order is None else order.index(before)
    if operation.type in ELEMENTWISE:
        for before in operation.inputs:
            axis = _channel_written(before) if before.shape.rank == rank else None
            if axis is not None:
                return axis
    return None


def _channel_read(operation: tf.Operation, rank: int) -> int | None:
    """Give the axis of its input that an operation treats as channels, None if it does not tell."""
    if operation.type in FORMATTED:
        return rank - 1 if operation.get_attr("data_format").endswith(b"C") else 1
    if operation.type in CHANNELS_LAST:
        return rank - 1
    if operation.type in POOLING and rank > 3:
        reduced = _constant(operation.inputs[1])
        kept = None if reduced is None else {*range(1, rank)} - {a % rank for a in reduced}
        return kept.pop() if kept is not None and len(kept) == 1 else None
    return None


def _output_axes(operation: tf.Operation, tensor: tf.Tensor, axes: Axes) -> Axes | None:
    """Give the axes of an operation's output, by those of one of its inputs; None if unknown."""
    if operation.type == "Transpose":
        order = _constant(operation.inputs[1])
        return None if order is None else tuple(axes[a] for a in order)
    if operation.type == "ExpandDims":
        new = _constant(operation.inputs[1])
        if new is None:
            return None
        position = new[0] % (len(axes) + 1)
        return (*axes[:position], None, *axes[position:])
    if operation.type == "Squeeze":
        removed = {a % len(axes) for a in operation.get_attr("squeeze_dims")}
        return tuple(a for i, a in enumerate(axes) if i not in removed) if removed else None
    if operation.type == "StridedSlice" and any(
        operation.get_attr(mask) for mask in ("shrink_axis_mask", "new_axis_mask")
    ):
        return None
    shape = operation.outputs[0].shape if operation.outputs else tf.TensorShape(None)
    known = operation.type == "Reshape" and shape[1:].is_fully_defined()
    if operation.type in ELEMENTWISE or (known and shape[1:] == tensor.shape[1:]):
        return axes if shape.rank == len(axes) else None
    return None


def _constant(tensor: tf.Tensor) -> list[int] | None:
    """Give the integers of a constant tensor, None if it is not constant."""
    value = tf.get_static_value(tensor)
    return None if value is None else np.atleast_1d(value).tolist()
