"""Numbers of two papers as the examples compute them.

Zhou et al. 2024a (AdaptGrad) and Zhou et al. 2024b (smoothing kernels).
"""

import argparse

import keras
import numpy as np
import pytest

import tfxai
from tests.examples import script
from tfxai import benchmark, kernels

subjects = script("reproduce/subjects")
tables_example = script("reproduce/paper_tables")


kernel_example = script("reproduce/gradient_kernels")
adaptgrad_example = script("reproduce/adaptgrad")


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
    """Zhou et al. 2024b, equation 17."""
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
    """Summed over channels with signs, as in the authors' code (docs/methods.md, AdaptGrad)."""
    explainers = kernel_example.explainers(classifier, r=0.5, confidence=0.9, samples=3)
    assert len(explainers) == 2 + len(kernels.ALL)
    some = ["gradient", "SmoothGrad, rect"]
    maps = kernel_example.saliencies({key: explainers[key] for key in some}, images)
    summed = tfxai.gradient(classifier)(images).numpy().sum(-1, keepdims=True)
    np.testing.assert_allclose(maps["gradient"], summed, atol=1e-6)
    assert maps["SmoothGrad, rect"].shape == summed.shape


def test_inherent_noise():
    """Zhou et al. 2024a, Fig. 3 (docs/methods.md, AdaptGrad); the samples' shares agree."""
    x, samples = adaptgrad_example.uniform(4000), 20
    noise = list(adaptgrad_example.inherent_noise(x, samples=samples).values())
    analytic = [n.analytic.mean() for n in noise]
    np.testing.assert_allclose(analytic, [0.159577, 0.027067, 0.013353], atol=1e-5)
    for n in noise:
        error = np.sqrt((n.analytic * (1 - n.analytic)).mean() / (x.size * samples))
        assert abs(n.sampled.mean() - n.analytic.mean()) < 3 * error


def test_inherent_noise_is_limited_by_the_confidence():
    """Zhou et al. 2024a: A(x) <= 1 - c, and half of that for equation 13 as printed."""
    noise = adaptgrad_example.inherent_noise(adaptgrad_example.uniform(4001), confidence=0.9)
    largest = [n.analytic.max() for n in noise.values()]
    np.testing.assert_allclose(largest, [0.5, 0.1, 0.05], atol=1e-3)


def test_saliencies_of_adaptgrad(classifier, images):
    """The columns of Zhou et al. 2024a, Table 2; the gradient in its own place."""
    gradient = tfxai.gradient(classifier)
    bounds, effort = (0.0, 1.0), {"steps": 3}
    maps = adaptgrad_example.saliencies(gradient, gradient, images, [1, 3], bounds, **effort)
    assert tuple(maps) == adaptgrad_example.COLUMNS
    expected = (images * gradient(images, [1, 3])).numpy().sum(-1, keepdims=True)
    np.testing.assert_allclose(maps["GI"], expected, atol=1e-6)
    assert maps["IG (white)"].shape == expected.shape


def test_smoothgrad_has_noise_relative_to_the_bounds(classifier):
    """As in the code of Zhou et al. 2024a (docs/methods.md, AdaptGrad)."""
    smoothed = adaptgrad_example.gradients(classifier, (-1.0, 1.0), 4)["S-"]
    assert smoothed.get_config()["options"]["epsilon"] == pytest.approx(0.4)


@pytest.fixture(scope="module")
def digits():
    """A few made-up digits in place of MNIST's."""
    images = np.random.default_rng(0).random((24, 28, 28, 1)).astype(np.float32)
    labels = np.arange(24) % 10
    return subjects.Digits(images, labels, images[:4], labels[:4])


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_networks_of_the_papers(digits, kind):
    """Zhou et al. 2024a and 2024b; other labels and other inputs make other networks."""
    model = subjects.trained(kind, digits, 1)
    weights = {"mlp": 784 * 200 + 200 + 200 * 10 + 10, "cnn": 44426}[kind]
    assert model.count_params() == weights
    for options in ({"shift": 1.0}, {"random_labels": True}):
        other = subjects.trained(kind, digits, 1, **options)
        assert not np.array_equal(other.get_weights()[0], model.get_weights()[0])
        assert other.name != model.name


@pytest.fixture
def scored(digits, tmp_path, monkeypatch):
    """A function that scores methods of a preset, on batches of two and of one."""
    monkeypatch.setattr(subjects, "mnist", lambda: digits)
    layers = [keras.layers.Conv2D(2, 5, strides=3, activation="relu"), keras.layers.Flatten()]
    small = [keras.Input((28, 28, 1)), *layers, keras.layers.Dense(10, "softmax")]
    model = keras.Sequential(small)
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([60 * kernel, bias])  # sure of its classes, as SIC needs it
    subject = subjects.Subject("small", model, digits.test_images[:3], (0.0, 1.0), digits.images, 4)

    def score(preset, data, chosen=None):
        given = argparse.Namespace(
            data=data, epochs=1, samples=2, masks=1, rise=10, resolutions=[7], model="small"
        )
        methods, metrics = tables_example.PRESETS[preset][0](subject, given)
        methods = {title: methods[title] for title in chosen or methods}
        results = benchmark.run(
            model,
            subject.images,
            methods,
            metrics,
            tmp_path,
            bounds=subject.bounds,
            sign="absolute" if preset in tables_example.ABSOLUTE else "signed",
            batch_size=2,
            verbose=0,
        )
        assert results.failed == {}
        assert {title for title, _ in ((c.method, c.metric) for c in results.cells)} == set(methods)
        for metric in metrics:
            by_title = results.values(metric)
            values = np.array(list(by_title.values()))
            assert values.shape == (len(methods), 3)
            there = np.isfinite(values)
            if metric in ("SIC", "AIC"):  # of images that tell more than a blur, whatever the map
                assert there[0].any()
                np.testing.assert_array_equal(there, np.broadcast_to(there[0], there.shape))
            else:  # a mask may not move at all: such maps, and no others, are not scored
                missing = dict(zip(by_title, (~there).sum(1), strict=True))
                assert {title: n for title, n in missing.items() if n} == results.constant, metric

    return score


QUICK = {
    "degradation": ("random", "gradient x input", "guided backprop"),
    "sparseness": ("gradient", "GI"),
    "consistency": ("gradient",),
    "kernels": ("gradient",),
    "deletion": ("Grad-CAM", "gradient"),
}
"""Presets, with methods that are traced quickly."""


@pytest.mark.parametrize("preset", QUICK)
def test_presets_of_the_benchmark(preset, scored):
    """Each builds all its methods; some are scored."""
    scored(preset, "mlp" if preset == "consistency" else "photos", QUICK[preset])


@pytest.mark.thorough
@pytest.mark.filterwarnings(
    "ignore:.*(hardly moved|not converged|far from complete|below 0.01|the same everywhere)"
)
@pytest.mark.parametrize(
    ("preset", "data"), [(name, data[0]) for name, (_, data) in tables_example.PRESETS.items()]
)
def test_every_method_of_every_preset(preset, data, scored):
    scored(preset, data)


def test_the_papers_degradation_has_eleven_methods(digits):
    subject = subjects.Subject("small", subjects.mlp("small"), None, (0.0, 1.0), digits.images, 4)
    methods, _ = tables_example.degradation(subject, argparse.Namespace())
    assert len(methods) == 11
