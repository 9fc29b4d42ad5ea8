"""Every method against its slow equation (tests/reference.py), and the laws that it obeys."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfxai
from tests import reference
from tests.networks import gradient_of, quadratic, slope, small_cnn, two_inputs
from tests.noise import noise_of
from tests.thorough import quick
from tfxai import kernels, quadrature
from tfxai.baselines import baseline
from tfxai.estimation import samplers
from tfxai.kernels import gaussian

TARGET = 2
RULES = [
    quadrature.left_riemann,
    quadrature.right_riemann,
    quadrature.midpoint,
    quadrature.squared_midpoint,
    quadrature.trapezoid,
    quadrature.gauss_legendre,
]


@pytest.fixture
def net():
    return small_cnn(head=None, policy="float64")


@pytest.fixture
def x(images):
    return images.astype("float64")


def test_gradient(net, x):
    expected = gradient_of(net, x, TARGET)
    np.testing.assert_allclose(tfxai.gradient(net)(x, TARGET), expected, rtol=1e-12)
    product = tfxai.gradient_times_input(net)(x, TARGET)
    np.testing.assert_allclose(product, x * expected, rtol=1e-12)


def test_another_explanation_times_the_input(net, x):
    """S-GI of Zhou et al. 2024a (AdaptGrad); the other score is the other explainer's affair."""
    smooth = tfxai.smoothgrad(net, samples=3)
    product = tfxai.gradient_times_input(smooth)(x, TARGET, seed=4)
    np.testing.assert_allclose(product, x * smooth(x, TARGET, seed=4), rtol=1e-12)
    for builder in (tfxai.gradient_times_input, tfxai.integrated_gradients):
        with pytest.raises(ValueError, match="takes the gradient's place"):
            builder(smooth, score=tfxai.scores.probability)


@pytest.mark.parametrize("rule", RULES)
def test_integrated_gradients_by_a_rule(rule, net, x):
    explainer = tfxai.integrated_gradients(net, steps=7, quadrature=rule, baseline=0.3)
    expected = [
        reference.weighted_integrated_gradients(slope(net), one, np.full_like(one, 0.3), *rule(7))
        for one in x
    ]
    np.testing.assert_allclose(explainer(x, TARGET), expected, rtol=1e-9, atol=1e-12)


def test_right_riemann_is_the_printed_sum(net, x):
    options = {"steps": 25, "quadrature": quadrature.right_riemann}
    maps = tfxai.integrated_gradients(net, **options)(x[:1], TARGET)[0]
    printed = reference.riemann_integrated_gradients(slope(net), x[0], np.zeros_like(x[0]), 25)
    np.testing.assert_allclose(maps, printed, rtol=1e-9, atol=1e-12)


def test_expected_gradients(net, x):
    references = np.random.default_rng(1).normal(size=(4, 8, 8, 3))
    sampler = samplers.random_line(baseline(references))
    seed = tf.constant([5, 0])
    one = tf.constant(x[:1])
    expected, draws = [], []
    for k in range(6):
        draw = sampler(one, tf.constant(k), samplers.split_seed(tf.random.fold_in(seed, k))[0])
        start = x[:1] - draw.scale.numpy()
        which = [i for i, r in enumerate(references) if np.allclose(r, start[0])]
        alpha = ((draw.point - start) / draw.scale).numpy().mean()
        assert len(which) == 1
        assert 0 <= alpha < 1
        draws.append((references[which[0]], alpha))
    expected = reference.expected_gradients(slope(net), x[0], draws)
    maps = tfxai.expected_gradients(net, references, samples=6)(x, TARGET, seed=5)
    np.testing.assert_allclose(maps[0], expected, rtol=1e-8, atol=1e-11)
    assert len({a for _, a in draws}) == 6


@pytest.mark.parametrize(
    ("name", "kernel"),
    quick(
        [(n, k) for n in ("smoothgrad", "smoothgrad_squared", "vargrad") for k in kernels.ALL],
        *(("smoothgrad", kernel) for kernel in kernels.ALL),
        *(("smoothgrad_squared", gaussian), ("vargrad", gaussian)),
    ),
    ids=repr,
)
def test_smoothing(name, kernel, net, x):
    explainer = getattr(tfxai, name)(net, samples=6, noise_level=0.2, kernel=kernel)
    noise = noise_of(samplers.noise(kernel, samplers.relative(0.2)), x, 6, seed=3)
    expected = [getattr(reference, name)(slope(net), x[i], noise[:, i]) for i in range(len(x))]
    np.testing.assert_allclose(explainer(x, TARGET, seed=3), expected, rtol=1e-8, atol=1e-11)


