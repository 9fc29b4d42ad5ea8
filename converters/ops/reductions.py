"""Sums, means and maxima over axes."""

from __future__ import annotations

import keras

from tfxai.models.converted_layers import Apply

from ..constants import Operand
from ..layout import Value, channels_last_order, order_without
from ..onnx_graph import Node, UnsupportedError
from .operands import axes_of, expect_value

SPATIAL_LAYERS = {
    ("mean", 4): keras.layers.GlobalAveragePooling2D,
    ("max", 4): keras.layers.GlobalMaxPooling2D,
}
"""The layers for reductions over height and width, with which many networks end."""


def composed(
    before: str | None, function: str, after: str | None, node: Node, operands: list[Operand]
) -> Value:
    """Reduce by a function of `keras.ops`, with other functions before and after it.

    Args:
        before: what is applied to each element first, such as "square".
        function: what reduces.
        after: what is applied to each element of the result, such as "sqrt".
        node: the node.
        operands: the tensor, and the axes if they are an input.
    """
    value = expect_value(node, operands[0])
    if before:
        tensor = Apply(before, name=f"{node.name}_{before}")(value.tensor)
        value = value._replace(tensor=tensor)
    step = node._replace(name=f"{node.name}_{function}") if after else node
    value = reduce(function, step, [value, *operands[1:]])
    if after:
        value = value._replace(tensor=Apply(after, name=node.name)(value.tensor))
    return value


def reduce(function: str, node: Node, operands: list[Operand]) -> Value:
    """Reduce over axes by a function of `keras.ops`.

    Args:
        function: the name of the function, such as "mean" or "logsumexp".
        node: the node.
        operands: the tensor, and the axes if they are an input.
    """
    value = expect_value(node, operands[0])
    axes = axes_of(node, operands, value.rank)
    if not axes:
        if node.attributes.get("noop_with_empty_axes", 0) and node.opset >= 13:
            return value
        axes = list(range(value.rank))
    keras_axes = sorted(value.axis(axis) for axis in axes)
    if keras_axes[0] == 0:
        raise UnsupportedError(node, "it joins the examples of the batch")
    keepdims = bool(node.attributes.get("keepdims", 1))
    order = value.order if keepdims else order_without(value.order, set(axes))
    layer = SPATIAL_LAYERS.get((function, value.rank))
    if layer and value.order == channels_last_order(4) and keras_axes == [1, 2]:
        return Value(layer(keepdims=keepdims, name=node.name)(value.tensor), order)
    arguments = {"axis": keras_axes, "keepdims": keepdims}
    return Value(Apply(function, arguments, name=node.name)(value.tensor), order)
