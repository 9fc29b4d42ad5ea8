"""AdaptGrad (Zhou et al. 2024a): its noise, its bounds, its place over other explainers."""

import numpy as np
import pytest

import tfxai
from tests import reference
from tests.networks import as_model, slope, small_cnn, two_inputs, with_patterns
from tests.noise import noise_of
from tests.thorough import quick
from tfxai import kernels, quadrature
from tfxai.estimation import samplers

TARGET = 2
LOW, HIGH = np.array([-4.0, -4.5, -5.0]), np.array([4.0, 4.5, 5.0])
DIVISORS = {
    0.9: (1.644854, 1.959964),
    0.95: (1.959964, 2.241403),
    0.99: (2.575829, 2.807034),
    0.995: (2.807034, 3.023341),
    0.999: (3.290527, 3.480756),
}
"""By q = c, as the authors' code, and by equation 13 as printed (docs/methods.md, AdaptGrad)."""


@pytest.fixture(scope="module")
def net():
    return small_cnn(head=None, policy="float64")


@pytest.fixture
def x(images):
    return images[:3].astype("float64")


def noise_and_sigma(x, count, seed, divisor=1.959964):
    sigma = reference.adaptive_sigma(x, LOW, HIGH, divisor)
    sampler = samplers.noise(kernels.gaussian, lambda inputs: sigma)
    return noise_of(sampler, x, count, seed), sigma


@pytest.mark.parametrize("confidence", DIVISORS)
def test_the_divisors_of_both_equations(confidence):
    for column, printed in enumerate((False, True)):
        sigma = tfxai.adaptive_epsilon(
            np.array([[0.3, 0.8]]), bounds=(0, 1), confidence=confidence, printed_eq13=printed
        )
        expected = np.array([0.3, 0.2]) / DIVISORS[confidence][column]
        np.testing.assert_allclose(sigma[0], expected, rtol=1e-6)


def test_sigma_as_the_authors_code_has_it():
    sigma = tfxai.adaptive_epsilon(np.array([[0.3]]), bounds=(0, 1)).numpy()
    assert sigma[0, 0] == pytest.approx(0.15306, abs=1e-5)


def test_adaptgrad_is_the_mean_over_its_noise(net, x):
    explainer = tfxai.adaptgrad(net, bounds=(LOW, HIGH), samples=6)
    noise, sigma = noise_and_sigma(x, 6, seed=3)
    assert 0.1 < sigma.min() < sigma.max() < 2.6
    expected = [reference.smoothgrad(slope(net), x[i], noise[:, i]) for i in range(3)]
    np.testing.assert_allclose(explainer(x, TARGET, seed=3), expected, rtol=1e-6, atol=1e-8)


def test_with_the_clean_gradient_there_is_one_sample_more(net, x):
    explainer = tfxai.adaptgrad(net, bounds=(LOW, HIGH), samples=4, with_clean=True)
    record = explainer.explain(x, TARGET, verbose=0, seed=3)
    noise, _ = noise_and_sigma(x, 5, seed=3)
    noise[0] = 0
    expected = [reference.smoothgrad(slope(net), x[i], noise[:, i]) for i in range(3)]
    np.testing.assert_allclose(record.attributions, expected, rtol=1e-6, atol=1e-8)
    assert (record.diagnostics["samples"] == 5).all()
    assert record.settings["samples"] == 4


@pytest.mark.parametrize("kernel", kernels.ALL, ids=repr)
def test_the_share_within_m_is_the_confidence(kernel):
    x = np.full((1, 20_000), 0.3)
    scale = tfxai.adaptive_epsilon(x, bounds=(0, 1), confidence=0.9, kernel=kernel)
    noise = noise_of(samplers.noise(kernel, lambda inputs: scale), x, 5, seed=0)
    assert (np.abs(noise) <= 0.3).mean() == pytest.approx(0.9, abs=0.005)


def test_features_on_a_bound_get_no_noise(net, x):
    explainer = tfxai.adaptgrad(net, bounds=(0.0, 1.0), samples=3)
    black = np.zeros_like(x)
    black[1] = 1
    np.testing.assert_allclose(explainer(black, 1), tfxai.gradient(net)(black, 1), rtol=1e-12)


