"""Completeness, infidelity and sensitivity against closed forms and loops."""

import numpy as np
import pytest

import tfxai
from tests.networks import small_cnn
from tfxai import metrics
from tfxai.metrics.random_parts import random_boxes


@pytest.fixture
def photos():
    return np.random.default_rng(0).normal(size=(3, 6, 7, 2))


@pytest.fixture
def weights():
    return np.random.default_rng(1).normal(size=(6, 7, 2, 4))


@pytest.fixture
def linear(weights):
    return lambda x: np.einsum("bhwc,hwck->bk", x, weights) + 5


def smooth(x):
    return np.stack([np.sin(x).sum((1, 2, 3)), (x**2).sum((1, 2, 3))], -1)


PLAIN = {"score": None}


def test_completeness_is_the_relative_gap(linear, weights, photos):
    shares = photos * weights[..., 2]
    exact = metrics.completeness(linear, photos, shares, 2, **PLAIN)
    np.testing.assert_allclose(exact, 0, atol=1e-9)
    np.testing.assert_allclose(metrics.completeness(linear, photos, 0 * shares, 2, **PLAIN), 1)
    np.testing.assert_allclose(
        metrics.completeness(linear, photos, 1.25 * shares, 2, **PLAIN), 0.25, rtol=1e-6
    )
    moved = metrics.completeness(linear, photos, shares, 2, baseline="mean", **PLAIN)
    mean = photos.mean((1, 2), keepdims=True)
    gap = np.abs((mean * weights[..., 2]).sum((1, 2, 3)))
    change = np.abs(((photos - mean) * weights[..., 2]).sum((1, 2, 3)))
    np.testing.assert_allclose(moved, gap / change, rtol=1e-6)


def test_a_baseline_of_each_input(linear, photos):
    """An array of the inputs' shape, or a function of them: as one by one."""
    maps, squares = np.random.default_rng(2).normal(size=photos.shape), photos**2

    def both(inputs, attributions, baseline):
        options = {**PLAIN, "baseline": baseline}
        found = metrics.infidelity(
            linear, inputs, attributions, 2, slopes=True, samples=5, **options
        )
        return metrics.completeness(linear, inputs, attributions, 2, **options), found.error

    each = [both(photos[i : i + 1], maps[i : i + 1], squares[i]) for i in range(3)]
    for baseline in (squares, lambda x: x**2):
        found = both(photos, maps, baseline)
        np.testing.assert_allclose(found, np.concatenate(each, 1), rtol=1e-10)


def test_completeness_without_a_change():
    still, x = (lambda x: np.ones((len(x), 1))), np.ones((2, 3))
    maps = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    np.testing.assert_array_equal(metrics.completeness(still, x, maps, 0, **PLAIN), [0, np.inf])


@pytest.mark.filterwarnings("ignore:.*(far from complete|not converged)")
def test_completeness_is_the_gap_that_integrated_gradients_report():
    """Of the logit, behind the softmax."""
    model = small_cnn()
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")
    record = tfxai.integrated_gradients(model, steps=3).explain(images, verbose=0)
    found = metrics.completeness(model, images, record.attributions, record.targets)
    np.testing.assert_allclose(found, record.diagnostics["completeness_gap"], rtol=1e-2, atol=1e-5)


def slow_infidelity(model, photo, attribution, target, slopes, squares):
    predicted, change = [], []
    for square in squares:
        perturbation = photo * square[..., None]
        predicted.append((perturbation * attribution if slopes else square[..., None] * attribution)
                         .sum())  # fmt: skip
        change.append((model(photo[None]) - model((photo - perturbation)[None]))[0, target])
    return np.array(predicted), np.array(change)


@pytest.mark.parametrize("slopes", [True, False])
@pytest.mark.parametrize("channels", [1, 2])
def test_infidelity_against_the_loop(photos, slopes, channels):
    maps = np.random.default_rng(3).normal(size=(3, 6, 7, channels))
    found = metrics.infidelity(smooth, photos, maps, [0, 1, 1], slopes=slopes, samples=9, **PLAIN)
    squares = random_boxes((6, 7), 9, np.random.default_rng(0))
    for i, target in enumerate([0, 1, 1]):
        wide = np.broadcast_to(maps[i], (6, 7, 2)) if slopes else maps[i]
        p, c = slow_infidelity(smooth, photos[i], wide, target, slopes, squares)
        assert found.error[i] == pytest.approx(((p - c) ** 2).mean())
        best = min(((s * p - c) ** 2).sum() for s in (p @ c / (p @ p)) * np.linspace(0.9, 1.1, 21))
        assert found.normalised_error[i] == pytest.approx(best / (c @ c))
        assert found.correlation[i] == pytest.approx(np.corrcoef(p, c)[0, 1])


