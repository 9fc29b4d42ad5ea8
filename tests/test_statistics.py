"""The benchmark's intervals and comparisons, by simulation and closed forms."""

import numpy as np
import pytest
from scipy import stats

from tfxai.benchmark.statistics import comparisons, images_needed, interval


def test_intervals_hold_what_they_say():
    """95 % of them have the mean in them, about: of skewed values, a bit fewer."""
    random = np.random.default_rng(0)
    found = [interval(random.exponential(size=40)) for _ in range(200)]
    assert 0.88 <= np.mean([i.low <= 1 <= i.high for i in found]) <= 0.99


def test_intervals_of_few_and_of_equal_values():
    assert np.isnan(interval(np.array([2.0]))[1:]).all()
    assert interval(np.array([2.0, 2.0])) == (2, 2, 2)
    two = interval(np.array([1.0, 2.0]))
    assert 1 <= two.low <= 1.5 <= two.high <= 2


def test_differences_by_chance_are_rarely_called_real():
    random = np.random.default_rng(1)
    wrong = 0
    for _ in range(40):
        values = {name: random.normal(size=10) for name in "abcd"}
        wrong += any(c.significant for c in comparisons(values))
    assert wrong <= 6


def test_pairing_finds_a_small_difference_between_very_different_images():
    random = np.random.default_rng(2)
    images = 100 * random.normal(size=20)
    values = {"a": images, "b": images + 1 + 0.1 * random.normal(size=20)}
    (found,) = comparisons(values)
    differences = values["a"] - values["b"]
    mean, low, high = found.difference
    assert found.significant
    assert mean == pytest.approx(differences.mean())
    assert low < mean < high
    width = 2 * 1.96 * differences.std(ddof=1) / np.sqrt(20)
    assert high - low == pytest.approx(width, rel=0.2)


def test_p_is_the_exact_share_of_sign_flips():
    a, b = np.array([1.0, 3.0, 2.5, 4.0]), np.array([0.0, 0.5, 3.0, 1.0])
    flips = np.array(np.meshgrid(*[[-1, 1]] * 4)).reshape(4, -1)
    means = ((a - b)[:, None] * flips).mean(0)
    expected = 2 * (means >= (a - b).mean() - 1e-12).mean()
    assert comparisons({"a": a, "b": b})[0].p == pytest.approx(expected)


def test_many_images_take_students_test():
    random = np.random.default_rng(3)
    a, b = random.normal(size=(2, 80))
    assert comparisons({"a": a, "b": b})[0].p == pytest.approx(stats.ttest_rel(a, b).pvalue)


def test_holm_adjusts_for_all_pairs():
    random = np.random.default_rng(4)
    values = {name: random.normal(loc=i, size=9) for i, name in enumerate("abc")}
    found = comparisons(values)
    order = np.argsort([c.p for c in found])
    running = 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1, found[i].p * (3 - rank)))
        assert found[i].p_adjusted == pytest.approx(running)


@pytest.mark.parametrize("methods", [2, 5, 11])
def test_enough_images_are_the_fewest_that_can_show_a_difference(methods):
    def best(images):
        values = {str(i): np.full(images, float(i)) for i in range(methods)}
        return any(c.significant for c in comparisons(values))

    assert best(images_needed(methods))
    assert not best(images_needed(methods) - 1)


def test_nothing_to_compare():
    assert comparisons({"a": np.arange(3.0)}) == []
    assert comparisons({"a": np.ones(1), "b": np.ones(1)}) == []
