"""Convolutions, as Keras's layers."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from tfxai.models.converted_layers import with_weights

from ..constants import Operand
from ..layout import Value, channels_last
from ..onnx_graph import Node, UnsupportedError
from .windows import image, padded, windows

PLAIN = {1: keras.layers.Conv1D, 2: keras.layers.Conv2D, 3: keras.layers.Conv3D}


def conv(node: Node, operands: list[Operand]) -> Value:
    """Conv: kernel [out, in / groups, k...], bias [out]."""
    kernel, bias = _weights(node, operands)
    tensor = image(node, operands[0])
    rank = kernel.ndim - 2
    strides = tuple(node.attributes.get("strides", [1] * rank))
    dilations = tuple(node.attributes.get("dilations", [1] * rank))
    where = windows(node, tensor, kernel.shape[2:])
    if max(strides) > 1 and max(dilations) > 1:  # Keras has no layer with both
        kernel, dilations = _dilated(kernel, dilations), (1,) * rank
    tensor, padding = padded(node, tensor, where)
    groups, channels = node.attributes.get("group", 1), tensor.shape[-1]
    settings: dict[str, Any] = {
        "strides": strides,
        "padding": padding,
        "dilation_rate": dilations,
        "use_bias": bias is not None,
        "name": node.name,
    }
    if groups > 1 and groups == channels and rank == 2 and len(set(strides)) == 1:
        times = len(kernel) // groups
        layer = keras.layers.DepthwiseConv2D(
            kernel.shape[2:], depth_multiplier=times, depthwise_initializer="zeros", **settings
        )
        array = kernel.reshape(groups, times, *kernel.shape[2:]).transpose(2, 3, 0, 1)
    else:
        layer = PLAIN[rank](
            len(kernel), kernel.shape[2:], groups=groups, kernel_initializer="zeros", **settings
        )
        array = kernel.transpose(*range(2, rank + 2), 1, 0)
    found = with_weights(layer, tensor, array, *([] if bias is None else [bias]))
    return Value(found, channels_last(rank + 2))


def _weights(node: Node, operands: list[Operand]) -> tuple[np.ndarray, np.ndarray | None]:
    kernel, bias = operands[1], operands[2] if len(operands) > 2 else None
    if not isinstance(kernel, np.ndarray) or not isinstance(bias, np.ndarray | None):
        raise UnsupportedError(node, "its weights are computed from the input")
    return kernel, bias


def _dilated(kernel: np.ndarray, dilations: tuple[int, ...]) -> np.ndarray:
    """Give the kernel with zeros between its cells."""
    sizes = [(k - 1) * d + 1 for k, d in zip(kernel.shape[2:], dilations, strict=True)]
    spread = np.zeros((*kernel.shape[:2], *sizes), kernel.dtype)
    cells = tuple(slice(None, None, dilation) for dilation in dilations)
    spread[(slice(None), slice(None), *cells)] = kernel
    return spread
