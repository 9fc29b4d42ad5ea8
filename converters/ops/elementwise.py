"""What is done to each element: activations, arithmetic, normalisation by known numbers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np

from tfxai.models.converted_layers import Apply, with_constant

from ..constants import Operand
from ..layout import Value, constant_in, ordered
from ..onnx_graph import Node, UnsupportedError

Layer = Callable[[Node], keras.layers.Layer]


def unary(layer: Layer, node: Node, operands: list[Operand]) -> Value:
    """Put a layer behind a tensor, whatever the order of its axes."""
    value = tensor_of(node, operands[0])
    return value._replace(tensor=layer(node)(value.tensor))


def activation(function: str) -> Callable[[Node, list[Operand]], Value]:
    """Give an operation that is one of Keras's activations."""
    return partial(unary, lambda node: keras.layers.Activation(function, name=node.name))


def mapped(function: str) -> Callable[[Node, list[Operand]], Value]:
    """Give an operation that is a function of `keras.ops`."""
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


def celu(node: Node, operands: list[Operand]) -> Value:
    """Celu: x, or alpha (exp(x / alpha) - 1) where it is negative."""
    arguments = {"alpha": node.attributes.get("alpha", 1.0)}
    return unary(lambda node: Apply("celu", arguments, name=node.name), node, operands)


def prelu(node: Node, operands: list[Operand]) -> Value:
    """PRelu: x, or slope x where it is negative; one slope for each channel, or for all."""
    value, slope = tensor_of(node, operands[0]), operands[1]
    if not isinstance(slope, np.ndarray):
        raise UnsupportedError(node, "slopes that are computed from the input")
    slopes = constant_in(slope, value.order)
    shared = [i for i in range(1, value.rank) if slopes.ndim == 0 or slopes.shape[i] == 1]
    layer = keras.layers.PReLU(alpha_initializer="zeros", shared_axes=shared, name=node.name)
    found = layer(value.tensor)
    layer.set_weights([np.broadcast_to(slopes, (1, *layer.alpha.shape))[0]])
    return value._replace(tensor=found)


def gelu(node: Node, operands: list[Operand]) -> Value:
    """Gelu: x Phi(x), or its approximation by tanh."""
    approximate = node.attributes.get("approximate", "none") == "tanh"
    arguments = {"approximate": approximate}
    return unary(lambda node: Apply("gelu", arguments, name=node.name), node, operands)


def hard_sigmoid(node: Node, operands: list[Operand]) -> Value:
    """HardSigmoid: alpha x + beta, clipped to [0, 1]; Keras's is that of 1/6 and 1/2."""
    alpha, beta = node.attributes.get("alpha", 0.2), node.attributes.get("beta", 0.5)
    if np.isclose(alpha, 1 / 6, rtol=1e-6) and beta == 0.5:
        return activation("hard_sigmoid")(node, operands)
    value = tensor_of(node, operands[0])
    scaled = keras.layers.Rescaling(alpha, beta, name=f"{node.name}_scaled")(value.tensor)
    clipped = Apply("clip", {"x_min": 0.0, "x_max": 1.0}, name=node.name)(scaled)
    return value._replace(tensor=clipped)


def clip(node: Node, operands: list[Operand]) -> Value:
    """Clip: to [min, max], either of which may be left out; ReLU6 is that of 0 and 6."""
    low, high = (
        node.attributes.get(name) if node.opset < 11 else _number(node, operands, i)
        for i, name in enumerate(("min", "max"), 1)
    )
    if low == 0:
        return unary(lambda node: keras.layers.ReLU(high, name=node.name), node, operands)
    bounds = {"x_min": -np.inf if low is None else low, "x_max": np.inf if high is None else high}
    return unary(lambda node: Apply("clip", bounds, name=node.name), node, operands)


def cast(node: Node, operands: list[Operand]) -> Value:
    """Cast between kinds of real numbers: the layers have one kind throughout."""
    value = tensor_of(node, operands[0])
    kind = node.attributes["to"]
    if kind not in (1, 10, 11, 16):  # float, float16, double, bfloat16
        raise UnsupportedError(node, "a cast to integers, which has no gradient")
    return value


