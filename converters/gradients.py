"""The error of a Keras model's gradients against the model that it was rebuilt from."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from .layout import single_or_list
from .onnx_session import Arrays, OnnxSession

if TYPE_CHECKING:
    import torch

STEPS = ((0.001, 1), (0.01, 1), (0.1, 1), (0.1, 4), (1.0, 1))
"""How far the two inputs are from a sample, in standard deviations of the input, and into how many
parts the line between them is cut. A line that is longer has less noise, and more kinks."""
GOOD = 0.02
"""An error of the comparison's own that is small enough."""
_HALF = (
    (0.991455371120812639, 0.022935322010529225, 0.0),
    (0.949107912342758525, 0.063092092629978553, 0.129484966168869693),
    (0.864864423359769073, 0.104790010322250184, 0.0),
    (0.741531185599394440, 0.140653259715525919, 0.279705391489276668),
    (0.586087235467691130, 0.169004726639267903, 0.0),
    (0.405845151377397167, 0.190350578064785410, 0.381830050505118945),
    (0.207784955007898468, 0.204432940075298892, 0.0),
)
KRONROD = np.array(
    [(-x, fine, coarse) for x, fine, coarse in _HALF]
    + [(0.0, 0.209482141084727828, 0.417959183673469388)]
    + list(_HALF[::-1])
)
"""The points on [-1, 1] of Kronrod's rule with 15 points, its weights, and those of Gauss's rule
with 7 of these points (Piessens et al. 1983, QUADPACK, QK15)."""


class Comparison(NamedTuple):
    """Gradients compared along lines, and how exact the comparison itself is."""

    error: float
    """The relative L2 error of the integrals of the model's gradients."""
    own_error: float
    """What of it rounding and quadrature may explain."""


def compare_along_lines(
    model: keras.Model, session: OnnxSession, inputs: Arrays, directions: Arrays, weights: Arrays
) -> Comparison:
    """Compare f(x + r d) - f(x - r d) with the integral of the model's gradient between the two.

    f is onnxruntime's weighted sum of outputs, x a sample, d its direction, and r a reach. If the
    gradient is that of f, both are equal for any r, even where ReLUs switch between the two inputs.
    f is rounded to float32: a short line has noise where outputs hardly react to inputs. The
    integral is a sum over points: a long line has kinks between them. Lines become longer until
    both errors are small; that is taken whose errors are smallest.

    Args:
        model: the Keras model.
        session: the ONNX file.
        inputs: samples x for each input of the model.
        directions: directions d for each input of the model.
        weights: the weights of each output in the sum.
    """
    best = Comparison(np.inf, np.inf)
    plain = session.unoptimised()
    for reach, parts in STEPS:
        found = _compared(model, (session, plain), (inputs, directions), weights, (reach, parts))
        best = min(best, found, key=lambda comparison: comparison.own_error)
        if best.own_error <= GOOD:
            break
    return best


def _compared(
    model: keras.Model,
    sessions: tuple[OnnxSession, OnnxSession],
    lines: tuple[Arrays, Arrays],
    weights: Arrays,
    step: tuple[float, int],
) -> Comparison:
    """Compare along lines of one length.

    Args:
        model: the Keras model.
        sessions: the file as onnxruntime runs it, and without its optimisations, which rounds
            otherwise: both differ by rounding alone.
        lines: samples and directions.
        weights: the weights of outputs.
        step: the reach, and the number of parts.
    """
    reach, parts = step

    def moved(distance: float) -> list[np.ndarray]:
        return [x + distance * d for x, d in zip(*lines, strict=True)]

    integrals = np.zeros((2, len(lines[0][0])))
    for centre in (np.arange(parts) * 2 + 1) / parts - 1:
        for point, *rules in KRONROD:
            gradients = _gradients(model, moved(reach * (centre + point / parts)), weights)
            for gradient, direction in zip(gradients, lines[1], strict=True):
                slopes = (gradient * direction).sum(tuple(range(1, direction.ndim)))
                integrals += np.outer(rules, slopes) * reach / parts
    differences, sizes = [], 0.0
    for session in sessions:
        after, before = (
            _weighted([y.astype("float64") for y in session(moved(sign * reach))], weights).numpy()
            for sign in (1, -1)
        )
        differences.append(after - before)
        sizes = np.maximum(np.abs(after), np.abs(before))
    difference, other = differences
    size = np.linalg.norm(difference)
    if not size:
        return Comparison(float(np.linalg.norm(integrals[0]) > 0), 1.0)
    rounding = np.maximum(np.abs(other - difference), np.finfo(np.float32).eps * sizes)
    quadrature = np.abs(integrals[0] - integrals[1])
    own = (np.linalg.norm(rounding) + np.linalg.norm(quadrature)) / size
    return Comparison(float(np.linalg.norm(integrals[0] - difference) / size), float(own))


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
