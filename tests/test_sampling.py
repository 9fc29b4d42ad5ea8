"""What sampling methods say of their own error, samples that are not finite, and tolerances."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfxai
from tests.networks import as_model, small_cnn
from tests.noise import noise_of
from tests.thorough import quick
from tfxai import kernels
from tfxai.estimation import aggregators, samplers
from tfxai.estimation.accuracy import map_error, pooled_error

VALUES = np.random.default_rng(0).gamma(2, size=(9, 3, 4)) - 1


def aggregated(aggregator, values):
    state = aggregator.init(tf.constant(values[0]))
    for value in values:
        state = aggregator.update(state, tf.constant(value), tf.constant(1.0, tf.float64))
    return aggregator.result(state)


STATISTICS = {
    "mean": (lambda v: v.mean(0), lambda v: v.std(0, ddof=1) / np.sqrt(len(v))),
    "mean_square": (lambda v: (v**2).mean(0), lambda v: (v**2).std(0, ddof=1) / np.sqrt(len(v))),
    "variance": (
        lambda v: v.var(0),
        lambda v: np.sqrt(np.maximum(((v - v.mean(0)) ** 4).mean(0) - v.var(0) ** 2, 0) / len(v)),
    ),
}


@pytest.mark.parametrize("name", STATISTICS)
@pytest.mark.parametrize("count", [2, 3, 9])
def test_a_statistic_its_error_and_its_halves(name, count):
    statistic, error = STATISTICS[name]
    values = VALUES[:count]
    found = aggregated(getattr(aggregators, name)(), values)
    np.testing.assert_allclose(found.value, statistic(values), rtol=1e-12)
    np.testing.assert_allclose(found.standard_error, error(values), rtol=1e-6, atol=1e-7)
    halves = statistic(values[::2]) - statistic(values[1::2])
    np.testing.assert_allclose(found.half_difference, halves, rtol=1e-9, atol=1e-12)
    assert (found.samples.numpy() == count).all()


@pytest.mark.parametrize("name", STATISTICS)
def test_of_one_sample_there_is_no_error(name):
    found = aggregated(getattr(aggregators, name)(), VALUES[:1])
    np.testing.assert_allclose(found.value, STATISTICS[name][0](VALUES[:1]), atol=1e-12)
    assert np.isnan(found.standard_error).all()
    assert np.isnan(found.half_difference).all()


@pytest.mark.parametrize("name", STATISTICS)
def test_samples_that_are_not_finite_are_left_out_for_their_example_alone(name):
    values = VALUES.copy()
    values[2, 1, 3], values[5, 1, 0], values[7, 2, 2] = np.nan, np.inf, -np.inf
    found, dropped = aggregated(aggregators.finite(getattr(aggregators, name)()), values)
    np.testing.assert_array_equal(dropped[:, 0], [0, 2, 1])
    for example, kept in enumerate([range(9), [0, 1, 3, 4, 6, 7, 8], [*range(7), 8]]):
        mine = values[list(kept), example]
        np.testing.assert_allclose(found.value[example], STATISTICS[name][0](mine), rtol=1e-9)
        np.testing.assert_allclose(found.standard_error[example], STATISTICS[name][1](mine), 1e-6)


def roots():
    """f(x) = sum sqrt(x), whose gradient is NaN below 0."""
    return as_model(lambda x: keras.ops.sum(keras.ops.sqrt(x), -1, keepdims=True), 2)


def test_dropped_samples_are_counted_and_reported():
    x = np.array([[1.0, 4.0], [1e-3, 4.0], [1e6, 1e6]], "float32")
    options = {"samples": 40, "epsilon": 0.5, "kernel": kernels.poisson}
    record = tfxai.smoothgrad(roots(), **options).explain(x, verbose=0, seed=1)
    diagnostics = record.diagnostics
    np.testing.assert_array_equal(diagnostics["samples"] + diagnostics["dropped"], [40, 40, 40])
    assert 5 < diagnostics["dropped"][1] < 35
    assert diagnostics["dropped"][2] == 0
    assert np.isfinite(record.attributions).all()
    assert np.isfinite(diagnostics["standard_error"]).all()


def test_when_no_sample_is_finite_the_map_is_nan_and_a_warning_says_so():
    explainer = tfxai.smoothgrad(roots(), samples=3, epsilon=0.1)
    with pytest.warns(UserWarning, match="smoothgrad: some attributions are NaN"):
        record = explainer.explain(np.array([[-5.0, 4.0]]), verbose=0)
    assert np.isnan(record.attributions).all()
    np.testing.assert_array_equal(record.diagnostics["dropped"], [3])


def estimate_of(values):
    return aggregated(aggregators.mean(), values)


def test_the_errors_of_noise_around_a_known_map_are_estimated():
    random = np.random.default_rng(3)
    size = np.repeat(np.repeat(random.gamma(1, size=(6, 4, 4, 1)), 4, 1), 4, 2)
    limit = random.normal(size=(6, 16, 16, 3)) * size
    noise = random.normal(size=(40, *limit.shape)) * 3
    found = estimate_of((limit + noise).reshape(40, 6, -1))
    maps = found.value.numpy().reshape(limit.shape)
    error = np.linalg.norm((maps - limit).reshape(6, -1), axis=1)
    relative = error / np.linalg.norm(limit.reshape(6, -1), axis=1)
    np.testing.assert_allclose(map_error(found), relative, rtol=0.15)

    def picture(m):
        cells = np.abs(m).sum(-1).reshape(6, 4, 4, 4, 4).mean((2, 4)).reshape(6, -1)
        return cells / np.linalg.norm(cells, axis=1, keepdims=True)

    cosine = (picture(maps) * picture(limit)).sum(1)
    estimated = pooled_error(found, tf.constant(limit), 4)
    np.testing.assert_allclose(estimated.numpy().mean(), np.sqrt(1 - cosine**2).mean(), rtol=0.25)


def test_the_pooled_error_does_not_see_a_factor_and_is_zero_without_noise():
    map_ = np.random.default_rng(0).normal(size=(2, 8 * 8 * 3))
    like = tf.zeros([2, 8, 8, 3], tf.float64)
    constant = estimate_of(np.stack([map_] * 6))
    np.testing.assert_allclose(pooled_error(constant, like, 4), [0, 0], atol=1e-7)
    np.testing.assert_allclose(map_error(constant), [0, 0], atol=1e-7)
    noisy = estimate_of(map_ + np.random.default_rng(1).normal(size=(6, 2, 192)))
    scaled = noisy._replace(**{f: 7 * v for f, v in noisy._asdict().items() if f != "samples"})
    np.testing.assert_allclose(
        pooled_error(scaled, like, 4), pooled_error(noisy, like, 4), rtol=1e-6
    )
    nothing = estimate_of(np.zeros([4, 2, 192]))
    np.testing.assert_array_equal(pooled_error(nothing, like, 4), [0, 0])


def test_tolerance_ends_each_example_on_its_own(cnn, images):
    x = images.copy()
    x[0] *= 1e-4  # its noise is as small
    explainer = tfxai.smoothgrad(cnn, tolerance=0.06, max_samples=120)
    with pytest.warns(UserWarning, match="not converged after 120 samples.*raise max_samples"):
        record = explainer.explain(x, 1, verbose=0, seed=3)
    samples = record.diagnostics["samples"]
    assert samples[0] == 16
    assert len(set(samples)) > 2
    assert (record.diagnostics["pooled_error"][samples < 120] <= 0.06).all()
    for count in sorted(set(samples))[:2]:
        these = samples == count
        same = tfxai.smoothgrad(cnn, samples=int(count)).explain(x, 1, verbose=0, seed=3)
        np.testing.assert_allclose(
            record.attributions[these], same.attributions[these], rtol=1e-4, atol=1e-6
        )
        for name in ("standard_error", "map_error", "pooled_error"):
            np.testing.assert_allclose(
                record.diagnostics[name][these], same.diagnostics[name][these], rtol=2e-3, atol=1e-5
            )


@pytest.mark.filterwarnings("ignore:.*not converged after 60 samples")
@pytest.mark.parametrize(
    "name", quick(["vargrad", "expected_gradients", "noisegrad"], "expected_gradients", "noisegrad")
)
def test_other_methods_take_a_tolerance_too(name, cnn, images):
    more = {"expected_gradients": [images]}.get(name, [])
    options = {"noisegrad": {"epsilon": 0.2}}.get(name, {})
    explainer = getattr(tfxai, name)(cnn, *more, tolerance=0.15, max_samples=60, **options)
    diagnostics = explainer.explain(images, verbose=0).diagnostics
    assert ((diagnostics["pooled_error"] <= 0.15) | (diagnostics["samples"] == 60)).all()
    assert diagnostics["standard_error"].shape == images.shape


def test_antithetic_pairs_are_samples_on_both_sides(cnn, images):
    explainer = tfxai.smoothgrad(cnn, samples=6, noise_level=0.2, antithetic=True)
    record = explainer.explain(images, 1, verbose=0, seed=3)
    sampler = samplers.noise(kernels.gaussian, samplers.relative(0.2))
    noise = noise_of(sampler, images, 3, seed=3)
    base = tfxai.gradient(cnn)
    pairs = [(base(images + t, 1) + base(images - t, 1)) / 2 for t in noise]
    np.testing.assert_allclose(record.attributions, np.mean(pairs, 0), rtol=1e-3, atol=1e-6)
    error = np.std(pairs, 0, ddof=1) / np.sqrt(3)
    np.testing.assert_allclose(record.diagnostics["standard_error"], error, rtol=1e-2, atol=1e-6)
    assert (record.diagnostics["samples"] == 6).all()
    with pytest.raises(ValueError, match="samples=5, max_samples=1000: expected even"):
        tfxai.smoothgrad(cnn, samples=5, antithetic=True)


def test_antithetic_pairs_are_exact_on_a_quadratic():
    model = as_model(lambda x: keras.ops.sum(x**2, -1, keepdims=True), 2)
    x = np.array([[0.5, -1.0]], "float32")
    record = tfxai.smoothgrad(model, samples=4, antithetic=True).explain(x, verbose=0)
    np.testing.assert_allclose(record.attributions, 2 * x, rtol=1e-5)
    np.testing.assert_allclose(record.diagnostics["map_error"], [0], atol=1e-6)
    to_tolerance = tfxai.smoothgrad(model, tolerance=0.1, antithetic=True).explain(x, verbose=0)
    np.testing.assert_array_equal(to_tolerance.diagnostics["samples"], [16])


def test_smoothing_a_map_of_another_shape(cnn, images):
    for upsample, size in (("bilinear", 8), (None, 6)):
        cam = tfxai.grad_cam(cnn, upsample=upsample)
        record = tfxai.smoothgrad(cam, samples=4, noise_level=0.0).explain(images, verbose=0)
        assert record.attributions.shape == (5, size, size, 1)
        np.testing.assert_allclose(record.attributions, cam(images), rtol=1e-5, atol=1e-7)
        assert record.diagnostics["standard_error"].shape == record.attributions.shape


def test_rows_and_sequences_have_a_pooled_error():
    model = keras.Sequential([keras.Input((7, 3)), keras.layers.LSTM(4), keras.layers.Dense(2)])
    x = np.random.default_rng(0).normal(size=(3, 7, 3))
    record = tfxai.smoothgrad(model, samples=6).explain(x, verbose=0)
    assert (record.diagnostics["pooled_error"] > 0).all()


def test_half_precision_models_are_sampled_in_float32(images):
    record = tfxai.smoothgrad(small_cnn(policy="mixed_float16"), samples=4).explain(
        images, verbose=0
    )
    assert record.diagnostics["standard_error"].dtype == np.float32


def test_a_path_of_maps_of_another_shape_is_of_the_inputs_shape(cnn, images):
    path = tfxai.integrated_gradients(
        tfxai.grad_cam(cnn), steps=2, quadrature=tfxai.quadrature.midpoint
    )
    smooth = tfxai.smoothgrad(path, samples=2, noise_level=0.0)(images, 1)
    np.testing.assert_allclose(smooth, path(images, 1), rtol=1e-5, atol=1e-7)
    assert smooth.shape == images.shape