def test_noise_has_the_stated_size_on_each_example(x):
    scaled = np.concatenate([x[:1], 10 * x[:1]])
    noise = noise_of(samplers.noise(gaussian, samplers.relative(0.15)), scaled, 400, seed=0)
    spread = x[0].max() - x[0].min()
    assert noise[:, 0].std() == pytest.approx(0.15 * spread, rel=0.01)
    np.testing.assert_allclose(noise[:, 1], 10 * noise[:, 0], rtol=1e-9)
    assert abs(noise[:, 0].mean()) < 0.01 * spread


@pytest.mark.filterwarnings("ignore:.*not converged after 600 steps")
@pytest.mark.parametrize("options", [{"tolerance": 1e-5, "max_steps": 600}, {"steps": 300}])
def test_integrated_gradients_are_complete(options, net, x):
    record = tfxai.integrated_gradients(net, **options).explain(x, TARGET, verbose=0)
    change = net(x)[:, TARGET] - net(0 * x)[:, TARGET]
    np.testing.assert_allclose(record.attributions.sum((1, 2, 3)), change, atol=2e-4)
    gaps = np.abs(record.attributions.sum((1, 2, 3)) - change) / np.abs(change)
    np.testing.assert_allclose(record.diagnostics["completeness_gap"], gaps, atol=1e-10)


def test_gradient_times_input_is_complete_without_biases(x):
    inputs = keras.Input((8, 8, 3))
    hidden = keras.layers.Conv2D(3, 3, use_bias=False, activation="relu")(inputs)
    outputs = keras.layers.Dense(4, use_bias=False)(keras.layers.Flatten()(hidden))
    model = keras.Model(inputs, outputs)
    maps = tfxai.gradient_times_input(model)(x, 1).numpy()
    np.testing.assert_allclose(maps.sum((1, 2, 3)), model(x)[:, 1], rtol=1e-4)


def test_expected_gradients_are_complete_in_the_mean(net, x):
    references = x[2:]
    explainer = tfxai.expected_gradients(net, references, samples=3000)
    record = explainer.explain(x[:2], TARGET, verbose=0)
    change = net(x[:2])[:, TARGET] - np.mean(net(references)[:, TARGET])
    error = 4 * np.abs(change).max() / np.sqrt(3000)
    np.testing.assert_allclose(record.attributions.sum((1, 2, 3)), change, atol=error)


@pytest.mark.parametrize("name", ["smoothgrad", "vargrad", "smoothgrad_squared"])
def test_without_noise_smoothing_gives_the_base_method(name, net, x):
    smooth = getattr(tfxai, name)(net, samples=3, noise_level=0.0)(x, TARGET)
    base = gradient_of(net, x, TARGET)
    expected = {"smoothgrad": base, "vargrad": 0 * base, "smoothgrad_squared": base**2}[name]
    np.testing.assert_allclose(smooth, expected, rtol=1e-12, atol=1e-20)


@pytest.mark.parametrize(
    ("kernel", "deviation"),
    quick(
        [
            (kernels.gaussian, 1),
            (kernels.hyperbolic, np.pi / np.sqrt(12)),
            (kernels.sigmoid, np.pi / np.sqrt(3)),
            (kernels.rect, 1 / np.sqrt(3)),
        ],
        (kernels.sigmoid, np.pi / np.sqrt(3)),
    ),
)
def test_moments_on_a_quadratic_have_their_closed_form(kernel, deviation):
    matrix = np.array([[2.0, 1.0], [1.0, -1.0]])
    model, x, level = quadratic(matrix), np.array([[1.0, 3.0]]), 0.1
    sigma = level * 2.0 * deviation
    options = {"samples": 4_000, "noise_level": level, "kernel": kernel}
    np.testing.assert_allclose(
        tfxai.smoothgrad(model, **options)(x)[0], matrix @ x[0], atol=5 * sigma * 2.3 / 63
    )
    variances = sigma**2 * (matrix**2).sum(1)
    np.testing.assert_allclose(tfxai.vargrad(model, **options)(x)[0], variances, rtol=0.12)
    squares = variances + (matrix @ x[0]) ** 2
    np.testing.assert_allclose(tfxai.smoothgrad_squared(model, **options)(x)[0], squares, rtol=0.04)


def test_integrated_gradients_of_a_quadratic_are_half_the_product():
    matrix = np.array([[2.0, 1.0], [1.0, -1.0]])
    x = np.array([[1.0, 3.0]])
    maps = tfxai.integrated_gradients(quadratic(matrix))(x)
    np.testing.assert_allclose(maps[0], x[0] * (matrix @ x[0]) / 2, rtol=1e-5)


