"""The bounds of L and of CASO's error against float64 eigenvalues and solutions, at any scale."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfxai
from tests import reference
from tests.thorough import quick
from tfxai import hessian
from tfxai.hessian.lanczos import Goal, lanczos

L = keras.layers
FEATURES, CLASSES = 12, 20
SCALES = 10.0 ** np.array([-20, -6, 0, 6, 15])


def net(activation, scale=1.0):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((FEATURES,)),
            L.Dense(16, activation, bias_initializer="normal"),
            L.Dense(16, activation),
            L.Dense(CLASSES),
        ]
    )
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([scale * kernel, bias])
    return model


def second_order(model, x, targets):
    """g ``[B, F]`` and H ``[B, F, F]`` by numpy in float64; hidden layers are alike."""
    layers = [layer.get_weights() for layer in model.layers]
    name = model.layers[0].activation.__name__
    pairs = zip(x, targets, strict=True)
    found = [reference.second_order_of_dense(layers, one, t, name) for one, t in pairs]
    return tuple(np.stack(part) for part in zip(*found, strict=True))


def with_spectrum(values):
    """A linear model, undecided at 0, whose Hessian there has given eigenvalues, none negative."""
    count = len(values)
    random = np.random.default_rng(0)
    q, _ = np.linalg.qr(random.normal(size=(count, count)))
    ones = np.ones((count + 1, 1))
    p, _ = np.linalg.qr(np.concatenate([ones, random.normal(size=(count + 1, count))], 1))
    w = np.sqrt(count + 1) * (q * np.sqrt(values)) @ p[:, 1 : count + 1].T
    model = keras.Sequential(
        [
            keras.Input((count,), dtype="float64"),
            L.Dense(count + 1, use_bias=False, dtype="float64"),
        ]
    )
    model.set_weights([w])
    return model


@pytest.fixture(scope="module")
def examples():
    random = np.random.default_rng(0)
    return random.normal(size=(10, FEATURES)), np.random.default_rng(1).integers(0, CLASSES, 10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("features", [2, 5, 60])
def test_the_ends_of_a_spectrum_are_bounded_at_every_scale(features, dtype):
    """Spectra of one sign and of both; one batch holds all scales."""
    random = np.random.default_rng(features)
    rounding = 32 * float(np.finfo(dtype).eps)
    goal = Goal(64, 1e-3, 0.1, rounding=rounding)
    find = tf.function(
        lambda h, g, seed: lanczos(lambda v: tf.linalg.matvec(h, v), g, goal, seed),
        autograph=False,
    )
    for number in range(12):
        q, _ = np.linalg.qr(random.normal(size=(features, features)))
        signs = random.choice([1, -1], features) if number % 2 else 1
        values = signs * random.random(features) ** (1 + number)
        h = ((q * values) @ q.T * SCALES[:, None, None]).astype(dtype)
        g = (random.normal(size=features) * SCALES[::-1, None]).astype(dtype)
        found = find(h, g, tf.constant([number, 0]))
        true = np.linalg.eigvalsh(h.astype("float64"))
        size, slack = np.abs(true).max(1), rounding * np.abs(true).max(1)
        ends = tf.nest.map_structure(lambda end: end.numpy().astype("float64"), found.ends)
        assert (ends.max_eigenvalue <= true[:, -1] + slack).all()
        assert (ends.max_eigenvalue_bound >= true[:, -1]).all()
        assert (ends.min_eigenvalue >= true[:, 0] - slack).all()
        assert (ends.min_eigenvalue_bound <= true[:, 0]).all()
        assert (
            ends.max_eigenvalue_bound - ends.max_eigenvalue
            <= 1e-3 * np.abs(ends.max_eigenvalue) + 3 * slack
        ).all()
        assert np.ptp(found.num_hvps) <= 1
        alone = find(h[:1], g[:1], tf.constant([number, 0])).ends
        for one, many in zip(alone, ends, strict=True):
            np.testing.assert_allclose(one[0], many[0], atol=float(slack[0]), rtol=1e-4)
        assert (ends.max_eigenvalue_bound - true[:, -1] < 2e-3 * size).all()


@pytest.mark.parametrize("activation", quick(["relu", "elu"], "elu"))
def test_the_largest_eigenvalue_is_found_and_bounded(activation, examples):
    """At two scales of the last layer, whose weights the explainers follow."""
    x, targets = examples
    model = net(activation)
    kernel, bias = model.layers[-1].get_weights()
    explainers = [tfxai.caso(model, lambda1=0, hessian=kind) for kind in ("krylov", "products")]
    for scale in (1e-3, 30.0):
        model.layers[-1].set_weights([scale * kernel, bias])
        true = np.linalg.eigvalsh(second_order(model, x, targets)[1])
        largest, slack = true[:, -1], 1e-5 * np.abs(true).max(1)
        for explainer in explainers:
            diagnostics = explainer.explain(x, targets, verbose=0).diagnostics
            value, bound = (diagnostics["max_eigenvalue" + of] for of in ("", "_bound"))
            assert (np.abs(value - largest) <= 1e-3 * largest + slack).all()
            assert (bound >= largest).all()
            assert (bound <= 1.002 * largest + 2 * slack).all()
        found = hessian.max_eigenvalue(model, x, targets)
        assert (found.value <= largest + slack).all()
        assert (found.bound >= largest).all()
        assert (found.bound - found.value <= 1.1e-3 * largest + 2 * slack).all()
        assert (found.residual < 0.1 * found.value).all()


SOLVED = {
    *(("relu", "classes", 0.05), ("relu", "krylov", 0.0), ("relu", "products", 0.05)),
    *(("elu", "krylov", 0.0), ("elu", "krylov", 0.05), ("elu", "products", 0.0)),
}


@pytest.mark.parametrize(
    ("activation", "kind", "lambda1", "margin"),
    quick(
        sorted((*case, margin) for case in SOLVED for margin in (0.1, 1e-3)),
        *(("relu", "classes", 0.05, 0.1), ("elu", "krylov", 0.05, 1e-3)),
        *(("elu", "krylov", 0.0, 0.1), ("relu", "products", 0.05, 1e-3)),
    ),
)
def test_the_stated_error_is_a_bound_and_the_problem_concave(
    activation, kind, lambda1, margin, examples
):
    x, targets = examples
    model = net(activation, scale=3.0)
    g, h = second_order(model, x, targets)
    top = np.linalg.eigvalsh(h)[:, -1]
    explainer = tfxai.caso(model, lambda1=lambda1, hessian=kind, margin=margin)
    record = explainer.explain(x, targets, verbose=0)
    weights = record.diagnostics["lambda2"].astype("float64")
    assert (2 * weights - top >= 2 * margin - 1e-6 * weights).all()
    for i in range(len(x)):
        expected = reference.caso(g[i], h[i], lambda1, weights[i])
        error = np.linalg.norm(record.attributions[i] - expected) / np.linalg.norm(expected)
        assert error <= record.diagnostics["residual"][i]
    assert (record.diagnostics["residual"] < (0.05 if margin < 0.1 else 1e-3)).all()


@pytest.mark.filterwarnings("ignore:.*not solved for")
@pytest.mark.parametrize("kind", ["krylov", "products"])
def test_a_cluster_below_the_largest_eigenvalue_leaves_the_problem_concave(kind):
    """Power iteration stops at .99 with a residual below its tolerance."""
    model = with_spectrum([1.0] + [0.99] * 199)
    x = np.zeros((1, 200))
    record = tfxai.caso(model, lambda1=0, hessian=kind, margin=1e-3).explain(x, [3], verbose=0)
    assert 2 * record.diagnostics["lambda2"][0] - 1 >= 2e-3
    found = hessian.max_eigenvalue(model, x, 3, max_iterations=3)
    assert found.value[0] <= 1 + 1e-12
    assert found.bound[0] >= 1


@pytest.mark.parametrize("rank", quick([1, 2, 5], 1))
def test_what_a_low_rank_leaves_out_is_in_the_bound(rank):
    values = np.linspace(1, 0.8, 30)
    model = with_spectrum(values)
    for kind in ("classes", "krylov"):
        explainer = tfxai.caso(model, lambda1=0, hessian=kind, rank=rank, margin=0.1)
        diagnostics = explainer.explain(np.zeros((1, 30)), [0], verbose=0).diagnostics
        assert diagnostics["max_eigenvalue"][0] <= 1 + 1e-12
        assert diagnostics["max_eigenvalue_bound"][0] >= 1


@pytest.mark.parametrize("kind", quick(["krylov", "products"], "products"))
def test_what_is_not_known_to_be_concave_is_refused(kind):
    model = with_spectrum([1.0, 0.5, 0.1])
    x = np.zeros((1, 3))
    with pytest.raises(ValueError, match=r"lambda2=0\.4999: expected more than half the largest"):
        tfxai.caso(model, lambda1=0, lambda2=0.4999, hessian=kind)(x, 0)
    assert np.isfinite(tfxai.caso(model, lambda1=0, lambda2=0.501, hessian=kind)(x, 0)).all()
    with pytest.raises(ValueError, match=r"margin=1e-18: too small beside the largest eigenvalue"):
        tfxai.caso(model, lambda1=0, margin=1e-18, hessian=kind)(x, 0)


@pytest.mark.parametrize("kind", quick(["krylov", "products"], "krylov"))
def test_an_example_is_explained_alike_alone_and_beside_another_scale(kind):
    """L is 1e-6 and 1e3 in one batch: logits 14 apart, and nearly alike but steep."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,)), L.Dense(40, "elu"), L.Dense(4)])
    model.layers[-1].kernel.assign(40 * model.layers[-1].kernel)
    x = np.random.default_rng(0).normal(size=(400, 6)).astype("float32")
    logits = np.sort(model(x), 1)
    gaps = logits[:, -1] - logits[:, -2]
    sure = np.abs(gaps - 20).argmin()
    x = x[[sure, gaps.argmin()]]
    targets = model(x).numpy().argmax(1)
    explainer = tfxai.caso(model, lambda1="bisect", hessian=kind)
    both = explainer.explain(x, targets, verbose=0)
    assert both.diagnostics["max_eigenvalue"][1] > 1e6 * both.diagnostics["max_eigenvalue"][0]
    true = np.linalg.eigvalsh(second_order(model, x, targets)[1])[:, -1]
    np.testing.assert_allclose(both.diagnostics["max_eigenvalue"], true, rtol=1e-3)
    for i in range(2):
        one = explainer.explain(x[i : i + 1], targets[i : i + 1], verbose=0)
        for name in ("max_eigenvalue", "max_eigenvalue_bound", "lambda1", "lambda2"):
            assert one.diagnostics[name][0] == pytest.approx(both.diagnostics[name][i], rel=1e-4)
        size = np.abs(one.attributions).max()
        np.testing.assert_allclose(both.attributions[i], one.attributions[0], atol=1e-3 * size)


