"""Which axes of an image are its rows, its columns and its channels.

Methods and metrics are written for images ``[B, H, W, C]``; a model may take ``[B, C, H, W]``. Its
graph tells which (`tfxai.models.graph_axes`). Images are moved before a method sees them, and its
maps, masks and references are moved back. Sequences are ``[B, T, C]`` likewise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfxai.core.types import ScoredModel, Tensors

DATA_FORMATS = ("channels_last", "channels_first")
"""As Keras calls them."""


class Order(NamedTuple):
    """Where the channels of each input are."""

    channels: tuple[int | None, ...]
    """Counted from the end: -1, or -3 for images ``[B, C, H, W]``; None where nothing tells."""

    def last(self, values: Tensors) -> Tensors:
        """Move the channels of inputs, or of arrays like them, to the end.

        Raises:
            ValueError: nothing tells where they are.
        """
        return self._each(lambda x, channel: moved(x, _known(channel, x), -1), values)

    def back(self, values: Tensors) -> Tensors:
        """Move the channels from the end to where they are in the inputs."""
        return self._each(lambda x, channel: moved(x, -1, _known(channel, x)), values)

    def score(self, forward: ScoredModel) -> ScoredModel:
        """Give a scored model of inputs whose channels are at the end."""
        return lambda inputs, targets: forward(self.back(inputs), targets)

    def references(self, baseline: Callable[[Tensors], Tensors]) -> Callable[[Tensors], Tensors]:
        """Give a baseline for inputs whose channels are at the end."""
        return lambda inputs: self.last(baseline(self.back(inputs)))

    def _each(self, move: Callable[[Any, int | None], Any], values: Tensors) -> Tensors:
        flat = tf.nest.flatten(values)
        each = [move(x, channel) for x, channel in zip(flat, self.channels, strict=True)]
        return tf.nest.pack_sequence_as(values, each)


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
        read: the axis of each input's channels, as by `graph_axes.channel_axis`.
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


def moved(values: Any, source: int, destination: int) -> Any:
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
