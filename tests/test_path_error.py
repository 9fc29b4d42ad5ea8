"""What integrated gradients say of their error, where the path begins in a peak and elsewhere."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import gamma, zeta

import tfxai
from tests import reference
from tests.networks import digits
from tests.thorough import quick
from tfxai import quadrature
from tfxai.estimation import aggregators, bridges

L = keras.layers
DOUBLE = {"dtype": "float64"}


def octaves(n):
    """The midpoint rule with n / 16 cells in each octave down to 2^-15, and as many below it."""
    edges = [np.linspace(2.0**-k / 2, 2.0**-k, n // 16 + 1)[:-1] for k in range(14, -1, -1)]
    edges = np.concatenate([np.linspace(0, 2.0**-15, n // 16 + 1)[:-1], *edges, [1.0]])
    return (edges[1:] + edges[:-1]) / 2, np.diff(edges)


def network(*layers):
    """A classifier of 8x8 images with random weights and biases of zero, in float64."""
    keras.utils.set_random_seed(0)
    ends = [L.Flatten(**DOUBLE), L.Dense(5, **DOUBLE)]
    return keras.Sequential([keras.Input((8, 8, 1), dtype="float64"), *layers, *ends])


def group_norm():
    return network(L.Conv2D(8, 3, **DOUBLE), L.GroupNormalization(4, **DOUBLE), L.ReLU(**DOUBLE))


def rms_norm():
    normed = [L.RMSNormalization(**DOUBLE), L.ReLU(**DOUBLE)]
    return network(L.Flatten(**DOUBLE), L.Dense(32, **DOUBLE), *normed)


def layer_norm_of_the_input():
    dense = [L.Dense(32, activation=a, **DOUBLE) for a in ("relu", "swish")]
    return network(L.Flatten(**DOUBLE), L.LayerNormalization(**DOUBLE), *dense)


def pixels_up_to_255():
    layers = [L.Rescaling(255, **DOUBLE), L.Dense(8, **DOUBLE), L.LayerNormalization(**DOUBLE)]
    return network(*layers, L.Activation("swish", **DOUBLE))


def without_normalisation():
    biases = {"bias_initializer": "random_normal", **DOUBLE}
    first = L.Conv2D(8, 3, activation="relu", **biases)
    return network(first, L.Conv2D(8, 3, activation="relu", **biases))


NETWORKS = [
    group_norm,
    rms_norm,
    layer_norm_of_the_input,
    pixels_up_to_255,
    without_normalisation,
]


@pytest.fixture(
    scope="module",
    params=quick(NETWORKS, group_norm, pixels_up_to_255, without_normalisation),
    ids=lambda make: make.__name__,
)
def known(request):
    """A model, differing images, targets, and a function: record -> true relative errors."""
    model, x, targets = request.param(), digits()[0][:12].astype("float64"), np.arange(12) % 5
    truth = tfxai.integrated_gradients(model, steps=1600, quadrature=octaves)(x, targets).numpy()

    def true_errors(record):
        difference = (record.attributions - truth).reshape(len(x), -1)
        return np.linalg.norm(difference, axis=1) / np.linalg.norm(
            truth.reshape(len(x), -1), axis=1
        )

    return model, x, targets, true_errors


@pytest.mark.parametrize("tolerance", quick([0.1, 0.03], 0.03))
def test_a_tolerance_is_kept(tolerance, known):
    model, x, targets, true_errors = known
    explainer = tfxai.integrated_gradients(model, tolerance=tolerance)
    errors = true_errors(explainer.explain(x, targets, verbose=0))
    assert np.mean(errors <= 1.1 * tolerance) >= 0.9
    assert errors.max() <= 1.6 * tolerance


RULES = {
    "adaptive": {"steps": 32},
    "trapezoid": {"steps": 33, "quadrature": quadrature.trapezoid},
    "left Riemann": {"steps": 33, "quadrature": quadrature.left_riemann},
}


@pytest.mark.filterwarnings("ignore:.*(not converged|far from complete)")
@pytest.mark.parametrize("rule", quick(RULES, "adaptive", "left Riemann"))
def test_maps_are_as_good_as_stated_or_said_to_be_bad(rule, known):
    model, x, targets, true_errors = known
    record = tfxai.integrated_gradients(model, **RULES[rule]).explain(x, targets, verbose=0)
    stated, errors = record.diagnostics["map_error"], true_errors(record)
    assert np.mean((errors <= 1.15 * stated) | (stated > 0.5)) >= 0.9


@pytest.mark.filterwarnings("ignore:.*(not converged|far from complete)")
def test_a_step_at_the_baseline_is_not_taken_for_a_small_error():
    """Scale-invariant networks leap at 0 and are flat behind: no rule sees what the map lacks."""
    flat = L.GroupNormalization(4, epsilon=1e-12, **DOUBLE)
    model = network(L.Conv2D(8, 3, use_bias=False, **DOUBLE), flat, L.ReLU(**DOUBLE))
    x = digits()[0][:4].astype("float64")
    diagnostics = tfxai.integrated_gradients(model).explain(x, 0, verbose=0).diagnostics
    assert (diagnostics["completeness_gap"] > 0.9).all()
    assert (diagnostics["map_error"] > 0.2).all()


def test_the_error_of_nodes_against_the_loop():
    random = np.random.default_rng(0)
    for n in (2, 3, 4, 9):
        alphas = np.sort(random.random(n))
        values = random.normal(size=(n, 3))
        bridge = np.diff(values, axis=0) * np.diff(alphas)[:, None]
        squares = tf.constant((bridge**2).sum(1)[None])
        products = tf.constant((bridge[1:] * bridge[:-1]).sum(1)[None])
        error, rho = reference.path_error(values, alphas)
        found = bridges.correlation(squares, products)
        np.testing.assert_allclose(found, [rho], atol=1e-12)
        np.testing.assert_allclose(bridges.squared_error(squares, products, found), [error**2])


def test_a_zigzag_has_an_error_beyond_its_size_and_a_finite_one():
    squares, products = tf.ones([1, 8]), -tf.ones([1, 7])
    rho = bridges.correlation(squares, products)
    assert 8 < bridges.squared_error(squares, products, rho)[0] < np.inf


def test_the_roughness_is_that_of_fractional_brownian_motion():
    h = np.linspace(0.01, 0.99, 50)
    exact = 2 * gamma(2 * h + 1) * np.sin(np.pi * h) * zeta(2 * h + 1) / (2 * np.pi) ** (2 * h + 1)
    simple = bridges.mean_squared_error(tf.ones([50, 1], tf.float64), 2 ** (2 * h - 1) - 1)
    np.testing.assert_allclose(simple, exact, rtol=0.06)


@pytest.mark.parametrize("n", [1, 2, 3, 12])
def test_a_rule_is_as_far_off_as_the_trapezoid_and_its_distance_from_it(n):
    random = np.random.default_rng(n)
    nodes, weights = quadrature.right_riemann(n)
    values = random.normal(size=(n, 2, 4))
    aggregator = aggregators.path_mean(nodes)
    state = aggregator.init(tf.zeros([2, 4], tf.float64))
    for value, weight in zip(values, weights, strict=True):
        state = aggregator.update(state, tf.constant(value), tf.constant(weight))
    found = aggregator.result(state)
    np.testing.assert_allclose(found.mean, np.tensordot(weights, values, 1))
    for i in range(2):
        error, rho = reference.path_error(values[:, i], nodes) if n > 1 else (0, 0)
        if rho > 0:
            bridge = np.diff(values[:, i], axis=0) * np.diff(nodes)[:, None]
            share = reference.roughness(0) - reference.roughness(rho)
            error = np.sqrt(error**2 + share * (bridge**2).sum())
        distance = (values[-1, i] - values[0, i]) / (2 * n)
        expected = error**2 + distance @ distance
        np.testing.assert_allclose(found.squared_error[i], expected, atol=1e-12)
