"""Pools as Keras layers; each table has the layers by the number of axes in space."""

from __future__ import annotations

import keras
import numpy as np

from tfxai.models.converted_layers import apply_with_constant

from ..constants import Operand
from ..layout import Value, channels_last_order
from ..onnx_graph import Node, UnsupportedError
from .windows import Windows, image_tensor, pad_image, place_windows

MAXIMUM = {
    1: keras.layers.MaxPooling1D,
    2: keras.layers.MaxPooling2D,
    3: keras.layers.MaxPooling3D,
}
AVERAGE = {
    1: keras.layers.AveragePooling1D,
    2: keras.layers.AveragePooling2D,
    3: keras.layers.AveragePooling3D,
}
GLOBAL_MAXIMUM = {
    1: keras.layers.GlobalMaxPooling1D,
    2: keras.layers.GlobalMaxPooling2D,
    3: keras.layers.GlobalMaxPooling3D,
}
GLOBAL_AVERAGE = {
    1: keras.layers.GlobalAveragePooling1D,
    2: keras.layers.GlobalAveragePooling2D,
    3: keras.layers.GlobalAveragePooling3D,
}


def max_pool(node: Node, operands: list[Operand]) -> Value:
    """MaxPool: the largest value in each window; padding is -inf."""
    if len(node.outputs) > 1 and node.outputs[1]:
        raise UnsupportedError(node, "the places of the maxima")
    tensor, windows = _image_and_windows(node, operands)
    tensor, padding = pad_image(node, tensor, windows, value=float("-inf"))
    return _pooled(MAXIMUM, node, tensor, windows, padding)


def average_pool(node: Node, operands: list[Operand]) -> Value:
    """AveragePool: the mean over the cells of each window in the image, or also in the padding."""
    tensor, windows = _image_and_windows(node, operands)
    include_padding = bool(node.attributes.get("count_include_pad", 0))
    if windows.is_same and not include_padding:
        return _pooled(AVERAGE, node, tensor, windows, "same")
    counts = [
        _counted_cells(*axis, include_padding=include_padding)
        for axis in zip(*windows, strict=True)
    ]
    tensor, _ = pad_image(node, tensor, windows, allow_same=False)
    pooled = _pooled(AVERAGE, node, tensor, windows, "valid")
    # Keras divides by all cells of a window.
    shares = np.prod(np.meshgrid(*counts, indexing="ij"), 0) / np.prod(windows.window)
    if (shares == 1).all():
        return pooled
    factor = (1 / shares)[None, ..., None]
    output = apply_with_constant("multiply", pooled.tensor, factor, name=f"{node.name}_counted")
    return pooled._replace(tensor=output)


def global_max_pool(node: Node, operands: list[Operand]) -> Value:
    """GlobalMaxPool; the axes in space remain, with size 1."""
    return _globally_pooled(GLOBAL_MAXIMUM, node, operands)


def global_average_pool(node: Node, operands: list[Operand]) -> Value:
    """GlobalAveragePool; the axes in space remain, with size 1."""
    return _globally_pooled(GLOBAL_AVERAGE, node, operands)


def _image_and_windows(node: Node, operands: list[Operand]) -> tuple[keras.KerasTensor, Windows]:
    if max(node.attributes.get("dilations", [1])) > 1:
        raise UnsupportedError(node, "a pool with dilations")
    tensor = image_tensor(node, operands[0])
    return tensor, place_windows(node, tensor, node.attributes["kernel_shape"])


def _pooled(
    layers: dict[int, type[keras.layers.Layer]],
    node: Node,
    tensor: keras.KerasTensor,
    windows: Windows,
    padding: str,
) -> Value:
    layer = layers[len(windows.window)](windows.window, windows.strides, padding, name=node.name)
    return Value(layer(tensor), channels_last_order(len(tensor.shape)))


def _globally_pooled(
    layers: dict[int, type[keras.layers.Layer]], node: Node, operands: list[Operand]
) -> Value:
    tensor = image_tensor(node, operands[0])
    rank = len(tensor.shape)
    return Value(layers[rank - 2](keepdims=True, name=node.name)(tensor), channels_last_order(rank))


def _counted_cells(
    size: int,
    window: int,
    stride: int,
    before: int,
    after: int,
    count: int,
    *,
    include_padding: bool,
) -> np.ndarray:
    """Give how many cells each window averages over, along one axis; see `Windows`."""
    start = np.arange(count) * stride - before
    if include_padding:
        return np.minimum(start + window, size + after) - start
    return np.minimum(start + window, size) - np.maximum(start, 0)
