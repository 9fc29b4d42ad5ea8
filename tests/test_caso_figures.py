"""Figures of Singla et al. 2019 as the example computes them."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from tests.examples import script

example = script("reproduce/caso")


def test_rank_one_is_that_of_the_hessian():
    """With H of Singla et al. 2019, section 3.1, formed."""
    W = np.random.default_rng(0).normal(size=[30, 5])
    p = np.array([0.6, 0.2, 0.1, 0.07, 0.03])
    H = W @ (np.diag(p) - np.outer(p, p)) @ W.T
    g = W @ (p - [1, 0, 0, 0, 0])
    values, vectors = np.linalg.eigh(H)
    best = H - values[-1] * np.outer(vectors[:, -1], vectors[:, -1])
    theorem = H - np.outer(g, g) / (1 - p[0])
    errors = np.linalg.norm([best, theorem], axis=(1, 2)) / np.linalg.norm(H)
    cosine = abs(g @ vectors[:, -1]) / np.linalg.norm(g)
    np.testing.assert_allclose(example.rank_one(W.T @ W, p), [*errors, cosine], rtol=1e-10)


def test_two_classes_have_rank_one():
    W = np.random.default_rng(0).normal(size=[30, 2])
    for confidence in (0.5, 0.9, 0.999):
        best, theorem, cosine = example.rank_one(W.T @ W, example.probabilities(2, confidence))
        assert best < 1e-12
        assert theorem == pytest.approx(1 / confidence - 1)
        assert cosine == pytest.approx(1)


@pytest.mark.parametrize("classes", [3, 10, 100])
@pytest.mark.parametrize("confidence", [0.4, 0.9, 0.999])
def test_an_orthonormal_jacobian(classes, confidence):
    """Theorem 4 has the top eigenvector, with 1 / p_1 of its eigenvalue."""
    p = example.probabilities(classes, confidence)
    best, theorem, cosine = example.rank_one(np.eye(classes), p)
    assert best == pytest.approx(example.orthonormal_error(classes, confidence))
    assert theorem**2 == pytest.approx(best**2 + (1 / confidence - 1) ** 2 * (1 - best**2))
    assert cosine == pytest.approx(1)


def test_theorem_4_takes_many_classes():
    """Certainty alone leaves the share of the other eigenvalues, 1 / sqrt(c) at the most."""
    errors = []
    for classes in (3, 10, 100, 200):
        p = example.probabilities(classes, 1 - 1e-7)
        errors.append(example.rank_one(np.eye(classes), p)[1])
        limit = np.sqrt((classes - 2) / ((classes - 1) * (classes + 2)))
        assert errors[-1] == pytest.approx(limit, rel=1e-5)
    assert errors[0] == pytest.approx(np.sqrt(1 / 10), rel=1e-5)
    assert errors[-1] < 1 / np.sqrt(200)


def test_simulation():
    means = example.simulation(4, (0.5, 0.9, 0.99), draws=3, features=40)
    jacobians = np.random.default_rng(0).normal(size=[3, 40, 4])
    found = [example.rank_one(W.T @ W, example.probabilities(4, 0.9)) for W in jacobians]
    np.testing.assert_allclose(means[1], np.mean(found, 0))


def test_probabilities():
    np.testing.assert_allclose(example.probabilities(5, 0.6), [0.6, 0.1, 0.1, 0.1, 0.1])


def test_difference_knows_directions_alone():
    first = np.random.default_rng(0).normal(size=[3, 4, 4, 3])
    second = first * np.array([2.0, -0.5, 1.0])[:, None, None, None]
    second[2] = 0
    second[2, 0, 0, 0], first[2, 0, 0, 0] = 7, 0
    np.testing.assert_allclose(example.difference(first, second), [0, 2, np.sqrt(2)], atol=1e-12)


def test_rank_correlation():
    a = np.array([0.1, 5.0, 2.0, 30.0])
    assert example.rank_correlation(a, np.exp(-a)) == pytest.approx(-1)
    assert example.rank_correlation(a, np.array([1.0, 2.0, 3.0, 4.0])) == pytest.approx(0.8)


def test_noise_stays_within_the_units_interval():
    images = np.linspace(0, 1, 300, dtype=np.float32).reshape(1, 10, 10, 3)
    found = example.noisy(images)
    assert found.dtype == np.float32
    assert found.min() == 0
    assert found.max() == 1
    assert 0.1 < np.abs(found - images).mean() < 0.2


@pytest.fixture
def rows():
    zeros = np.zeros([2, 4, 4, 3])
    first, second = zeros.copy(), zeros.copy()
    first[:, 0, 0, 0], second[0, 0, 0, 0], second[1, 1, 1, 1] = 2, 3, 4
    linear = SimpleNamespace(
        attributions=first,
        diagnostics={"max_eigenvalue": np.array([5.0, 50.0])},
        scores=-np.log([0.8, 0.3]),
        target_names=["cat", "dog"],
        targets=np.array([3, 4]),
    )
    diagnostics = {"lambda1": np.ones(2), "sparsity": np.ones(2), "residual": np.zeros(2)}
    sparse = SimpleNamespace(diagnostics=diagnostics)
    return example.table(linear, SimpleNamespace(attributions=second), sparse)


def test_table(rows):
    clean, noisy = rows
    assert (clean["photo"], clean["version"], clean["class"]) == (0, "clean", "cat")
    assert (noisy["photo"], noisy["version"], noisy["class"]) == (0, "noisy", "dog")
    assert clean["confidence"] == pytest.approx(0.8)
    assert noisy["difference"] == pytest.approx(np.sqrt(2))
    assert noisy["L"] == 50


@pytest.fixture
def drawn(monkeypatch):
    """Figures by the names of the files that they are saved as."""
    figures, save = {}, Figure.savefig

    def keep(figure, path, **options):
        figures[path.name] = figure
        save(figure, path, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def test_rows_are_written_and_drawn(rows, tmp_path, drawn):
    example.report_differences(tmp_path, rows)
    with (tmp_path / "caso.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    assert [row["class"] for row in written] == ["cat", "dog"]
    assert [float(row["L"]) for row in written] == [5, 50]
    (axes,) = drawn["caso.png"].axes
    points = np.concatenate([np.asarray(c.get_offsets()) for c in axes.collections])
    expected = [(row["confidence"], row["difference"]) for row in rows]
    np.testing.assert_allclose(points, expected)
    with Image.open(tmp_path / "caso.png") as picture:
        assert np.ptp(picture.convert("L")) > 200


def test_the_simulation_is_drawn(tmp_path, drawn):
    small = {"draws": 2, "features": 20}
    factor_by_classes, by_confidence = ((2, 3), (0.9,)), ((0.5, 0.9), (4,))
    example.draw_simulation(tmp_path / "simulation.png", factor_by_classes, by_confidence, **small)
    left, middle, right = drawn["simulation.png"].axes
    of_classes = np.array([example.simulation(c, (0.9,), **small)[0] for c in (2, 3)])
    found = example.simulation(4, (0.5, 0.9), **small)
    for axes, errors, across in ((left, of_classes, (2, 3)), (middle, found, (0.5, 0.9))):
        best, theorem, orthonormal = axes.lines
        np.testing.assert_allclose(best.get_xdata(), across)
        np.testing.assert_allclose(best.get_ydata(), errors[:, 0])
        np.testing.assert_allclose(theorem.get_ydata(), errors[:, 1])
    expected = [example.orthonormal_error(4, p) for p in (0.5, 0.9)]
    np.testing.assert_allclose(orthonormal.get_ydata(), expected)
    (angles,) = right.lines
    np.testing.assert_allclose(np.cos(np.radians(angles.get_ydata())), found[:, 2])


def test_sparse_maps_are_drawn_with_their_shares(tmp_path, drawn):
    images = np.random.default_rng(0).uniform(size=[1, 8, 8, 3])
    maps = np.zeros_like(images)
    maps[0, 3, 4] = 1
    diagnostics = {"lambda1": np.array([0.01]), "sparsity": np.array([63 / 64])}
    record = SimpleNamespace(attributions=maps, diagnostics=diagnostics)
    records = {0.01: record, "auto": record}
    example.draw_sparsity(tmp_path / "sparsity.png", images, ["a $photo"], records)
    photo, *shown = drawn["sparsity.png"].axes
    assert photo.get_title() == "a $photo"
    np.testing.assert_array_equal(photo.images[0].get_array(), images[0])
    titles = [axes.get_title() for axes in shown]
    assert titles == ["λ1 = 0.01\n98.44 % zero", "auto: λ1 = 0.01\n98.44 % zero"]
    for axes in shown:
        largest = np.argwhere(axes.images[-1].get_array() == axes.images[-1].get_array().max())
        np.testing.assert_array_equal(largest, [[3, 4]])
