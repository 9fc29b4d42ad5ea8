"""Compositions of photos: exactly where they say."""

import numpy as np
import pytest

from tfxai import benchmark, metrics


@pytest.fixture
def photos():
    """Photos of one value each, which averaging keeps."""
    return np.arange(6.0)[:, None, None, None] + np.zeros((6, 9, 7, 2))


@pytest.mark.parametrize("cells", [2, 3])
def test_the_class_is_in_its_cell_and_nowhere_else(cells):
    photos = np.arange(12.0)[:, None, None, None] + np.zeros((12, 9, 7, 2))
    found = list(benchmark.Compositions(photos, range(100, 112), cells=cells))
    assert len(found) == 12
    for i, case in enumerate(found):
        assert case.target == 100 + i
        assert case.inputs.shape == (9, 7, 2)
        np.testing.assert_array_equal(case.inputs[..., 0].round(3) == i, case.region)
        rows, columns = case.region.any(1), case.region.any(0)
        assert abs(rows.sum() - 9 / cells) < 1
        assert abs(columns.sum() - 7 / cells) <= 1
        assert len(np.unique(case.inputs.round(3))) == cells**2


def test_other_photos_are_of_other_classes(photos):
    found = benchmark.Compositions(photos, [0, 0, 1, 1, 2, 3])
    for case in found:
        present = {round(v) for v in np.unique(case.inputs)}
        classes = [[0, 0, 1, 1, 2, 3][v] for v in present]
        assert len(set(classes)) == 4


def test_the_seed_says_where_and_every_pass_is_the_same(photos):
    one = benchmark.Compositions(photos, range(6), seed=1)
    for a, b in zip(one, one, strict=True):
        np.testing.assert_array_equal(a.inputs, b.inputs)
    other = benchmark.Compositions(photos, range(6), seed=2)
    assert any(not np.array_equal(a.inputs, b.inputs) for a, b in zip(one, other, strict=True))
    corners = {tuple(np.argwhere(c.region)[0]) for s in range(9)
               for c in benchmark.Compositions(photos, range(6), seed=s)}  # fmt: skip
    assert corners == {(0, 0), (0, 3), (4, 0), (4, 3)}


def test_chance_and_truth(photos):
    """A perfect map scores 1, one without a preference its cell's share."""
    for case in benchmark.Compositions(photos, range(6)):
        regions = case.region[None]
        assert metrics.mass_share(regions.astype(float), regions) == 1
        flat = np.ones(regions.shape)
        assert metrics.mass_share(flat, regions) == pytest.approx(regions.mean())


def test_bad_input(photos):
    with pytest.raises(ValueError, match="needs 4 different ones"):
        benchmark.Compositions(photos, [0, 1, 2, 2, 2, 2])
    with pytest.raises(ValueError, match="for 5 targets"):
        benchmark.Compositions(photos, range(5))
    with pytest.raises(ValueError, match="cells=1"):
        benchmark.Compositions(photos, range(6), cells=1)
