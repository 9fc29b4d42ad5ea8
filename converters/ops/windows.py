"""The windows of convolutions and pools: their places, strides and padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras

from tfxai.models.converted_layers import Pad

from ..layout import Value, channels_last_order, tensor_in_order
from ..onnx_graph import Node, UnsupportedError


class Windows(NamedTuple):
    """The places of the windows of a convolution or pool, along each axis in space."""

    sizes: tuple[int, ...]
    """The sizes of the image."""
    window: tuple[int, ...]
    """The cells from a window's first to its last one, with those that dilation skips."""
    strides: tuple[int, ...]
    before: tuple[int, ...]
    """The cells of padding before the image."""
    after: tuple[int, ...]
    """The cells of padding after the image."""
    counts: tuple[int, ...]
    """The number of windows."""

    @property
    def beyond(self) -> tuple[int, ...]:
        """The cells after the image that the last window needs: more than `after` in ceil mode."""
        return tuple(
            max(after, (count - 1) * stride + window - before - size)
            for size, window, stride, before, after, count in zip(*self, strict=True)
        )

    @property
    def is_same(self) -> bool:
        """Whether Keras's padding="same" places windows in the same way."""
        placed = self.before, self.beyond, self.counts
        return any(self.beyond) and placed == _same(self.sizes, self.window, self.strides)


def image_tensor(node: Node, value: Any) -> keras.KerasTensor:
    """Give the tensor that a node convolves or pools, channels-last, with known sizes."""
    if not isinstance(value, Value) or not 3 <= value.rank <= 5:
        raise UnsupportedError(node, "its first input is no batch of signals, images or volumes")
    tensor = tensor_in_order(value, channels_last_order(value.rank), node)
    if None in tensor.shape[1:]:
        raise UnsupportedError(
            node,
            f"the size of its input is unknown, {tensor.shape}",
            "pass input_shape= to from_onnx",
        )
    return tensor


def place_windows(node: Node, tensor: keras.KerasTensor, kernel: Sequence[int]) -> Windows:
    """Give the places of a node's windows.

    Args:
        node: a convolution or a pool.
        tensor: its image, channels-last.
        kernel: the cells of a window along each axis in space, without those that dilation skips.
    """
    sizes = tuple(tensor.shape[1:-1])
    rank = len(sizes)
    strides = tuple(node.attributes.get("strides", [1] * rank))
    dilations = node.attributes.get("dilations", [1] * rank)
    window = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))
    pads = node.attributes.get("pads", [0] * 2 * rank)
    auto = node.attributes.get("auto_pad", "NOTSET")
    if auto.startswith("SAME"):
        smaller, larger, counts = _same(sizes, window, strides)
        before, after = (smaller, larger) if auto == "SAME_UPPER" else (larger, smaller)
        return Windows(sizes, window, strides, before, after, counts)
    if min(pads) < 0:
        raise UnsupportedError(node, f"negative padding {list(pads)}")
    before, after = tuple(pads[:rank]), tuple(pads[rank:])
    if auto == "VALID":
        before = after = (0,) * rank
    ceil_mode = bool(node.attributes.get("ceil_mode", 0))
    counts = tuple(
        _count(*axis, ceil_mode=ceil_mode)
        for axis in zip(sizes, window, strides, before, after, strict=True)
    )
    return Windows(sizes, window, strides, before, after, counts)


def pad_image(
    node: Node,
    tensor: keras.KerasTensor,
    windows: Windows,
    *,
    value: float = 0.0,
    allow_same: bool = True,
) -> tuple[keras.KerasTensor, str]:
    """Give the image and the `padding` of the Keras layer that convolves or pools it.

    Where neither "same" nor "valid" is right, the image is padded by a layer of its own first.

    Args:
        node: the node; the layer that pads is named after it.
        tensor: the image, channels-last.
        windows: the places of its windows.
        value: what is padded with.
        allow_same: whether the padding may be "same".
    """
    if allow_same and windows.is_same:
        return tensor, "same"
    widths = list(zip(windows.before, windows.beyond, strict=True))
    if not any(map(any, widths)):
        return tensor, "valid"
    name = f"{node.name}_pad"
    if value == 0 and len(widths) == 2:
        return keras.layers.ZeroPadding2D(widths, name=name)(tensor), "valid"
    return Pad([*map(list, widths), [0, 0]], value=value, name=name)(tensor), "valid"


def _same(
    sizes: tuple[int, ...], window: tuple[int, ...], strides: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Give the cells before and after the image, and the windows, with Keras's padding="same"."""
    counts = tuple(-(-size // stride) for size, stride in zip(sizes, strides, strict=True))
    totals = [
        max((count - 1) * stride + cells - size, 0)
        for count, stride, cells, size in zip(counts, strides, window, sizes, strict=True)
    ]
    return tuple(t // 2 for t in totals), tuple(t - t // 2 for t in totals), counts


def _count(size: int, window: int, stride: int, before: int, after: int, *, ceil_mode: bool) -> int:
    """Count the windows along one axis.

    In ceil mode the last window may reach beyond the padding, but has to start before it.
    """
    last_start = size + before + after - window
    if not ceil_mode:
        return last_start // stride + 1
    count = -(-last_start // stride) + 1
    return count - 1 if (count - 1) * stride >= size + before else count