def test_the_standard_error_is_the_spread_of_repeated_maps(net, x):
    explainer = tfxai.smoothgrad(net, samples=20)
    repeats = np.array([explainer(x[:1], TARGET, seed=s)[0] for s in range(60)])
    record = explainer.explain(x[:1], TARGET, verbose=0)
    observed = np.sqrt((repeats.std(0) ** 2).mean())
    reported = np.sqrt((record.diagnostics["standard_error"] ** 2).mean())
    assert reported == pytest.approx(observed, rel=0.15)
    error, size = (
        np.linalg.norm(a) for a in (record.diagnostics["standard_error"], record.attributions)
    )
    assert record.diagnostics["map_error"][0] == pytest.approx(error / np.sqrt(size**2 - error**2))


def test_smoothing_an_explainer_is_smoothing_its_attribution(net, x):
    ig = tfxai.integrated_gradients(net, steps=4, quadrature=quadrature.midpoint)
    maps = tfxai.smoothgrad(ig, samples=3)(x, TARGET, seed=1)
    noise = noise_of(samplers.noise(gaussian, samplers.relative(0.15)), x, 3, seed=1)
    expected = np.mean([ig(x + t, TARGET) for t in noise], axis=0)
    np.testing.assert_allclose(maps, expected, rtol=1e-9, atol=1e-12)


def test_the_path_of_an_explainer_is_that_of_its_attribution(net, x):
    """S-IG of Zhou et al. 2024a: the noise fits each point of the path."""
    rule = quadrature.midpoint
    smooth = tfxai.smoothgrad(net, samples=2)
    maps = tfxai.integrated_gradients(smooth, steps=3, quadrature=rule)(x, TARGET, seed=6)
    terms = [
        weight * x * smooth(node * x, TARGET, seed=inner)
        for node, weight, inner in zip(
            *rule(3),
            [samplers.split_seed(tf.random.fold_in([6, 0], k))[1] for k in range(3)],
            strict=True,
        )
    ]
    np.testing.assert_allclose(maps, np.sum(terms, 0), rtol=1e-9, atol=1e-12)
    of_model, of_gradient = (
        tfxai.integrated_gradients(of, steps=20, quadrature=rule)(x, TARGET)
        for of in (net, tfxai.gradient(net))
    )
    np.testing.assert_array_equal(of_gradient, of_model)
    with pytest.raises(ValueError, match=r"score=.*give it to smoothgrad"):
        tfxai.integrated_gradients(smooth, score=tfxai.scores.probability)


def test_a_random_explainer_gets_another_seed_for_each_outer_sample(net, x):
    inner = tfxai.expected_gradients(net, x, samples=1)
    outer = tfxai.smoothgrad(inner, samples=40, noise_level=0.0)
    same_draws = np.linalg.norm(outer(x[:1], TARGET) - inner(x[:1], TARGET))
    many = tfxai.expected_gradients(net, x, samples=4000)(x[:1], TARGET).numpy()
    assert same_draws > 0
    error = np.linalg.norm(outer(x[:1], TARGET) - many) / np.linalg.norm(many)
    single = np.linalg.norm(inner(x[:1], TARGET) - many) / np.linalg.norm(many)
    assert error < single / 2


def test_several_references_are_averaged(net, x):
    references = x[2:4]
    together = tfxai.integrated_gradients(net, baseline=references, steps=50)
    record = together.explain(x[:2], TARGET, verbose=0)
    single = [
        tfxai.integrated_gradients(net, baseline=r, steps=50)(x[:2], TARGET) for r in references
    ]
    np.testing.assert_allclose(record.attributions, np.mean(single, 0), rtol=1e-9, atol=1e-12)
    assert (record.diagnostics["steps"] == 100).all()
    assert (record.diagnostics["completeness_gap"] < 0.05).all()


def test_several_inputs_are_explained_together():
    model = two_inputs()
    random = np.random.default_rng(0)
    x = {"image": random.normal(size=(3, 6, 6, 1)), "row": random.normal(size=(3, 4))}
    record = tfxai.integrated_gradients(model, tolerance=1e-3).explain(x, 1, verbose=0)
    assert {k: v.shape for k, v in record.attributions.items()} == {
        "image": (3, 6, 6, 1),
        "row": (3, 4),
    }
    total = record.attributions["image"].sum((1, 2, 3)) + record.attributions["row"].sum(1)
    zero = {k: 0 * v for k, v in x.items()}
    np.testing.assert_allclose(total, (model(x) - model(zero))[:, 1], rtol=5e-3, atol=1e-3)


def test_random_attributions_depend_on_the_seed_alone(net, x):
    explainer = tfxai.random_attribution(net)
    maps = explainer(x, seed=1).numpy()
    np.testing.assert_array_equal(maps[0], maps[3])
    np.testing.assert_array_equal(maps, explainer(x, seed=1))
    assert not np.array_equal(maps, explainer(x, seed=2))
    assert abs(maps[0].mean()) < 0.3
