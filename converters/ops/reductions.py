"""Sums, means and maxima over axes."""

from __future__ import annotations

import keras

from tfxai.models.converted_layers import Apply

from ..constants import Operand
from ..layout import Value, channels_last, without
from ..onnx_graph import Node, UnsupportedError
from .elementwise import tensor_of
from .shapes import axes_of

SPACE = {
    ("mean", 4): keras.layers.GlobalAveragePooling2D,
    ("max", 4): keras.layers.GlobalMaxPooling2D,
}
"""Layers for what networks end with."""


def reduce(function: str, node: Node, operands: list[Operand]) -> Value:
    """Reduce over some axes, or all but the batch."""
    value = tensor_of(node, operands[0])
    axes = axes_of(node, operands, value.rank)
    if not axes:
        if node.attributes.get("noop_with_empty_axes", 0):
            return value
        axes = list(range(value.rank))
    places = sorted(value.axis(axis) for axis in axes)
    if places[0] == 0:
        raise UnsupportedError(node, "it joins the examples of the batch")
    kept = bool(node.attributes.get("keepdims", 1))
    order = value.order if kept else without(value.order, set(axes))
    layer = SPACE.get((function, value.rank))
    if layer and value.order == channels_last(4) and places == [1, 2]:
        return Value(layer(keepdims=kept, name=node.name)(value.tensor), order)
    arguments = {"axis": places, "keepdims": kept}
    return Value(Apply(function, arguments, name=node.name)(value.tensor), order)
