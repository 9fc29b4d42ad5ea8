"""RISE (Petsiuk et al. 2018) and occlusion against closed forms on linear models."""

import keras
import numpy as np
import pytest
from skimage.transform import resize

import tfxai
from tfxai import scores
from tfxai.core.interpolation import half_pixel
from tfxai.core.layout import Layout
from tfxai.methods.masks.occlusion import patches

SIZE, BIAS, P = (6, 8), 0.7, 0.3


@pytest.fixture
def weights():
    return np.random.default_rng(1).normal(size=(*SIZE, 2))


@pytest.fixture
def photos():
    return np.random.default_rng(2).normal(size=(3, *SIZE, 2)).astype("float32")


@pytest.fixture
def linear(weights):
    """f(x) = w . x + b, as one logit."""
    inputs = keras.Input((*SIZE, 2))
    dense = keras.layers.Dense(1)
    model = keras.Model(inputs, dense(keras.layers.Flatten()(inputs)))
    dense.set_weights([weights.reshape(-1, 1), np.array([BIAS])])
    return model


def test_the_grid_is_drawn_as_by_scikit_image():
    """The authors' code calls resize with order 1, whose borders mirror (docs/methods.md, RISE)."""
    for cells, size in ((7, 256), (7, 32), (3, 16), (2, 9)):
        grid = np.random.default_rng(0).random((cells, cells))
        matrix = half_pixel(size, cells)
        theirs = resize(grid, (size, size), order=1, mode="reflect", anti_aliasing=False)
        np.testing.assert_allclose(matrix @ grid @ matrix.T, theirs, atol=1e-12)
    np.testing.assert_array_equal(half_pixel(4, 1), np.ones((4, 1)))


