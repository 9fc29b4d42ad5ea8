"""Deletion and insertion (Petsiuk et al. 2018) against slow loops and closed forms."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import convolve, gaussian_filter

from tests.networks import small_cnn
from tfxai import baselines, metrics, scores
from tfxai.core.interpolation import align_corners

BOTH = [metrics.deletion, metrics.insertion]


@pytest.fixture
def photos():
    return np.random.default_rng(0).random((3, 6, 5, 2))


@pytest.fixture
def weights():
    return np.random.default_rng(1).normal(size=(6, 5, 2, 4))


@pytest.fixture
def linear(weights):
    return lambda x: np.einsum("bhwc,hwck->bk", x, weights)


def test_closed_forms_on_a_linear_model(linear, weights, photos):
    """With w x as the map, deletion leaves the smallest contributions: the sum of the last."""
    targets = np.array([3, 0, 2])
    parts = np.einsum("bhwc,hwcb->bhw", photos, weights[..., targets])
    ordered = -np.sort(-parts.reshape(3, -1))
    come = np.cumsum(np.pad(ordered, [(0, 0), (1, 0)]), axis=1)
    inserted = metrics.insertion(linear, photos, parts[..., None], targets, step=1)
    deleted = metrics.deletion(linear, photos, parts[..., None], targets, step=1)
    np.testing.assert_allclose(inserted.scores, come, atol=1e-12)
    np.testing.assert_allclose(deleted.scores, come[:, -1:] - come, atol=1e-12)
    np.testing.assert_allclose(inserted.fractions, np.arange(31) / 30)
    np.testing.assert_allclose(inserted.auc, (come[:, 1:] + come[:, :-1]).sum(1) / 60)
    best = inserted.auc - deleted.auc
    for _ in range(5):
        other = np.random.default_rng(3).random(parts.shape)
        both = metrics.deletion_and_insertion(linear, photos, other, targets, step=1)
        assert (both.difference < best).all()


def test_steps_take_several_pixels_and_the_rest(linear, photos):
    maps = np.random.default_rng(2).random((3, 6, 5, 1))
    fine = metrics.deletion(linear, photos, maps, 1, step=1)
    coarse = metrics.deletion(linear, photos, maps, 1, step=7)
    np.testing.assert_allclose(coarse.fractions * 30, [0, 7, 14, 21, 28, 30])
    np.testing.assert_allclose(coarse.scores, fine.scores[:, [0, 7, 14, 21, 28, 30]])
    assert len(metrics.deletion(linear, photos, maps, 1).fractions) == 31
    large = np.random.default_rng(2).random((1, 40, 40, 1))
    many = metrics.deletion(lambda x: x.sum((1, 2)), large, large, 0)
    assert len(many.fractions) == 51


@pytest.mark.parametrize("metric", BOTH)
def test_masks_below_the_images_resolution_have_soft_edges(metric, linear, photos):
    maps = np.random.default_rng(2).random((3, 3, 2))
    targets, substrate = np.array([1, 1, 0]), photos.mean((0,)) + 1
    found = metric(linear, photos, maps, targets, substrate=substrate, step=2, batch_size=3)
    for i, photo in enumerate(photos):
        order = np.argsort(-maps[i].ravel(), kind="stable")
        for k, number in enumerate([0, 2, 4, 6]):
            cells = np.zeros(6)
            cells[order[:number]] = 1
            keep = cells if metric is metrics.insertion else 1 - cells
            up = align_corners(6, 3) @ keep.reshape(3, 2) @ align_corners(5, 2).T
            shown = photo * up[..., None] + substrate * (1 - up[..., None])
            expected = linear(shown[None])[0, targets[i]]
            np.testing.assert_allclose(found.scores[i, k], expected, rtol=1e-9)


def test_equal_values_go_in_the_order_of_rows(photos):
    maps = np.zeros((3, 6, 5))
    maps[:, -1, -1] = -1
    curve = metrics.insertion(lambda x: x.sum((1, 2)), photos, maps, 1, step=1)
    expected = np.cumsum(photos[..., 1].reshape(3, -1), axis=1)
    np.testing.assert_allclose(curve.scores[:, 1:], expected)


def test_nothing_depends_on_the_batches(linear, photos):
    maps = np.random.default_rng(2).random((3, 6, 5, 1))
    whole = metrics.deletion(linear, photos, maps, [0, 1, 2], substrate="blur", batch_size=1000)
    for size in (1, 7):
        parts = metrics.deletion(linear, photos, maps, [0, 1, 2], substrate="blur", batch_size=size)
        np.testing.assert_allclose(parts.scores, whole.scores, rtol=1e-12)
    alone = metrics.deletion(linear, photos[1:2], maps[1:2], [1], substrate="blur")
    np.testing.assert_allclose(alone.auc, whole.auc[1:2], rtol=1e-12)


def test_a_keras_model_runs_as_it_stands_or_under_a_score():
    model, logits = small_cnn(), small_cnn(head=None)
    logits.set_weights(model.get_weights())
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    maps = np.abs(images).sum(-1)
    plain = metrics.deletion(model, images, maps, [1, 2])
    np.testing.assert_allclose(plain.scores[:, 0], model(images).numpy()[[0, 1], [1, 2]], rtol=1e-5)
    for other in (model, logits, lambda x: logits(x)):
        curve = metrics.deletion(other, images, maps, [1, 2], score=scores.probability)
        np.testing.assert_allclose(curve.scores, plain.scores, rtol=1e-4)


def test_the_blur_of_rise():
    """An impulse filtered in a mirrored 11 x 11 window, else 0 (docs/methods.md, Baselines)."""
    window = np.zeros((11, 11))
    window[5, 5] = 1
    kernel = gaussian_filter(window, 5)
    assert kernel[5, 5] == pytest.approx(0.00883, abs=1e-5)
    image = np.random.default_rng(0).random((1, 30, 20, 2))
    expected = [convolve(image[0, ..., c], kernel, mode="constant") for c in range(2)]
    found = baselines.rise_blur(tf.constant(image))
    np.testing.assert_allclose(found[0, 0], np.stack(expected, -1), rtol=1e-9)


def test_insertion_may_start_from_the_blur_of_rise(photos):
    curve = metrics.insertion(
        lambda x: x.sum((1, 2)), photos, photos[..., :1], 0, substrate=baselines.rise_blur
    )
    blurred = baselines.rise_blur(tf.constant(photos))[0].numpy()
    np.testing.assert_allclose(curve.scores[:, 0], blurred[..., 0].sum((1, 2)))


@pytest.mark.parametrize("metric", [*BOTH, metrics.degradation])
def test_a_substrate_of_each_image(metric, linear, photos):
    """An array of the images' shape, or a function of the images: as image by image."""
    maps = np.random.default_rng(2).random((3, 6, 5, 1))
    squares, targets = photos**2, np.array([1, 0, 2])
    each = [
        metric(linear, photos[i : i + 1], maps[i : i + 1], targets[i], substrate=squares[i]).scores
        for i in range(3)
    ]
    for substrate in (squares, tf.constant(squares), lambda x: x**2, lambda x: np.square(x)):
        found = metric(linear, photos, maps, targets, substrate=substrate, batch_size=2)
        np.testing.assert_allclose(found.scores, np.concatenate(each), rtol=1e-12)
    colours = photos.mean((1, 2), keepdims=True)
    found = metric(linear, photos, maps, targets, substrate=colours)
    named = metric(linear, photos, maps, targets, substrate="mean")
    np.testing.assert_allclose(found.scores, named.scores, rtol=1e-12)
    for substrate, message in (
        (photos[:2], "substrate is a batch of 2; pass one, or as many as there are inputs, 3"),
        (photos[:, :4], r"substrate has shape \[3, 4, 5, 2\]"),
        (photos * np.nan, "substrate must be finite"),
        (lambda x: x[:2], "substrate=<lambda> gives .*expected a reference of each"),
        (lambda x: x / 0, "substrate=<lambda> gives NaN"),
        ("black", "substrate='black' needs bounds"),
    ):
        with pytest.raises(ValueError, match=message):
            metric(linear, photos, maps, targets, substrate=substrate)


