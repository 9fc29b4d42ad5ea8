"""Numbers of papers 001 and 002 as the examples compute them (METHODS 2 and 3)."""

import importlib.util
from pathlib import Path

import keras
import numpy as np
import pytest

import tfxai
from tfxai import kernels


def example(name):
    path = Path(__file__).parents[1] / "examples" / "reproduce" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


kernel_example = example("gradient_kernels")
adaptgrad_example = example("adaptgrad")


@pytest.fixture(scope="module")
def classifier():
    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(5),
        ]
    )


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(0, 1, [2, 6, 6, 3]).astype(np.float32)


def test_the_network_is_piecewise_linear():
    """Of the given slopes, and flat outside."""
    x = np.array([-3.0, -1.75, -0.5, 0.5, 0.975, 1.025, 1.5, 2.25, 3.0])
    slopes = [0, *kernel_example.SLOPES, 0]
    gradient = tfxai.gradient(kernel_example.piecewise_linear())(x[:, None])
    np.testing.assert_allclose(gradient[:, 0], slopes)


@pytest.mark.parametrize("kernel", kernels.ALL, ids=str)
def test_smoothgrad_is_the_gradient_of_the_mollified_function(kernel):
    """Paper 002, eq. 17."""
    x = np.linspace(-3.5, 3.5, 57)
    found, expected, error = kernel_example.one_dimension(kernel, samples=1000, x=x)
    assert (np.abs(found - expected) < 5 * error).all()
    assert np.abs(found - expected).max() > 0


@pytest.mark.parametrize("kernel", kernels.ALL, ids=str)
def test_the_analytic_gradient_is_that_of_the_smoothed_function(kernel):
    x, h = np.array([-2.4, -0.9, 0.2, 0.8, 1.6]), 1e-3
    up, down = (kernel_example.smoothed(kernel, 0.3, x + step) for step in (h, -h))
    expected = kernel_example.smoothed_steps(kernel, 0.3, kernel_example.SLOPES, x)
    np.testing.assert_allclose((up - down) / (2 * h), expected, atol=2e-2)


def test_saliencies_of_kernels(classifier, images):
    """METHODS 2.2: summed over channels with their signs."""
    options = {"confidence": 0.9, "samples": 3, "fusion": (2, 2)}
    explainers = kernel_example.explainers(classifier, r=0.5, **options)
    assert len(explainers) == 1 + 3 * len(kernels.ALL)
    some = [("gradient", "none"), ("SmoothGrad", "rect")]
    maps = kernel_example.saliencies({key: explainers[key] for key in some}, images)
    summed = tfxai.gradient(classifier)(images).numpy().sum(-1, keepdims=True)
    np.testing.assert_allclose(maps["gradient", "none"], summed, atol=1e-6)
    assert maps["SmoothGrad", "rect"].shape == summed.shape


def test_gini_table_of_kernels(images):
    options = {"confidence": 0.9, "samples": 3, "fusion": (2, 5)}
    maps = {("NoiseGrad", "rect"): images, ("FusionGrad", "gaussian"): np.ones_like(images)}
    first, second = kernel_example.gini_table(maps, **options)
    mean = pytest.approx(tfxai.metrics.gini(images).mean())
    assert first == ("NoiseGrad", "rect", 0.9, mean, 3)
    assert second == ("FusionGrad", "gaussian", 0.9, pytest.approx(0), 10)


def test_inherent_noise():
    """METHODS 2.1, Fig. 3; the shares among the samples agree."""
    x, samples = adaptgrad_example.uniform(4000), 20
    noise = list(adaptgrad_example.inherent_noise(x, samples=samples).values())
    analytic = [n.analytic.mean() for n in noise]
    np.testing.assert_allclose(analytic, [0.159577, 0.027067, 0.013353], atol=1e-5)
    for n in noise:
        error = np.sqrt((n.analytic * (1 - n.analytic)).mean() / (x.size * samples))
        assert abs(n.sampled.mean() - n.analytic.mean()) < 3 * error


def test_inherent_noise_is_limited_by_the_confidence():
    """METHODS 2.1: A(x) <= 1 - c, and half of that for eq. 13 as printed."""
    noise = adaptgrad_example.inherent_noise(adaptgrad_example.uniform(4001), confidence=0.9)
    largest = [n.analytic.max() for n in noise.values()]
    np.testing.assert_allclose(largest, [0.5, 0.1, 0.05], atol=1e-3)


def test_saliencies_of_adaptgrad(classifier, images):
    """METHODS 2.3; the gradient in its own place."""
    gradient = tfxai.gradient(classifier)
    bounds, effort = (0.0, 1.0), {"few": 2, "steps": 3}
    maps = adaptgrad_example.saliencies(gradient, gradient, images, [1, 3], bounds, **effort)
    assert tuple(maps) == adaptgrad_example.COLUMNS
    expected = (images * gradient(images, [1, 3])).numpy().sum(-1, keepdims=True)
    np.testing.assert_allclose(maps["GI"], expected, atol=1e-6)
    assert maps["NG"].shape == expected.shape


def test_smoothgrad_has_noise_relative_to_the_bounds(classifier):
    """METHODS 2.2."""
    smoothed = adaptgrad_example.gradients(classifier, (-1.0, 1.0), 4)["S-"]
    assert smoothed.get_config()["options"]["epsilon"] == pytest.approx(0.4)


def test_gini_table_of_adaptgrad(images):
    columns = dict.fromkeys(adaptgrad_example.COLUMNS, images)
    maps = dict.fromkeys(("", "S-"), columns)
    maps["A-"] = {column: np.ones_like(images) for column in columns}
    rows = adaptgrad_example.gini_table(maps)
    assert [row[0] for row in rows] == list(columns)
    mean = tfxai.metrics.gini(images).mean()
    np.testing.assert_allclose([row[1:] for row in rows], [[mean, mean, 0]] * len(columns))
