"""Methods with a rule for the way back, by twins whose activations or kernels have the rule."""

import keras
import numpy as np
import tensorflow as tf
from builders import STEPS
from explained import each, enlarged, mean
from float64_twin import HeldStatistics, RuledActivations, layers_of

UNLIKE = (keras.layers.RNN, keras.layers.PReLU)
"""Layers whose activations the twin cannot be given a rule for."""
FACTORS = (keras.layers.BatchNormalization, keras.layers.Rescaling)
KERNELS = (keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)


def guided(slope, cotangent):
    return tf.maximum(slope, 0) * tf.maximum(cotangent, 0)


def deconvolved(slope, cotangent):
    return tf.maximum(cotangent, 0)


def ruled(cell, passed):
    """Give gradients of the twin under a rule for its activations.

    None where these are in loops, or where Keras writes one by several functions of `tf.nn`.
    """
    layers = layers_of(cell.reference.model)
    names = {getattr(getattr(layer, "activation", None), "__name__", "linear") for layer in layers}
    several = names - {"linear", "softmax", *RuledActivations.NAMES}
    if several or any(isinstance(layer, UNLIKE) or is_own(layer) for layer in layers):
        return None
    with RuledActivations(passed), HeldStatistics(cell.reference.model):
        return cell.gradient()


def guided_backprop(cell):
    expected = ruled(cell, guided)
    return None if expected is None else cell.against(expected)


def deconvnet(cell):
    expected = ruled(cell, deconvolved)
    return None if expected is None else cell.against(expected)


def excitation_backprop(cell):
    """How far probabilities are below 0, or their sum above 1."""
    flat = tf.nest.flatten(cell.maps)
    total = sum(np.sum(m, tuple(range(1, m.ndim))) for m in flat)
    return float(max(np.max(total) - 1, -min(m.min() for m in flat), 0))


def last_positions(model, rank):
    """Give the last layer of a functional model with positions, but pooling; None unless plain."""
    for layer in reversed(model.layers):
        if "Pooling" in type(layer).__name__:
            continue
        output = getattr(layer, "output", None)
        plain = not isinstance(layer, keras.Model | keras.layers.Lambda)
        if not plain or not isinstance(output, keras.KerasTensor):
            return None
        if len(output.shape) > 2:
            return layer if len(output.shape) == rank else None
    return None


def cam(cell):
    """Grad-CAM at the last layer of a functional twin that has positions, enlarged; or None."""
    model, x = cell.reference.model, cell.examples
    plain = not tf.nest.is_nested(x) and cell.network.channels == -1 and not cell.network.score
    if not plain or not getattr(model, "inputs", None) or x.ndim < 3:
        return None
    layer = last_positions(model, x.ndim)
    if layer is None:
        return None
    both = keras.Model(model.inputs, [layer.output, model.output])
    x = tf.constant(cell.reference.wide(x))
    with tf.GradientTape() as tape:
        tape.watch(x)
        activation, outputs = both(x, training=False)
        score = tf.reduce_sum(cell.reference.score_of(outputs, cell.targets))
    slopes = np.asarray(tape.gradient(score, activation))
    places = tuple(range(1, x.ndim - 1))
    weighted = np.sum(slopes.mean(places, keepdims=True) * activation, -1, keepdims=True)
    return enlarged(np.maximum(weighted, 0), x.shape[1:-1], middles=True)


def grad_cam(cell):
    expected = cam(cell)
    return None if expected is None else cell.against(expected)


def guided_grad_cam(cell):
    expected = cam(cell)
    gradients = None if expected is None else ruled(cell, guided)
    return None if gradients is None else cell.against(gradients * expected)


def is_own(layer):
    """Say whether a layer computes what no class of Keras tells."""
    return isinstance(layer, keras.layers.Lambda) or not type(layer).__module__.startswith("keras")


def has_factors(layer):
    """Say whether a layer multiplies by weights that are no kernel; these have patterns, too."""
    return isinstance(layer, FACTORS) or is_own(layer)


def patterned(cell, replace):
    """Let the twin have something in the place of its kernels on the way back; None if it cannot.

    Args:
        replace: (kernel, pattern) -> what stands there.
    """
    model, twin, patterns = cell.setup.model, cell.reference.model, cell.setup.patterns
    pairs = list(zip(layers_of(model), layers_of(twin), strict=True))
    layers = {own.name: other for own, other in pairs if isinstance(own, KERNELS)}
    factors = any(map(has_factors, layers_of(twin)))
    causal = any(getattr(layer, "padding", "") == "causal" for layer in layers.values())
    if set(layers) != set(patterns) or factors or causal or not cell.network.exact:
        return None

    def patch(layer, pattern):
        def product(x, kernel):
            if isinstance(layer, keras.layers.Dense):
                return keras.ops.matmul(x, kernel)
            options = (layer.strides, layer.padding, layer.data_format, layer.dilation_rate)
            return keras.ops.conv(x, kernel, *options)

        def call(x, training=None, mask=None):
            ordinary = product(x, layer.kernel)
            other = product(x, replace(layer.kernel, np.asarray(pattern, "float64")))
            y = other + tf.stop_gradient(ordinary - other)
            return layer.activation(y if layer.bias is None else y + layer.bias)

        return call

    for name, layer in layers.items():
        layer.call = patch(layer, patterns[name])
    return list(layers.values())


def under_patterns(cell, replace, explain):
    """Give what `explain` gives while the twin has patterns; None where it cannot have them."""
    changed = patterned(cell, replace)
    if changed is None:
        return None
    try:
        with HeldStatistics(cell.reference.model):
            return explain()
    finally:
        for layer in changed:
            del layer.call


def from_output(cell):
    """Give the gradients times the score."""
    scores = np.asarray(cell.reference.score(cell.examples, cell.targets))
    return each(lambda g: g * scores.reshape(-1, *[1] * (g.ndim - 1)), cell.gradient())


def pattern_net(cell):
    expected = under_patterns(cell, lambda w, a: a, lambda: from_output(cell))
    return None if expected is None else cell.against(expected)


def pattern_attribution(cell):
    expected = under_patterns(cell, lambda w, a: w * a, lambda: from_output(cell))
    return None if expected is None else cell.against(expected)


def pattern_guided(cell):
    x = cell.reference.wide(cell.examples)

    def riemann():
        points = [each(lambda v, k=k: v * k / STEPS, x) for k in range(1, STEPS + 1)]
        return each(np.multiply, x, mean([cell.gradient(p) for p in points]))

    expected = under_patterns(cell, lambda w, a: w * a, riemann)
    return None if expected is None else cell.against(expected)