EXPLAINERS = {
    "gradient_times_input": tfxai.gradient_times_input,
    "black": lambda m: tfxai.integrated_gradients(
        m, steps=5, baseline="black", bounds=(LOW, HIGH), quadrature=quadrature.midpoint
    ),
    "white": lambda m: tfxai.integrated_gradients(
        m, steps=5, baseline="white", bounds=(LOW, HIGH), quadrature=quadrature.midpoint
    ),
    "pattern_attribution": with_patterns(tfxai.pattern_attribution),
}


@pytest.mark.parametrize("name", quick(EXPLAINERS, "white", "pattern_attribution"))
def test_over_any_explainer(name, net, x):
    base = EXPLAINERS[name](net)
    maps = tfxai.adaptgrad(base, bounds=(LOW, HIGH), samples=3)(x, TARGET, seed=1)
    noise, _ = noise_and_sigma(x, 3, seed=1)
    expected = np.mean([base(x + t, TARGET) for t in noise], axis=0)
    np.testing.assert_allclose(maps, expected, rtol=1e-6, atol=1e-8)


def test_several_inputs_have_bounds_of_their_own():
    model = two_inputs()
    random = np.random.default_rng(0)
    x = {"image": random.uniform(0, 255, (3, 6, 6, 1)), "row": random.uniform(-1, 0, (3, 4))}
    bounds = {"image": 0, "row": -1}, {"image": 255, "row": 0}
    sigma = tfxai.adaptive_epsilon(x, bounds=bounds)
    assert sigma["image"].numpy().max() > 40
    assert sigma["row"].numpy().max() < 0.3
    assert tfxai.adaptgrad(model, bounds=bounds, samples=3)(x, 1)["row"].shape == (3, 4)
    with pytest.raises(ValueError, match=r"bounds: \d.*largest 25"):
        tfxai.adaptgrad(model, bounds=(-1, 0.5))(x, 1)


def test_rounding_at_a_bound_is_forgiven_and_more_is_not():
    model = small_cnn()
    explainer = tfxai.adaptgrad(model, bounds=(0, 1), samples=2)
    x = np.full((1, 8, 8, 3), 0.5, "float32")
    x[0, 0, 0, 0] = np.nextafter(np.float32(1), np.float32(2))
    assert np.isfinite(explainer(x)).all()
    x[0, 0, 0, :2] = 1.5
    message = r"bounds: 1.0% of the inputs' values lie outside.*smallest is 0.5, the largest 1.5"
    with pytest.raises(ValueError, match=message):
        explainer(x)
    with pytest.raises(ValueError, match=message):
        explainer.explain(x, verbose=0)
    outer = tfxai.smoothgrad(explainer, samples=2)
    with pytest.raises(ValueError, match=message):
        outer(x)


def test_inherent_noise_of_figure_3():
    x = np.linspace(-2.12, 2.64, 20_001)[None]
    bounds = (-2.12, 2.64)
    sigmas = [
        0.2 * 4.76,
        tfxai.adaptive_epsilon(x, bounds=bounds),
        tfxai.adaptive_epsilon(x, bounds=bounds, printed_eq13=True),
    ]
    for sigma, expected in zip(sigmas, (0.159577, 0.027067, 0.013353), strict=True):
        noise = tfxai.inherent_noise(x, sigma, bounds=bounds, samples=20)
        assert noise.analytic.mean() == pytest.approx(expected, abs=2e-5)
        error = np.sqrt(expected / (20 * x.size))
        assert noise.sampled.mean() == pytest.approx(expected, abs=4 * error)
    assert tfxai.inherent_noise(x, sigmas[1], bounds=bounds).analytic.max() <= 0.05 + 1e-9
    assert tfxai.inherent_noise(x, sigmas[2], bounds=bounds).analytic.max() <= 0.025 + 1e-9


@pytest.mark.parametrize("kernel", kernels.ALL, ids=repr)
def test_inherent_noise_of_every_kernel(kernel):
    x = np.random.default_rng(0).uniform(0, 1, (2, 5000)).astype("float32")
    noise = tfxai.inherent_noise(x, 0.3, bounds=(0, 1), kernel=kernel, samples=30)
    assert noise.sampled.mean() == pytest.approx(noise.analytic.mean(), abs=0.005)