@pytest.mark.parametrize("metric", BOTH)
@pytest.mark.parametrize(
    ("images", "maps", "options", "message"),
    [
        (np.ones((1, 4, 4, 3)), np.ones((1, 4, 4, 3)), {}, "heatmaps has 3 channels"),
        (np.ones((1, 4, 4, 3)), np.ones((2, 4, 4, 1)), {}, r"expected \[1, h, w, 1\]"),
        (np.ones((1, 4, 4, 3)), np.ones((1, 5, 4, 1)), {}, r"at most \[4, 4\]"),
        (np.ones((4, 4, 3)), np.ones((4, 4, 3)), {}, "heatmaps has 3 channels"),
        (np.ones((0, 4, 4, 3)), np.ones((0, 4, 4)), {}, "inputs has shape"),
        (np.ones((1, 4, 4, 3)), np.full((1, 4, 4), np.nan), {}, "heatmaps has NaN"),
        (np.ones((1, 4, 4, 3)), np.ones((1, 4, 4)), {"step": 0}, "step=0: expected at least 1"),
        (np.ones((1, 4, 4, 3)), np.ones((1, 4, 4)), {"batch_size": 0}, "batch_size=0"),
        (np.ones((1, 4, 4, 3)), np.ones((1, 4, 4)), {"substrate": "grey"}, "'grey'"),
        (
            np.ones((1, 4, 4, 3)),
            np.ones((1, 4, 4)),
            {"substrate": np.ones((2, 4, 4, 3))},
            "substrate is a batch of 2",
        ),
    ],
)
def test_bad_input(metric, images, maps, options, message):
    with pytest.raises(ValueError, match=message):
        metric(lambda x: x.sum((1, 2)), images, maps, 0, **options)


def test_a_target_that_the_model_does_not_have(photos):
    with pytest.raises(ValueError, match=r"targets up to 2"):
        metrics.deletion(lambda x: x.sum((1, 2)), photos, photos[..., 0], 2)


def test_curves_can_be_drawn(linear, photos):
    both = metrics.deletion_and_insertion(linear, photos, photos[..., 0], 1)
    axes = both.plot()
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == [
        f"deletion {both.deletion.auc.mean():.3f}",
        f"insertion {both.insertion.auc.mean():.3f}",
    ]
    assert len(both.deletion.plot().lines) == 4
    np.testing.assert_allclose(both.difference, both.insertion.auc - both.deletion.auc)


def test_a_model_of_one_unit(photos):
    model = keras.Sequential([keras.Input((6, 5, 2)), keras.layers.Flatten()])
    model.add(keras.layers.Dense(1))
    curve = metrics.deletion(model, photos.astype("float32"), photos[..., 0], 0)
    np.testing.assert_allclose(curve.scores[:, 0], model(photos).numpy()[:, 0], rtol=1e-5)
