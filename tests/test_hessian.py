"""The input Hessian (Singla et al. 2019, section 3.1): products, largest eigenvalue, factors."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfxai
from tests import reference
from tests.networks import small_cnn, two_inputs
from tests.second_order import dense, jacobian, loss_gradient, rich_net
from tests.thorough import quick
from tfxai import hessian, scores
from tfxai.hessian import factors, largest, products
from tfxai.hessian.lanczos import Goal, lanczos

L = keras.layers
TARGETS = [0, 1, 2]


@pytest.fixture(scope="module")
def net():
    return rich_net("relu")


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(size=(3, 6, 6, 2))


@pytest.fixture(scope="module")
def vectors():
    return np.random.default_rng(1).normal(size=(3, 6, 6, 2))


@pytest.fixture(scope="module")
def whole(net, x):
    return dense(net, x, TARGETS)


@pytest.mark.parametrize(
    "activation", quick(["relu", "leaky_relu", "gelu", "softplus"], "relu", "gelu")
)
def test_products_are_the_derivative_of_the_gradient(activation, x, vectors):
    model = rich_net(activation)
    step = 1e-5
    expected = (
        loss_gradient(model, x + step * vectors, TARGETS)
        - loss_gradient(model, x - step * vectors, TARGETS)
    ) / (2 * step)
    modes = {"relu": hessian.MODES, "gelu": ("reverse", "forward"), "leaky_relu": ("gauss_newton",)}
    for mode in modes.get(activation, ("reverse",)):
        found = hessian.hvp(model, x, vectors, TARGETS, mode=mode)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)


NORMALISATIONS = {
    "layer": lambda: L.LayerNormalization(dtype="float64"),
    "group": lambda: L.GroupNormalization(2, dtype="float64"),
    "unit": lambda: L.UnitNormalization(dtype="float64"),
}


@pytest.mark.parametrize("name", quick(NORMALISATIONS, "layer", "group"))
def test_second_derivatives_of_normalisations_see_their_mean(name):
    """`tf.nn.moments` holds it constant."""
    keras.utils.set_random_seed(4)
    inputs = keras.Input((3, 4), dtype="float64")
    y = NORMALISATIONS[name]()(L.Dense(6, dtype="float64")(inputs))
    y = L.Dense(3, "softmax", dtype="float64")(L.Flatten(dtype="float64")(y))
    model = keras.Model(inputs, y)
    random = np.random.default_rng(2)
    x, vectors = random.normal(size=(2, 3, 3, 4))
    x *= np.array([0.3, 1.0, 2.0])[:, None, None]
    ends = [loss_gradient(model, x + s * 1e-5 * vectors, TARGETS) for s in (1, -1)]
    expected = (ends[0] - ends[1]) / 2e-5
    for mode in ("reverse", "forward"):
        found = hessian.hvp(model, x, vectors, TARGETS, mode=mode)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)


def test_a_mean_that_stays_held_is_refused():
    inputs = keras.Input((5, 4))
    y = L.LSTM(3)(L.LayerNormalization()(inputs))
    model = keras.Model(inputs, L.Dense(3)(y))
    x = np.random.default_rng(2).normal(size=(2, 5, 4))
    with pytest.raises(ValueError, match="second derivatives of this model would be wrong"):
        hessian.hvp(model, x, x, 0)
    assert tfxai.cafo(model, lambda1=0.0)(x, 0).shape == x.shape


def test_gauss_newton_is_not_the_hessian_of_smooth_nets_and_refuses_them(x, vectors):
    model = rich_net("tanh")
    with pytest.raises(ValueError, match=r"Tanh in '.*' is not piecewise linear"):
        hessian.hvp(model, x, vectors, TARGETS, mode="gauss_newton")
    with pytest.raises(ValueError, match="Tanh"):
        hessian.eigendecomposition(model, x, TARGETS, kind="classes")
    classifier = tfxai.models.scored_models.classifier(model)

    def multiply(x, v):
        at = products.linearize(classifier, x, tf.constant(TARGETS))
        return products.gauss_newton(at)(tf.reshape(v, [3, -1]))

    by_gauss_newton = tf.function(multiply)(x, vectors).numpy()
    exact = hessian.hvp(model, x, vectors, TARGETS).reshape(3, -1)
    assert np.linalg.norm(by_gauss_newton - exact) > 0.1 * np.linalg.norm(exact)
    w, p = jacobian(model, x)
    for i in range(3):
        _, h = reference.second_order(w[i], p[i], TARGETS[i])
        np.testing.assert_allclose(by_gauss_newton[i], h @ vectors[i].ravel(), rtol=1e-8)


def test_the_hessian_of_a_relu_net_is_the_closed_form(net, x, whole):
    w, p = jacobian(net, x)
    for i in range(3):
        g, h = reference.second_order(w[i], p[i], TARGETS[i])
        np.testing.assert_allclose(whole[i], h, atol=1e-12)
        np.testing.assert_allclose(loss_gradient(net, x, TARGETS)[i].ravel(), g, atol=1e-12)


@pytest.mark.parametrize("kind", ["classes", "krylov"])
def test_factors_have_the_eigenvalues_and_eigenvectors(kind, net, x, whole):
    options = {"rows": 4} if kind == "classes" else {"tolerance": 1e-10}
    found = hessian.eigendecomposition(net, x, TARGETS, kind=kind, mass=1, **options)
    assert found.kind == kind
    assert found.eigenvectors.shape[2:] == x.shape[1:]
    assert (found.error_bound < 1e-12).all()
    for i in range(3):
        values, vectors = np.linalg.eigh(whole[i])
        np.testing.assert_allclose(found.eigenvalues[i][:4], values[::-1][:4], rtol=1e-8)
        for j in range(4):
            cosine = found.eigenvectors[i, j].ravel() @ vectors[:, -1 - j]
            assert abs(cosine) == pytest.approx(1, abs=1e-7)


@pytest.mark.parametrize(
    ("activation", "classes", "kind"),
    [("relu", 16, "classes"), ("relu", 17, "krylov"), ("gelu", 5, "krylov")],
)
def test_the_cheaper_factor_is_chosen(activation, classes, kind):
    model = keras.Sequential([keras.Input((4,)), L.Dense(3, activation), L.Dense(classes)])

    def look(x):
        return factors.cheaper_kind(
            products.linearize(lambda x, t: (model(x), t), x, tf.zeros([1], "int32"))
        )

    seen = []
    tf.function(lambda x: seen.append(look(x))).get_concrete_function(tf.TensorSpec([1, 4]))
    assert seen == [kind]


def test_many_classes_are_added_up_in_bounded_memory():
    """60 classes by 7 at a time, with room for 10 eigenvectors."""
    keras.utils.set_random_seed(0)
    w = np.random.default_rng(0).normal(size=(30, 60)) * np.linspace(2, 0, 60)
    model = keras.Sequential([keras.Input((30,), dtype="float64"), L.Dense(60, dtype="float64")])
    model.set_weights([w, np.zeros(60)])
    x = np.random.default_rng(1).normal(size=(1, 30)) * 0.1
    found = hessian.eigendecomposition(model, x, 3, kind="classes", mass=1, rank=10, rows=7)
    p = np.exp(x[0] @ w) / np.exp(x[0] @ w).sum()
    h = reference.second_order(w, p, 3)[1]
    values = np.linalg.eigvalsh(h)[::-1]
    assert found.eigenvalues.shape == (1, 10)
    np.testing.assert_allclose(found.eigenvalues[0, :3], values[:3], rtol=0.02)
    u = found.eigenvectors[0]
    left = np.linalg.norm(h - (u.T * found.eigenvalues[0]) @ u, 2)
    assert left < 2 * values[10]
    assert left < found.error_bound[0] < 15 * left


def test_classes_without_mass_are_left_out_and_bounded(net, x, whole):
    found = hessian.eigendecomposition(net, x, TARGETS, kind="classes", mass=0.7)
    assert (found.num_hvps < 5).all()
    for i in range(3):
        u = found.eigenvectors[i].reshape(len(found.eigenvectors[i]), -1)
        left = whole[i] - (u.T * found.eigenvalues[i]) @ u
        assert np.linalg.eigvalsh(left)[0] > -1e-12  # what is left out is positive, too
        assert np.linalg.norm(left, 2) < found.error_bound[i]


def test_lanczos_finds_both_eigenvectors_of_a_double_eigenvalue():
    h = np.diag([3.0, 3.0, 1.0, 0.5, 0, 0, 0, 0])
    start = np.array([[1.0, 0, 1, 1, 0, 0, 0, 0]])
    goal = Goal(8, 1e-8, rank=8, relative_coupling=1e-8)
    found = lanczos(lambda v: v @ h, tf.constant(start), goal, tf.constant([0, 1])).low_rank_factor(
        8
    )
    np.testing.assert_allclose(found.eigenvalues[0][:4], [3, 3, 1, 0.5], atol=1e-12)
    v = np.random.default_rng(0).normal(size=(1, 2, 8))
    np.testing.assert_allclose(found.multiply(tf.constant(v)), v @ h, atol=1e-12)


def test_lanczos_stops_at_its_tolerance_for_each_example():
    random = np.random.default_rng(0)
    q, _ = np.linalg.qr(random.normal(size=(50, 50)))
    values = np.stack([10 * 0.5 ** np.arange(50), 10 * 0.9 ** np.arange(50)])
    h = tf.constant(np.einsum("ik,bk,jk->bij", q, values, q))
    start = tf.constant(random.normal(size=(2, 50)))
    goal = Goal(40, 1e-3, rank=40, absolute_coupling=0.2)
    product = functools.partial(tf.linalg.matvec, h)
    found = lanczos(product, start, goal, tf.constant([0, 1])).low_rank_factor(40)
    assert found.num_hvps[0] < found.num_hvps[1] < 40
    np.testing.assert_allclose(found.max_eigenvalue, [10, 10], atol=1e-3)
    left = h - tf.matmul(found.vectors, found.vectors, transpose_a=True)
    assert (np.linalg.norm(left, 2, (1, 2)) < 8 * goal.absolute_coupling).all()


def top_of(h):
    h = tf.constant(h)
    return largest.max_eigenvalue(
        functools.partial(tf.linalg.matvec, h),
        tf.zeros_like(h[:, 0]),
        tf.constant([0, 0]),
        tolerance=1e-3,
        max_iterations=100,
        rounding=1e-14,
    )


@pytest.mark.parametrize(
    ("values", "largest"),
    [([5, 4, -1], 5), ([1, 0.5, -3], 1), ([-1, -2, -3], -1), ([2, 2, 2], 2), ([2, -2, 0], 2)],
)
def test_the_max_eigenvalue_is_the_largest_not_that_of_largest_size(values, largest):
    q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    found = top_of((q * values) @ q.T[None])
    assert found.value[0].numpy() == pytest.approx(largest, abs=1e-9)
    assert largest <= found.bound[0] < largest + 1e-6


def test_a_max_eigenvalue_among_many_that_are_nearly_as_large_is_found():
    """A random vector has so little of it that the residual of .9 is small: no bound of 1."""
    features = 2000
    values = tf.constant(np.array([1.0] + [0.9] * (features - 1)))
    found = largest.max_eigenvalue(
        lambda v: v * values,
        tf.zeros([1, features], tf.float64),
        tf.constant([0, 0]),
        tolerance=1e-3,
        max_iterations=100,
        rounding=1e-14,
    )
    assert found.value[0].numpy() == pytest.approx(1, rel=1e-3)
    assert found.bound[0] >= 1
    assert found.num_hvps[0] < 10


def test_the_max_eigenvalue_of_a_net_is_between_value_and_bound(net, x, whole):
    found = hessian.max_eigenvalue(net, x, TARGETS)
    largest = np.linalg.eigvalsh(whole)[:, -1]
    np.testing.assert_allclose(found.value, largest, rtol=1e-3)
    np.testing.assert_allclose(found.bound, largest, rtol=1e-3)
    assert (found.value <= largest * (1 + 1e-12)).all()
    assert (found.bound >= largest).all()
    for i in range(3):
        v = found.vector[i].ravel()
        left = np.linalg.norm(whole[i] @ v - found.value[i] * v)
        assert left == pytest.approx(found.residual[i], abs=1e-12)
        assert np.linalg.norm(v) == pytest.approx(1)


def test_several_vectors_at_once(net, x, vectors):
    both = hessian.hvp(net, x, np.stack([vectors, -2 * vectors]), TARGETS)
    one = hessian.hvp(net, x, vectors, TARGETS)
    np.testing.assert_allclose(both, np.stack([one, -2 * one]), rtol=1e-10)
    with pytest.raises(ValueError, match=r"vectors have the shapes \[\[6, 6, 2\]\]"):
        hessian.hvp(net, x, vectors[0], TARGETS)


def test_several_inputs():
    model = two_inputs()
    random = np.random.default_rng(0)
    x = {"image": random.normal(size=(2, 6, 6, 1)), "row": random.normal(size=(2, 4))}
    v = {k: random.normal(size=a.shape) for k, a in x.items()}
    found = {mode: hessian.hvp(model, x, v, 1, mode=mode) for mode in ("reverse", "forward")}
    assert {k: a.shape for k, a in found["reverse"].items()} == {k: a.shape for k, a in x.items()}
    for key in x:
        np.testing.assert_allclose(found["reverse"][key], found["forward"][key], atol=1e-6)


@pytest.mark.thorough
def test_a_factor_of_several_inputs():
    model = two_inputs()
    random = np.random.default_rng(0)
    x = {"image": random.normal(size=(2, 6, 6, 1)), "row": random.normal(size=(2, 4))}
    factor = hessian.eigendecomposition(model, x, 1)
    assert factor.kind == "krylov"  # tanh
    assert factor.eigenvectors["row"].shape[2:] == (4,)


def test_a_unit_of_several_sigmoids_has_the_hessian_of_its_own_model():
    hidden = L.Dense(6, "relu", kernel_initializer=keras.initializers.RandomNormal(seed=3))
    several = keras.Sequential([keras.Input((4,)), hidden, L.Dense(3, "sigmoid")])
    one = keras.Sequential([keras.Input((4,)), hidden, L.Dense(1, "sigmoid")])
    kernel = np.random.default_rng(2).normal(size=(6, 3))
    several.layers[-1].set_weights([kernel, np.array([0.3, -0.2, 0.1])])
    one.layers[-1].set_weights([kernel[:, 2:], np.array([0.1])])
    x = np.random.default_rng(0).normal(size=(2, 4))
    found = hessian.eigendecomposition(several, x, targets=2).eigenvalues
    expected = hessian.eigendecomposition(one, x, targets=1).eigenvalues
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("head", [None, "sigmoid"])
def test_a_single_logit_is_one_of_two_classes(head):
    model = keras.Sequential([keras.Input((2,)), L.Dense(1, activation=head)])
    model.set_weights([np.array([[2.0], [1.0]]), np.array([0.5])])
    x, v = np.array([[0.3, -0.4]]), np.array([[1.0, -1.0]])
    p = 1 / (1 + np.exp(-0.7))
    expected = p * (1 - p) * np.array([[2.0, 1.0]])
    for target, mode in ((0, "reverse"), (1, "gauss_newton")):
        found = hessian.hvp(model, x, v, target, mode=mode)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_confident_predictions_keep_their_digits():
    """Logits 40 apart: p_t rounds to 1 in float32, and p - y to noise."""
    w = np.array([[1.0, -1.0, 0.5], [2.0, 1.0, -1.0]])
    model = keras.Sequential([keras.Input((2,)), L.Dense(3)])
    model.set_weights([w, np.array([40.0, 0.0, 1.0])])
    x, v = np.zeros((1, 2)), np.array([[1.0, 1.0]])
    p = np.exp([0.0, -40.0, -39.0])
    p /= p.sum()
    d = w[:, 1:] - w[:, :1]  # exact: H = sum_k p_k (d_k - g)(d_k - g)^T + p_t g g^T
    g = d @ p[1:]
    h = (d - g[:, None]) @ np.diag(p[1:]) @ (d - g[:, None]).T + p[0] * np.outer(g, g)
    for mode in hessian.MODES:
        found = hessian.hvp(model, x, v, 0, mode=mode)
        np.testing.assert_allclose(found[0], h @ v[0], rtol=1e-5)
    other = hessian.hvp(model, x, v, 1, mode="gauss_newton")  # H is that of every target
    np.testing.assert_allclose(other[0], h @ v[0], rtol=1e-5)
    factor = hessian.eigendecomposition(model, x, 0)
    np.testing.assert_allclose(factor.eigenvalues[0, 0], np.linalg.eigvalsh(h)[-1], rtol=1e-5)
    found = tfxai.gradient(model, score=scores.cross_entropy)(x, 0)
    np.testing.assert_allclose(found[0], g, rtol=1e-5)


@pytest.mark.parametrize("mode", ["reverse", "gauss_newton"])
def test_half_precision(mode, images):
    full = small_cnn()
    full.layers[-1].set_weights([8 * w for w in full.layers[-1].get_weights()])
    half = small_cnn(policy="mixed_float16")
    half.set_weights(full.get_weights())
    v = np.random.default_rng(1).normal(size=images.shape)
    targets = full.predict(images, verbose=0).argmax(1)
    expected, found = (hessian.hvp(m, images, v, targets, mode=mode) for m in (full, half))
    assert found.dtype == np.float32
    for a, b in zip(expected, found, strict=True):
        assert np.sum(a * b) / np.linalg.norm(a) / np.linalg.norm(b) > 0.97


LINEAR = {
    "relu6": lambda x: tf.nn.relu6(x),
    "leaky": lambda x: keras.ops.leaky_relu(x),
    "hard sigmoid": lambda x: keras.ops.hard_sigmoid(x),
    "absolute": lambda x: keras.ops.abs(x),
    "masked": lambda x: x * keras.ops.cast(x > 0, "float32"),
    "where": lambda x: keras.ops.where(x > 1, 2 * x, x / 3),
    "sorted maximum": lambda x: keras.ops.maximum(x, x[:, ::-1]),
}
CURVED = {
    "Mul": lambda x: x * x,
    "RealDiv": lambda x: 1 / (x + 10),
    "Tanh": lambda x: keras.ops.tanh(x),
    "Softmax": lambda x: keras.ops.softmax(x),
    "Square": lambda x: keras.ops.square(x),
    "MatMul": lambda x: keras.ops.matmul(x, keras.ops.transpose(x)),
}


@pytest.mark.parametrize("name", [*LINEAR, *CURVED])
def test_piecewise_linear_nets_are_known_by_their_graph(name):
    function = (LINEAR | CURVED)[name]

    def look(x):
        found.append(products.linearize(lambda x, t: (function(x), t), x, tf.zeros([3], tf.int32)))
        return found[-1].logits

    found = []
    tf.function(look).get_concrete_function(tf.TensorSpec([3, 4]))
    if name in LINEAR:
        assert found[0].curved_operation is None
    else:
        assert name in found[0].curved_operation


@pytest.mark.parametrize(
    ("policy", "epsilon"),
    [
        *(("float64", 2.0**-52), ("float32", 2.0**-23)),
        *(("mixed_float16", 2.0**-10), ("mixed_bfloat16", 2.0**-7)),
    ],
)
def test_rounding_is_that_of_the_coarsest_type(policy, epsilon):
    classifier = tfxai.models.scored_models.classifier(small_cnn(policy=policy))
    found = []

    def look(x):
        found.append(products.linearize(classifier, x, tf.zeros([2], tf.int32)).rounding)

    dtype = "float64" if policy == "float64" else "float32"
    tf.function(look).get_concrete_function(tf.TensorSpec([2, 8, 8, 3], dtype))
    assert found == [32 * epsilon]


def test_second_derivatives_are_not_compiled(images):
    """XLA misroutes those of max pooling (docs/architecture.md, Why things are as they are)."""
    explainer = tfxai.caso(small_cnn(), lambda1=0)
    assert not explainer.supports_jit
    with pytest.raises((tf.errors.OpError, ValueError)):
        tf.function(lambda x: explainer(x), jit_compile=True)(images)


def test_arguments_are_checked(net, x):
    with pytest.raises(ValueError, match="mode='fast'"):
        hessian.hvp(net, x, x, 0, mode="fast")
    with pytest.raises(ValueError, match="mass=1"):
        hessian.eigendecomposition(net, x, 0, mass=1.5)
    with pytest.raises(ValueError, match="kind='exact'"):
        hessian.eigendecomposition(net, x, 0, kind="exact")
    with pytest.raises(ValueError, match="targets: 5 is out of range"):
        hessian.max_eigenvalue(net, x, 5)
    with pytest.raises(ValueError, match="empty batch"):
        hessian.hvp(net, x[:0], x[:0], 0)
