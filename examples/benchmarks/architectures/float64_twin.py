"""What a network computes, by Keras and TensorFlow alone: a float64 twin, and its gradients."""

import keras
import numpy as np
import tensorflow as tf
from network import call

STEP = 1e-7


class Reference:
    """A network's scores and gradients in float64, with no line of tfxai.

    Args:
        network: a `Network`.
        model: the model that is explained.
    """

    def __init__(self, network, model):
        self.network = network
        self.model = network.twin(model)
        self.differentiable = network.vocabulary is None

    def wide(self, examples):
        """Give the examples in float64, but for token ids."""
        if not self.differentiable:
            return examples
        return tf.nest.map_structure(lambda x: np.asarray(x, "float64"), examples)

    def outputs(self, examples):
        return call(self.model, self.wide(examples))

    def score(self, examples, targets, kind="logit"):
        """Give the score of each example, ``[B]``; "probability" and "loss" are of the class."""
        return self.score_of(self.outputs(examples), targets, kind)

    def score_of(self, outputs, targets, kind="logit"):
        """Give the score of each example, from the twin's outputs."""
        targets = tf.constant(targets)
        if self.network.score:
            return self.network.score(outputs, targets)
        if outputs.shape[-1] == 1:
            signed = outputs[:, 0] * tf.cast(2 * targets - 1, outputs.dtype)
            log_probability = tf.math.log_sigmoid(signed)
        else:
            signed = tf.gather(outputs, targets, batch_dims=1)
            log_probability = tf.gather(tf.nn.log_softmax(outputs), targets, batch_dims=1)
        return {
            "logit": signed,
            "probability": tf.exp(log_probability),
            "loss": -log_probability,
        }[kind]

    def gradient(self, examples, targets, kind="logit"):
        """Give the gradient of each example's score, by a tape."""
        examples = tf.nest.map_structure(tf.constant, self.wide(examples))
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(examples)
            score = tf.reduce_sum(
                self.score_of(self.model(examples, training=False), targets, kind)
            )
        zero = tf.UnconnectedGradients.ZERO
        gradient = tape.gradient(score, examples, unconnected_gradients=zero)
        return tf.nest.map_structure(np.asarray, gradient)

    def slope(self, examples, targets, directions):
        """Give the slope of each score along a direction, by central differences, ``[B]``."""
        examples = self.wide(examples)
        high, low = (
            tf.nest.map_structure(lambda x, d, s=s: x + s * STEP * d, examples, directions)
            for s in (1, -1)
        )
        difference = self.score(high, targets) - self.score(low, targets)
        return np.asarray(difference) / (2 * STEP)

    def tape_error(self, examples, targets):
        """How far the tape is from finite differences, relative to the slopes' size."""
        random = np.random.default_rng(3)
        gradient = self.gradient(examples, targets)
        directions = tf.nest.map_structure(lambda g: random.normal(size=g.shape), gradient)
        expected = self.slope(examples, targets, directions)
        found = sum(
            rows(g * d).sum(1)
            for g, d in zip(tf.nest.flatten(gradient), tf.nest.flatten(directions), strict=True)
        )
        sizes = np.sqrt(sum((rows(g) ** 2).sum(1) for g in tf.nest.flatten(gradient)))
        return float(np.max(np.abs(found - expected) / sizes))


def rows(values):
    """Give an array of examples as rows ``[B, F]``."""
    return np.reshape(values, (len(values), -1))


def relative_error(found, expected):
    """Give the largest relative L2 error of an example's maps, over all of its inputs."""
    found, expected = (
        np.concatenate([rows(np.asarray(m, "float64")) for m in tf.nest.flatten(maps)], 1)
        for maps in (found, expected)
    )
    size = np.linalg.norm(expected, axis=1)
    error = np.linalg.norm(found - expected, axis=1)
    return float(np.max(error / np.where(size > 0, size, 1)))


class RuledActivations:
    """Within this context, activations of TensorFlow pass gradients back under a rule.

    Args:
        passed: (slope of the activation, cotangent) -> cotangent.

    A model that is called within it has the rule at each ReLU and at each smooth activation that
    Keras computes by one function of `tf.nn`.
    """

    NAMES = (
        *("relu", "relu6", "leaky_relu", "elu", "selu", "sigmoid", "silu"),
        "gelu",
    )

    def __init__(self, passed):
        self.passed = passed

    def ruled(self, function):
        def activation(x, *options, **named):
            @tf.custom_gradient
            def under_rule(x):
                with tf.GradientTape() as tape:
                    tape.watch(x)
                    y = function(x, *options, **named)
                slope = tape.gradient(y, x)
                return y, lambda cotangent: self.passed(slope, cotangent)

            return under_rule(x)

        return activation

    def __enter__(self):
        self.before = {name: getattr(tf.nn, name) for name in self.NAMES}
        for name, function in self.before.items():
            setattr(tf.nn, name, self.ruled(function))

    def __exit__(self, *exception):
        for name, function in self.before.items():
            setattr(tf.nn, name, function)


class HeldStatistics:
    """Within this context, normalisations by data hold their statistics, as rules have it."""

    LAYERS = (
        keras.layers.LayerNormalization,
        keras.layers.GroupNormalization,
        keras.layers.RMSNormalization,
        keras.layers.UnitNormalization,
    )
    STATISTICS = ((tf.nn, "moments"), (tf, "reduce_mean"), (tf, "reduce_sum"))

    def __init__(self, model):
        self.layers = [layer for layer in layers_of(model) if isinstance(layer, self.LAYERS)]

    def held(self, call):
        def constant(function):
            return lambda *given, **named: tf.nest.map_structure(
                tf.stop_gradient, function(*given, **named)
            )

        def under_rule(*given, **named):
            before = [getattr(module, name) for module, name in self.STATISTICS]
            for (module, name), function in zip(self.STATISTICS, before, strict=True):
                setattr(module, name, constant(function))
            try:
                return call(*given, **named)
            finally:
                for (module, name), function in zip(self.STATISTICS, before, strict=True):
                    setattr(module, name, function)

        return under_rule

    def __enter__(self):
        for layer in self.layers:
            layer.call = self.held(layer.call)

    def __exit__(self, *exception):
        for layer in self.layers:
            del layer.call


def layers_of(model):
    """All layers of a model, those of nested models too, in an order that its twin shares."""
    layers = model._flatten_layers()
    return [layer for layer in layers if not isinstance(layer, keras.layers.InputLayer)]
