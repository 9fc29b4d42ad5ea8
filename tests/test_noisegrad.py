"""NoiseGrad and FusionGrad against explaining models that really have noisy weights.

Bykov et al. 2022, equations 4 and 5.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfxai
from tests.networks import L, small_cnn, trained_like
from tests.noise import seeds_of
from tests.thorough import quick
from tfxai import kernels
from tfxai.methods.smoothing.weight_noise import noisy_weights, select_weights

X = np.random.default_rng(4).normal(size=(3, 8, 8, 3))


@pytest.fixture(scope="module")
def net():
    return small_cnn(policy="float64")


def really_noisy(
    model, samples, seed, *, kernel=kernels.gaussian, epsilon, multiply=True, **chosen
):
    """Copies of a model with the weights that NoiseGrad draws, and the seeds of what is inside."""
    chosen = {"biases": True, "statistics": False, "exclude": (), **chosen}
    perturb = noisy_weights(
        lambda: select_weights(model, **chosen), kernel, epsilon, multiply=multiply
    )
    for k in range(samples):
        drawn, inner = seeds_of(seed, k)
        values = {id(v): t.numpy() for v, t in perturb(drawn)}
        copy = keras.models.clone_model(model)
        copy.set_weights([values.get(id(w), w.numpy()) for w in model.weights])
        yield copy, inner


BUILDERS = {
    "gradient": tfxai.gradient,
    "integrated_gradients": lambda m: tfxai.integrated_gradients(m, steps=12),
    "guided_backprop": tfxai.guided_backprop,
    "excitation_backprop": tfxai.excitation_backprop,
    "grad_cam": tfxai.grad_cam,
    "smoothgrad": lambda m: tfxai.smoothgrad(m, samples=3),
}


@pytest.mark.parametrize(
    "name", quick(BUILDERS, "gradient", "integrated_gradients", "guided_backprop", "smoothgrad")
)
def test_noisegrad_is_the_mean_over_noisy_models(name, net):
    builder = BUILDERS[name]
    record = tfxai.noisegrad(builder(net), samples=2, epsilon=0.2).explain(X, 1, verbose=0, seed=5)
    maps = [builder(copy)(X, 1, seed=inner) for copy, inner in really_noisy(net, 2, 5, epsilon=0.2)]
    assert np.std(maps, 0).max() > 0
    np.testing.assert_allclose(record.attributions, np.mean(maps, 0), rtol=1e-8, atol=1e-11)
    expected = np.std(maps, 0, ddof=1) / np.sqrt(2)
    np.testing.assert_allclose(record.diagnostics["standard_error"], expected, rtol=1e-6, atol=1e-9)


def test_noisegrad_of_pattern_attribution_has_noisy_weights_and_the_same_patterns(net):
    data = np.random.default_rng(8).normal(size=(40, 8, 8, 3))
    fitted = tfxai.fit_patterns(net, data, verbose=0)
    explainer = tfxai.noisegrad(tfxai.pattern_attribution(net, fitted), samples=2, epsilon=1e-3)
    maps = [
        tfxai.pattern_attribution(copy, fitted)(X, 1)
        for copy, _ in really_noisy(net, 2, 0, epsilon=1e-3)
    ]
    np.testing.assert_allclose(explainer(X, 1), np.mean(maps, 0), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(
    ("kernel", "noise"),
    quick(
        [*((k, "multiplicative") for k in kernels.ALL), (kernels.rect, "additive")],
        *((kernels.gaussian, "multiplicative"), (kernels.poisson, "multiplicative")),
        (kernels.rect, "additive"),
    ),
    ids=repr,
)
def test_every_kernel_and_both_kinds_of_noise(kernel, noise, net):
    options = {"samples": 2, "r": 0.3, "confidence": 0.9, "kernel": kernel}
    explainer = tfxai.noisegrad(net, **options, noise=noise)
    copies = really_noisy(
        net,
        2,
        0,
        kernel=kernel,
        epsilon=kernels.epsilon(kernel, 0.3, 0.9),
        multiply=noise == "multiplicative",
    )
    expected = np.mean([tfxai.gradient(copy)(X, 1) for copy, _ in copies], 0)
    np.testing.assert_allclose(explainer(X, 1), expected, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize(
    "kernel", quick([kernels.gaussian, kernels.poisson], kernels.poisson), ids=repr
)
def test_fusiongrad_is_noisegrad_of_smoothgrad(kernel, net):
    weights = {"r": 0.1, "confidence": 0.9, "kernel": kernel}
    fused = tfxai.fusiongrad(net, samples=(3, 2), noise_level=0.1, **weights)
    smooth = tfxai.smoothgrad(net, samples=2, noise_level=0.1, kernel=kernel)
    nested = tfxai.noisegrad(smooth, samples=3, **weights)
    np.testing.assert_array_equal(fused(X, 1, seed=2), nested(X, 1, seed=2))


def test_fusiongrad_without_noise_on_one_side(net):
    only_input = tfxai.fusiongrad(net, samples=(100, 3), epsilon=0.0, input_epsilon=0.5)(X, 1)
    long = tfxai.smoothgrad(net, samples=300, epsilon=0.5).explain(X, 1, verbose=0)
    error = np.linalg.norm(only_input - long.attributions) / np.linalg.norm(long.attributions)
    assert error < 2 * long.diagnostics["map_error"].max()
    only_weights = tfxai.fusiongrad(net, samples=(3, 2), epsilon=0.2, noise_level=0.0)(X, 1)
    expected = tfxai.noisegrad(net, samples=3, epsilon=0.2)(X, 1)
    np.testing.assert_allclose(only_weights, expected, rtol=1e-9, atol=1e-12)


def test_without_noise_noisegrad_gives_the_base_method(net):
    maps = tfxai.noisegrad(net, samples=2, epsilon=0.0)(X, 1)
    np.testing.assert_allclose(maps, tfxai.gradient(net)(X, 1), rtol=1e-12)


def linear(weights):
    model = keras.Sequential([keras.Input((3,)), L.Dense(1)])
    model.set_weights([np.reshape(weights, (3, 1)), np.array([10.0])])
    return model


@pytest.mark.parametrize("noise", ["multiplicative", "additive"])
def test_the_spread_of_a_linear_model_s_weights_has_its_closed_form(noise):
    theta = np.array([2.0, -1.0, 0.5])
    explainer = tfxai.noisegrad(linear(theta), samples=2000, epsilon=0.2, noise=noise)
    record = explainer.explain(np.ones((1, 3)), verbose=0)
    sigma = 0.2 * (np.abs(theta) if noise == "multiplicative" else np.ones(3))
    error = record.diagnostics["standard_error"][0] * np.sqrt(2000)
    np.testing.assert_allclose(error, sigma, rtol=0.08)
    np.testing.assert_allclose(record.attributions[0], theta, atol=5 * 0.4 / np.sqrt(2000))


def test_the_default_scale_is_that_of_zhou_et_al_2024b(net):
    default = tfxai.noisegrad(net, samples=2)(X, 1)
    assert tfxai.NOISEGRAD_SIGMA == 0.2
    np.testing.assert_allclose(
        default, tfxai.noisegrad(net, samples=2, epsilon=0.01 * 0.510213457)(X, 1), rtol=1e-8
    )


def normalised():
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            L.Conv2D(4, 3, name="conv"),
            L.BatchNormalization(name="norm"),
            L.ReLU(),
            keras.Sequential([L.Flatten(), L.Dense(6, name="hidden")], name="inner"),
            L.Dense(5, name="top"),
        ]
    )
    trained_like(model)
    return model


def paths(**options):
    model = normalised()
    chosen = {"biases": True, "statistics": False, "exclude": (), **options}
    return {v.path.split("/", 1)[-1] for v in select_weights(model, **chosen)}


def test_which_weights_get_noise():
    everything = paths(statistics=True)
    assert len(everything) == len(normalised().weights)
    assert everything - paths() == {"norm/moving_mean", "norm/moving_variance"}
    without = {p for p in paths() if p.rsplit("/")[-1] in ("bias", "beta")}
    assert paths() - paths(biases=False) == without
    assert len(without) == 4
    left = paths(exclude=["inner", "top"])
    assert left == {"conv/kernel", "conv/bias", "norm/gamma", "norm/beta"}


def test_frozen_weights_get_noise_too():
    model = normalised()
    model.trainable = False
    assert len(select_weights(model, biases=True, statistics=False, exclude=())) == 8


def test_a_shared_layer_has_one_noise():
    inputs = keras.Input((3,))
    shared = L.Dense(3, use_bias=False)
    model = keras.Model(inputs, keras.ops.sum(shared(shared(inputs)), -1, keepdims=True))
    ((copy, _),) = really_noisy(model, 1, 0, epsilon=0.3)
    x = np.ones((1, 3))
    maps = tfxai.noisegrad(model, samples=1, epsilon=0.3)(x)
    np.testing.assert_allclose(maps, tfxai.gradient(copy)(x), rtol=1e-5)


def test_nothing_to_perturb_is_an_error():
    model = keras.Sequential([keras.Input((8, 8, 3)), L.Flatten(), L.Dense(2, name="only")])
    with pytest.raises(ValueError, match=r"no floating-point weights.*exclude=\['only'\]"):
        tfxai.noisegrad(model, exclude=["only"])(X)
    with pytest.raises(ValueError, match=r"layer='onli'.*perhaps only"):
        tfxai.noisegrad(model, exclude=["onli"])


class Failing(keras.layers.Layer):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def call(self, x):
        def fail(value):
            raise self.error

        return x + tf.py_function(fail, [x], tf.float32) if self.error else x


@pytest.mark.parametrize("error", [None, ValueError("no"), KeyboardInterrupt()])
def test_the_model_is_bit_identical_afterwards(error, images):
    failing = Failing(None)
    model = keras.Sequential([keras.Input((8, 8, 3)), L.Conv2D(2, 3), failing, L.Flatten()])
    model.add(L.Dense(3))
    before = [w.numpy() for w in model.weights]
    outputs = model(images).numpy()
    failing.error = error
    explainer = tfxai.noisegrad(model, samples=3, epsilon=0.5)
    if error is None:
        explainer.explain(images, verbose=0)
    else:
        with pytest.raises((tf.errors.OpError, KeyboardInterrupt, ValueError)):
            explainer.explain(images, 1, verbose=0)
    failing.error = None
    for weight, old in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, old)
    np.testing.assert_array_equal(model(images), outputs)
    assert len(model.trainable_weights) == len(before)


class Interrupting:
    def pdf(self, x):
        return kernels.gaussian.pdf(x)

    def inverse_cdf(self, u):
        if not u.shape.rank:
            return kernels.gaussian.inverse_cdf(u)
        raise KeyboardInterrupt


def test_an_interrupt_while_tracing_leaves_no_trace(images):
    model = small_cnn()
    before = [w.numpy() for w in model.weights]
    with pytest.raises(KeyboardInterrupt):
        tfxai.noisegrad(model, kernel=Interrupting())(images)
    for weight, old in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, old)
    fresh = tfxai.gradient(small_cnn())(images, 1)
    np.testing.assert_array_equal(tfxai.gradient(model)(images, 1), fresh)
    assert not tf.config.functions_run_eagerly()
