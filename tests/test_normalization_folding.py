"""Batch normalisations are folded into convolutions: equal numbers, fewer operations."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfxai
from tests.methods import BUILDERS
from tfxai.models.normalization_folding import fold_normalizations
from tfxai.models.shared_graphs import in_graph, model_graph

L = keras.layers


def trained_like(model, seed=0):
    """Give the variables of a model values of every kind that training gives; some scales are 0."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        values = rng.normal(size=variable.shape)
        if variable.path.endswith("moving_variance"):
            values = rng.uniform(0.1, 4, variable.shape)
        if variable.path.endswith("gamma"):
            values = np.where(rng.random(variable.shape) < 0.2, 0, values)
        variable.assign(values)
    return model


def network(*layers, shape=(9, 8, 3), dtype="float32"):
    """A network of layers and a head."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input(shape, dtype=dtype)
    x = inputs
    for layer in layers:
        x = layer(x)
    outputs = L.Dense(4, name="head", dtype=dtype)(L.Flatten(dtype=dtype)(x))
    return trained_like(keras.Model(inputs, outputs))


def images(model, count=3):
    return np.random.default_rng(2).normal(size=(count, *model.input_shape[1:]))


def changed(model):
    """The names of the nodes whose values are others in the folded graph."""
    graph = model_graph(model, tf.zeros([1, *model.input_shape[1:]], model.inputs[0].dtype)).graph
    return fold_normalizations(graph.as_graph_def(add_shapes=True), {"flat_0"})[1]


def logits_and_gradients(model, x, *, folded):
    """Logits, and the gradients of one of them to the inputs and to all variables."""

    @tf.function(autograph=False)
    def both(x):
        forward, _ = in_graph(model, x, inline=False, folded=folded)
        values = [v.value for v in model.trainable_variables]
        return forward.outputs, tf.gradients(forward.outputs[:, 1], [x, *values])

    return both(tf.constant(x, model.inputs[0].dtype))


NORMALIZED = {
    "convolution": [L.Conv2D(5, 3, strides=2, activation=None), L.BatchNormalization()],
    "without a bias": [L.Conv2D(5, 3, use_bias=False), L.BatchNormalization(), L.ReLU()],
    "without a scale": [L.Conv2D(5, 3, padding="same"), L.BatchNormalization(scale=False)],
    "without a shift": [L.Conv2D(5, 3), L.BatchNormalization(center=False)],
    "of one channel": [L.Conv2D(1, 3), L.BatchNormalization()],
    "several channels for each": [L.DepthwiseConv2D(3, depth_multiplier=4), L.BatchNormalization()],
    "separable": [L.SeparableConv2D(6, 3, depth_multiplier=2), L.BatchNormalization()],
    "twice": [L.Conv2D(5, 3), L.BatchNormalization(), L.BatchNormalization(epsilon=0.1)],
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NORMALIZED)
def test_logits_and_gradients_are_equal(name, dtype):
    layers = [
        layer.from_config({**layer.get_config(), "dtype": dtype}) for layer in NORMALIZED[name]
    ]
    model = network(*layers, dtype=dtype)
    x = images(model)
    assert len(changed(model)) >= 2
    plain = logits_and_gradients(model, x, folded=False)
    folded = logits_and_gradients(model, x, folded=True)
    rtol = 1e-4 if dtype == "float32" else 1e-12
    for a, b in zip(tf.nest.flatten(plain), tf.nest.flatten(folded), strict=True):
        np.testing.assert_allclose(b, a, rtol=rtol, atol=rtol * np.abs(a).max())


def test_three_dimensions_are_folded_too():
    model = network(L.Conv3D(3, 2), L.BatchNormalization(), shape=(4, 5, 6, 2))
    assert changed(model)
    x = images(model)
    plain, folded = (logits_and_gradients(model, x, folded=f)[1][0] for f in (False, True))
    np.testing.assert_allclose(folded, plain, rtol=1e-4, atol=1e-5)


def test_activations_are_neither_multiplied_nor_shifted_any_more():
    model = network(L.Conv2D(5, 3), L.BatchNormalization(), L.ReLU())

    def types(folded):
        @tf.function(autograph=False)
        def forward(x):
            return in_graph(model, x, inline=False, folded=folded)[0].outputs

        graph = forward.get_concrete_function(tf.TensorSpec([None, 9, 8, 3])).graph
        large = [o for o in graph.get_operations() if o.outputs and o.outputs[0].shape.rank == 4]
        return [o.type for o in large if o.outputs[0].shape[0] is None and o.type != "Placeholder"]

    assert types(False) == ["Conv2D", "BiasAdd", "Mul", "AddV2", "Relu"]
    assert types(True) == ["Conv2D", "BiasAdd", "Relu"]


def read_twice():
    """The convolution before the normalisation is read beside it, too."""
    inputs = keras.Input((9, 8, 3))
    x = L.Conv2D(5, 3)(inputs)
    outputs = L.Dense(4)(L.Flatten()(L.Add()([x, L.BatchNormalization()(x)])))
    return trained_like(keras.Model(inputs, outputs))


NOT_FOLDED = {
    "before the convolution": lambda: network(L.BatchNormalization(), L.Conv2D(5, 3)),
    "behind a rectifier": lambda: network(L.Conv2D(5, 3), L.ReLU(), L.BatchNormalization()),
    "of rows": lambda: network(L.Conv2D(5, 3), L.BatchNormalization(axis=1)),
    "of one number": lambda: network(L.Conv2D(5, 3), L.Rescaling(2.0)),
    "dilated": lambda: network(L.Conv2D(4, 2, dilation_rate=2), L.BatchNormalization()),
    "none": lambda: network(L.Conv2D(5, 3), L.ReLU()),
    "in half precision": lambda: network(
        L.Conv2D(5, 3, dtype="float16"), L.BatchNormalization(dtype="float16")
    ),
    "read twice": read_twice,
}


@pytest.mark.parametrize("name", NOT_FOLDED)
def test_what_is_no_normalisation_after_a_convolution_stays(name):
    assert not changed(NOT_FOLDED[name]())


def test_weights_made_from_the_inputs_stay():
    inputs = keras.Input((9, 8, 3))

    class Dynamic(L.Layer):
        def call(self, x):
            kernel = tf.reshape(tf.reduce_mean(x, 0)[:3, :3, :, None], [3, 3, 3, 1])
            return tf.nn.conv2d(x, kernel, 1, "VALID")

        def compute_output_shape(self, shape):
            return (None, 7, 6, 1)

    x = L.BatchNormalization()(Dynamic()(inputs))
    assert not changed(keras.Model(inputs, L.Dense(4)(L.Flatten()(x))))


def test_layers_between_keep_their_outputs():
    model = network(L.Conv2D(5, 3, name="conv"), L.BatchNormalization(name="norm"), L.ReLU())
    x = tf.constant(images(model), tf.float32)
    expected = keras.Model(
        model.inputs, [model.get_layer(name).output for name in ("conv", "norm")]
    )(x)

    def outputs(*names):
        @tf.function(autograph=False)
        def given(x):
            _, output_of = in_graph(model, x, names, inline=False, folded=True)
            return [output_of(name) for name in names]

        return given(x)

    np.testing.assert_allclose(outputs("conv", "norm")[0], expected[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(outputs("norm")[0], expected[1], rtol=1e-4, atol=1e-5)


def test_new_values_of_a_normalisation_count():
    model = network(L.Conv2D(5, 3), L.BatchNormalization(), L.ReLU())
    x = images(model).astype(np.float32)
    gradient, rise = tfxai.gradient(model), tfxai.rise(model, masks=5)
    before = [e(x, 1).numpy() for e in (gradient, rise)]
    trained_like(model, seed=5)
    fresh = network(L.Conv2D(5, 3), L.BatchNormalization(), L.ReLU())
    fresh.set_weights(model.get_weights())
    new = (tfxai.gradient(fresh), tfxai.rise(fresh, masks=5))
    for old, explainer, explained in zip(before, (gradient, rise), new, strict=True):
        after = explainer(x, 1).numpy()
        assert np.abs(after - old).max() > 1e-3
        np.testing.assert_array_equal(after, explained(x, 1))


METHODS = {
    "gradient": tfxai.gradient,
    "guided": tfxai.guided_backprop,
    "grad_cam": tfxai.grad_cam,
    "occlusion": lambda model: tfxai.occlusion(model, patch=3, stride=2),
    "igos": BUILDERS["igos"],
}


@pytest.mark.parametrize("name", METHODS)
def test_methods_give_the_maps_of_the_network_folded_by_hand(name):
    model = network(L.Conv2D(5, 3, name="conv"), L.BatchNormalization(name="norm"), L.ReLU())
    by_hand = network(L.Conv2D(5, 3, name="conv"), L.ReLU())
    gamma, beta, mean, variance = model.get_layer("norm").get_weights()
    kernel, bias = model.get_layer("conv").get_weights()
    scale = gamma / np.sqrt(variance + model.get_layer("norm").epsilon)
    by_hand.get_layer("conv").set_weights([kernel * scale, (bias - mean) * scale + beta])
    by_hand.get_layer("head").set_weights(model.get_layer("head").get_weights())
    x = images(model).astype(np.float32)
    maps, expected = (METHODS[name](m)(x, [0, 1, 2]).numpy() for m in (model, by_hand))
    np.testing.assert_allclose(maps, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
