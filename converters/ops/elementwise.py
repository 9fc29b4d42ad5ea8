"""Operations on each element: activations, arithmetic, clipping and casts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np

from tfxai.models.converted_layers import Apply, apply_with_constant

from ..constants import Operand
from ..layout import Value, constant_in_order, tensor_in_order
from ..onnx_graph import Node, UnsupportedError
from .operands import axis_after_batch, expect_value
from .reshaping import with_axes_in_front

REAL_TYPES = (1, 10, 11, 16)
"""ONNX's numbers of the types float, float16, double and bfloat16."""

ALPHA, GAMMA = 1.67326319217681884765625, 1.05070102214813232421875
"""The numbers of Selu, by Klambauer et al. 2017."""

MakeLayer = Callable[[Node], keras.layers.Layer]
"""Makes the layer for a node."""


def unary(make_layer: MakeLayer, node: Node, operands: list[Operand]) -> Value:
    """Apply a layer for which the order of axes does not matter."""
    value = expect_value(node, operands[0])
    return value._replace(tensor=make_layer(node)(value.tensor))


def activation(function: str) -> Callable[[Node, list[Operand]], Value]:
    """Give the operation that is an activation of Keras, by the activation's name."""
    return partial(unary, lambda node: keras.layers.Activation(function, name=node.name))


def keras_op(function: str) -> Callable[[Node, list[Operand]], Value]:
    """Give the operation that is a function of `keras.ops`, by the function's name."""
    return partial(unary, lambda node: Apply(function, name=node.name))


def relu(node: Node, operands: list[Operand]) -> Value:
    """Relu: max(x, 0)."""
    return unary(lambda node: keras.layers.ReLU(name=node.name), node, operands)


def leaky_relu(node: Node, operands: list[Operand]) -> Value:
    """LeakyRelu: x, or alpha x where it is negative."""
    slope = node.attributes.get("alpha", 0.01)
    return unary(lambda node: keras.layers.LeakyReLU(slope, name=node.name), node, operands)


def elu(node: Node, operands: list[Operand]) -> Value:
    """Elu: x, or alpha (exp x - 1) where it is negative."""
    alpha = node.attributes.get("alpha", 1.0)
    return unary(lambda node: keras.layers.ELU(alpha, name=node.name), node, operands)


def selu(node: Node, operands: list[Operand]) -> Value:
    """Selu: gamma x, or gamma alpha (exp x - 1) where x is negative; Keras's has fixed numbers."""
    alpha, gamma = node.attributes.get("alpha", ALPHA), node.attributes.get("gamma", GAMMA)
    if np.allclose([alpha, gamma], [ALPHA, GAMMA], rtol=1e-6):
        return activation("selu")(node, operands)
    value = expect_value(node, operands[0])
    curved = keras.layers.ELU(alpha, name=f"{node.name}_elu")(value.tensor)
    return value._replace(tensor=keras.layers.Rescaling(gamma, name=node.name)(curved))


def celu(node: Node, operands: list[Operand]) -> Value:
    """Celu: x, or alpha (exp(x / alpha) - 1) where it is negative."""
    arguments = {"alpha": node.attributes.get("alpha", 1.0)}
    return unary(lambda node: Apply("celu", arguments, name=node.name), node, operands)


def prelu(node: Node, operands: list[Operand]) -> Value:
    """PRelu: x, or slope x where it is negative; the slope is an array that broadcasts to x."""
    value, slope = expect_value(node, operands[0]), operands[1]
    if not isinstance(slope, np.ndarray):
        raise UnsupportedError(node, "slopes that are computed from the input")
    slopes = constant_in_order(slope, value.order)
    shared = [i for i in range(1, value.rank) if slopes.ndim == 0 or slopes.shape[i] == 1]
    layer = keras.layers.PReLU(alpha_initializer="zeros", shared_axes=shared, name=node.name)
    output = layer(value.tensor)
    layer.set_weights([np.broadcast_to(slopes, (1, *layer.alpha.shape))[0]])
    return value._replace(tensor=output)


def gelu(node: Node, operands: list[Operand]) -> Value:
    """Gelu: x Phi(x), or its approximation by tanh."""
    approximate = node.attributes.get("approximate", "none") == "tanh"
    arguments = {"approximate": approximate}
    return unary(lambda node: Apply("gelu", arguments, name=node.name), node, operands)


def hard_sigmoid(node: Node, operands: list[Operand]) -> Value:
    """HardSigmoid: alpha x + beta, clipped to [0, 1]; Keras's has alpha = 1/6 and beta = 1/2."""
    alpha, beta = node.attributes.get("alpha", 0.2), node.attributes.get("beta", 0.5)
    if np.isclose(alpha, 1 / 6, rtol=1e-6) and beta == 0.5:
        return activation("hard_sigmoid")(node, operands)
    value = expect_value(node, operands[0])
    scaled = keras.layers.Rescaling(alpha, beta, name=f"{node.name}_scaled")(value.tensor)
    clipped = Apply("clip", {"x_min": 0.0, "x_max": 1.0}, name=node.name)(scaled)
    return value._replace(tensor=clipped)