@pytest.mark.parametrize(
    ("kind", "unit"),
    quick(
        [("krylov", 1e-12), ("krylov", 1e12), ("products", 1e-12), ("products", 1e12)],
        *(("krylov", 1e-12), ("products", 1e12)),
    ),
)
def test_maps_follow_the_unit_of_the_inputs(kind, unit):
    """Gradients go with 1 / unit, H and lambda2 with its square; their squares leave float32."""
    model, other = net("elu"), net("elu")
    kernel, bias = model.layers[0].get_weights()
    other.layers[0].set_weights([kernel / unit, bias])
    x = np.random.default_rng(0).normal(size=(2, FEATURES)).astype("float32")
    found = [
        tfxai.caso(m, lambda1=0.01 / s, hessian=kind, margin=0.1 / s**2).explain(
            s * x, [0, 1], verbose=0
        )
        for m, s in ((model, 1.0), (other, unit))
    ]
    one, scaled = (record.diagnostics for record in found)
    np.testing.assert_allclose(scaled["max_eigenvalue"] * unit**2, one["max_eigenvalue"], rtol=1e-3)
    maps = [record.attributions.astype("float64") for record in found]
    np.testing.assert_allclose(maps[1] / unit, maps[0], atol=1e-3 * np.abs(maps[0]).max())
    assert (scaled["residual"] < 1e-3).all()


def test_a_gradient_whose_square_underflows_is_none_of_zero():
    """Logits 70 apart: p - y is 4e-31."""
    model = keras.Sequential([keras.Input((2,)), L.Dense(2)])
    model.set_weights([np.array([[1.0, -1.0], [0.5, -0.5]]), np.array([70.0, 0.0])])
    g = -np.exp(-70) * np.array([2.0, 1.0])
    for explainer in (tfxai.cafo(model, lambda1=0), tfxai.caso(model, lambda1=0)):
        np.testing.assert_allclose(explainer(np.zeros((1, 2)), 0)[0], g / 20, rtol=1e-4)
