"""Five kernels (Zhou et al. 2024b, smoothing kernels), one's own, and importance sampling."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfxai
from tests import reference
from tests.networks import as_model, small_cnn
from tests.noise import noise_of
from tfxai import kernels
from tfxai.estimation import samplers

KERNELS = pytest.mark.parametrize("kernel", kernels.ALL, ids=repr)
GRID = np.linspace(-4, 4, 8001)
RATIOS = {
    kernels.gaussian: (0.510213, 0.607957),
    kernels.poisson: (0.078702, 0.158384),
    kernels.hyperbolic: (0.545917, 0.679247),
    kernels.sigmoid: (0.272958, 0.339623),
    kernels.rect: (1.052632, 1.111111),
}
"""Epsilon / r at alpha = .95 and .9 (docs/methods.md, Smoothing kernels)."""
PRINTED = {
    kernels.hyperbolic: (lambda a: 1 / np.arctan(a), {0.9: 0.625, 0.95: 0.641}),
    kernels.rect: (lambda a: 2 / a, {0.9: 0.45, 0.95: 0.475}),
}


def mass(kernel, epsilon, r):
    """Zhou et al. 2024b, equation 30: the integral of phi_eps over [-r, r]."""
    t = np.linspace(-r, r, 400_001)
    values = kernel.pdf(tf.constant(t / epsilon)).numpy() / epsilon
    return np.trapezoid(values, t)


@KERNELS
@pytest.mark.parametrize(("confidence", "column"), [(0.95, 0), (0.9, 1)])
def test_epsilon_has_the_stated_mass(kernel, confidence, column):
    epsilon = kernels.epsilon(kernel, 2.0, confidence)
    assert epsilon / 2 == pytest.approx(RATIOS[kernel][column], abs=6e-7)
    assert mass(kernel, epsilon, 2.0) == pytest.approx(confidence, abs=1e-4)


@pytest.mark.parametrize("kernel", PRINTED, ids=repr)
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_the_misprinted_epsilons_have_another_mass(kernel, confidence):
    formula, masses = PRINTED[kernel]
    assert mass(kernel, formula(confidence), 1.0) == pytest.approx(masses[confidence], abs=6e-4)


@KERNELS
def test_pdf_cdf_and_quantile_belong_together(kernel):
    x = tf.constant(GRID)
    cdf, pdf = kernel.cdf(x).numpy(), kernel.pdf(x).numpy()
    h = GRID[1] - GRID[0]
    smooth = np.abs(np.abs(GRID) - 1) > 2 * h  # the rect's density jumps at 1
    np.testing.assert_allclose(np.gradient(cdf, h)[smooth], pdf[smooth], atol=1e-5)
    np.testing.assert_allclose(pdf, pdf[::-1], rtol=1e-12)
    far = kernel.cdf(tf.constant([-1e9, 0.0, 1e9], tf.float64))
    np.testing.assert_allclose(far, [0, 0.5, 1], atol=1e-8)
    u = tf.constant(np.linspace(0.001, 0.999, 999))
    np.testing.assert_allclose(kernel.cdf(kernel.inverse_cdf(u)), u, rtol=1e-12)


@KERNELS
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_draws_are_finite_at_the_ends_of_the_uniforms(kernel, dtype):
    ends = kernels.quantile(kernel, tf.constant([0.0, 1.0, 0.5], dtype)).numpy()
    assert np.isfinite(ends).all()
    assert ends[0] < 0 < ends[1]
    assert ends[2] == pytest.approx(0, abs=1e-6)
    assert np.isfinite(kernel.pdf(tf.constant([-1e30, 1e4, 0], dtype))).all()


def test_hyperbolic_and_sigmoid_noise_is_the_same(images):
    scaled = [
        kernels.epsilon(k, 0.5, 0.9) * samplers.draw(k, [1000], tf.constant([1, 2]), tf.float64)
        for k in (kernels.hyperbolic, kernels.sigmoid)
    ]
    np.testing.assert_allclose(*scaled, rtol=1e-9, atol=1e-12)
    one, other = (
        tfxai.smoothgrad(small_cnn(), samples=5, r=0.5, confidence=0.9, kernel=k)(images)
        for k in (kernels.hyperbolic, kernels.sigmoid)
    )
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


@KERNELS
def test_a_kernel_comes_back_from_its_configuration(kernel):
    config = keras.saving.serialize_keras_object(kernel)
    assert keras.saving.deserialize_keras_object(config) == kernel


def cosine_pdf(x):
    return tf.where(tf.abs(x) <= 1, np.pi / 4 * tf.cos(np.pi * x / 2), tf.zeros_like(x))


def cosine_inverse_cdf(u):
    return 2 / np.pi * tf.asin(2 * u - 1)


COSINE = SimpleNamespace(pdf=cosine_pdf, inverse_cdf=cosine_inverse_cdf)


def test_a_kernel_of_ones_own(images):
    assert kernels.half_width(COSINE, 0.5) == pytest.approx(1 / 3)
    explainer = tfxai.smoothgrad(small_cnn(policy="float64"), samples=7, kernel=COSINE, epsilon=0.3)
    x = images.astype("float64")
    noise = noise_of(samplers.noise(COSINE, samplers.absolute(0.3)), x, 7, seed=0)
    assert 0.2 < np.abs(noise).max() <= 0.3
    base = tfxai.gradient(small_cnn(policy="float64"))
    expected = np.mean([base(x + t, 1) for t in noise], axis=0)
    np.testing.assert_allclose(explainer(x, 1), expected, rtol=1e-9, atol=1e-12)


def cube():
    """f(x) = sum x^3, whose gradient is 3 x^2."""
    return as_model(lambda x: keras.ops.sum(x**3, -1, keepdims=True), 2)


def test_importance_sampling_is_equation_17():
    x = np.array([[0.5, -1.0]], "float32")
    explainer = tfxai.smoothgrad(
        cube(), samples=9, epsilon=0.4, kernel=kernels.gaussian, proposal=kernels.sigmoid
    )
    noise = noise_of(samplers.noise(kernels.sigmoid, samplers.absolute(0.4)), x, 9, seed=2)[:, 0]
    t = tf.constant(noise / 0.4)
    ratios = np.prod(kernels.gaussian.pdf(t) / kernels.sigmoid.pdf(t), axis=1)
    expected = reference.mollified(lambda x: 3 * x**2, x[0], -noise, ratios)
    np.testing.assert_allclose(explainer(x, seed=2)[0], expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("kernel", "proposal"),
    [
        (kernels.gaussian, kernels.poisson),
        (kernels.rect, kernels.gaussian),
        (kernels.hyperbolic, kernels.sigmoid),
    ],
)
def test_importance_sampling_has_the_kernel_s_expectation(kernel, proposal):
    x = np.array([[0.5, -1.0]])
    options = {"samples": 8_000, "epsilon": 0.4, "kernel": kernel}
    record = tfxai.smoothgrad(cube(), **options, proposal=proposal).explain(x, verbose=0)
    t = np.linspace(-30, 30, 100_001)
    variance = np.trapezoid(kernel.pdf(tf.constant(t)).numpy() * t**2, t) * 0.4**2
    expected = 3 * (x**2 + variance)
    assert (np.abs(record.attributions - expected) < 5 * record.diagnostics["standard_error"]).all()
    np.testing.assert_allclose(record.attributions, expected, rtol=0.2)


def test_a_proposal_that_misses_a_part_of_the_kernel_is_refused():
    with pytest.raises(ValueError, match=r"proposal=rect has the density 0 at -.*gaussian"):
        tfxai.smoothgrad(cube(), proposal=kernels.rect)
