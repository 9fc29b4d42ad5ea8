"""Metrics against their slow equations and published values."""

import numpy as np
import pytest

from tests.networks import small_cnn
from tfxai import metrics


def slow_gini(values):
    """Half the mean difference between all pairs, over the mean (Chalasani et al. 2020)."""
    a = np.abs(values).ravel()
    return np.abs(a[:, None] - a[None]).mean() / (2 * a.mean())


def test_gini_is_half_the_relative_mean_difference():
    maps = np.random.default_rng(0).normal(size=(4, 5, 5, 3))
    np.testing.assert_allclose(metrics.gini(maps), [slow_gini(m) for m in maps], rtol=1e-12)
    np.testing.assert_allclose(metrics.gini(1e-30 * maps), metrics.gini(maps), rtol=1e-9)


def test_gini_of_normal_numbers_and_of_extreme_maps():
    normal = np.random.default_rng(1).normal(size=(1, 200_000))
    assert metrics.gini(normal)[0] == pytest.approx(0.4142, abs=0.002)
    np.testing.assert_allclose(metrics.gini(np.eye(7)), 6 / 7)
    np.testing.assert_array_equal(metrics.gini(np.stack([np.zeros(5), -np.ones(5)])), [0, 0])


@pytest.mark.parametrize("maps", [np.ones(3), np.ones((2, 0)), np.array([[1.0, np.nan]])])
def test_gini_refuses_what_is_no_batch_of_maps(maps):
    with pytest.raises(ValueError, match="attributions has"):
        metrics.gini(maps)


X = np.random.default_rng(0).random((2, 6, 6, 1))
BOXES = [[0, 0, 3, 3]] * 2


def brightness(x):
    """Two classes: bright and dark."""
    bright = np.asarray(x).mean((1, 2, 3))
    return np.stack([bright, 1 - bright], 1)


OF_ARRAYS = {
    "deletion": lambda x, maps: metrics.deletion(brightness, x, maps, 0),
    "insertion": lambda x, maps: metrics.insertion(brightness, x, maps, 0),
    "deletion_and_insertion": lambda x, maps: metrics.deletion_and_insertion(
        brightness, x, maps, 0
    ),
    "degradation": lambda x, maps: metrics.degradation(brightness, x, maps, 0),
    "information_level": lambda x, maps: metrics.information_level(
        brightness, x, maps, 0, bounds=(0, 1), kind="accuracy"
    ),
    "completeness": lambda x, maps: metrics.completeness(brightness, x, maps, 0, score=None),
    "infidelity": lambda x, maps: metrics.infidelity(
        brightness, x, maps, 0, slopes=False, score=None
    ),
    "max_sensitivity": lambda x, maps: metrics.max_sensitivity(lambda *_: maps, x, 0),
    "invariance": lambda x, maps: metrics.invariance(lambda *_: maps, lambda *_: maps, x, 0),
    "consistency": lambda x, maps: metrics.consistency(small_cnn(), lambda *_: maps, x, 0),
    "rank_correlation": lambda x, maps: metrics.rank_correlation(x, maps),
    "gini": lambda x, maps: metrics.gini(maps),
    "pointing_game": lambda x, maps: metrics.pointing_game(maps, BOXES),
    "top_k_share": lambda x, maps: metrics.top_k_share(maps, BOXES),
    "mass_share": lambda x, maps: metrics.mass_share(maps, BOXES),
}


COUNTED_TOGETHER = {"max_sensitivity", "invariance", "consistency", "rank_correlation", "gini"}


@pytest.mark.parametrize("name", sorted(set(OF_ARRAYS) - COUNTED_TOGETHER))
def test_a_dict_of_maps_is_refused_by_name(name):
    maps = {"image": X, "row": X[:, 0, 0]}
    with pytest.raises(TypeError, match=r"got a dict with the keys 'image', 'row'; pass .*'image'"):
        OF_ARRAYS[name](X, maps)
    OF_ARRAYS[name](X, maps["image"])


@pytest.mark.parametrize("name", sorted(COUNTED_TOGETHER - {"rank_correlation"}))
def test_a_dict_of_maps_counts_as_one(name):
    maps = {"row": X[:, 0, 0], "image": 2 * X}
    joined = np.concatenate([2 * X.reshape(2, -1), X[:, 0, 0]], 1)
    found, expected = (OF_ARRAYS[name](X, m) for m in (maps, joined))
    if name == "consistency":
        found, expected = found.correlations, expected.correlations
    np.testing.assert_array_equal(found, expected)


def test_maps_of_other_inputs_have_no_rank_correlation():
    with pytest.raises(ValueError, match=r"have shapes \{'image': \[2, 6, 6, 1\]\} and \[2, 6, 6"):
        metrics.rank_correlation({"image": X}, X)


def test_all_metrics_are_in_these_tests():
    others = {"median_auc", "shifted"}
    assert {n for n in metrics.__all__ if n[0].islower()} - others == set(OF_ARRAYS)
