"""Whether the gradients of a Keras model are those of the model that it was made of."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from .layout import as_keras
from .onnx_session import Arrays, OnnxFile

if TYPE_CHECKING:
    import torch

REACH = 0.001
"""How far from a sample its gradient is tested, in units of the input's standard deviation."""
POINTS = 16
"""At which gradients are averaged between two inputs."""


def along_lines(
    model: keras.Model, file: OnnxFile, inputs: Arrays, directions: Arrays, weights: Arrays
) -> float:
    """Compare f(x + r d) - f(x - r d) with the integral of the model's gradient between the two.

    f is what onnxruntime computes. Both are equal for any r, also where ReLUs change on the way.
    """

    def moved(reach: float) -> list[np.ndarray]:
        return [x + reach * d for x, d in zip(inputs, directions, strict=True)]

    integral = np.zeros(len(inputs[0]))
    for node, share in zip(*np.polynomial.legendre.leggauss(POINTS), strict=True):
        gradients = _gradients(model, moved(REACH * node), weights)
        for gradient, direction in zip(gradients, directions, strict=True):
            integral += REACH * share * (gradient * direction).sum(tuple(range(1, direction.ndim)))
    ahead, behind = (file(moved(reach)) for reach in (REACH, -REACH))
    changes = [y.astype("float64") - x for x, y in zip(behind, ahead, strict=True)]
    difference = _weighted(changes, weights)
    return float(np.linalg.norm(integral - difference) / np.linalg.norm(difference))


def against_torch(
    model: keras.Model, module: torch.nn.Module, file: OnnxFile, inputs: Arrays, weights: Arrays
) -> float:
    """Compare the gradients of both in float64."""
    import torch

    points = [torch.tensor(x, requires_grad=True) for x in file.in_file_order(inputs)]
    outputs = copy.deepcopy(module).double()(*points)
    outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
    value = sum(
        (output * torch.tensor(np.transpose(w, np.argsort(order)[1:] - 1))).sum()
        for output, w, order in zip(outputs, weights, file.outputs, strict=True)
    )
    value.backward()
    expected = [
        np.asarray(point.grad).transpose(order)
        for point, order in zip(points, file.inputs, strict=True)
    ]
    found = _gradients(in_float64(model), inputs, weights)
    pairs = zip(found, expected, strict=True)
    return max(float(np.linalg.norm(x - y) / np.linalg.norm(y)) for x, y in pairs)


def in_float64(model: keras.Model) -> keras.Model:
    """Give a functional model that computes in float64 with the same weights."""

    def layer_in_float64(layer: keras.layers.Layer) -> keras.layers.Layer:
        return type(layer).from_config({**layer.get_config(), "dtype": "float64"})

    inputs = [keras.Input(batch_shape=x.shape, dtype="float64", name=x.name) for x in model.inputs]
    twin = keras.models.clone_model(
        model,
        input_tensors=as_keras(inputs),
        clone_function=layer_in_float64,
    )
    twin.set_weights(model.get_weights())
    return twin


def _gradients(model: keras.Model, inputs: Arrays, weights: Arrays) -> list[np.ndarray]:
    """Give the gradient of the weighted outputs, for each input."""
    kind = model.inputs[0].dtype
    points = [tf.constant(x, kind) for x in inputs]
    with tf.GradientTape() as tape:
        tape.watch(points)
        value = _weighted(model(as_keras(points)), weights)
    return [gradient.numpy() for gradient in tape.gradient(value, points)]


def _weighted(outputs: Any, weights: Arrays) -> tf.Tensor:
    """Give sum_i w_i y_i over all outputs, for each example."""
    products = [
        output * tf.constant(weight, output.dtype)
        for output, weight in zip(tf.nest.flatten(outputs), weights, strict=True)
    ]
    return tf.add_n([tf.reduce_sum(p, range(1, p.shape.rank)) for p in products])
