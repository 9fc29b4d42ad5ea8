"""Which axes of an image are its rows, its columns and its channels.

Methods and metrics are written for images ``[B, H, W, C]``; a model may take ``[B, C, H, W]``. The
first operation that reads its input as an image tells. Images are moved before a method sees
them, and its maps, masks and references are moved back. Sequences are ``[B, T, C]`` likewise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfxai.types import ScoredModel, Tensors

DATA_FORMATS = ("channels_last", "channels_first")
"""As Keras calls them."""
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


class Order(NamedTuple):
    """Where the channels of each input are."""

    channels: tuple[int | None, ...]
    """Counted from the end: -1, or -3 for images ``[B, C, H, W]``; None where nothing tells."""

    def last(self, values: Tensors) -> Tensors:
        """Move the channels of inputs, or of arrays like them, to the end.

        Raises:
            ValueError: nothing tells where they are.
        """
        return self._each(lambda x, channel: _moved(x, _known(channel, x), -1), values)

    def back(self, values: Tensors) -> Tensors:
        """Move the channels from the end to where they are in the inputs."""
        return self._each(lambda x, channel: _moved(x, -1, _known(channel, x)), values)

    def score(self, forward: ScoredModel) -> ScoredModel:
        """Give a scored model of inputs whose channels are at the end."""
        return lambda inputs, targets: forward(self.back(inputs), targets)

    def references(self, baseline: Callable[[Tensors], Tensors]) -> Callable[[Tensors], Tensors]:
        """Give a baseline for inputs whose channels are at the end."""
        return lambda inputs: self.last(baseline(self.back(inputs)))

    def _each(self, move: Callable[[Any, int | None], Any], values: Tensors) -> Tensors:
        flat = tf.nest.flatten(values)
        moved = [move(x, channel) for x, channel in zip(flat, self.channels, strict=True)]
        return tf.nest.pack_sequence_as(values, moved)


OrderOf = Callable[[Tensors], Order]
"""Inputs -> their order."""


def order_of(
    inputs: Tensors, *, read: Sequence[int | None] | None = None, data_format: str | None = None
) -> Order:
    """Give the order of inputs: as it is said, else as a model reads it, else as they look.

    Channels are last where nothing tells, as Keras has it, but for images that look otherwise:
    their order is unknown.

    Args:
        inputs: tensors, arrays or TensorSpecs ``[B, ...]``.
        read: the axis of each input's channels, as by `channel_axis`.
        data_format: "channels_last" or "channels_first", for all.
    """
    flat = tf.nest.flatten(inputs)
    found = [None] * len(flat) if read is None else read

    def one(shape: Sequence[int | None], axis: int | None) -> int | None:
        if data_format is not None or len(shape) < 3:
            return 1 - len(shape) if data_format == "channels_first" and len(shape) > 2 else -1
        if axis is not None:
            return axis - len(shape)
        return None if looks_channels_first(shape) else -1

    return Order(tuple(one(tuple(x.shape), axis) for x, axis in zip(flat, found, strict=True)))


def looks_channels_first(shape: Sequence[int | None]) -> bool:
    """Whether a shape is that of images ``[B, C, H, W]`` with one, three or four channels.

    Example:
        >>> looks_channels_first((8, 3, 32, 32)), looks_channels_first((8, 32, 32, 3))
        (True, False)
    """
    if len(shape) != 4 or shape[1] not in (1, 3, 4):
        return False
    return all(n is None or n > 4 for n in shape[2:])


def expect_channels_last(name: str, values: Any) -> None:
    """Raise a ValueError for images ``[B, ...]`` that look channels-first, where no model tells."""
    if looks_channels_first(values.shape):
        raise ValueError(
            f"{name} of shape {[*values.shape]} look channels-first: expected [B, H, W, C]; move "
            "the channels to the end, as np.moveaxis(x, 1, -1) does"
        )


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
    return [x if axis is None else _moved(x, axis - activation.shape.rank, -1) for x in values]


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


def _moved(values: Any, source: int, destination: int) -> Any:
    """Move an axis of a tensor or array; both are counted from the end."""
    if source == destination:
        return values
    rank = len(values.shape)
    order = [axis for axis in range(rank) if axis != rank + source]
    order.insert(rank + destination, rank + source)
    return tf.transpose(values, order) if tf.is_tensor(values) else np.transpose(values, order)


def _known(channel: int | None, values: Any) -> int:
    if channel is None:
        shape = ["B", *values.shape[1:]]
        raise ValueError(
            f"inputs of shape [{', '.join(map(str, shape))}] look channels-first, and no "
            "operation of the model says which axes are rows and columns: pass "
            "data_format='channels_first' (or 'channels_last'); where there is no such option, "
            "put a model in front whose inputs are channels-last and that permutes them: "
            f"keras.Sequential([keras.Input({_last_shape(shape)}), "
            "keras.layers.Permute((3, 1, 2)), model])"
        )
    return channel


def _last_shape(shape: Sequence[Any]) -> tuple:
    return (*shape[2:], shape[1])
