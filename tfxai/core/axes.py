"""Which axes of an image are its rows, its columns and its channels.

Methods and metrics are written for images ``[B, H, W, C]``; a model may take ``[B, C, H, W]``. The
model's graph tells which of the two it takes (`tfxai.models.graph_axes`). Images are moved to
channels-last before a method sees them, and the method's maps, masks and references are moved back.
Sequences ``[B, T, C]`` are treated in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfxai.core.types import ScoredModel, Tensors

DATA_FORMATS = ("channels_last", "channels_first")
"""The two orders of axes, by Keras's names."""


class Order(NamedTuple):
    """The order of the axes of each input, told by the place of its channels."""

    channels: tuple[int | None, ...]
    """The channels' axis of each input, counted from the end: -1, or -3 for images
    ``[B, C, H, W]``; None where nothing tells."""

    def to_channels_last(self, values: Tensors) -> Tensors:
        """Move the channels of the inputs, or of arrays of the inputs' axes, to the end.

        Raises:
            ValueError: nothing tells where the channels are.
        """
        return self._map(lambda x, channel: move_axis(x, _known(channel, x), -1), values)

    def from_channels_last(self, values: Tensors) -> Tensors:
        """Move the channels from the end to their place in the inputs."""
        return self._map(lambda x, channel: move_axis(x, -1, _known(channel, x)), values)

    def channels_last_model(self, forward: ScoredModel) -> ScoredModel:
        """Give the scored model as a function of inputs whose channels are at the end."""
        return lambda inputs, targets: forward(self.from_channels_last(inputs), targets)

    def channels_last_baseline(
        self, baseline: Callable[[Tensors], Tensors]
    ) -> Callable[[Tensors], Tensors]:
        """Give the baseline as a function of inputs whose channels are at the end."""
        return lambda inputs: self.to_channels_last(baseline(self.from_channels_last(inputs)))

    def _map(self, move: Callable[[Any, int | None], Any], values: Tensors) -> Tensors:
        pairs = zip(tf.nest.flatten(values), self.channels, strict=True)
        return tf.nest.pack_sequence_as(values, [move(x, channel) for x, channel in pairs])


OrderOf = Callable[[Tensors], Order]
"""A function from inputs to the order of their axes."""


def order_of(
    inputs: Tensors, *, read: Sequence[int | None] | None = None, data_format: str | None = None
) -> Order:
    """Give the order of the axes of inputs.

    `data_format` decides, where it is given; else the axes that a model reads; else the shapes.
    Where none of them tells, channels are last, as in Keras. The order of images that look
    channels-first, without a model that confirms it, is unknown.

    Args:
        inputs: tensors, arrays or TensorSpecs ``[B, ...]``.
        read: the axis of each input's channels, as `graph_axes.channel_axis` finds it.
        data_format: "channels_last" or "channels_first", for all inputs.
    """
    flat = tf.nest.flatten(inputs)
    axes = [None] * len(flat) if read is None else read

    def channel_axis(shape: Sequence[int | None], axis: int | None) -> int | None:
        if data_format is not None or len(shape) < 3:
            return 1 - len(shape) if data_format == "channels_first" and len(shape) > 2 else -1
        if axis is not None:
            return axis - len(shape)
        return None if looks_channels_first(shape) else -1

    pairs = zip(flat, axes, strict=True)
    return Order(tuple(channel_axis(tuple(x.shape), axis) for x, axis in pairs))


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


def move_axis(values: Any, source: int, destination: int) -> Any:
    """Move an axis of a tensor or array; both places are counted from the end, below 0."""
    if source == destination:
        return values
    rank = len(values.shape)
    order = [axis for axis in range(rank) if axis != rank + source]
    order.insert(rank + destination, rank + source)
    return tf.transpose(values, order) if tf.is_tensor(values) else np.transpose(values, order)


def _known(channel: int | None, values: Any) -> int:
    """Give the channels' axis, or raise where it is not known."""
    if channel is None:
        shape = ["B", *values.shape[1:]]
        raise ValueError(
            f"inputs of shape [{', '.join(map(str, shape))}] look channels-first, and no "
            "operation of the model says which axes are rows and columns: pass "
            "data_format='channels_first' (or 'channels_last'); where there is no such option, "
            "put a model in front whose inputs are channels-last and that permutes them: "
            f"keras.Sequential([keras.Input({_channels_last_shape(shape)}), "
            "keras.layers.Permute((3, 1, 2)), model])"
        )
    return channel


def _channels_last_shape(shape: Sequence[Any]) -> tuple:
    return (*shape[2:], shape[1])
