"""Convolutions as Keras layers."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from tfxai.models.converted_layers import call_with_weights

from ..constants import Operand
from ..layout import Value, channels_last_order
from ..onnx_graph import Node, UnsupportedError
from .windows import image_tensor, pad_image, place_windows

LAYERS = {1: keras.layers.Conv1D, 2: keras.layers.Conv2D, 3: keras.layers.Conv3D}
"""The layers by the number of axes in space."""


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
