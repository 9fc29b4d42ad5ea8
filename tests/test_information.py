"""Information level (Kapishnikov et al. 2019, section 4) against a slow loop and laws."""

import io

import keras
import numpy as np
import pytest
from matplotlib.tri import Triangulation
from PIL import Image
from scipy.interpolate import LinearNDInterpolator

from tests.networks import small_cnn
from tfxai import metrics
from tfxai.metrics import partial_images

THRESHOLDS = (0.05, 0.2, 0.5)


def contrast(images):
    """Confident where the left half is rough, as photos are and blurs are not."""
    rough = np.abs(np.diff(images[:, :, :10], axis=2)).mean((1, 2, 3))
    p = np.clip(4 * rough, 0.0, 0.99)
    return np.stack([1 - p, p], -1)


@pytest.fixture
def photo():
    return np.random.default_rng(0).integers(0, 256, (20, 20, 3)).astype(np.uint8)


def file_size(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "webp", lossless=True, quality=100)
    return len(buffer.getvalue())


def slow_fill(photo, known):
    """Each pixel by the corners of the first triangle that it is in."""
    y, x = np.nonzero(known)
    corners = Triangulation(x, y).triangles
    filled = photo.copy()
    for row, column in np.argwhere(~known):
        for a, b, c in corners:
            matrix = np.array([x[[a, b, c]], y[[a, b, c]], np.ones(3)])
            shares = np.linalg.solve(matrix, [column, row, 1])
            if (shares > -1e-9).all():
                value = shares @ photo[y[[a, b, c]], x[[a, b, c]]]
                filled[row, column] = np.floor(value.round(6) + 0.5)
                break
    return filled


def slow(photo, importance, mask, target, accuracy):
    """Step by step, as in PAIR's saliency package (docs/methods.md, Information level)."""

    def filled(known):
        return slow_fill(photo, known)

    def score(pixels):
        p = contrast(pixels[None] / 255)[0]
        return float(p.argmax() == target) if accuracy else p[target]

    blurred = filled(mask)
    low, high = score(blurred), score(photo)
    few, many = file_size(blurred), file_size(photo)
    points, best = [(0, 0), (1, 1)], 0.0
    for threshold in THRESHOLDS:
        known = mask | (importance >= np.quantile(importance, 1 - threshold))
        view = filled(known)
        best = max(best, np.clip((score(view) - low) / (high - low), 0, 1))
        points.append((np.clip((file_size(view) - few) / (many - few), 0, 1), best))
    x, y = zip(*sorted(points), strict=True)
    curve = np.interp(np.arange(1001) / 1000, x, y)
    return curve, ((curve[1:] + curve[:-1]) / 2).mean()


@pytest.mark.parametrize("kind", ["softmax", "accuracy"])
def test_against_the_published_steps(photo, kind):
    images = photo[None] / 255
    maps = np.random.default_rng(1).normal(size=images.shape)
    options = {"bounds": (0, 1), "kind": kind, "thresholds": THRESHOLDS, "least": 0.5}
    found = metrics.information_level(contrast, images, maps, 1, **options)
    mask = partial_images.random_pixels(np.random.default_rng(0), (20, 20), 0.01)
    assert mask.sum() in range(4, 9)
    expected, area = slow(photo, maps[0].sum(-1), mask, 1, kind == "accuracy")
    np.testing.assert_allclose(found.scores[0], expected, atol=1e-9)
    assert found.auc[0] == pytest.approx(area)