def clip(node: Node, operands: list[Operand]) -> Value:
    """Clip to [min, max], either of which may be left out; Clip to [0, max] is a ReLU layer."""
    low, high = (
        node.attributes.get(name) if node.opset < 11 else _constant_number(node, operands, i)
        for i, name in enumerate(("min", "max"), 1)
    )
    if low == 0 and (high is None or high > 0):
        return unary(lambda node: keras.layers.ReLU(high, name=node.name), node, operands)
    if low is not None and high is not None:
        low = min(low, high)
    bounds = {"x_min": -np.inf if low is None else low, "x_max": np.inf if high is None else high}
    return unary(lambda node: Apply("clip", bounds, name=node.name), node, operands)


def cast(node: Node, operands: list[Operand]) -> Value:
    """Cast between types of real numbers, which changes nothing: all layers have one type."""
    value = expect_value(node, operands[0])
    if value.tensor.dtype == "bool":
        raise UnsupportedError(node, "a cast of truth values")
    if node.attributes["to"] not in REAL_TYPES:
        raise UnsupportedError(node, "a cast to integers, which has no gradient")
    return value


def cast_like(node: Node, operands: list[Operand]) -> list[Operand]:
    """CastLike: cast to the type of another tensor, which changes nothing for real numbers."""
    operand, other = operands
    kinds = [x.dtype.kind for x in (operand, other) if isinstance(x, np.ndarray)]
    if any(kind != "f" for kind in kinds):
        raise UnsupportedError(node, "a cast from or to integers")
    return [operand]


def identity(node: Node, operands: list[Operand]) -> Value:
    """Identity, and Dropout outside training: the tensor itself."""
    return expect_value(node, operands[0])


def softmax(function: str, node: Node, operands: list[Operand]) -> Value:
    """Softmax and LogSoftmax, over one axis; before opset 13, over an axis and all after it."""
    value = expect_value(node, operands[0])
    first = node.attributes.get("axis", -1 if node.opset >= 13 else 1) % value.rank
    axes = range(first, value.rank) if node.opset < 13 else [first]
    keras_axes = [axis_after_batch(node, value, axis) for axis in axes]
    axis: Any = keras_axes[0] if len(keras_axes) == 1 else keras_axes
    if function == "softmax":
        return value._replace(tensor=keras.layers.Softmax(axis, name=node.name)(value.tensor))
    if len(keras_axes) == 1:
        return unary(lambda node: Apply(function, {"axis": axis}, name=node.name), node, operands)
    arguments = {"axis": axis, "keepdims": True}
    logsumexp = Apply("logsumexp", arguments, name=f"{node.name}_total")(value.tensor)
    return value._replace(tensor=keras.layers.Subtract(name=node.name)([value.tensor, logsumexp]))


def binary(function: str, node: Node, operands: list[Operand]) -> Value:
    """Combine two tensors, or a tensor and a constant, element by element."""
    first, second = operands
    if isinstance(first, Value) and isinstance(second, Value):
        rank = max(first.rank, second.rank)
        first, second = (with_axes_in_front(node, v, rank) for v in (first, second))
        order = _common_order(first, second)
        pair = [tensor_in_order(v, order, node, f"_{i}") for i, v in enumerate((first, second))]
        is_sum = function == "add" and pair[0].shape[1:] != pair[1].shape[1:]
        layer = Apply("add", name=node.name) if is_sum else _merge_layer(function, node.name)
        return Value(layer(pair), order)
    value, constant = (first, second) if isinstance(first, Value) else (second, first)
    value = expect_value(node, value)
    if not isinstance(constant, np.ndarray):
        raise UnsupportedError(node, "a number that depends on how large the batch is")
    value = with_axes_in_front(node, value, constant.ndim)
    batch = value.batch - (value.rank - constant.ndim)
    if batch >= 0 and constant.shape[batch] > 1:
        raise UnsupportedError(node, f"a constant of shape {constant.shape}, over the batch")
    array = constant_in_order(constant, value.order)
    output = apply_with_constant(
        function, value.tensor, array, first=not isinstance(first, Value), name=node.name
    )
    return value._replace(tensor=output)


def variadic(function: str, node: Node, operands: list[Operand]) -> Value:
    """Combine any number of tensors element by element, for Sum, Max and Min."""
    if len(operands) == 1:
        return expect_value(node, operands[0])
    result, *others = operands
    for i, other in enumerate(others):
        is_last = i == len(others) - 1
        step = node if is_last else node._replace(name=f"{node.name}_{i}")
        result = binary(function, step, [result, other])
    return expect_value(node, result)


def _constant_number(node: Node, operands: list[Operand], index: int) -> float | None:
    if len(operands) <= index or operands[index] is None:
        return None
    bound = operands[index]
    if not isinstance(bound, np.ndarray):
        raise UnsupportedError(node, "a bound that is computed from the input")
    return float(bound)


def _common_order(first: Value, second: Value) -> tuple[int, ...]:
    """Give the order of the tensor with more axes that are longer than 1, for both tensors.

    An image is that tensor, so that images stay channels-last.
    """

    def long_axes(value: Value) -> int:
        return sum(n is None or n > 1 for n in value.shape)

    return first.order if long_axes(first) >= long_axes(second) else second.order


def _merge_layer(function: str, name: str) -> keras.layers.Layer:
    layers = {
        "add": keras.layers.Add,
        "subtract": keras.layers.Subtract,
        "multiply": keras.layers.Multiply,
        "maximum": keras.layers.Maximum,
        "minimum": keras.layers.Minimum,
    }
    return layers[function](name=name) if function in layers else Apply(function, name=name)
