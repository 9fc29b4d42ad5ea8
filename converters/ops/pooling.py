"""Pools, as Keras's layers."""

from __future__ import annotations

import keras
import numpy as np

from tfxai.models.converted_layers import with_constant

from ..constants import Operand
from ..layout import Value, channels_last
from ..onnx_graph import Node, UnsupportedError
from .windows import Windows, image, padded, windows

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
    """MaxPool: what is padded never is the largest."""
    if len(node.outputs) > 1 and node.outputs[1]:
        raise UnsupportedError(node, "the places of the maxima")
    tensor, where = _placed(node, operands)
    tensor, padding = padded(node, tensor, where, value=float("-inf"))
    return _pooled(MAXIMUM, node, tensor, where, padding)


def average_pool(node: Node, operands: list[Operand]) -> Value:
    """AveragePool: the mean over what lies in the image, or also over what is padded."""
    tensor, where = _placed(node, operands)
    included = bool(node.attributes.get("count_include_pad", 0))
    if where.is_same and not included:
        return _pooled(AVERAGE, node, tensor, where, "same")
    cells = [_cells(*axis, included=included) for axis in zip(*where, strict=True)]
    tensor, _ = padded(node, tensor, where, same=False)
    pooled = _pooled(AVERAGE, node, tensor, where, "valid")
    shares = np.prod(np.meshgrid(*cells, indexing="ij"), 0) / np.prod(where.window)
    if (shares == 1).all():
        return pooled
    factor = (1 / shares)[None, ..., None]
    found = with_constant("multiply", pooled.tensor, factor, name=f"{node.name}_counted")
    return pooled._replace(tensor=found)


def global_max_pool(node: Node, operands: list[Operand]) -> Value:
    """GlobalMaxPool: the axes in space stay, with one cell."""
    return _global(GLOBAL_MAXIMUM, node, operands)


def global_average_pool(node: Node, operands: list[Operand]) -> Value:
    """GlobalAveragePool: the axes in space stay, with one cell."""
    return _global(GLOBAL_AVERAGE, node, operands)


def _placed(node: Node, operands: list[Operand]) -> tuple[keras.KerasTensor, Windows]:
    if max(node.attributes.get("dilations", [1])) > 1:
        raise UnsupportedError(node, "a pool with dilations")
    tensor = image(node, operands[0])
    return tensor, windows(node, tensor, node.attributes["kernel_shape"])


def _pooled(
    layers: dict[int, type[keras.layers.Layer]],
    node: Node,
    tensor: keras.KerasTensor,
    where: Windows,
    padding: str,
) -> Value:
    layer = layers[len(where.window)](where.window, where.strides, padding, name=node.name)
    return Value(layer(tensor), channels_last(len(tensor.shape)))


def _global(
    layers: dict[int, type[keras.layers.Layer]], node: Node, operands: list[Operand]
) -> Value:
    tensor = image(node, operands[0])
    rank = len(tensor.shape)
    return Value(layers[rank - 2](keepdims=True, name=node.name)(tensor), channels_last(rank))


def _cells(
    size: int, window: int, stride: int, before: int, after: int, count: int, *, included: bool
) -> np.ndarray:
    """Count what each window averages over, along one axis."""
    start = np.arange(count) * stride - before
    if included:
        return np.minimum(start + window, size + after) - start
    return np.minimum(start + window, size) - np.maximum(start, 0)
