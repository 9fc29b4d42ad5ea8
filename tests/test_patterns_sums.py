"""The sums behind patterns: exact for every linear step, at few filter gradients a batch."""

from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfxai
from tests import reference
from tfxai.rules import linear, pattern_fit, weight_gradients

L = keras.layers
ESTIMATORS = ("relu", "linear", "relu_printed")
KINDS = {
    "window": ((8, 7, 3), lambda: L.Conv2D(4, (3, 2))),
    "window with a stride": ((8, 7, 3), lambda: L.Conv2D(4, 3, 2, "same")),
    "window, dilated": ((8, 7, 3), lambda: L.Conv2D(4, 3, dilation_rate=2, padding="same")),
    "window, more outputs than inputs": ((8, 7, 1), lambda: L.Conv2D(6, 2)),
    "pointwise": ((8, 7, 6), lambda: L.Conv2D(4, 1)),
    "pointwise with a stride": ((8, 7, 6), lambda: L.Conv2D(4, 1, 2, "same")),
    "pointwise, more outputs than inputs": ((8, 7, 3), lambda: L.Conv2D(7, 1, 2)),
    "sequence": ((8, 3), lambda: L.Conv1D(4, 3)),
    "sequence, pointwise": ((8, 5), lambda: L.Conv1D(4, 1)),
    "volume": ((5, 4, 5, 2), lambda: L.Conv3D(3, 2)),
    "depthwise": ((8, 7, 3), lambda: L.DepthwiseConv2D(3, depth_multiplier=2)),
    "transposed": ((5, 4, 3), lambda: L.Conv2DTranspose(4, 3, strides=2)),
    "dense": ((6,), lambda: L.Dense(4)),
    "dense on a sequence": ((5, 6), lambda: L.Dense(4)),
}
NEURONS = {"depthwise": (-2, -1), "transposed": (-2,)}
"""The axes of the weights that count neurons, where they are not the last alone."""


def dark_to_bright(shape, count=60):
    """Examples in the order of their mean, so that the first of them are like no others."""
    random = np.random.default_rng(0)
    levels = np.sort(random.uniform(-2, 4, count)).reshape(-1, *(1 for _ in shape))
    return (levels + random.normal(size=(count, *shape))).astype("float32")


def in_unequal_batches(data):
    """A dataset of batches of 3, 40 and 17 examples."""
    parts = np.split(data, [3, 43])
    spec = tf.TensorSpec([None, *data.shape[1:]])
    return tf.data.Dataset.from_generator(lambda: iter(parts), output_signature=spec)


def one_layer(kind):
    keras.utils.set_random_seed(1)
    shape, make = KINDS[kind]
    layer = make()
    layer.name = "only"
    model = keras.Sequential([keras.Input(shape), layer])
    layer.bias.assign(np.linspace(-1, 1, layer.bias.shape[0]))
    return model, layer


def patterns_in_float64(layer, x, neurons, estimator):
    """Kindermans et al. 2018, equation 7, all examples at once, by a tape through the layer."""
    twin = type(layer).from_config({**layer.get_config(), "dtype": "float64"})
    twin.build(x.shape)
    twin.set_weights(layer.get_weights())
    (w, _), x = twin.trainable_variables, tf.constant(x, tf.float64)
    with tf.GradientTape(persistent=True) as tape:
        y = twin(x)
        m = tf.ones_like(y) if estimator == "linear" else tf.cast(y > 0, y.dtype)
        of_my, of_m = tf.reduce_sum(tf.stop_gradient(m * y) * y), tf.reduce_sum(m * y)
    axes = [axis for axis in range(w.shape.rank) if axis - w.shape.rank not in neurons]
    per_neuron = [1 if axis in axes else n for axis, n in enumerate(w.shape)]
    over = range(y.shape.rank - 1)
    count = m if estimator == "relu_printed" else tf.ones_like(y)
    mean = tf.reduce_sum(count * y, over) / tf.reduce_sum(count, over)
    numerator = tape.gradient(of_my, w) - tape.gradient(of_m, w) * tf.reshape(mean, per_neuron)
    return (numerator / tf.reduce_sum(w * numerator, axes, keepdims=True)).numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_exact_for_every_kind_of_step_in_any_batches(kind):
    model, layer = one_layer(kind)
    data = dark_to_bright(KINDS[kind][0])
    for estimator in ESTIMATORS:
        expected = patterns_in_float64(layer, data, NEURONS.get(kind, (-1,)), estimator)
        for given in (data, in_unequal_batches(data)):
            found = tfxai.fit_patterns(model, given, estimator=estimator, verbose=0)["only"]
            error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
            assert error < 3e-6, estimator


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_they_are_exact_for_a_sum_of_branches(estimator):
    keras.utils.set_random_seed(1)
    data = dark_to_bright((8, 7, 3))
    x = keras.Input((8, 7, 3))
    left, right = L.Conv2D(4, 3, bias_initializer="normal"), L.Conv2D(4, 3)
    model = keras.Model(x, left(x) - right(x))
    found = tfxai.fit_patterns(model, in_unequal_batches(data), estimator=estimator, verbose=0)
    summands = np.stack([left(data), right(data)]).astype("float64").reshape(2, -1, 4)
    signs, no_bias = np.array([[1.0], [-1.0]]), np.zeros(1)
    for channel in range(4):
        rows = summands[:, :, channel].T
        expected = reference.patterns(rows, signs, no_bias, estimator)[:, 0]
        np.testing.assert_allclose(found["sum"][:, channel], expected, rtol=1e-5)


