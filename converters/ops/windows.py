"""Padding and strides of convolutions and pools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras

from tfxai.models.converted_layers import Pad

from ..layout import Value, channels_last, ordered
from ..onnx_graph import Node, UnsupportedError


class Windows(NamedTuple):
    """Where the windows of a convolution or pool stand, an entry for each axis in space."""

    sizes: tuple[int, ...]
    """Of the image."""
    window: tuple[int, ...]
    """From the first to the last cell, with what dilation leaves out."""
    strides: tuple[int, ...]
    before: tuple[int, ...]
    """Cells of padding."""
    after: tuple[int, ...]
    counts: tuple[int, ...]
    """How many windows there are."""

    @property
    def beyond(self) -> tuple[int, ...]:
        """Cells after the image that the last window needs; more than `after` in ceil mode."""
        return tuple(
            max(after, (count - 1) * stride + window - before - size)
            for size, window, stride, before, after, count in zip(*self, strict=True)
        )

    @property
    def is_same(self) -> bool:
        """Whether Keras's padding="same" stands for it."""
        here = self.before, self.beyond, self.counts
        return any(self.beyond) and here == _same(self.sizes, self.window, self.strides)


def image(node: Node, value: Any) -> keras.KerasTensor:
    """Give what a node convolves or pools, channels-last."""
    if not isinstance(value, Value) or not 3 <= value.rank <= 5:
        raise UnsupportedError(node, "its first input is no batch of signals, images or volumes")
    tensor = ordered(value, channels_last(value.rank), node)
    if None in tensor.shape[1:]:
        raise UnsupportedError(
            node,
            f"the size of its input is unknown, {tensor.shape}",
            "pass input_shape= to from_onnx",
        )
    return tensor


def windows(node: Node, tensor: keras.KerasTensor, kernel: Sequence[int]) -> Windows:
    """Say where a node's windows of `kernel` cells stand."""
    sizes = tuple(tensor.shape[1:-1])
    rank = len(sizes)
    strides = tuple(node.attributes.get("strides", [1] * rank))
    dilations = node.attributes.get("dilations", [1] * rank)
    window = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))
    pads = node.attributes.get("pads", [0] * 2 * rank)
    auto = node.attributes.get("auto_pad", "NOTSET")
    if auto.startswith("SAME"):
        less, more, counts = _same(sizes, window, strides)
        before, after = (less, more) if auto == "SAME_UPPER" else (more, less)
        return Windows(sizes, window, strides, before, after, counts)
    if min(pads) < 0:
        raise UnsupportedError(node, f"negative padding {list(pads)}")
    before, after = tuple(pads[:rank]), tuple(pads[rank:])
    if auto == "VALID":
        before = after = (0,) * rank
    ceil = node.attributes.get("ceil_mode", 0)
    counts = tuple(
        _count(*axis, ceil=bool(ceil))
        for axis in zip(sizes, window, strides, before, after, strict=True)
    )
    return Windows(sizes, window, strides, before, after, counts)


def padded(
    node: Node, tensor: keras.KerasTensor, where: Windows, *, value: float = 0.0, same: bool = True
) -> tuple[keras.KerasTensor, str]:
    """Give the tensor and Keras's padding; a layer pads where "same" and "valid" do not."""
    if same and where.is_same:
        return tensor, "same"
    widths = list(zip(where.before, where.beyond, strict=True))
    if not any(map(any, widths)):
        return tensor, "valid"
    name = f"{node.name}_pad"
    if value == 0 and len(widths) == 2:
        return keras.layers.ZeroPadding2D(widths, name=name)(tensor), "valid"
    return Pad([*map(list, widths), [0, 0]], value=value, name=name)(tensor), "valid"


def _same(
    sizes: tuple[int, ...], window: tuple[int, ...], strides: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Give the cells before and after, and the windows, of Keras's padding="same"."""
    counts = tuple(-(-size // stride) for size, stride in zip(sizes, strides, strict=True))
    totals = [
        max((count - 1) * stride + cells - size, 0)
        for count, stride, cells, size in zip(counts, strides, window, sizes, strict=True)
    ]
    return tuple(t // 2 for t in totals), tuple(t - t // 2 for t in totals), counts


def _count(size: int, window: int, stride: int, before: int, after: int, *, ceil: bool) -> int:
    """Count the windows; in ceil mode the last may reach beyond, but has to start inside."""
    room = size + before + after - window
    if not ceil:
        return room // stride + 1
    count = -(-room // stride) + 1
    return count - 1 if (count - 1) * stride >= size + before else count
