"""Metrics against their slow equations and published values."""

import numpy as np
import pytest

from tfxai import metrics


def slow_gini(values):
    """Half the mean difference between all pairs, over the mean (METHODS 6.3)."""
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