def test_a_large_kernel_that_shares_no_gradient_has_the_same_sums(monkeypatch):
    model, _ = one_layer("window")
    data = dark_to_bright((8, 7, 3))
    shared = tfxai.fit_patterns(model, data, verbose=0)["only"]
    monkeypatch.setattr(weight_gradients, "MOST_SHARED_WEIGHTS", 0)
    np.testing.assert_allclose(
        tfxai.fit_patterns(model, data, verbose=0)["only"], shared, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize(
    "shape", [(5,), (300, 2), (5, 300, 300, 2)], ids=["rows", "sequences", "images"]
)
def test_totals_lose_little_to_rounding(shape):
    values = np.random.default_rng(0).normal(100, 1, (4, *shape)).astype("float32")
    expected = values.astype("float64").sum(tuple(range(values.ndim - 1)))
    np.testing.assert_allclose(linear.total(tf.constant(values)), expected, rtol=2e-6)


# What a batch costs


GRADIENTS = {
    "window": {"Conv2DBackpropFilter": 1},
    "window with a stride": {"Conv2DBackpropFilter": 1},
    "window, dilated": {"Conv2DBackpropFilter": 1},
    "window, more outputs than inputs": {"Conv2DBackpropFilter": 2},
    "pointwise": {"MatMul": 1},
    "pointwise with a stride": {"MatMul": 1},
    "pointwise, more outputs than inputs": {"MatMul": 2},
    "sequence": {"Conv2DBackpropFilter": 1},
    "sequence, pointwise": {"MatMul": 1},
    "volume": {"Conv3DBackpropFilterV2": 2},
    "depthwise": {"DepthwiseConv2dNativeBackpropFilter": 2},
    "transposed": {"Conv2DBackpropFilter": 2},
    "dense": {"MatMul": 2},
    "dense on a sequence": {"MatMul": 2},
}
"""The operations that sum inputs times cotangents in a batch, by the kind of step."""


def gradients_of_weights(model):
    """Count the operations in the graph of a batch that sum over examples for each weight."""
    spec = tf.TensorSpec([None, *model.input_shape[1:]])
    accumulator = pattern_fit._Accumulator(model, spec, (), "relu", True)
    graph = accumulator._add.get_concrete_function().graph
    return Counter(
        o.type
        for o in graph.get_operations()
        if "BackpropFilter" in o.type or (o.type == "MatMul" and o.get_attr("transpose_a"))
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_takes_one_filter_gradient_where_one_serves_both_means(kind):
    model, _ = one_layer(kind)
    assert gradients_of_weights(model) == GRADIENTS[kind]


def test_the_calls_of_a_shared_layer_take_a_gradient_each():
    shared, x = L.Conv2D(3, 3, padding="same"), keras.Input((8, 8, 3))
    model = keras.Model(x, shared(L.ReLU()(shared(x))))
    assert gradients_of_weights(model) == {"Conv2DBackpropFilter": 2}
