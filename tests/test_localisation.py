"""Pointing game (Zhang et al. 2018), top-k share and mass share against loops and laws."""

import numpy as np
import pytest

from tfxai import metrics

BOXES = [[[2, 1, 5, 4]], [[0, 0, 2, 2], [6, 5, 9, 7]], [[3, 3, 4, 4]]]


@pytest.fixture
def maps():
    return np.random.default_rng(0).normal(size=(3, 7, 9, 3))


@pytest.fixture
def masks():
    masks = np.zeros((3, 7, 9), bool)
    for mask, boxes in zip(masks, BOXES, strict=True):
        for left, top, right, bottom in boxes:
            for y in range(top, bottom):
                for x in range(left, right):
                    mask[y, x] = True
    return masks


@pytest.mark.parametrize("tolerance", [0, 1, 1.5, 4])
def test_pointing_against_the_loop(maps, masks, tolerance):
    found = metrics.pointing_game(maps, BOXES, tolerance=tolerance)
    for i, (one, mask) in enumerate(zip(maps.sum(-1), masks, strict=True)):
        y, x = np.unravel_index(one.argmax(), one.shape)
        nearest = min(np.hypot(y - a, x - b) for a, b in np.argwhere(mask))
        assert found[i] == (nearest <= tolerance)


def test_boxes_and_masks_say_the_same(maps, masks):
    for metric in (metrics.pointing_game, metrics.top_k_share, metrics.mass_share):
        np.testing.assert_array_equal(metric(maps, BOXES), metric(maps, masks))
        np.testing.assert_allclose(metric(3 * maps, masks), metric(maps, masks))


@pytest.mark.parametrize("k", [1, 5, 63])
def test_top_k_against_the_loop(maps, masks, k):
    found = metrics.top_k_share(maps, masks, k=k)
    for share, one, mask in zip(found, maps.sum(-1), masks, strict=True):
        assert share == pytest.approx(mask.ravel()[np.argsort(-one.ravel())[:k]].mean())
    if k == 63:
        np.testing.assert_allclose(found, masks.mean((1, 2)))


def test_a_map_without_a_preference_scores_by_chance(masks):
    """However many pixels are taken: ties count by their share."""
    flat = np.ones(masks.shape)
    chance = masks.mean((1, 2))
    np.testing.assert_allclose(metrics.pointing_game(flat, masks, tolerance=0), chance)
    np.testing.assert_allclose(metrics.top_k_share(flat, masks, k=7), chance)
    np.testing.assert_allclose(metrics.mass_share(flat, masks), chance)


def test_ties_at_the_end_of_the_k():
    maps = np.array([[[9.0, 5.0, 5.0, 5.0, 1.0]]])
    inside = np.array([[[1, 1, 0, 0, 1]]])
    assert metrics.top_k_share(maps, inside, k=2)[0] == pytest.approx((1 + 1 / 3) / 2)


def test_the_object_itself_is_a_perfect_map(masks):
    for metric in (metrics.pointing_game, metrics.mass_share):
        np.testing.assert_array_equal(metric(masks.astype(float), masks), 1)
    assert np.isnan(metrics.mass_share(-np.ones(masks.shape), masks)).all()


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        ([[0, 0, 1, 1]], "1 for 3 images"),
        ([[0, 0, 1]] * 3, r"shape \[3\]"),
        ([[4, 4, 4, 9]] * 3, r"regions\[0\] has no pixel"),
        (np.zeros((3, 7, 9)), r"regions\[0\] has no pixel"),
    ],
)
def test_bad_regions(maps, regions, message):
    with pytest.raises(ValueError, match=message):
        metrics.pointing_game(maps, regions)


def test_bad_options(maps, masks):
    with pytest.raises(ValueError, match="k=64: the maps have 63 pixels"):
        metrics.top_k_share(maps, masks, k=64)
    with pytest.raises(ValueError, match="tolerance=-1"):
        metrics.pointing_game(maps, masks, tolerance=-1)
    with pytest.raises(ValueError, match="NaN"):
        metrics.mass_share(np.nan * maps, masks)
    with pytest.raises(ValueError, match="attributions has shape"):
        metrics.mass_share(maps[0, 0], masks)
