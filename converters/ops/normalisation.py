"""Normalisation layers."""

from __future__ import annotations

import keras
import numpy as np

from tfxai.models.converted_layers import with_weights

from ..constants import Operand
from ..layout import Value, ordered, same
from ..onnx_graph import Node, UnsupportedError
from .elementwise import tensor_of


def batch_normalization(node: Node, operands: list[Operand]) -> Value:
    """BatchNormalization, with the mean and variance of training, along the file's axis 1."""
    value = tensor_of(node, operands[0])
    layer = keras.layers.BatchNormalization(
        axis=value.axis(1), epsilon=node.attributes.get("epsilon", 1e-5), name=node.name
    )
    return value._replace(tensor=with_weights(layer, value.tensor, *_arrays(node, operands[1:5])))


def layer_normalization(node: Node, operands: list[Operand]) -> Value:
    """LayerNormalization over the file's last axes."""
    if len(node.outputs) > 1 and any(node.outputs[1:]):
        raise UnsupportedError(node, "the mean and deviation as outputs")
    value = tensor_of(node, operands[0])
    first = node.attributes.get("axis", -1) % value.rank
    behind = list(range(first, value.rank))
    order = value.order if value.order[first:] == tuple(behind) else same(value.rank)
    arrays = _arrays(node, [operand for operand in operands[1:] if operand is not None])
    layer = keras.layers.LayerNormalization(
        axis=behind,
        epsilon=node.attributes.get("epsilon", 1e-5),
        center=len(arrays) > 1,
        name=node.name,
    )
    tensor = ordered(value, order, node)
    whole = [np.broadcast_to(array, tensor.shape[first:]) for array in arrays]
    return Value(with_weights(layer, tensor, *whole), order)


def _arrays(node: Node, operands: list[Operand]) -> list[np.ndarray]:
    arrays = [operand for operand in operands if isinstance(operand, np.ndarray)]
    if len(arrays) < len(operands):
        raise UnsupportedError(node, "weights that are computed from the input")
    return arrays
