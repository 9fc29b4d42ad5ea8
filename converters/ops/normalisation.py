"""Normalisations as Keras layers."""

from __future__ import annotations

import keras
import numpy as np

from tfxai.models.converted_layers import call_with_weights

from ..constants import Operand
from ..layout import Value, channels_last_order, tensor_in_order
from ..onnx_graph import Node, UnsupportedError
from .operands import axis_after_batch, expect_arrays, expect_value
from .windows import image_tensor


def batch_normalization(node: Node, operands: list[Operand]) -> Value:
    """BatchNormalization, with stored means and variances, along the file's axis 1."""
    value = expect_value(node, operands[0])
    if node.attributes.get("training_mode", 0):
        raise UnsupportedError(node, "a training graph", "call model.eval() before the export")
    layer = keras.layers.BatchNormalization(
        axis=axis_after_batch(node, value, 1),
        epsilon=node.attributes.get("epsilon", 1e-5),
        name=node.name,
    )
    arrays = expect_arrays(node, operands[1:5])
    return value._replace(tensor=call_with_weights(layer, value.tensor, *arrays))


def instance_normalization(node: Node, operands: list[Operand]) -> Value:
    """InstanceNormalization: over space, each channel for itself."""
    return _by_groups(node, operands, None)


def group_normalization(node: Node, operands: list[Operand]) -> Value:
    """GroupNormalization; before opset 21 with one scale and shift for each group."""
    return _by_groups(node, operands, node.attributes["num_groups"])


def _by_groups(node: Node, operands: list[Operand], groups: int | None) -> Value:
    """Normalise over space and groups of channels; without a number, each channel is a group."""
    tensor = image_tensor(node, operands[0])
    channels = tensor.shape[-1]
    groups = channels if groups is None else groups
    layer = keras.layers.GroupNormalization(
        groups, epsilon=node.attributes.get("epsilon", 1e-5), name=node.name
    )
    arrays = expect_arrays(node, operands[1:3])
    weights = [np.repeat(a, channels // groups) if len(a) < channels else a for a in arrays]
    output = call_with_weights(layer, tensor, *weights)
    return Value(output, channels_last_order(len(tensor.shape)))


def rms_normalization(node: Node, operands: list[Operand]) -> Value:
    """RMSNormalization, over an axis of the file and all after it."""
    value, order, first = _last_axes(node, operands[0])
    (scale,) = expect_arrays(node, operands[1:2])
    tensor = tensor_in_order(value, order, node)
    layer = keras.layers.RMSNormalization(
        axis=list(range(first, value.rank)),
        epsilon=node.attributes.get("epsilon", 1e-5),
        name=node.name,
    )
    weights = np.broadcast_to(scale, tensor.shape[first:])
    return Value(call_with_weights(layer, tensor, weights), order)


def _last_axes(node: Node, operand: Operand) -> tuple[Value, tuple[int, ...], int]:
    """Give a tensor, an order with those axes last that are normalised over, and their first."""
    value = expect_value(node, operand)
    first = node.attributes.get("axis", -1) % value.rank
    if value.batch >= first:
        raise UnsupportedError(node, "it normalises over the examples of the batch")
    is_last = value.order[first:] == tuple(range(first, value.rank))
    return value, value.order if is_last else value.batch_first, first


def layer_normalization(node: Node, operands: list[Operand]) -> Value:
    """LayerNormalization, over an axis of the file and all after it."""
    if len(node.outputs) > 1 and any(node.outputs[1:]):
        raise UnsupportedError(node, "the mean and deviation as outputs")
    value, order, first = _last_axes(node, operands[0])
    arrays = expect_arrays(node, [operand for operand in operands[1:] if operand is not None])
    layer = keras.layers.LayerNormalization(
        axis=list(range(first, value.rank)),
        epsilon=node.attributes.get("epsilon", 1e-5),
        center=len(arrays) > 1,
        name=node.name,
    )
    tensor = tensor_in_order(value, order, node)
    weights = [np.broadcast_to(array, tensor.shape[first:]) for array in arrays]
    return Value(call_with_weights(layer, tensor, *weights), order)