def test_each_example_has_its_own_noise():
    x = np.array([[0.5], [0.01]])
    epsilon = tfxai.adaptive_epsilon(x, bounds=(0, 1))
    noise = tfxai.inherent_noise(x, epsilon, bounds=(0, 1))
    np.testing.assert_allclose(noise.analytic, [[0.05], [0.025]], atol=1e-6)
    random = np.random.default_rng(0)
    model_like = {"b": random.uniform(0, 1, (4, 3, 2)), "a": random.uniform(0, 1, (4, 5))}
    scales = tfxai.adaptive_epsilon(model_like, bounds=(0, 1))
    together = tfxai.inherent_noise(model_like, scales, bounds=(0, 1), samples=9, seed=2)
    for i in range(4):
        one, scale = ({n: v[i : i + 1] for n, v in d.items()} for d in (model_like, scales))
        alone = tfxai.inherent_noise(one, scale, bounds=(0, 1), samples=9, seed=2)
        for name in one:
            np.testing.assert_allclose(together.analytic[name][[i]], alone.analytic[name])
            np.testing.assert_array_equal(together.sampled[name][[i]], alone.sampled[name])


@pytest.mark.parametrize("epsilon", [-0.1, np.nan, np.ones((3, 2)), [0.1, 0.2, 0.3], "much"])
def test_an_epsilon_that_does_not_fit_raises(epsilon):
    with pytest.raises(ValueError, match="epsilon"):
        tfxai.inherent_noise(np.full((2, 2), 0.5), epsilon, bounds=(0, 1))


def test_bounds_are_the_same_for_all_examples():
    x = np.array([[0.5, 0.5], [2.0, 2.0]])
    bounds = np.zeros((2, 2)), np.array([[1.0, 1.0], [3.0, 3.0]])
    message = r"bounds: got arrays \[2, 2\] of 2 examples; .* one example's shape \[2\]"
    with pytest.raises(ValueError, match=message):
        tfxai.adaptive_epsilon(x, bounds=bounds)
    with pytest.raises(ValueError, match=message):
        tfxai.inherent_noise(x, 0.1, bounds=bounds)
    with pytest.raises(ValueError, match=message):
        tfxai.adaptgrad(as_model(lambda x: x, 2), bounds=bounds)(x, 1)


def test_no_noise_falls_nowhere():
    noise = tfxai.inherent_noise(np.array([[0.0, 0.5]]), 0.0, bounds=(0, 1), samples=2)
    np.testing.assert_array_equal(noise.analytic, [[0, 0]])
    np.testing.assert_array_equal(noise.sampled, [[0, 0]])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"bounds": (1, 0)}, ValueError, r"bounds=\(1, 0\): expected the smallest"),
        ({"bounds": ([0, 0, 2], [1, 1, 1])}, ValueError, "bounds=.*smallest"),
        ({"bounds": ([0, 0, 2], 1)}, ValueError, "bounds=.*smallest"),
        ({"bounds": (0, 0)}, ValueError, "bounds="),
        ({"bounds": (0, np.nan)}, ValueError, "bounds="),
        ({"bounds": 1}, TypeError, "bounds=1: expected a pair"),
        ({"bounds": (0, 1), "confidence": 1.0}, ValueError, "confidence=1.0: .*below 1"),
        ({"bounds": (0, 1), "confidence": 0}, ValueError, "confidence=0: .*above 0"),
        ({"bounds": (0, 1), "samples": 0}, ValueError, "samples=0"),
        ({"bounds": (0, 1), "kernel": 3}, TypeError, "kernel=3"),
    ],
)
def test_options(options, error, message):
    with pytest.raises(error, match=message):
        tfxai.adaptgrad(small_cnn(), **options)


def test_a_kernel_without_a_cdf_has_no_analytic_share():
    class Bare:
        pdf, inverse_cdf = kernels.rect.pdf, kernels.rect.inverse_cdf

    with pytest.raises(TypeError, match="has no cdf"):
        tfxai.inherent_noise(np.ones((1, 2)), 0.1, bounds=(0, 2), kernel=Bare())
