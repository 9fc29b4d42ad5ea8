"""Where a graph's operations have the channels: of an input, of an activation.

The first operation that reads an input as an image tells: a convolution, a pooling or a resizing,
perhaps behind a transpose and whatever works element by element.
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
"""Operations that name their format: NHWC, NCHW ..."""
CHANNELS_LAST = {
    "ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic", "ResizeArea", "ScaleAndTranslate",
    "CropAndResize", "ExtractImagePatches", "LRN",
}  # fmt: skip
"""Operations that know no other format."""
POOLING = {"Mean", "Max", "Sum"}
ELEMENTWISE = {
    "Identity", "IdentityN", "Cast", "StopGradient", "Neg", "Abs", "Square", "Sqrt", "Rsqrt",
    "Exp", "Log", "Add", "AddV2", "AddN", "Sub", "Mul", "RealDiv", "Div", "DivNoNan", "Pow",
    "SquaredDifference", "Maximum", "Minimum", "ClipByValue", "BiasAdd", "SelectV2", "Round",
    "Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Softplus", "Sigmoid", "Tanh", "Erf",
    "Pad", "PadV2", "MirrorPad", "Slice", "StridedSlice", "ReverseV2", "ConcatV2",
    "SpaceToBatchND", "BatchToSpaceND",
}  # fmt: skip
"""Operations whose axes are those of their input, as long as these are as many."""

Axes = tuple[int | None, ...]
"""Of a tensor behind an input: which of the input's axes each of its own is, None for a new one."""


def channel_axis(image: tf.Tensor) -> int | None:
    """Find the axis of the channels of a symbolic input, by the first operation that reads it.

    Args:
        image: ``[B, ...]``, of which a model has been called in the same graph.

    Returns:
        The axis; None if no operation tells.
    """
    rank = image.shape.rank
    if rank is None or not 3 <= rank <= 5:
        return None
    reached: dict[Any, Axes] = {image.ref(): tuple(range(rank))}
    for operation in image.graph.get_operations():  # created in an order of evaluation
        given = [(t, reached[t.ref()]) for t in operation.inputs if t.ref() in reached]
        if given:
            tensor, axes = given[0]
            position = _channel_read(operation, len(axes))
            if position is not None and axes[position] is not None:
                return axes[position]
            behind = _axes_behind(operation, tensor, axes)
            if behind is not None:
                reached.update((t.ref(), behind) for t in operation.outputs)
    return None


def channels_last(values: Sequence[tf.Tensor], activation: tf.Tensor) -> list[tf.Tensor]:
    """Move the channels of tensors that are like a symbolic activation to the end.

    They are where the operation has them that the activation comes from, last if it does not say.
    """
    axis = _channel_written(activation)
    return [x if axis is None else move_axis(x, axis - activation.shape.rank, -1) for x in values]


def _channel_written(tensor: tf.Tensor) -> int | None:
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
    """Give which axis of its input an operation takes for the channels, None if it does not say."""
    if operation.type in FORMATTED:
        return rank - 1 if operation.get_attr("data_format").endswith(b"C") else 1
    if operation.type in CHANNELS_LAST:
        return rank - 1
    if operation.type in POOLING and rank > 3:
        reduced = _constant(operation.inputs[1])
        left = None if reduced is None else {*range(1, rank)} - {a % rank for a in reduced}
        return left.pop() if left is not None and len(left) == 1 else None
    return None


def _axes_behind(operation: tf.Operation, tensor: tf.Tensor, axes: Axes) -> Axes | None:
    """Give the axes of what an operation makes of a tensor, None where they are lost."""
    if operation.type == "Transpose":
        order = _constant(operation.inputs[1])
        return None if order is None else tuple(axes[a] for a in order)
    if operation.type == "ExpandDims":
        new = _constant(operation.inputs[1])
        if new is None:
            return None
        at = new[0] % (len(axes) + 1)
        return (*axes[:at], None, *axes[at:])
    if operation.type == "Squeeze":
        gone = {a % len(axes) for a in operation.get_attr("squeeze_dims")}
        return tuple(a for i, a in enumerate(axes) if i not in gone) if gone else None
    if operation.type == "StridedSlice" and any(
        operation.get_attr(mask) for mask in ("shrink_axis_mask", "new_axis_mask")
    ):
        return None
    after = operation.outputs[0].shape if operation.outputs else tf.TensorShape(None)
    same = operation.type == "Reshape" and after[1:].is_fully_defined()
    if operation.type in ELEMENTWISE or (same and after[1:] == tensor.shape[1:]):
        return axes if after.rank == len(axes) else None
    return None


def _constant(tensor: tf.Tensor) -> list[int] | None:
    value = tf.get_static_value(tensor)
    return None if value is None else np.atleast_1d(value).tolist()
