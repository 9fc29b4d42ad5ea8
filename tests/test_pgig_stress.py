"""Numbers of the stress test of Schwarzenberg and Castle 2020 (PGIG), Fig. 2, and its notebook.

Their table: docs/methods.md, Published values that the tests reproduce.
"""

import keras
import numpy as np
import pytest

import tfxai
from tests.examples import script

stress = script("reproduce/pgig_stress_test")

Z, X = stress.data()
W, BIAS = np.array([-1.0, 1.0]), 1.0
PLATEAU = Z > 1.005


@pytest.fixture(scope="module")
def maps():
    return stress.attributions()


@pytest.fixture(scope="module")
def fitted():
    return stress.fitted()


def linear_model(kernel):
    """One dense layer without bias, in float64, of rows of two numbers."""
    kernel = np.asarray(kernel)
    only = keras.layers.Dense(kernel.shape[1], use_bias=False, name="only", dtype="float64")
    model = keras.Sequential([keras.Input((2,), dtype="float64"), only])
    only.kernel.assign(kernel)
    return model


def intended_pattern():
    """The notebook's formula as it means it: E+[x y] - E+[x] E[relu y] over w . the same."""
    y = X @ W + BIAS
    positive = y > 0
    x, y_positive = X[positive], y[positive]
    a = (x * y_positive[:, None]).mean(0) - x.mean(0) * np.maximum(y, 0).mean()
    return a / (W @ a)


def notebook_pattern():
    """The notebook's formula as numpy runs it: [n] times [n, 1] is [n, n]."""
    y = X @ W + BIAS
    positive = y > 0
    column = y[positive][:, None]
    products = [np.mean(x[positive] * column) for x in X.T]
    a = np.array(products) - X[positive].mean(0) * np.maximum(y, 0).mean()
    return a / (W @ a)


def test_data():
    """The first row, and three quarters in the positive regime."""
    assert X.shape == (400, 2)
    np.testing.assert_allclose(X[0], [-1.85098575, 0.14901425], atol=1e-8)
    assert (X @ W + BIAS > 0).sum() == 300


def test_the_network_is_the_smaller_of_z_and_one():
    """f2(relu(f1(x))) (docs/methods.md, Pattern-guided integrated gradients)."""
    np.testing.assert_allclose(stress.network()(X)[:, 0], np.minimum(Z, 1), atol=1e-6)


@pytest.mark.parametrize(
    ("estimator", "pattern"),
    [
        ("relu", (-1.01620905, -0.01620905)),
        ("relu_printed", (-1.02055643, -0.02055643)),
    ],
)
def test_patterns(estimator, pattern):
    """The first two rows of the table in docs/methods.md, Patterns."""
    patterns = stress.fitted(estimator)
    np.testing.assert_allclose(patterns["first"].ravel(), pattern, atol=1e-6)
    np.testing.assert_allclose(patterns["second"], [[-1]], atol=1e-6)


@pytest.mark.parametrize(
    ("estimate", "pattern"),
    [
        (intended_pattern, (-1.01706753, -0.01706753)),
        (notebook_pattern, (-1.00329617, -0.00329617)),
    ],
)
def test_patterns_of_the_notebook_are_others(estimate, pattern, fitted):
    """The other two rows (docs/methods.md, Patterns), which tfxai does not offer."""
    np.testing.assert_allclose(estimate(), pattern, atol=1e-8)
    assert np.abs(fitted["first"].ravel() - pattern).min() > 5e-4


def test_the_notebook_takes_the_means_of_x_and_y_apart():
    """Its pattern is E+[x] / w . E+[x] (docs/methods.md, Patterns)."""
    mean = X[X @ W + BIAS > 0].mean(0)
    np.testing.assert_allclose(notebook_pattern(), mean / (W @ mean), atol=1e-8)


@pytest.mark.parametrize(
    ("estimator", "pattern"),
    [
        ("relu", (1.01835493, 0.01835493)),
        ("linear", (1.01802636, 0.01802636)),
    ],
)
def test_patterns_of_a_linear_model(estimator, pattern):
    """The first row is the notebook's, which takes y > 0 here too.

    It counts the sample at z = 2e-15, hence float64. The second is cov(x, y) / w . cov(x, y).
    """
    model = linear_model([[1.0], [-1.0]])
    patterns = tfxai.fit_patterns(model, X, estimator=estimator, verbose=0)
    np.testing.assert_allclose(patterns["only"].ravel(), pattern, atol=2e-7)


@pytest.mark.parametrize(
    ("pattern", "attribution"),
    [
        (stress.NOTEBOOK, (1.18456, -0.00061)),
        (stress.INTENDED, (1.20082, -0.00317)),
    ],
)
def test_pattern_guided_integrated_gradients_at_the_end_of_the_plateau(pattern, attribution):
    """At z = 1.99, with start="one"."""
    explainer = stress.explainers(stress.given_patterns(pattern))["PGIG"]
    np.testing.assert_allclose(explainer(X[-1:]), [attribution], atol=6e-6)


def test_integrated_gradients_miss_the_step_in_which_the_path_reaches_the_plateau(maps):
    """f(x) = 1, but 0.995 in 100 right Riemann steps."""
    assert stress.network()(X[-1:]).numpy() == pytest.approx(1)
    assert maps["IG"][-1].sum() == pytest.approx(0.995, abs=1e-6)


def test_on_the_plateau_only_guided_integrated_gradients_show_the_signal_alone(maps):
    """Schwarzenberg and Castle 2020, Fig. 2."""
    signal, distractor = np.abs(maps["PGIG"][PLATEAU]).T
    np.testing.assert_array_equal(maps["PA"][PLATEAU], 0)
    assert signal.min() > 0.5
    assert (distractor < 0.05 * np.abs(maps["IG"][PLATEAU, 1])).all()


def test_what_starts_at_the_output_decides_the_sign(fitted):
    """At the x with f = -2 (docs/methods.md, Pattern-guided integrated gradients)."""
    x = X[np.isclose(stress.network()(X)[:, 0], -2)]
    signal = {}
    for start in ("one", "output"):
        explainer = tfxai.pattern_guided_integrated_gradients(
            stress.network(), fitted, steps=100, start=start
        )
        ((signal[start], _),) = explainer(x).numpy()
    assert signal == pytest.approx({"one": -1.88, "output": 1.90}, abs=5e-3)


def test_guided_integrated_gradients_of_a_linear_model_are_patterns_times_integrated_gradients():
    """The derivation of Schwarzenberg and Castle 2020, which needs start="one"."""
    model = linear_model([[1.0, 2.0, -0.5], [-1.0, 0.5, 3.0]])
    patterns = tfxai.fit_patterns(model, X, verbose=0)
    targets = np.arange(len(X)) % 3
    guided = tfxai.pattern_guided_integrated_gradients(model, patterns)(X, targets)
    plain = tfxai.integrated_gradients(model)(X, targets)
    np.testing.assert_allclose(guided, patterns["only"].T[targets] * plain, atol=1e-5)
