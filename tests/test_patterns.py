"""Patterns and what is built on them, against float64 numpy.

Kindermans et al. 2018, equation 7 and section 4; Schwarzenberg and Castle 2020, equation 4.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfxai
from tests import reference
from tests.forms import CONV_ONE_INPUT, FORMS, conv_one
from tests.networks import as_model, small_cnn, trained_like
from tests.thorough import quick
from tfxai.rules import neurons

L = keras.layers
fit = tfxai.fit_patterns
ESTIMATORS = ("relu", "linear", "relu_printed")


@pytest.fixture
def rows():
    random = np.random.default_rng(0)
    return random.normal(size=(200, 6)) @ random.normal(size=(6, 6)) + 1


@pytest.fixture
def photos():
    random = np.random.default_rng(1)
    smooth = random.normal(size=(12, 8, 8, 3)).cumsum(1).cumsum(2) / 8
    return smooth.astype("float32")


def dense_net(units=(5, 4, 3), features=6):
    keras.utils.set_random_seed(4)
    layers = [
        L.Dense(n, "relu", bias_initializer="normal", name=f"d{i}") for i, n in enumerate(units)
    ]
    layers[-1].activation = keras.activations.linear
    return keras.Sequential([keras.Input((features,)), *layers])


# The estimator


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_patterns_of_dense_layers(estimator, rows):
    model = dense_net()
    patterns = fit(model, rows, estimator=estimator, batch_size=64, verbose=0)
    x = rows
    for layer in model.layers:
        w, b = (v.astype("float64") for v in layer.get_weights())
        np.testing.assert_allclose(
            patterns[layer.name], reference.patterns(x, w, b, estimator), rtol=2e-3, atol=1e-4
        )
        x = np.maximum(x @ w + b, 0)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_patterns_of_a_convolution(stride, padding, photos):
    convolution = L.Conv2D(4, (3, 2), stride, padding, bias_initializer="normal", name="conv")
    model = keras.Sequential([keras.Input((8, 8, 3)), convolution])
    w, b = convolution.get_weights()
    x = reference.windows(photos, (3, 2), stride, padding == "same").astype("float64")
    expected = reference.patterns(x, w.reshape(-1, 4).astype("float64"), b)
    found = fit(model, photos, verbose=0)["conv"]
    np.testing.assert_allclose(found, expected.reshape(w.shape), rtol=1e-3, atol=1e-4)


def test_patterns_of_a_dilated_convolution(photos):
    convolution = L.Conv2D(4, 3, dilation_rate=2, padding="same", name="conv")
    model = keras.Sequential([keras.Input((8, 8, 3)), convolution])
    (w, b), padded = convolution.get_weights(), np.pad(photos, [(0, 0), (2, 2), (2, 2), (0, 0)])
    spread = reference.windows(padded, (5, 5)).reshape(-1, 5, 5, 3)[:, ::2, ::2].reshape(-1, 27)
    expected = reference.patterns(spread.astype("float64"), w.reshape(27, 4), b)
    found = fit(model, photos, verbose=0)["conv"]
    np.testing.assert_allclose(found, expected.reshape(w.shape), rtol=1e-3, atol=1e-4)


def test_patterns_of_depthwise_separable_and_grouped_convolutions(photos):
    layers = [
        L.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise"),
        L.SeparableConv2D(6, 3, name="separable"),
        L.Conv2D(4, 3, groups=2, name="grouped"),
    ]
    model = keras.Sequential([keras.Input((8, 8, 3)), *layers])
    patterns = fit(model, photos, verbose=0)
    assert list(patterns) == [
        "depthwise", "separable/depthwise_kernel", "separable/pointwise_kernel", "grouped",
    ]  # fmt: skip
    w, b = layers[0].get_weights()
    for channel in range(3):
        x = reference.windows(photos[..., [channel]], (3, 3)).astype("float64")
        kernel, bias = w[:, :, channel].reshape(9, 2), b[2 * channel : 2 * channel + 2]
        found = patterns["depthwise"][:, :, channel].reshape(9, 2)
        np.testing.assert_allclose(found, reference.patterns(x, kernel, bias), rtol=2e-3, atol=1e-3)
    x = model.layers[1](model.layers[0](photos)).numpy()
    w, b = layers[2].get_weights()
    for group in range(2):
        rows = reference.windows(x[..., 3 * group : 3 * group + 3], (3, 3)).astype("float64")
        outputs = slice(2 * group, 2 * group + 2)
        expected = reference.patterns(rows, w[..., outputs].reshape(27, 2), b[outputs])
        found = patterns["grouped"][..., outputs].reshape(27, 2)
        np.testing.assert_allclose(found, expected, rtol=5e-3, atol=2e-3)


@pytest.mark.parametrize(
    ("shape", "layer"),
    [
        ((8, 3), L.Conv1D(4, 3, dilation_rate=2, name="k")),
        ((8, 3), L.DepthwiseConv1D(3, name="k")),
        ((5, 5, 5, 2), L.Conv3D(3, 2, name="k")),
        ((5, 5, 3), L.Conv2DTranspose(4, 3, strides=2, name="k")),
        ((5, 3), L.Dense(4, name="k")),
        ((5, 3), L.EinsumDense("abc,cd->abd", (5, 4), bias_axes="d", name="k")),
    ],
    ids=["dilated 1d", "depthwise 1d", "3d", "transposed", "dense on a sequence", "einsum"],
)
def test_other_kernels_get_patterns_that_are_normalised(shape, layer):
    model = keras.Sequential([keras.Input(shape), layer, L.ReLU(), L.Flatten(), L.Dense(2)])
    data = np.random.default_rng(0).normal(size=(30, *shape)).cumsum(1)
    patterns = fit(model, data, verbose=0)
    assert patterns["k"].shape == layer.kernel.shape
    assert patterns.report[0].error < 1e-4
    maps = tfxai.pattern_attribution(model, patterns)(data, 1)
    assert maps.shape == data.shape
    assert np.isfinite(maps).all()
    assert maps.numpy().any()


def test_batch_normalisation_is_folded(photos):
    keras.utils.set_random_seed(0)
    norm = L.BatchNormalization(beta_initializer="normal", gamma_initializer="normal")
    layers = [
        L.Conv2D(4, 3, use_bias=False, name="conv"),
        norm,
        L.ReLU(),
        L.Flatten(),
        L.Dense(2, name="top"),
    ]
    model = keras.Sequential([keras.Input((8, 8, 3)), *layers])
    norm.moving_mean.assign([1, 2, 3, 4])
    norm.moving_variance.assign([4, 3, 2, 1])
    gamma, beta, mean, variance = (v.astype("float64") for v in norm.get_weights())
    scale = gamma / np.sqrt(variance + norm.epsilon)
    folded = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            L.Conv2D(4, 3, activation="relu", name="conv"),
            L.Flatten(),
            L.Dense(2, name="top"),
        ]
    )
    folded.layers[0].set_weights([layers[0].kernel.numpy() * scale, beta - mean * scale])
    folded.layers[2].set_weights(layers[-1].get_weights())
    np.testing.assert_allclose(folded(photos), model(photos), atol=1e-5)
    patterns, expected = fit(model, photos, verbose=0), fit(folded, photos, verbose=0)
    for name in ("conv", "top"):
        np.testing.assert_allclose(patterns[name], expected[name], rtol=1e-3, atol=1e-4)
    for builder in (tfxai.pattern_net, tfxai.pattern_attribution):
        maps = builder(model, patterns)(photos, 0)
        np.testing.assert_allclose(maps, builder(folded, expected)(photos, 0), rtol=1e-2, atol=1e-3)


def test_a_sum_has_a_pattern_and_a_scale_passes_attributions_on(rows):
    random = np.random.default_rng(2)
    x = keras.Input((6,))
    left, right = L.Dense(3, use_bias=False, name="left"), L.Dense(3, use_bias=False, name="right")
    model = keras.Model(x, left(x) + 0.5 * right(x))
    model.set_weights([random.normal(size=(6, 3)), random.normal(size=(6, 3))])
    patterns = fit(model, rows, estimator="linear", verbose=0)
    a, b = rows @ left.kernel.numpy(), rows @ right.kernel.numpy() / 2
    z = a + b
    for channel in range(3):
        covariance = [np.cov(v[:, channel], z[:, channel])[0, 1] for v in (a, b)]
        np.testing.assert_allclose(
            patterns["sum"][:, channel], covariance / np.sum(covariance), rtol=1e-3
        )
    maps = tfxai.pattern_attribution(model, patterns)(rows, 1).numpy()
    np.testing.assert_allclose(maps.sum(1), z[:, 1], rtol=1e-3)  # w . a = 1 everywhere


def test_neurons_that_were_never_active_are_dead(rows):
    model = dense_net()
    kernel, bias = model.layers[0].get_weights()
    bias[2] = -1000
    model.layers[0].set_weights([kernel, bias])
    patterns = fit(model, rows, verbose=0)
    assert not patterns["d0"][:, 2].any()
    assert patterns.report[0].dead == pytest.approx(1 / 5)
    assert np.isfinite(tfxai.pattern_net(model, patterns)(rows, 0)).all()
    assert "20.0% dead" in repr(patterns)


@pytest.mark.parametrize("form", quick(FORMS, "keras.ops.relu", "nested", "subclassed"))
def test_patterns_do_not_depend_on_how_the_model_is_written(form):
    data = CONV_ONE_INPUT + np.random.default_rng(0).normal(0, 5, (40, 4, 4, 1))
    fused, model = conv_one("activation argument"), conv_one(form)
    expected = fit(fused, data, verbose=0)
    patterns = fit(model, data, verbose=0)
    for one, other in zip(patterns.values(), expected.values(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    maps = tfxai.pattern_attribution(model, patterns)(data[:3], 0)
    np.testing.assert_allclose(
        maps, tfxai.pattern_attribution(fused, expected)(data[:3], 0), rtol=1e-3, atol=1e-4
    )


def test_each_call_of_a_shared_layer_has_patterns(rows):
    shared = L.Dense(6, activation="relu", name="twice")
    x = keras.Input((6,))
    patterns = fit(keras.Model(x, L.Dense(2, name="top")(shared(shared(x)))), rows, verbose=0)
    assert list(patterns) == ["twice", "twice@2", "top"]
    assert not np.allclose(patterns["twice"], patterns["twice@2"])


def test_weights_that_are_no_layers_have_patterns(rows):
    random = np.random.default_rng(5)
    first, second = random.normal(size=(2, 6, 6)).astype("float32")
    model = as_model(lambda x: keras.ops.relu(x @ first) @ second, 6)
    patterns = fit(model, rows, verbose=0)
    assert list(patterns) == ["kernel", "kernel@2"]
    expected = reference.patterns(rows, first.astype("float64"), np.zeros(6))
    np.testing.assert_allclose(patterns["kernel"], expected, rtol=2e-3, atol=1e-3)
    assert np.isfinite(tfxai.pattern_attribution(model, patterns)(rows, 1)).all()


# One pass over data


def test_patterns_do_not_depend_on_the_batches(photos):
    model = small_cnn()
    whole = fit(model, photos, batch_size=12, verbose=0)
    dataset = tf.data.Dataset.from_tensor_slices((photos, np.arange(12))).batch(5)
    for other in (fit(model, photos, batch_size=1, verbose=0), fit(model, dataset, verbose=0)):
        assert other.examples == whole.examples == 12
        for name in whole:
            np.testing.assert_allclose(other[name], whole[name], rtol=2e-3, atol=1e-3)


def album():
    """A thousand pictures in 0..255: five classes, each a scene of its own, dark to bright."""
    random = np.random.default_rng(1)
    classes = np.arange(1000) % 5
    scenes = random.normal(0, 40, (5, 8, 8, 3))
    rough = random.normal(0, 4, (1000, 8, 8, 3)).cumsum(1).cumsum(2)
    rough *= 1 + classes[:, None, None, None]
    pictures = random.uniform(30, 220, (1000, 1, 1, 1)) + scenes[classes] + rough
    orders = {
        "by brightness": np.argsort(pictures.mean((1, 2, 3))),
        "by class": np.argsort(classes, kind="stable"),
        "shuffled": random.permutation(1000),
    }
    return np.clip(pictures, 0, 255).astype("float32"), orders


def album_net():
    keras.utils.set_random_seed(4)
    options = {"activation": "relu", "bias_initializer": "normal"}
    layers = [
        L.Rescaling(1 / 127.5, -1),
        L.Conv2D(4, 3, name="first", **options),
        L.Conv2D(5, 3, name="second", **options),
        L.Flatten(),
        L.Dense(3, name="top"),
    ]
    return keras.Sequential([keras.Input((8, 8, 3)), *layers])


def patterns_in_float64(model, pictures, estimator):
    """Kindermans et al. 2018, equation 7, with numpy: layer after layer, at all positions."""
    expected, x = {}, pictures.astype("float64") / 127.5 - 1
    for layer in (model.get_layer(name) for name in ("first", "second", "top")):
        w, b = (v.astype("float64") for v in layer.get_weights())
        shape = (len(x), -1)
        if w.ndim == 4:
            shape = (len(x), x.shape[1] - 2, x.shape[2] - 2, w.shape[-1])
            x = reference.windows(x, (3, 3))
        flat = w.reshape(-1, w.shape[-1])
        x = x.reshape(-1, len(flat))
        found = reference.patterns(x, flat, b, estimator)
        expected[layer.name] = found.reshape(w.shape)
        x = np.maximum(x @ flat + b, 0).reshape(shape)
    return expected


@pytest.mark.parametrize(
    ("order", "size"),
    quick(
        [("by brightness", 8), ("by class", 50), ("shuffled", 20)],
        *(("by brightness", 8), ("by class", 50)),
    ),
)
def test_patterns_are_exact_in_any_order_of_the_data(order, size):
    model, (pictures, orders) = album_net(), album()
    data = pictures[orders[order]]
    if order == "by class":
        data = tf.data.Dataset.from_tensor_slices(data).batch(size)
    for estimator in ESTIMATORS:
        found = fit(model, data, estimator=estimator, batch_size=size, verbose=0)
        for name, array in patterns_in_float64(model, pictures, estimator).items():
            error = np.linalg.norm(found[name] - array) / np.linalg.norm(array)
            assert error < 1e-5, (estimator, name)


def test_patterns_of_a_half_precision_model_are_summed_in_single(photos):
    expected = fit(small_cnn(), photos, verbose=0)
    half = small_cnn(policy="mixed_float16")
    found = fit(half, photos, verbose=0)
    for one, other in zip(found.values(), expected.values(), strict=True):
        assert np.isfinite(one).all()
        error = np.linalg.norm(one - other) / np.linalg.norm(other)
        assert error < 0.05
    maps = tfxai.pattern_attribution(half, found)(photos, 1)
    assert maps.dtype == tf.float32


def test_the_progress_bar_counts_examples(photos, capsys):
    fit(small_cnn(), photos, batch_size=5)
    assert f"{len(photos)}/{len(photos)}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (np.zeros((0, 8, 8, 3)), ValueError, "no examples"),
        (np.full((3, 8, 8, 3), np.nan), ValueError, "NaN or infinite"),
        (np.zeros((3, 9, 8, 3)), ValueError, "shape"),
        (np.zeros((8, 8, 3)), ValueError, "add the batch axis"),
        (np.array([["a"]]), TypeError, "expected numbers"),
        (tf.data.Dataset.from_tensor_slices(np.zeros((3, 8, 8, 3))), ValueError, "batch"),
    ],
)
def test_bad_data_raise(data, error, message):
    with pytest.raises(error, match=message):
        fit(small_cnn(), data, verbose=0)


def test_an_activation_that_is_not_piecewise_linear_raises(photos):
    with pytest.raises(ValueError, match=r"pattern_attribution does not know.*Tanh.*passthrough"):
        fit(small_cnn(activation="tanh"), photos, extend=False, verbose=0)
    patterns = fit(small_cnn(activation="tanh"), photos, passthrough=["Tanh"], verbose=0)
    assert len(patterns) == 3


def test_an_unknown_estimator_raises(photos):
    with pytest.raises(ValueError, match="estimator='basic': expected one of 'relu'"):
        fit(small_cnn(), photos, estimator="basic")


# Patterns on disk, and of other models


def test_patterns_survive_saving(rows, tmp_path):
    patterns = fit(dense_net(), rows, verbose=0)
    loaded = tfxai.Patterns.load(patterns.save(tmp_path / "patterns.npz"))
    assert repr(loaded) == repr(patterns)
    for name in patterns:
        np.testing.assert_array_equal(loaded[name], patterns[name])


@pytest.mark.parametrize("content", [b"", b"not a zip", None])
def test_a_file_without_patterns_raises(content, tmp_path):
    path = tmp_path / "file.npz"
    if content is None:
        np.savez(path, a=np.ones(3))
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="holds no patterns"):
        tfxai.Patterns.load(path)


@pytest.mark.parametrize(
    "builder",
    [tfxai.pattern_net, tfxai.pattern_attribution, tfxai.pattern_guided_integrated_gradients],
)
def test_patterns_of_another_model_raise(builder, rows):
    model = dense_net()
    patterns = fit(model, rows, verbose=0)
    with pytest.raises(TypeError, match="fit_patterns gives, got dict"):
        builder(model, dict(patterns))
    with pytest.raises(ValueError, match=r"another model.*'d3'"):
        builder(dense_net((5, 4, 3, 2)), patterns)
    with pytest.raises(ValueError, match=r"'d0' has kernels of shape \[6, 7\]"):
        builder(dense_net((7, 4, 3)), patterns)
    trained_like(model)
    with pytest.raises(ValueError, match=r"do not fit its weights.*fit_patterns"):
        builder(model, patterns)


def test_an_unknown_start_raises(rows):
    model = dense_net()
    with pytest.raises(ValueError, match="start='zero': expected one of 'one', 'output'"):
        tfxai.pattern_attribution(model, fit(model, rows, verbose=0), start="zero")


# PatternAttribution and Pattern-Guided IG


@pytest.mark.parametrize("target", [0, 2])
def test_pattern_attribution_of_a_dense_network(target, rows):
    model = dense_net()
    patterns = fit(model, rows, verbose=0)
    layers = [[v.astype("float64") for v in layer.get_weights()] for layer in model.layers]
    maps = tfxai.pattern_attribution(model, patterns)(rows[:10], target)
    arrays = [patterns[f"d{i}"].astype("float64") for i in range(3)]
    expected = [reference.pattern_attribution(x, layers, arrays, target) for x in rows[:10]]
    np.testing.assert_allclose(maps, expected, rtol=1e-3, atol=1e-4)


def test_pattern_attribution_of_a_convolutional_network(photos):
    model = small_cnn()
    patterns = fit(model, photos, verbose=0)
    convolution, first, last = (layer for layer in model.layers if hasattr(layer, "kernel"))
    kernel, bias = convolution.get_weights()
    layers = [
        (reference.convolution_matrix(kernel, 8), np.tile(bias, 36)),
        first.get_weights(),
        last.get_weights(),
    ]
    arrays = [
        reference.convolution_matrix(patterns[convolution.name], 8),
        patterns[first.name],
        patterns[last.name],
    ]
    maps = tfxai.pattern_attribution(model, patterns)(photos[:4], 3).numpy()
    expected = [reference.pattern_attribution(x.ravel(), layers, arrays, 3) for x in photos[:4]]
    np.testing.assert_allclose(maps.reshape(4, -1), expected, rtol=1e-3, atol=1e-4)


def test_pattern_net_of_a_linear_model_is_the_pattern_times_the_score(rows):
    model = dense_net((3,))
    patterns = fit(model, rows, verbose=0)
    maps = tfxai.pattern_net(model, patterns)(rows, 1)
    expected = model(rows).numpy()[:, [1]] * patterns["d0"][:, 1]
    np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-5)


def test_pattern_guided_integrated_gradients_of_a_linear_model_is_p_times_ig(rows):
    model = dense_net((3,))
    patterns = fit(model, rows, verbose=0)
    maps = tfxai.pattern_guided_integrated_gradients(model, patterns, baseline=0.5)(rows, 1)
    ig = tfxai.integrated_gradients(model, baseline=0.5)(rows, 1)
    np.testing.assert_allclose(maps, patterns["d0"][:, 1] * ig, rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("ignore:.*(zero everywhere|not converged)")
@pytest.mark.parametrize("start", ["one", "output"])
def test_pattern_guided_integrated_gradients_is_the_sum_of_the_paper(start, rows):
    model = dense_net()
    patterns = fit(model, rows, verbose=0)
    under_pattern = tfxai.pattern_attribution(model, patterns, start=start)
    x = rows[:4]
    expected = sum(x / 7 * under_pattern(k / 7 * x, 1).numpy() for k in range(1, 8))
    explainer = tfxai.pattern_guided_integrated_gradients(model, patterns, steps=7, start=start)
    np.testing.assert_allclose(explainer(x, 1), expected, rtol=1e-4, atol=1e-5)
    diagnostics = explainer.explain(x, 1, verbose=0).diagnostics
    assert set(diagnostics) == {"map_error", "steps"}


def test_the_weights_of_the_moment_are_used(rows):
    model = dense_net((3,))
    patterns = fit(model, rows, verbose=0)
    explainer = tfxai.pattern_attribution(model, patterns, start="one")
    before = explainer(rows, 0).numpy()
    model.layers[0].kernel.assign(model.layers[0].kernel * 3)
    np.testing.assert_allclose(explainer(rows, 0), 3 * before, rtol=1e-5)


def test_smoothing_takes_a_rule(photos):
    model = small_cnn()
    patterns = fit(model, photos, verbose=0)
    explainer = tfxai.smoothgrad(
        tfxai.pattern_attribution(model, patterns), samples=3, noise_level=0
    )
    expected = tfxai.pattern_attribution(model, patterns)(photos, 1)
    np.testing.assert_allclose(explainer(photos, 1), expected, rtol=1e-3, atol=1e-4)


# Models that people have


@pytest.mark.parametrize(
    ("make", "size", "rectifiers", "linear"),
    quick(
        [
            (keras.applications.VGG16, 32, 15, 16),
            (keras.applications.ResNet50, 32, 49, 70),
            (keras.applications.InceptionV3, 75, 94, 95),
            (keras.applications.MobileNetV2, 32, 35, 63),
        ],
        (keras.applications.MobileNetV2, 32, 35, 63),
    ),
)
def test_rules_know_every_step_of_usual_models(make, size, rectifiers, linear):
    model = make(weights=None, input_shape=(size, size, 3), classes=5)
    assert len(tfxai.guided_backprop(model).rule_report()) == rectifiers
    assert len(tfxai.excitation_backprop(model).rule_report()) > linear
    specs = tf.TensorSpec([None, size, size, 3])
    assert len(neurons.neuron_weights(model, specs, (), extend=True)) == linear


@pytest.mark.thorough
def test_patterns_of_a_deep_network_attribute(photos):
    model = keras.applications.VGG16(weights=None, input_shape=(32, 32, 3), classes=5)
    images = np.repeat(np.repeat(photos, 4, 1), 4, 2)
    maps = tfxai.pattern_attribution(model, fit(model, images, verbose=0))(images[:2], 1)
    assert np.isfinite(maps).all()
    assert maps.numpy().any()


def test_overflow_is_noticed(rows):
    model = dense_net((6, 6, 3))
    for layer in model.layers:
        layer.kernel.assign(layer.kernel * 1e-13)
        layer.bias.assign(layer.bias * 0)
    large = rows * 1e20
    patterns = fit(model, large, estimator="linear", verbose=0)
    with pytest.warns(UserWarning, match="pattern_net: some attributions are NaN or infinite"):
        tfxai.pattern_net(model, patterns, start="one").explain(large, 1, verbose=0)
