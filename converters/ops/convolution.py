"""Convolutions as Keras layers."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from tfxai.models.converted_layers import Slice, call_with_weights

from ..constants import Operand
from ..layout import Value, channels_last_order
from ..onnx_graph import Node, UnsupportedError
from .windows import image_tensor, pad_image, place_windows

LAYERS = {1: keras.layers.Conv1D, 2: keras.layers.Conv2D, 3: keras.layers.Conv3D}
"""The layers of convolutions by the number of axes in space."""
TRANSPOSED_LAYERS = {
    1: keras.layers.Conv1DTranspose,
    2: keras.layers.Conv2DTranspose,
    3: keras.layers.Conv3DTranspose,
}
"""Those of transposed convolutions."""


def conv(node: Node, operands: list[Operand]) -> Value:
    """Conv: kernel ``[out, in / groups, *window]``, bias ``[out]``."""
    kernel, bias = _weights(node, operands)
    tensor = image_tensor(node, operands[0])
    rank = kernel.ndim - 2
    strides = tuple(node.attributes.get("strides", [1] * rank))
    dilations = tuple(node.attributes.get("dilations", [1] * rank))
    windows = place_windows(node, tensor, kernel.shape[2:])
    if max(strides) > 1 and max(dilations) > 1:  # Keras has no layer with both
        kernel, dilations = _dilate(kernel, dilations), (1,) * rank
    tensor, padding = pad_image(node, tensor, windows)
    groups, channels = node.attributes.get("group", 1), tensor.shape[-1]
    settings: dict[str, Any] = {
        "strides": strides,
        "padding": padding,
        "dilation_rate": dilations,
        "use_bias": bias is not None,
        "name": node.name,
    }
    if groups > 1 and groups == channels and rank == 2 and len(set(strides)) == 1:
        multiplier = len(kernel) // groups
        layer = keras.layers.DepthwiseConv2D(
            kernel.shape[2:], depth_multiplier=multiplier, depthwise_initializer="zeros", **settings
        )
        weights = kernel.reshape(groups, multiplier, *kernel.shape[2:]).transpose(2, 3, 0, 1)
    else:
        layer = LAYERS[rank](
            len(kernel), kernel.shape[2:], groups=groups, kernel_initializer="zeros", **settings
        )
        weights = kernel.transpose(*range(2, rank + 2), 1, 0)
    output = call_with_weights(layer, tensor, weights, *([] if bias is None else [bias]))
    return Value(output, channels_last_order(rank + 2))


def conv_transpose(node: Node, operands: list[Operand]) -> Value:
    """ConvTranspose: kernel ``[in, out / groups, *window]``, bias ``[out]``.

    Keras's layers have no groups: the kernel of several is one with zeros between the groups. What
    the file's padding takes away is cropped from the result.
    """
    kernel, bias = _weights(node, operands)
    tensor = image_tensor(node, operands[0])
    rank = kernel.ndim - 2
    strides = tuple(node.attributes.get("strides", [1] * rank))
    dilations = tuple(node.attributes.get("dilations", [1] * rank))
    added = tuple(node.attributes.get("output_padding", [0] * rank))
    if any(more >= stride for more, stride in zip(added, strides, strict=True)):
        raise UnsupportedError(node, f"output_padding={list(added)} with strides {list(strides)}")
    kernel = _dilate(_with_groups(kernel, node.attributes.get("group", 1)), dilations)
    sizes = tensor.shape[1:-1]
    whole = [
        (n - 1) * stride + k + more
        for n, stride, k, more in zip(sizes, strides, kernel.shape[2:], added, strict=True)
    ]
    crops = _crops(node, whole, [n * s for n, s in zip(sizes, strides, strict=True)])
    is_whole = not any(map(any, crops))
    layer = TRANSPOSED_LAYERS[rank](
        kernel.shape[1],
        kernel.shape[2:],
        strides=strides,
        output_padding=added,
        use_bias=bias is not None,
        kernel_initializer="zeros",
        name=node.name if is_whole else f"{node.name}_whole",
    )
    weights = kernel.transpose(*range(2, rank + 2), 1, 0)
    output = call_with_weights(layer, tensor, weights, *([] if bias is None else [bias]))
    if not is_whole:
        slices: list[list[int | None]] = [
            [start, size - end, 1] for (start, end), size in zip(crops, whole, strict=True)
        ]
        output = Slice([*slices, [None, None, None]], name=node.name)(output)
    return Value(output, channels_last_order(rank + 2))


def _with_groups(kernel: np.ndarray, groups: int) -> np.ndarray:
    """Give a kernel ``[in, out / groups, *window]`` as ``[in, out, *window]``, with zeros."""
    if groups == 1:
        return kernel
    inside, outside = len(kernel) // groups, kernel.shape[1]
    whole = np.zeros((len(kernel), outside * groups, *kernel.shape[2:]), kernel.dtype)
    for i in range(groups):
        rows, columns = (slice(i * n, (i + 1) * n) for n in (inside, outside))
        whole[rows, columns] = kernel[rows]
    return whole


def _crops(node: Node, whole: list[int], same: list[int]) -> list[tuple[int, int]]:
    """Give what is cut away before and after along each axis in space.

    Args:
        node: the node.
        whole: the sizes of the result without padding.
        same: the sizes that automatic padding gives.
    """
    auto = node.attributes.get("auto_pad", "NOTSET")
    sizes = node.attributes.get("output_shape") or (same if auto.startswith("SAME") else None)
    if sizes is None:
        pads = node.attributes.get("pads", [0] * 2 * len(whole))
        pads = [0] * 2 * len(whole) if auto == "VALID" else pads
        crops = list(zip(pads[: len(whole)], pads[len(whole) :], strict=True))
    else:
        totals = [n - size for n, size in zip(whole, sizes[-len(whole) :], strict=True)]
        halves = [(total // 2, total - total // 2) for total in totals]
        crops = halves if auto == "SAME_UPPER" else [(end, start) for start, end in halves]
    if any(n < 0 for crop in crops for n in crop):
        raise UnsupportedError(node, f"negative padding {crops}")
    return crops


def _weights(node: Node, operands: list[Operand]) -> tuple[np.ndarray, np.ndarray | None]:
    kernel, bias = operands[1], operands[2] if len(operands) > 2 else None
    if not isinstance(kernel, np.ndarray) or not isinstance(bias, np.ndarray | None):
        raise UnsupportedError(node, "its weights are computed from the input")
    return kernel, bias


def _dilate(kernel: np.ndarray, dilations: tuple[int, ...]) -> np.ndarray:
    """Spread a kernel, with zeros between its cells."""
    sizes = [(k - 1) * d + 1 for k, d in zip(kernel.shape[2:], dilations, strict=True)]
    dilated = np.zeros((*kernel.shape[:2], *sizes), kernel.dtype)
    cells = tuple(slice(None, None, dilation) for dilation in dilations)
    dilated[(slice(None), slice(None), *cells)] = kernel
    return dilated
