"""The error of a Keras model's gradients against the model that it was rebuilt from."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from .layout import single_or_list
from .onnx_session import Arrays, OnnxSession

if TYPE_CHECKING:
    import torch

REACH = 0.001
"""The distance of the two inputs from a sample, in standard deviations of the input."""
POINTS = 16
"""The number of Gauss-Legendre points between the two inputs at which gradients are evaluated."""


def error_along_lines(
    model: keras.Model, session: OnnxSession, inputs: Arrays, directions: Arrays, weights: Arrays
) -> float:
    """Compare f(x + r d) - f(x - r d) with the integral of the model's gradient between the two.

    f is onnxruntime's weighted sum of outputs, x a sample, d its direction and r is `REACH`. If the
    gradient is that of f, both are equal for any r, even where ReLUs switch between the two inputs.

    Args:
        model: the Keras model.
        session: the ONNX file.
        inputs: samples x for each input of the model.
        directions: directions d for each input of the model.
        weights: the weights of each output in the sum.

    Returns:
        The relative L2 error of the integrals over all samples.
    """

    def moved(distance: float) -> list[np.ndarray]:
        return [x + distance * d for x, d in zip(inputs, directions, strict=True)]

    integral = np.zeros(len(inputs[0]))
    for node, node_weight in zip(*np.polynomial.legendre.leggauss(POINTS), strict=True):
        gradients = _gradients(model, moved(REACH * node), weights)
        for gradient, direction in zip(gradients, directions, strict=True):
            axes = tuple(range(1, direction.ndim))
            integral += REACH * node_weight * (gradient * direction).sum(axes)
    after, before = (session(moved(distance)) for distance in (REACH, -REACH))
    changes = [y.astype("float64") - x for x, y in zip(before, after, strict=True)]
    difference = _weighted(changes, weights)
    return float(np.linalg.norm(integral - difference) / np.linalg.norm(difference))


def error_against_torch(
    model: keras.Model,
    module: torch.nn.Module,
    session: OnnxSession,
    inputs: Arrays,
    weights: Arrays,
) -> float:
    """Compare the model's gradients with a PyTorch module's, both in float64.

    Args:
        model: the Keras model.
        module: the module that the file was exported from.
        session: the ONNX file, which knows the order of axes.
        inputs: samples for each input of the model.
        weights: the weights of each output in the sum whose gradient is compared.

    Returns:
        The largest relative L2 error of an input's gradients.
    """
    import torch

    points = [torch.tensor(x, requires_grad=True) for x in session.in_file_order(inputs)]
    outputs = copy.deepcopy(module).double()(*points)
    outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
    value = sum(
        (output * torch.tensor(np.transpose(w, np.argsort(order)[1:] - 1))).sum()
        for output, w, order in zip(outputs, weights, session.outputs, strict=True)
    )
    value.backward()
    expected = [
        np.asarray(point.grad).transpose(order)
        for point, order in zip(points, session.inputs, strict=True)
    ]
    pairs = zip(_gradients(in_float64(model), inputs, weights), expected, strict=True)
    return max(float(np.linalg.norm(x - y) / np.linalg.norm(y)) for x, y in pairs)


def in_float64(model: keras.Model) -> keras.Model:
    """Give a copy of a functional model that computes in float64, with the same weights."""

    def layer_in_float64(layer: keras.layers.Layer) -> keras.layers.Layer:
        return type(layer).from_config({**layer.get_config(), "dtype": "float64"})

    inputs = [keras.Input(batch_shape=x.shape, dtype="float64", name=x.name) for x in model.inputs]
    copied = keras.models.clone_model(
        model,
        input_tensors=single_or_list(inputs),
        clone_function=layer_in_float64,
    )
    copied.set_weights(model.get_weights())
    return copied


def _gradients(model: keras.Model, inputs: Arrays, weights: Arrays) -> list[np.ndarray]:
    """Give the gradient of the weighted sum of outputs, for each input."""
    dtype = model.inputs[0].dtype
    points = [tf.constant(x, dtype) for x in inputs]
    with tf.GradientTape() as tape:
        tape.watch(points)
        value = _weighted(model(single_or_list(points)), weights)
    return [gradient.numpy() for gradient in tape.gradient(value, points)]


def _weighted(outputs: Any, weights: Arrays) -> tf.Tensor:
    """Give the weighted sum of all outputs, sum_i w_i y_i, for each example."""
    products = [
        output * tf.constant(weight, output.dtype)
        for output, weight in zip(tf.nest.flatten(outputs), weights, strict=True)
    ]
    return tf.add_n([tf.reduce_sum(p, range(1, p.shape.rank)) for p in products])