def test_interpolation_is_scipys_where_it_is_unique():
    """On a grid a square has two diagonals; of a plane, both say the same."""
    y, x = np.mgrid[:12, :15]
    plane = np.stack([5 * x + 3 * y, 100 + x - y, 7 * y], -1).astype(np.uint8)
    random = np.random.default_rng(0)
    for share in (0.02, 0.3, 0.9):
        mask = partial_images.random_pixels(random, (12, 15), share)
        np.testing.assert_array_equal(partial_images.interpolated(plane, mask), plane)
    noise = random.integers(0, 256, (12, 15, 3)).astype(np.uint8)
    mask[:] = False
    for place in ((0, 0), (0, 14), (11, 0), (11, 14), (4, 6)):
        mask[place] = True
    inside = np.argwhere(~mask)
    expected = LinearNDInterpolator(np.argwhere(mask), noise[mask].astype(float))(inside)
    found = partial_images.interpolated(noise, mask)[~mask]
    assert np.abs(found - expected).max() <= 0.5 + 1e-9


def test_the_half_that_counts_is_worth_more(photo):
    """And the map's scale is not."""
    images = np.stack([photo, photo]) / 127.5 - 1
    left = np.arange(20)[None, None, ::-1, None] + np.zeros((2, 20, 20, 1))
    model = lambda x: contrast(x / 2)  # noqa: E731
    options = {"bounds": (-1, 1), "least": 0.5}
    good = metrics.information_level(model, images, left, 1, **options)
    bad = metrics.information_level(model, images, -left, 1, **options)
    assert (good.auc > bad.auc + 0.2).all()
    assert (np.diff(good.scores) >= 0).all()
    rerun = metrics.information_level(model, images, 1e-9 * left, 1, batch_size=3, **options)
    np.testing.assert_allclose(rerun.scores, good.scores, atol=1e-9)
    assert good.scores[0, [0, -1]].tolist() == [0, 1]


def test_several_random_sets_and_the_median(photo):
    images, maps = photo[None] / 255, np.random.default_rng(1).random((1, 20, 20, 1))
    options = {"bounds": (0, 1), "least": 0.5, "thresholds": THRESHOLDS}
    three = metrics.information_level(contrast, images, maps, 1, masks=3, **options)
    one = metrics.information_level(contrast, images, maps, 1, masks=1, **options)
    assert np.abs(three.scores - one.scores).max() > 0
    assert metrics.median_auc(one) == pytest.approx(one.auc[0])


def test_images_without_a_curve_are_nan(photo):
    """Not confident, or not hurt by the blur, or already blurred."""
    flat = np.full((1, 20, 20, 3), 0.5)
    rough = photo[None] / 255
    sure = lambda x: np.tile([[0.0, 1.0]], (len(x), 1))  # noqa: E731
    options = {"bounds": (0, 1), "thresholds": THRESHOLDS}
    for model, image, least in ((contrast, rough, 0.999), (sure, rough, 0.5), (contrast, flat, 0)):
        found = metrics.information_level(model, image, rough, 1, least=least, **options)
        assert np.isnan(found.auc).all()
        assert np.isnan(metrics.median_auc(found))


def test_a_keras_model_is_asked_for_probabilities():
    logits, model = small_cnn(head=None), small_cnn()
    logits.set_weights(model.get_weights())
    images = np.random.default_rng(0).random((1, 8, 8, 3)).astype("float32")
    target = int(model(images).numpy().argmax())
    options = {"bounds": (0, 1), "least": 0.0, "share": 0.1}
    one, other = (
        metrics.information_level(m, images, images, target, **options) for m in (model, logits)
    )
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)


def test_bad_input(photo):
    images = photo[None] / 255
    level = metrics.information_level
    with pytest.raises(ValueError, match="2 channels: expected 1 or 3"):
        level(contrast, images[..., :2], images[..., :2], 0, bounds=(0, 1))
    with pytest.raises(ValueError, match="kind='entropy'"):
        level(contrast, images, images, 0, bounds=(0, 1), kind="entropy")
    with pytest.raises(ValueError, match="share=2"):
        level(contrast, images, images, 0, bounds=(0, 1), share=2.0)
    regressor = keras.Sequential([keras.Input((20, 20, 3)), keras.layers.Flatten()])
    regressor.add(keras.layers.Dense(1))
    with pytest.raises(ValueError, match="several classes"):
        level(regressor, images, images, 0, bounds=(0, 1), kind="accuracy")
