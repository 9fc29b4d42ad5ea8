"""Normalisations as Keras layers."""

from __future__ import annotations

import keras
import numpy as np

from tfxai.models.converted_layers import call_with_weights

from ..constants import Operand
from ..layout import Value, file_order, tensor_in_order
from ..onnx_graph import Node, UnsupportedError
from .elementwise import expect_value


def batch_normalization(node: Node, operands: list[Operand]) -> Value:
    """BatchNormalization, with stored means and variances, along the file's axis 1."""
    value = expect_value(node, operands[0])
    layer = keras.layers.BatchNormalization(
        axis=value.axis(1), epsilon=node.attributes.get("epsilon", 1e-5), name=node.name
    )
    arrays = _arrays(node, operands[1:5])
    return value._replace(tensor=call_with_weights(layer, value.tensor, *arrays))


def layer_normalization(node: Node, operands: list[Operand]) -> Value:
    """LayerNormalization, over an axis of the file and all after it."""
    if len(node.outputs) > 1 and any(node.outputs[1:]):
        raise UnsupportedError(node, "the mean and deviation as outputs")
    value = expect_value(node, operands[0])
    first = node.attributes.get("axis", -1) % value.rank
    last_axes = list(range(first, value.rank))
    order = value.order if value.order[first:] == tuple(last_axes) else file_order(value.rank)
    arrays = _arrays(node, [operand for operand in operands[1:] if operand is not None])
    layer = keras.layers.LayerNormalization(
        axis=last_axes,
        epsilon=node.attributes.get("epsilon", 1e-5),
        center=len(arrays) > 1,
        name=node.name,
    )
    tensor = tensor_in_order(value, order, node)
    weights = [np.broadcast_to(array, tensor.shape[first:]) for array in arrays]
    return Value(call_with_weights(layer, tensor, *weights), order)


def _arrays(node: Node, operands: list[Operand]) -> list[np.ndarray]:
    """Check that operands are constants."""
    arrays = [operand for operand in operands if isinstance(operand, np.ndarray)]
    if len(arrays) < len(operands):
        raise UnsupportedError(node, "weights that are computed from the input")
    return arrays