def cast_like(node: Node, operands: list[Operand]) -> list[Operand]:
    """CastLike, to the kind of another tensor: real numbers all the same."""
    given, other = operands
    kinds = [x.dtype.kind for x in (given, other) if isinstance(x, np.ndarray)]
    if any(kind != "f" for kind in kinds):
        raise UnsupportedError(node, "a cast from or to integers")
    return [given]


def identity(node: Node, operands: list[Operand]) -> Value:
    """Give the tensor itself: Identity, and Dropout outside training."""
    return tensor_of(node, operands[0])


def softmax(function: str, node: Node, operands: list[Operand]) -> Value:
    """Softmax and LogSoftmax; before opset 13 over the axis and all behind it."""
    value = tensor_of(node, operands[0])
    first = node.attributes.get("axis", -1 if node.opset >= 13 else 1) % value.rank
    axes = range(first, value.rank) if node.opset < 13 else [first]
    places = [value.axis(axis) for axis in axes]
    axis: Any = places[0] if len(places) == 1 else places
    if function == "softmax":
        return value._replace(tensor=keras.layers.Softmax(axis, name=node.name)(value.tensor))
    arguments = {"axis": axis, "keepdims": True}
    total = Apply("logsumexp", arguments, name=f"{node.name}_total")(value.tensor)
    return value._replace(tensor=keras.layers.Subtract(name=node.name)([value.tensor, total]))


def binary(function: str, node: Node, operands: list[Operand]) -> Value:
    """Combine two tensors, or a tensor and a constant, element by element."""
    first, second = operands
    if isinstance(first, Value) and isinstance(second, Value):
        order = _common(node, first, second)
        pair = [ordered(value, order, node, f"_{i}") for i, value in enumerate((first, second))]
        return Value(_merged(function, node.name)(pair), order)
    value, constant = (first, second) if isinstance(first, Value) else (second, first)
    value = tensor_of(node, value)
    if not isinstance(constant, np.ndarray):
        raise UnsupportedError(node, "a number that depends on how large the batch is")
    if constant.ndim > value.rank or (constant.ndim == value.rank and len(constant) > 1):
        raise UnsupportedError(node, f"a constant of shape {constant.shape}, over the batch")
    array = constant_in(constant, value.order)
    found = with_constant(
        function, value.tensor, array, first=not isinstance(first, Value), name=node.name
    )
    return value._replace(tensor=found)


def variadic(function: str, node: Node, operands: list[Operand]) -> Value:
    """Combine any number of tensors: Sum, Max, Min."""
    if len(operands) == 1:
        return tensor_of(node, operands[0])
    found, *others = operands
    for i, other in enumerate(others):
        last = i == len(others) - 1
        step = node if last else node._replace(name=f"{node.name}_{i}")
        found = binary(function, step, [found, other])
    return tensor_of(node, found)


def tensor_of(node: Node, operand: Operand) -> Value:
    """See that an operand is computed from the model's input."""
    if not isinstance(operand, Value):
        raise UnsupportedError(node, "what it reads is not computed from the input")
    return operand


def _number(node: Node, operands: list[Operand], index: int) -> float | None:
    if len(operands) <= index or operands[index] is None:
        return None
    bound = operands[index]
    if not isinstance(bound, np.ndarray):
        raise UnsupportedError(node, "a bound that is computed from the input")
    return float(bound)


def _common(node: Node, first: Value, second: Value) -> tuple[int, ...]:
    """Give the order for two tensors: that of the larger one, as images are channels-last."""
    if first.rank != second.rank:
        raise UnsupportedError(node, f"tensors of shapes {first.shape} and {second.shape}")

    def cells(value: Value) -> int:
        return sum(n is None or n > 1 for n in value.shape)

    return first.order if cells(first) >= cells(second) else second.order


def _merged(function: str, name: str) -> keras.layers.Layer:
    layers = {
        "add": keras.layers.Add,
        "subtract": keras.layers.Subtract,
        "multiply": keras.layers.Multiply,
        "maximum": keras.layers.Maximum,
        "minimum": keras.layers.Minimum,
    }
    return layers[function](name=name) if function in layers else Apply(function, name=name)
