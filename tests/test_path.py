"""The adaptive path integral: its decisions, its error estimate, and what it costs."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfxai
from tests import reference
from tests.networks import as_model, small_cnn
from tests.thorough import quick
from tfxai import quadrature
from tfxai.core.tracing import traced
from tfxai.core.types import Result
from tfxai.estimation import adaptive_path


def integral(function, **options):
    """Integrate a function of alpha, alpha -> [F], as if it were a gradient at x = 1."""
    options = {"tolerance": 0.0, "max_steps": 64, "rows": 7} | options

    def attribution(inputs, targets, seed):
        del targets, seed
        return Result(function(inputs[:, :1]) * tf.ones_like(inputs), {})

    integrate = traced(adaptive_path.adaptive_integral(attribution, 0.0, **options))
    return integrate(tf.ones([1, 3], tf.float64), tf.constant([0]), tf.constant([0, 0]))


def test_a_smooth_function_gets_a_rule_of_high_order():
    measured = integral(tf.exp, max_steps=33)
    np.testing.assert_allclose(measured.attributions, np.e - 1, rtol=1e-6)


def test_the_error_of_a_smooth_function_is_what_the_parabolas_change_and_a_share_of_the_bridges():
    alphas = np.linspace(0, 1, 9) ** 2
    values = np.exp(alphas)[:, None] * np.ones(3)
    measured = integral(tf.exp, max_steps=9)
    parabolic, trapezoid = (
        rule(tf.constant(alphas)).numpy()
        for rule in (quadrature.parabolic_weights, quadrature.trapezoid_weights)
    )
    np.testing.assert_allclose(measured.attributions[0], parabolic @ values, rtol=1e-9)
    bridges = np.diff(values, axis=0) * np.diff(alphas)[:, None]
    _, rho = reference.path_error(values, alphas)
    change = np.linalg.norm((parabolic - trapezoid) @ values)
    error = np.sqrt(change**2 + reference.roughness(rho) * (bridges**2).sum())
    size = np.linalg.norm(measured.attributions)
    np.testing.assert_allclose(measured.diagnostics["map_error"], [error / size], rtol=1e-6)


def test_a_jump_is_found():
    measured = integral(lambda a: tf.cast(a > 0.3, tf.float64), max_steps=100)
    np.testing.assert_allclose(measured.attributions, 0.7, atol=1e-3)
    assert measured.diagnostics["map_error"][0] < 1e-3


@pytest.mark.parametrize("steps", quick([3, 8, 9, 10, 17, 64], 3, 9, 17))
def test_exactly_the_steps_that_were_asked_for_are_taken(steps):
    measured = integral(lambda a: tf.sin(20 * a), max_steps=steps)
    assert measured.diagnostics["steps"][0] == steps


def test_weights_of_given_nodes_integrate_lines_and_parabolas():
    nodes = tf.constant(np.sort(np.append(np.random.default_rng(0).random(9), [0, 1])))
    for degree in (0, 1, 2):
        value = tf.reduce_sum(quadrature.parabolic_weights(nodes) * nodes**degree)
        assert value.numpy() == pytest.approx(1 / (degree + 1))
    for degree in (0, 1):
        value = tf.reduce_sum(quadrature.trapezoid_weights(nodes) * nodes**degree)
        assert value.numpy() == pytest.approx(1 / (degree + 1))


def test_waves_choose_nearly_the_nodes_of_one_by_one_bisection():
    random = np.random.default_rng(0)
    jumps, sizes = random.random(400) ** 2, random.normal(size=(400, 3))

    def walk(alpha):
        steps = tf.cast(alpha > jumps[None], tf.float64)
        return tf.matmul(steps, tf.constant(sizes))

    truth = ((1 - jumps)[:, None] * sizes).sum(0)
    measured = integral(walk, max_steps=64)
    alphas = reference.greedy_bisection(lambda a: walk(tf.constant([[a]]))[0], 9, 64)
    weights = quadrature.trapezoid_weights(tf.constant(alphas)).numpy()
    values = np.array([walk(tf.constant([[a]]))[0] for a in alphas])
    one_by_one = np.linalg.norm(weights @ values - truth)
    waves = np.linalg.norm(measured.attributions[0] - truth)
    bound, _ = reference.path_error(values, alphas)
    assert waves < 2 * bound
    assert one_by_one < 2 * bound
    estimated = measured.diagnostics["map_error"][0].numpy() * np.linalg.norm(measured.attributions)
    assert estimated == pytest.approx(bound, rel=0.15)


@pytest.fixture(scope="module", params=quick(["relu", "gelu", "tanh"], "relu", "gelu"))
def converged(request, trained):
    """A trained model, inputs, and maps of so many steps that they count as true."""
    model, data, _ = trained(request.param)
    x = data[:12]
    truth = tfxai.integrated_gradients(model, steps=4000, quadrature=quadrature.midpoint)(x)
    return request.param, model, x, truth.numpy()


def test_the_estimated_error_is_the_true_one_or_above(converged):
    activation, model, x, truth = converged
    record = tfxai.integrated_gradients(model, steps=20).explain(x, verbose=0)
    axes = (1, 2, 3)
    error = np.sqrt(((record.attributions - truth) ** 2).sum(axes) / (truth**2).sum(axes))
    estimated = record.diagnostics["map_error"]
    assert (error < 2.5 * estimated + 1e-6).all()
    if activation == "relu":
        assert np.mean(estimated) == pytest.approx(np.mean(error), rel=0.4)


def test_the_default_is_at_least_as_good_as_each_fixed_rule(converged):
    _, model, x, truth = converged

    def error(**options):
        maps = tfxai.integrated_gradients(model, steps=33, **options)(x).numpy()
        return np.linalg.norm(maps - truth) / np.linalg.norm(truth)

    default = error()
    for rule in (quadrature.midpoint, quadrature.squared_midpoint, quadrature.gauss_legendre):
        assert default <= max(error(quadrature=rule), 1e-5)


def test_each_example_stops_at_its_own_tolerance(trained):
    model, data, _ = trained("relu")
    explainer = tfxai.integrated_gradients(model, tolerance=0.004)
    record = explainer.explain(data[:30], verbose=0)
    assert (record.diagnostics["map_error"] <= 0.004).all()
    assert len(set(record.diagnostics["steps"])) > 1
    alone = explainer.explain(data[7:8], verbose=0)
    assert alone.diagnostics["steps"] == record.diagnostics["steps"][7]
    np.testing.assert_allclose(alone.attributions[0], record.attributions[7], rtol=1e-4, atol=1e-6)


def test_an_impossible_tolerance_stops_at_max_steps(cnn, images):
    explainer = tfxai.integrated_gradients(cnn, tolerance=1e-9, max_steps=40)
    with pytest.warns(UserWarning, match="5 of 5 .*not converged after 40 steps.*raise max_steps"):
        record = explainer.explain(images, verbose=0)
    assert (record.diagnostics["steps"] == 40).all()
    assert (record.diagnostics["map_error"] > 1e-9).all()


def test_an_input_equal_to_the_baseline_has_a_zero_map_without_error(cnn):
    explainer = tfxai.integrated_gradients(cnn, tolerance=0.01)
    with pytest.warns(UserWarning, match="2 of 2 .*zero everywhere.*its own baseline"):
        record = explainer.explain(np.zeros((2, 8, 8, 3)), verbose=0)
    assert not record.attributions.any()
    assert not record.diagnostics["map_error"].any()
    assert not record.diagnostics["completeness_gap"].any()


def test_a_gradient_that_is_not_finite_is_not_hidden():
    model = as_model(lambda x: keras.ops.log(x), 1)
    explainer = tfxai.integrated_gradients(model, tolerance=0.1)
    with pytest.warns(UserWarning, match="integrated_gradients: some attributions are NaN"):
        record = explainer.explain(np.ones((1, 1)), verbose=0)
    assert not np.isfinite(record.diagnostics["map_error"][0])


def test_two_steps_take_the_ends(images):
    model = small_cnn(head=None)
    gradients = [tfxai.gradient(model)(a * images, 0) for a in (0.0, 1.0)]
    maps = tfxai.integrated_gradients(model, steps=2)(images, 0)
    np.testing.assert_allclose(maps, images * np.mean(gradients, 0), rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*far from complete")
def test_one_step_takes_the_middle_and_knows_no_error(images):
    model = small_cnn(head=None)
    explainer = tfxai.integrated_gradients(model, steps=1)
    expected = images * tfxai.gradient(model)(images / 2, 0)
    record = explainer.explain(images, 0, verbose=0)
    np.testing.assert_allclose(record.attributions, expected, rtol=1e-4, atol=1e-6)
    assert np.isnan(record.diagnostics["map_error"]).all()