def test_infidelity_of_a_perfect_map_of_a_linear_model(linear, weights, photos):
    """Correlation 1 for the sum and the input."""
    for maps, slopes in (
        (np.broadcast_to(weights[..., 1], photos.shape), True),
        (photos * weights[..., 1], False),
    ):
        found = metrics.infidelity(linear, photos, maps, 1, slopes=slopes, batch_size=7, **PLAIN)
        np.testing.assert_allclose(found.error, 0, atol=1e-18)
        np.testing.assert_allclose(found.correlation, 1)
        scaled = metrics.infidelity(linear, photos, -3 * maps, 1, slopes=slopes, **PLAIN)
        np.testing.assert_allclose(scaled.normalised_error, 0, atol=1e-12)
        nothing = metrics.infidelity(linear, photos, 0 * maps, 1, slopes=slopes, **PLAIN)
        np.testing.assert_allclose(nothing.normalised_error, 1)
        assert np.isnan(nothing.correlation).all()


def test_squares_cover_every_size_and_stay_inside():
    squares = random_boxes((6, 9), 400, np.random.default_rng(1))
    areas = squares.sum((1, 2))
    assert set(areas) == {1, 4, 9}
    assert squares.any(0).all()
    assert random_boxes((1, 1), 2, np.random.default_rng(0)).all()


def test_max_sensitivity_against_the_loop(photos):
    def explain(x, targets):
        return np.sin(5 * x) * (1 + np.asarray(targets))[:, None, None, None]

    found = metrics.max_sensitivity(explain, photos, [0, 1, 2], radius=0.1, samples=4, seed=3)
    random = np.random.default_rng(3)
    draws = [random.uniform(-0.1, 0.1, photos.shape[1:]) for _ in range(4)]
    for i, photo in enumerate(photos):
        before = np.sin(5 * photo)
        changes = [np.linalg.norm(np.sin(5 * (photo + d)) - before) for d in draws]
        assert found[i] == pytest.approx(max(changes) / np.linalg.norm(before))


def test_max_sensitivity_is_zero_for_constant_maps_and_grows_with_the_radius(photos):
    same = lambda x, t: np.ones_like(x)  # noqa: E731
    np.testing.assert_array_equal(metrics.max_sensitivity(same, photos, 0), 0)
    own = lambda x, t: x  # noqa: E731
    small, large = (metrics.max_sensitivity(own, photos, 0, radius=r) for r in (0.01, 0.1))
    np.testing.assert_allclose(large, 10 * small)
    zero = lambda x, t: 0 * x  # noqa: E731
    assert np.isnan(metrics.max_sensitivity(zero, photos, 0)).all()


def test_an_explainer_is_an_explain_function():
    model = small_cnn()
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    found = metrics.max_sensitivity(tfxai.gradient(model), images, [0, 1], radius=1e-6)
    assert (found < 1e-3).all()


def test_bad_input(linear, photos):
    maps = np.ones_like(photos)
    with pytest.raises(ValueError, match="for 3 inputs"):
        metrics.completeness(linear, photos, maps[:2], 0, **PLAIN)
    with pytest.raises(ValueError, match="batch of 2; pass one"):
        metrics.completeness(linear, photos, maps, 0, baseline=np.ones((2, 6, 7, 2)), **PLAIN)
    with pytest.raises(ValueError, match="samples=0"):
        metrics.infidelity(linear, photos, maps, 0, slopes=True, samples=0, **PLAIN)
    with pytest.raises(ValueError, match="attributions has NaN"):
        metrics.max_sensitivity(lambda x, t: np.nan * x, photos, 0)
    with pytest.raises(ValueError, match="radius=0"):
        metrics.max_sensitivity(lambda x, t: x, photos, 0, radius=0)
