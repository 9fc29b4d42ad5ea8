"""Degradation by patches (Schwarzenberg and Castle 2020, section 5), by a slow loop and laws."""

import numpy as np
import pytest

from tests.networks import small_cnn
from tfxai import metrics, scores


@pytest.fixture
def photos():
    return np.random.default_rng(0).normal(size=(3, 7, 10, 2))


@pytest.fixture
def model():
    weights = np.random.default_rng(1).normal(size=(7, 10, 2, 4))
    return lambda x: np.einsum("bhwc,hwck->bk", np.maximum(x, 0.1), weights)


def slow(model, photo, attribution, target, side, most):
    """Rank 0 first, each channel by its own mean, smaller edges (docs/methods.md, Degradation)."""
    corners = [(top, left) for top in range(0, 7, side) for left in range(0, 10, side)]
    part = [np.s_[top : top + side, left : left + side] for top, left in corners]
    order = sorted(range(len(part)), key=lambda i: -attribution.sum(-1)[part[i]].mean())
    now, values = photo.copy(), [model(photo[None])[0, target]]
    for i in order[:most]:
        now[part[i]] = photo[part[i]].mean((0, 1))
        values.append(model(now[None])[0, target])
    return values, len(part)


@pytest.mark.parametrize(("side", "most"), [(3, 100), (2, 5), (1, 1000), (20, 3)])
def test_against_the_loop(model, photos, side, most):
    maps = np.random.default_rng(2).normal(size=photos.shape)
    targets = [1, 0, 3]
    found = metrics.degradation(model, photos, maps, targets, patch=side, most=most, batch_size=4)
    for i in range(3):
        expected, patches = slow(model, photos[i], maps[i], targets[i], side, most)
        np.testing.assert_allclose(found.scores[i], expected, rtol=1e-9)
        np.testing.assert_allclose(found.fractions, np.arange(len(expected)) / patches)
        heights = (np.array(expected[1:]) + expected[:-1]) / 2
        assert found.auc[i] == pytest.approx(heights.mean())


def test_the_signs_of_attributions_count(model, photos):
    """Channels cancel each other: the sum over channels is signed."""
    maps = np.stack([np.ones((3, 7, 10)), -np.ones((3, 7, 10))], -1)
    maps[:, 3:6, 3:6, 0] += 0.5
    first = metrics.degradation(model, photos, maps, 0, patch=3, most=1)
    box = np.zeros((3, 7, 10, 1))
    box[:, 3:6, 3:6] = 1
    expected = metrics.degradation(model, photos, box, 0, patch=3, most=1)
    np.testing.assert_array_equal(first.scores, expected.scores)


def test_one_colour_cannot_be_degraded(model):
    flat = np.full((2, 7, 10, 2), 0.7)
    curve = metrics.degradation(model, flat, np.random.default_rng(0).random(flat.shape), 1)
    np.testing.assert_allclose(curve.scores, curve.scores[:, :1] + np.zeros_like(curve.scores))


def test_a_keras_model():
    model = small_cnn()
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    curve = metrics.degradation(model, images, images, [0, 4], patch=3, score=scores.probability)
    np.testing.assert_allclose(curve.scores[:, 0], model(images).numpy()[[0, 1], [0, 4]], rtol=1e-5)
    assert curve.scores.shape == (2, 10)


@pytest.mark.parametrize(
    ("maps", "options", "message"),
    [
        (np.ones((3, 7, 9, 2)), {}, r"attributions has shape \[3, 7, 9, 2\]"),
        (np.ones((3, 7, 10, 3)), {}, "or one channel"),
        (np.ones((3, 7, 10, 2)), {"patch": 0}, "patch=0"),
        (np.ones((3, 7, 10, 2)), {"most": 0}, "most=0"),
        (np.full((3, 7, 10, 2), np.inf), {}, "attributions has NaN"),
    ],
)
def test_bad_input(model, photos, maps, options, message):
    with pytest.raises(ValueError, match=message):
        metrics.degradation(model, photos, maps, 0, **options)