def expected_products(size, cells):
    """Give E (A_i . A_j), over the offsets of the cut, for rows (or columns) i and j."""
    step = -(-size // cells)
    matrix = half_pixel((cells + 1) * step, cells)
    cuts = [matrix[offset : offset + size] for offset in range(step)]
    return np.mean([cut @ cut.T for cut in cuts], axis=0)


def test_rise_has_its_expected_map_on_a_linear_model(linear, weights, photos):
    """E S_j = 1/p sum_i w_i x_i E(m_i m_j) + b, with E(m_i m_j) = p^2 + p (1 - p) A_i . A_j."""
    grid = (2, 3)
    rows, columns = (expected_products(s, g) for s, g in zip(SIZE, grid, strict=True))
    contribution = (weights * photos).sum(-1)
    spread = np.einsum("ij,bjk,kl->bil", rows, contribution, columns)
    expected = P * contribution.sum((1, 2), keepdims=True) + (1 - P) * spread + BIAS
    explainer = tfxai.rise(
        linear, masks=6000, grid=grid, probability=P, score=scores.logit, resolution=4
    )
    record = explainer.explain(photos, 1, verbose=0)
    error = record.diagnostics["standard_error"][..., 0]
    assert (np.abs(record.attributions[..., 0] - expected) < 5 * error).all()
    assert error.max() < 0.1 * np.abs(expected).max()


def test_rise_with_masks_of_ones_own_is_their_weighted_mean(linear, weights, photos):
    own = np.random.default_rng(5).random((11, *SIZE))
    record = tfxai.rise(linear, masks=own, score=scores.logit).explain(photos, 1, verbose=0)
    values = np.einsum("nhw,bhwc,hwc->bn", own, photos, weights) + BIAS
    expected = np.einsum("bn,nhw->bhw", values, own) / len(own) / own.mean()
    np.testing.assert_allclose(record.attributions[..., 0], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(record.diagnostics["samples"], 11)


@pytest.mark.parametrize("probability", [0.5, 0.3, None])
def test_rise_of_given_masks_divides_by_the_probability_that_is_said(
    probability, linear, weights, photos
):
    """Equation 6 divides by N p; None is the masks' mean."""
    own = np.random.default_rng(5).random((11, *SIZE)) < 0.4
    explainer = tfxai.rise(linear, masks=own, probability=probability, score=scores.logit)
    values = np.einsum("nhw,bhwc,hwc->bn", own, photos, weights) + BIAS
    shown = own.mean() if probability is None else probability
    expected = np.einsum("bn,nhw->bhw", values, own) / len(own) / shown
    np.testing.assert_allclose(explainer(photos, 1)[..., 0], expected, rtol=1e-4, atol=1e-4)


def test_rise_draws_half_of_the_cells_unless_told(linear, photos):
    some = {"masks": 8, "grid": 3, "score": scores.logit}
    found = [tfxai.rise(linear, probability=p, **some)(photos, 1) for p in (None, 0.5)]
    np.testing.assert_array_equal(*found)


def test_rise_fills_with_the_baseline(linear, weights, photos):
    own = np.random.default_rng(5).random((7, *SIZE))
    explainer = tfxai.rise(linear, masks=own, score=scores.logit, baseline=2.0)
    shown = own[None, ..., None] * photos[:, None] + 2.0 * (1 - own[None, ..., None])
    values = np.einsum("bnhwc,hwc->bn", shown, weights) + BIAS
    expected = np.einsum("bn,nhw->bhw", values, own) / len(own) / own.mean()
    np.testing.assert_allclose(explainer(photos, 1)[..., 0], expected, rtol=1e-4, atol=1e-4)


def test_rise_stops_where_the_picture_is_good_enough(linear, photos):
    explainer = tfxai.rise(
        linear, masks=3000, grid=3, score=scores.logit, tolerance=0.05, resolution=3
    )
    diagnostics = explainer.explain(photos, 1, verbose=0).diagnostics
    assert (diagnostics["samples"] < 3000).all()
    assert (diagnostics["pooled_error"] <= 0.05).all()


@pytest.mark.parametrize(
    ("masks", "error", "message"),
    [
        (0, ValueError, "masks=0: expected at least 1"),
        (2.5, ValueError, "expected how many, or an array"),
        (np.ones((3, 4)), ValueError, r"masks has shape \[3, 4\]"),
        (np.ones((2, 5, 5)), ValueError, r"masks has shape \[2, 5, 5\]: expected \[N, 6, 8\]"),
        (np.zeros((2, *SIZE)), ValueError, "let some of the input through"),
    ],
)
def test_rise_refuses_what_are_no_masks(masks, error, message, linear, photos):
    with pytest.raises(error, match=message):
        tfxai.rise(linear, masks=masks)(photos)


def test_one_mask_is_enough_without_a_tolerance_and_named_where_it_is_not(linear, photos):
    one = tfxai.rise(linear, masks=1, score=scores.logit).explain(photos, 1, verbose=0)
    assert (one.diagnostics["samples"] == 1).all()
    assert np.isnan(one.diagnostics["map_error"]).all()
    with pytest.raises(ValueError, match="masks=1: expected at least 2"):
        tfxai.rise(linear, masks=1, tolerance=0.1)
    with pytest.raises(ValueError, match="masks=1: expected at least 2"):
        tfxai.rise(linear, masks=np.ones((1, *SIZE)), tolerance=0.1)


def test_rise_refuses_other_bad_options(linear):
    with pytest.raises(ValueError, match=r"probability=1\.0"):
        tfxai.rise(linear, probability=1.0)
    with pytest.raises(ValueError, match="probability=0: expected a finite number above 0"):
        tfxai.rise(linear, masks=np.ones((2, *SIZE)), probability=0)
    with pytest.raises(ValueError, match="grid=0"):
        tfxai.rise(linear, grid=0)


@pytest.mark.parametrize(
    ("patch", "stride"), [(1, 1), (3, 2), ((2, 5), (2, 3)), ((6, 8), 4), (None, None)]
)
def test_occlusion_on_a_linear_model(patch, stride, linear, weights, photos):
    """The mean, over the patches with a pixel, of sum w (x - x')."""
    fall = (weights * (photos - 0.5)).sum(-1)
    tall, wide = (1, 1) if patch is None else np.broadcast_to(patch, 2)
    down, across = (1, 1) if stride is None else np.broadcast_to(stride, 2)
    total, times = np.zeros((3, *SIZE)), np.zeros(SIZE)
    for top in {*range(0, SIZE[0] - tall, down), SIZE[0] - tall}:
        for left in {*range(0, SIZE[1] - wide, across), SIZE[1] - wide}:
            there = (slice(top, top + tall), slice(left, left + wide))
            total[:, *there] += fall[:, *there].sum((1, 2))[:, None, None]
            times[there] += 1
    explainer = tfxai.occlusion(linear, patch=patch, stride=stride, baseline=0.5)
    np.testing.assert_allclose(explainer(photos, 1)[..., 0], total / times, rtol=1e-3, atol=1e-4)


def test_patches_cover_the_whole_image():
    rows, columns, channels = patches(Layout((224, 100), 1), None, None)
    assert rows[0].sum() == 32
    assert columns[0].sum() == 14
    assert rows.any(0).all()
    assert columns.any(0).all()
    assert channels.all()


def test_occlusion_refuses_bad_patches(linear, photos):
    with pytest.raises(ValueError, match=r"patch=\(7, 7\): the inputs have \(6, 8\)"):
        tfxai.occlusion(linear, patch=7)(photos)
    with pytest.raises(ValueError, match=r"stride=\(3, 3\): longer than the patch"):
        tfxai.occlusion(linear, patch=2, stride=3)(photos)
    with pytest.raises(ValueError, match="stride=0"):
        tfxai.occlusion(linear, stride=0)
