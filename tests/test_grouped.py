"""Grouped convolutions: explained as the convolutions of their groups are, on any CPU."""

import functools
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfxai
from tests.thorough import quick
from tfxai.models import keras_graph

L = keras.layers
SHAPES = {
    "two groups": {"groups": 2},
    "with a stride": {"groups": 2, "strides": 2, "padding": "same"},
    "with unequal strides": {"groups": 4, "strides": (2, 1)},
    "dilated": {"groups": 2, "dilation_rate": 2},
    "a group a channel": {"groups": 4, "padding": "same"},
}


def split_convolution(x, layer):
    """The same as a grouped convolution, by one convolution for each group."""
    count = layer.groups
    kernels = tf.split(tf.convert_to_tensor(layer.kernel), count, -1)
    strides, dilations = layer.strides, layer.dilation_rate
    parts = [
        tf.nn.convolution(part, k, strides, layer.padding.upper(), dilations=dilations)
        for part, k in zip(tf.split(x, count, -1), kernels, strict=True)
    ]
    return tf.concat(parts, -1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_of_both_orders_are_those_of_the_groups(shape, dtype):
    layer = L.Conv2D(8, 3, use_bias=False, dtype=dtype, **SHAPES[shape])
    random = np.random.default_rng(0)
    x = tf.constant(random.normal(size=(3, 8, 7, 4)), dtype)
    layer.build(x.shape)

    def gradients(convolution):
        def both(x):
            scored = tf.reduce_sum(tf.sin(convolution(x)))
            (first,) = tf.gradients(scored, [x])
            (second,) = tf.gradients(tf.reduce_sum(first**2), [x])
            return first, second

        return tf.function(both, autograph=False)(x)

    def grouped(x):
        with keras_graph.inlined():
            return layer(x)

    tolerance = 1e-10 if dtype == "float64" else 1e-4
    found, expected = gradients(grouped), gradients(lambda x: split_convolution(x, layer))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def without_groups(kernel, groups):
    """The kernel of a convolution of all channels, with zeros from one group to another."""
    inputs, outputs = kernel.shape[2] * groups, kernel.shape[3]
    of_input, of_output = (
        np.arange(inputs) * groups // inputs,
        np.arange(outputs) * groups // outputs,
    )
    return np.tile(kernel, (1, 1, groups, 1)) * (of_input[:, None] == of_output)


def net(tail, dtype, groups=(2, 8)):
    """Two convolutions in groups, each with what is folded into it or follows it."""
    keras.utils.set_random_seed(3)
    options = {"padding": "same", "dtype": dtype, "use_bias": "norm" not in tail}
    y = inputs = keras.Input((8, 8, 4), dtype=dtype)
    for name, count in zip(("first", "last"), groups, strict=True):
        y = L.Conv2D(8, 3, groups=count, name=name, bias_initializer="normal", **options)(y)
        if "norm" in tail:
            y = L.BatchNormalization(beta_initializer="normal", dtype=dtype)(y)
        if "relu" in tail:
            y = L.ReLU(dtype=dtype)(y)
    return keras.Model(inputs, L.Dense(3, name="top", dtype=dtype)(L.Flatten(dtype=dtype)(y)))


def twins(tail, dtype):
    """The net with grouped convolutions, and the same function without groups."""
    grouped, plain = net(tail, dtype), net(tail, dtype, groups=(1, 1))
    for one, other in zip(grouped.layers, plain.layers, strict=True):
        weights = one.get_weights()
        if isinstance(one, L.Conv2D):
            weights[0] = without_groups(weights[0], one.groups)
        other.set_weights(weights)
    return grouped, plain


BUILDERS = {
    "gradient": tfxai.gradient,
    "guided_backprop": tfxai.guided_backprop,
    "excitation_backprop": tfxai.excitation_backprop,
    "grad_cam": lambda model: tfxai.grad_cam(model, layer="last"),
    "integrated_gradients": lambda model: tfxai.integrated_gradients(model, steps=5),
    "noisegrad": lambda model: tfxai.noisegrad(model, samples=2, epsilon=0.0),
    "caso": lambda model: tfxai.caso(model, lambda1=0),
}
TAILS = {"bias": "float64", "bias, relu": "float32", "norm": "float32", "norm, relu": "float64"}
"""With the type of the network that has it."""


@functools.cache
def twins_of(tail):
    return twins(tail, TAILS[tail])


@pytest.mark.parametrize(
    ("tail", "name"),
    quick(
        list(itertools.product(TAILS, BUILDERS)),
        *(("bias", "gradient"), ("bias", "integrated_gradients"), ("bias, relu", "grad_cam")),
        *(("bias, relu", "guided_backprop"), ("norm", "noisegrad"), ("norm", "gradient")),
        *(("norm, relu", "excitation_backprop"), ("norm, relu", "caso")),
    ),
)
def test_a_grouped_convolution_is_explained_as_if_it_had_zeros(tail, name):
    grouped, plain = twins_of(tail)
    x = np.random.default_rng(0).normal(size=(3, 8, 8, 4)).astype(TAILS[tail])
    found, expected = (BUILDERS[name](model)(x, 1).numpy() for model in (grouped, plain))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("tail", quick(TAILS, "norm, relu"))
def test_its_patterns_are_those_of_its_groups(tail):
    grouped, plain = twins_of(tail)
    x = np.random.default_rng(0).normal(size=(3, 8, 8, 4)).astype(TAILS[tail])
    patterns, others = (tfxai.fit_patterns(m, x, verbose=0) for m in (grouped, plain))
    assert list(patterns) == ["first", "last", "top"]
    assert patterns["last"].shape == (3, 3, 1, 8)
    maps = tfxai.pattern_attribution(grouped, patterns)(x, 1)
    expected = tfxai.pattern_attribution(plain, others)(x, 1).numpy()
    np.testing.assert_allclose(maps, expected, rtol=0, atol=1e-3 * np.abs(expected).max())


def test_they_are_explained_where_they_are_served(tmp_path):
    model = net("bias, relu", "float32")
    x = np.random.default_rng(0).normal(size=(3, 8, 8, 4)).astype("float32")
    explainers = {name: BUILDERS[name](model) for name in ("grad_cam", "guided_backprop")}
    tfxai.export(model, tmp_path / "all", explainers)
    loaded = tf.saved_model.load(tmp_path / "all")
    for name, explainer in explainers.items():
        expected = explainer(x, 1)
        served = loaded.signatures[f"explain_{name}"](
            inputs=tf.constant(x), targets=tf.ones(3, tf.int32), seed=tf.constant(0)
        )
        np.testing.assert_allclose(served["attributions"], expected, atol=1e-6)
        explainer.export(tmp_path / name, verbose=False)
        alone = tf.saved_model.load(tmp_path / name)
        np.testing.assert_allclose(alone.serve(x), explainer(x), atol=1e-6)


def test_the_optimiser_cannot_fuse_them():
    model = net("norm, relu", "float32")

    def forward(x):
        with keras_graph.inlined():
            return model(x, training=False)

    spec = tf.TensorSpec([None, 8, 8, 4])
    operations = tf.function(forward).get_concrete_function(spec).graph.get_operations()
    convolutions = [o for o in operations if o.type == "Conv2D"]
    assert len(convolutions) == 2
    for operation in convolutions:
        assert [o.type for o in operation.outputs[0].consumers()] == ["EnsureShape"]


def test_nothing_is_left_of_it_when_the_graph_is_traced():
    before = tf.nn.conv2d, tf.nn.convolution
    with keras_graph.inlined():
        assert tf.nn.conv2d is not before[0]
    assert (tf.nn.conv2d, tf.nn.convolution) == before


def test_volumes_in_groups_are_left_to_keras():
    layers = [L.Conv3D(4, 3, groups=2, name="last"), L.ReLU(), L.Flatten(), L.Dense(2)]
    model = keras.Sequential([keras.Input((5, 5, 5, 2)), *layers])
    x = np.random.default_rng(0).normal(size=(2, 5, 5, 5, 2)).astype("float32")
    assert tfxai.grad_cam(model, layer="last", upsample=None)(x, 1).shape == (2, 3, 3, 3, 1)
    with pytest.raises(ValueError, match=r"does not know.*PartitionedCall.*hidden in functions"):
        tfxai.guided_backprop(model)(x, 1)
