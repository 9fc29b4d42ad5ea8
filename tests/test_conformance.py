"""Published values of gradients, integrated gradients and quadrature.

Their table: docs/methods.md, Published values that the tests reproduce.
"""

import keras
import numpy as np
import pytest

import tfxai
from tests.networks import as_model
from tfxai import quadrature

relu = keras.ops.relu


@pytest.mark.parametrize(
    "function",
    [
        lambda x: relu(relu(x[:, :1]) - 1 - relu(x[:, 1:])),
        lambda x: relu(relu(x[:, :1] - 1) - relu(x[:, 1:])),
    ],
)
@pytest.mark.parametrize("options", [{"tolerance": 1e-3}, {"quadrature": quadrature.midpoint}])
def test_integrated_gradients_of_two_equal_relu_functions(function, options):
    explainer = tfxai.integrated_gradients(as_model(function, 2), steps=512, **options)
    np.testing.assert_allclose(explainer(np.array([[3.0, 1.0]])), [[1.5, -0.5]], atol=2e-3)


def test_integrated_gradients_of_a_separable_function():
    model = as_model(lambda x: 5 * x[:, :1] + x[:, 1:2] ** 2 + keras.ops.sin(x[:, 2:]), 3)
    explainer = tfxai.integrated_gradients(model, baseline=np.array([0.5, 1.0, 1.0]))
    expected = [[2.5, 3, np.sin(3) - np.sin(1)]]
    np.testing.assert_allclose(explainer(np.array([[1.0, 2.0, 3.0]])), expected, atol=1e-5)


def test_integrated_gradients_of_a_small_network():
    dense = keras.layers.Dense
    model = keras.Sequential([keras.Input((3,)), dense(3), dense(4, activation="relu"), dense(2)])
    biases = [np.zeros(3), np.array([-10, 1, 1, 1]), np.array([-1, 1])]
    kernels = [np.eye(3), np.ones((3, 4)), np.ones((4, 2))]
    model.set_weights([w for pair in zip(kernels, biases, strict=True) for w in pair])
    attributions = tfxai.integrated_gradients(model)(np.array([[0.0, 100.0, 0.0]]), 0)
    np.testing.assert_allclose(attributions, [[0, 390, 0]], rtol=1e-3)


def test_gradient_of_one_minus_relu():
    model = as_model(lambda x: 1 - relu(1 - x), 1)
    x = np.array([[1.0], [2], [3], [0], [-1], [7]])
    np.testing.assert_array_equal(tfxai.gradient(model)(x)[:, 0], [0, 0, 0, 1, 1, 0])


def test_sixteen_gauss_legendre_nodes_integrate_a_cube_exactly():
    nodes, weights = quadrature.gauss_legendre(16)
    assert np.float32(weights @ nodes**3) == np.float32(0.25)


RULES = {
    quadrature.left_riemann: 1,
    quadrature.right_riemann: 1,
    quadrature.midpoint: 2,
    quadrature.squared_midpoint: 2,
    quadrature.trapezoid: 2,
    quadrature.gauss_legendre: None,
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("n", [1, 2, 3, 16, 65])
def test_weights_sum_to_one_on_nodes_within_the_path(rule, n):
    nodes, weights = rule(n)
    assert len(nodes) == len(weights) == n
    assert weights.sum() == pytest.approx(1)
    assert nodes.min() >= 0
    assert nodes.max() <= 1


@pytest.mark.parametrize(("rule", "order"), [(r, o) for r, o in RULES.items() if o])
def test_order_of_convergence_on_a_cube(rule, order):
    sizes = np.array([16, 32, 64, 128, 256])
    errors = [abs(w @ x**3 - 0.25) for x, w in map(rule, sizes)]
    slope = np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    assert slope == pytest.approx(-order, abs=0.06)
