"""CAFO and CASO (Singla et al. 2019) against dense matrices, and in the hands of a user."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfxai
from tests import reference
from tests.networks import small_cnn, two_inputs
from tests.noise import noise_of
from tests.second_order import L, dense, jacobian, loss_gradient, rich_net
from tests.thorough import quick
from tfxai import kernels
from tfxai.estimation import samplers
from tfxai.hessian.factors import LowRankFactor
from tfxai.methods.second_order import concave_problem, fista
from tfxai.methods.second_order.concave_problem import Problem
from tfxai.methods.second_order.sparsity import bisect_lambda1, sparsity, sweep_lambda1

TARGETS = [0, 1, 2]


def sharp_net(activation, factor=12):
    """A net whose Hessian is large beside lambda2's margin, and that is in doubt."""
    model = rich_net(activation)
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([factor * kernel, 0 * bias])
    x = np.random.default_rng(0).normal(size=(3, 6, 6, 2))
    model.layers[-1].bias.assign(-tfxai.logits(model)(x).numpy().mean(0))
    return model


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(size=(3, 6, 6, 2))


class Dense:
    """A net, its gradients and whole Hessians."""

    def __init__(self, model, x):
        self.model = model
        self.g = loss_gradient(model, x, TARGETS).reshape(3, -1)
        self.h = dense(model, x, TARGETS)
        self.top = np.linalg.eigvalsh(self.h)[:, -1]


@pytest.fixture(scope="module")
def relu(x):
    return Dense(sharp_net("relu"), x)


@pytest.fixture(scope="module")
def gelu(x):
    return Dense(sharp_net("gelu"), x)


def distances(maps, expected):
    rows = np.reshape(maps, (len(maps), -1))
    return np.linalg.norm(rows - expected, axis=1) / np.linalg.norm(expected, axis=1)


@pytest.mark.parametrize("lambda1", [0, 0.3])
def test_cafo_is_the_soft_threshold(lambda1, relu, x):
    record = tfxai.cafo(relu.model, lambda1=lambda1).explain(x, TARGETS, verbose=0)
    expected = reference.cafo(relu.g, lambda1, 10)
    np.testing.assert_allclose(record.attributions.reshape(3, -1), expected, atol=1e-12)
    none = np.zeros_like(relu.h[0])
    for i in range(3):
        value = reference.caso_objective(relu.g[i], none, expected[i], lambda1, 10)
        assert record.diagnostics["objective"][i] == pytest.approx(value)


@pytest.mark.parametrize(
    ("hessian", "name", "lambda1"),
    quick(
        [
            *(("auto", "relu", 0), ("auto", "relu", 0.3), ("krylov", "relu", 0.3)),
            *(("krylov", "gelu", 0), ("products", "gelu", 0.3)),
        ],
        *(("auto", "relu", 0), ("auto", "relu", 0.3), ("products", "gelu", 0.3)),
    ),
)
def test_caso_is_the_maximum(hessian, name, lambda1, request, x):
    net = request.getfixturevalue(name)
    assert net.top.max() > 3
    options = {"hessian": hessian, "lambda1": lambda1, "tolerance": 1e-6}
    record = tfxai.caso(net.model, **options).explain(x, TARGETS, verbose=0)
    diagnostics = record.diagnostics
    np.testing.assert_allclose(diagnostics["lambda2"], diagnostics["max_eigenvalue_bound"] / 2 + 10)
    np.testing.assert_allclose(diagnostics["max_eigenvalue"], net.top, rtol=1e-3)
    expected = np.stack(
        [reference.caso(net.g[i], net.h[i], lambda1, diagnostics["lambda2"][i]) for i in range(3)]
    )
    errors = distances(record.attributions, expected)
    assert (errors < 1e-5).all()
    assert (errors <= diagnostics["residual"] + 1e-10).all()
    for i in range(3):
        value = reference.caso_objective(
            net.g[i], net.h[i], expected[i], lambda1, diagnostics["lambda2"][i]
        )
        assert diagnostics["objective"][i] == pytest.approx(value, rel=1e-6)
    if hessian == "auto" and lambda1 == 0:
        assert (diagnostics["iterations"] == 0).all()


@pytest.mark.parametrize("lambda1", [0, 0.3])
def test_what_a_poor_factor_leaves_out_is_put_back(lambda1, relu, x):
    options = {"lambda1": lambda1, "rank": 2, "lambda2": 60.0, "tolerance": 1e-5}
    record = tfxai.caso(relu.model, **options).explain(x, TARGETS, verbose=0)
    expected = np.stack([reference.caso(relu.g[i], relu.h[i], lambda1, 60) for i in range(3)])
    errors = distances(record.attributions, expected)
    assert (errors < 1e-5).all()
    assert (errors <= record.diagnostics["residual"] + 1e-12).all()


def test_the_published_iterations(relu, x):
    """The code of Singla et al. 2019: ten iterations with backtracking from steps of .1."""
    weight = relu.top[0] + 20
    problem = Problem(
        tf.constant(relu.g[:1, None]),
        *(tf.constant([[v]], tf.float64) for v in (0.3, weight / 2, relu.top[0], 0)),
    )
    h = tf.constant(relu.h[0])
    found = fista.backtracking(
        problem,
        lambda v: tf.einsum("bkf,fg->bkg", v, h),
        tf.zeros([1, 1, 72], tf.float64),
        first_length=0.1,
        tolerance=0.0,
        max_iterations=10,
    )
    expected = reference.published_fista(relu.g[0], relu.h[0], 0.3, weight)
    np.testing.assert_allclose(found.delta[0, 0], expected, rtol=1e-8, atol=1e-12)
    assert found.iterations.numpy().tolist() == [[10]]


def test_backtracking_reaches_the_maximum(relu):
    problem = Problem(
        tf.constant(relu.g[:, None]),
        tf.fill([3, 1], tf.constant(0.3, tf.float64)),
        *(tf.constant(v[:, None]) for v in (relu.top / 2 + 10, relu.top, 0 * relu.top)),
    )
    found = fista.backtracking(
        problem,
        lambda v: tf.matmul(v, relu.h),
        tf.zeros([3, 1, 72], tf.float64),
        first_length=0.1,
        tolerance=1e-6,
        max_iterations=200,
    )
    for i in range(3):
        expected = reference.caso(relu.g[i], relu.h[i], 0.3, relu.top[i] / 2 + 10)
        assert distances(found.delta[i], expected[None])[0] <= found.residual[i, 0] + 1e-12
        assert found.residual[i, 0] <= 1e-6


@pytest.mark.parametrize("top", [1.0, 100.0, 1e4])
def test_fista_solves_where_ten_iterations_do_not(top):
    """At L = 1e4 ten iterations leave .86, ours the tolerance (docs/methods.md, CAFO and CASO)."""
    random = np.random.default_rng(0)
    u, _ = np.linalg.qr(random.normal(size=(100, 6)))
    values = top * 0.5 ** np.arange(6)
    h, g = (u * values) @ u.T, u @ random.normal(size=6) + 0.1 * random.normal(size=100)
    factor = LowRankFactor(
        *(tf.constant(v[None]) for v in (values, (u * values**0.5).T)), tf.constant([6])
    )
    problem = Problem(
        tf.constant(g[None, None]),
        tf.constant([[0.0, 0.05]], tf.float64),
        *(tf.constant([[v]], tf.float64) for v in (top / 2 + 10, top, 0)),
    )
    start = tf.zeros([1, 2, 100], tf.float64)
    limits = {"tolerance": 1e-4, "max_iterations": 2000}
    found = fista.fista(problem, factor.multiply, start, **limits)
    expected = [reference.caso(g, h, lambda1, top / 2 + 10, 200_000) for lambda1 in (0, 0.05)]
    assert (distances(found.delta[0], np.stack(expected)) < 1e-4).all()
    condition = float(problem.max_curvature[0, 0] / problem.min_curvature[0, 0])
    assert (found.iterations <= np.sqrt(condition) * np.log(condition / 1e-4)).numpy().all()
    closed = concave_problem.caso_closed_form(problem.linear, problem.lambda2, factor)[0]
    assert distances(closed, expected[:1])[0] < 1e-10
    if top == 1e4:
        ten = reference.published_fista(g, h, 0, top + 20)
        assert distances(ten[None], expected[:1])[0] > 0.1


@pytest.mark.parametrize("epsilon", [1e-3, 1e-6])
def test_theorem_4_for_a_confident_prediction(epsilon):
    """Singla et al. 2019, Theorem 4: p_1 = 1 - (c - 1) eps makes H approach g g^T / (eps (c - 1)).

    With two classes it does; with more an error of about 1 / sqrt(c) stays, whatever eps is
    (docs/methods.md, The input Hessian; tests/test_caso_figures.py).
    """
    w = np.random.default_rng(0).normal(size=(12, 2))
    output = L.Dense(2, "softmax", dtype="float64")
    model = keras.Sequential([keras.Input((12,), dtype="float64"), output])
    model.set_weights([w, np.log([1 - epsilon, epsilon])])
    u = tfxai.hessian.eigendecomposition(model, np.zeros((1, 12)), 0)
    h = (u.eigenvectors[0].T * u.eigenvalues[0]) @ u.eigenvectors[0]
    g = loss_gradient(model, np.zeros((1, 12)), [0])[0]
    limit = np.outer(g, g) / epsilon
    assert np.linalg.norm(h - limit) / np.linalg.norm(h) < 2 * epsilon


@pytest.mark.parametrize("scale", [1e-7, 3e-6, 1e-3, 0.02, 1.0, 300.0])
@pytest.mark.parametrize("power", [1, 8])
def test_lambda1_is_that_of_the_papers_sweep(scale, power):
    g = scale * np.random.default_rng(0).random((4, 48)) ** power
    inputs = tf.zeros([4, 4, 4, 3], tf.float64)

    def solve(lambda1):
        return concave_problem.soft_threshold(tf.constant(g[:, None]), lambda1[..., None])

    found = sweep_lambda1(solve, tf.constant(g), lambda maps: sparsity(maps, inputs)).numpy()
    for i in range(4):
        expected = reference.sweep(lambda v, i=i: (g[i].reshape(16, 3) <= v).all(1).mean())
        assert found[i] == pytest.approx(expected)


def test_bisection_finds_the_smallest_lambda1_that_is_sparse_enough():
    g = np.random.default_rng(0).random((2, 3072)) * [[1.0], [0.003]]
    inputs = tf.zeros([2, 32, 32, 3], tf.float64)

    def solve(lambda1):
        return concave_problem.soft_threshold(tf.constant(g[:, None]), lambda1[..., None])

    found = bisect_lambda1(solve, tf.constant(g), lambda maps: sparsity(maps, inputs))
    pixels = np.sort(g.reshape(2, 1024, 3).max(2))
    expected = pixels[:, 767]  # the 768th of 1024 pixels
    assert ((found >= expected) & (found < 1.01 * expected)).numpy().all()


def test_sparsity_counts_pixels_of_images_and_features_of_rows():
    inputs = {"image": tf.zeros([1, 2, 2, 3]), "row": tf.zeros([1, 4])}
    image = np.zeros((1, 1, 4, 3), "float32")
    image[..., 0, 1] = image[..., 3, 2] = 1
    maps = np.concatenate([image.reshape(1, 1, 12), [[[0, 0, -1.0, 0]]]], 2)
    assert sparsity(tf.constant(maps), inputs).numpy() == pytest.approx(5 / 8)


def test_auto_takes_the_smallest_lambda1_that_is_sparse_enough(relu, x):
    diagnostics = tfxai.caso(relu.model).explain(x, TARGETS, verbose=0).diagnostics
    for i in range(3):

        def eta(lambda1, i=i):
            map_ = reference.caso(relu.g[i], relu.h[i], lambda1, diagnostics["lambda2"][i], 300)
            return (map_.reshape(36, 2) == 0).all(1).mean()

        assert diagnostics["lambda1"][i] == pytest.approx(reference.sweep(eta))
        assert diagnostics["sparsity"][i] == pytest.approx(eta(diagnostics["lambda1"][i]))
        assert 0.75 <= diagnostics["sparsity"][i] < 1


def test_the_smooth_version_has_the_mean_gradient_and_hessian(x):
    """The labels are those of the clean inputs (docs/methods.md, CAFO and CASO)."""
    model = sharp_net("relu")
    labels = model.predict(x, verbose=0).argmax(1)
    noise = noise_of(samplers.noise(kernels.gaussian, samplers.relative(0.3)), x, 3, seed=5)
    explainer = tfxai.caso(model, lambda1=0.1, samples=3, noise_level=0.3, tolerance=1e-6)
    record = explainer.explain(x, verbose=0, seed=5)
    terms = []
    for t in noise:
        w, p = jacobian(model, x + t)
        terms.append([reference.second_order(w[i], p[i], labels[i]) for i in range(3)])
    cafo = tfxai.cafo(model, lambda1=0.1, samples=3, noise_level=0.3)(x, seed=5)
    for i in range(3):
        g, h = (np.mean([sample[i][part] for sample in terms], 0) for part in (0, 1))
        expected = reference.caso(g, h, 0.1, record.diagnostics["lambda2"][i])
        assert distances(record.attributions[i : i + 1], expected[None])[0] < 1e-5
        np.testing.assert_allclose(np.ravel(cafo[i]), reference.cafo(g, 0.1, 10), atol=1e-10)
    assert (record.targets == labels).all()


@keras.saving.register_keras_serializable("tests")
def halved(x):
    return x / 2 - 0.25


def test_preprocessing_is_part_of_what_is_explained(tmp_path):
    model = small_cnn()
    x = np.random.default_rng(0).random((2, 8, 8, 3)).astype("float32")
    options = {"lambda1": 0.001}
    inputs = keras.Input((8, 8, 3))
    whole = keras.Model(inputs, model(halved(inputs)))
    layer = keras.layers.Rescaling(0.5, -0.25)
    expected = tfxai.cafo(whole, **options)(x, 1).numpy()
    for preprocess in (halved, layer, keras.Sequential([keras.Input((8, 8, 3)), layer])):
        explainer = tfxai.cafo(model, preprocess=preprocess, **options)
        np.testing.assert_allclose(explainer(x, 1), expected, rtol=1e-4, atol=1e-7)
    explainer = tfxai.cafo(model, preprocess=halved, **options)
    explainer.save(tmp_path / "explainer.keras")
    loaded = keras.saving.load_model(tmp_path / "explainer.keras")
    np.testing.assert_array_equal(loaded(x, 1), explainer(x, 1))
    with pytest.raises(TypeError, match="preprocess='unit'"):
        tfxai.cafo(model, preprocess="unit")


def test_several_inputs_share_one_problem():
    model = two_inputs()
    random = np.random.default_rng(0)
    x = {"image": random.normal(size=(2, 6, 6, 1)), "row": random.normal(size=(2, 4))}
    record = tfxai.caso(model).explain(x, 1, verbose=0)
    assert {k: v.shape for k, v in record.attributions.items()} == {
        "image": (2, 6, 6, 1),
        "row": (2, 4),
    }
    assert (record.diagnostics["sparsity"] >= 0.75).all()


@pytest.mark.parametrize("builder", [tfxai.cafo, tfxai.caso])
def test_options_are_checked(builder):
    model = small_cnn()
    for wrong, error in (
        ({"lambda1": -1}, r"lambda1=-1: expected a finite number at least 0"),
        ({"lambda1": "best"}, "lambda1='best': expected a number, 'auto' or 'bisect'"),
        ({"lambda2": -0.5}, r"lambda2=-0\.5: expected a finite number above 0"),
        ({"samples": 0}, "samples=0"),
        ({"noise_level": float("nan")}, "noise_level=nan"),
    ):
        with pytest.raises(ValueError, match=error):
            builder(model, **wrong)
    with pytest.raises(TypeError, match="lambda2='big'"):
        builder(model, lambda2="big")


def test_options_of_caso_are_checked():
    model = small_cnn()
    for wrong, error in (
        ({"hessian": "full"}, "hessian='full'"),
        ({"hessian": "classes", "samples": 4}, "take 'krylov'"),
        ({"tolerance": 0}, "tolerance=0"),
        ({"margin": 0}, "margin=0"),
        ({"rank": 0}, "rank=0"),
        ({"max_iterations": 0}, "max_iterations=0"),
    ):
        with pytest.raises(ValueError, match=error):
            tfxai.caso(model, **wrong)


def test_a_lambda2_without_a_maximum_is_refused(relu, x):
    explainer = tfxai.caso(relu.model, lambda1=0.1, lambda2=0.01)
    message = r"caso: lambda2=0\.01: expected more than half the largest eigenvalue.* is \[\d"
    with pytest.raises(ValueError, match=message):
        explainer(x, TARGETS)
    with pytest.raises(ValueError, match=message):
        explainer.explain(x, TARGETS, verbose=0)


@pytest.mark.parametrize("hessian", quick(["auto", "products"], "auto"))
def test_logits_that_are_not_finite_end_in_an_error(hessian):
    model = keras.Sequential([keras.Input((4,)), L.Dense(3, "relu"), L.Dense(3)])
    model.layers[-1].set_weights([np.full((3, 3), np.nan), np.zeros(3)])
    with pytest.raises(ValueError, match="the gradient of the cross-entropy is not finite"):
        tfxai.caso(model, hessian=hessian)(np.ones((2, 4)), 0)


def test_an_input_without_a_gradient_ends_in_an_error():
    model = keras.Sequential([keras.Input((4,)), L.Dense(3, "relu"), L.Dense(3)])
    model.layers[0].set_weights([np.ones((4, 3)), np.zeros(3)])
    x = np.array([[1.0, 1, 1, 1], [-1.0, -1, -1, -1]])
    for explainer in (tfxai.cafo(model), tfxai.caso(model)):
        with pytest.raises(ValueError, match="the gradient of the cross-entropy is zero"):
            explainer(x, 0)
        assert explainer(x[:1], 0).numpy().any()
    embedding = keras.Sequential([keras.Input((4,)), L.Embedding(5, 2), L.Flatten(), L.Dense(3)])
    with pytest.raises(ValueError, match="no gradient with respect to input 0"):
        tfxai.caso(embedding)(np.ones((1, 4)), 0)


def test_an_operation_without_a_second_derivative_is_named():
    normalised = L.Lambda(tf.nn.local_response_normalization)
    model = keras.Sequential([keras.Input((4, 4, 3)), normalised, L.Flatten(), L.Dense(3)])
    with pytest.raises(ValueError, match=r"cannot differentiate this model twice: .*LRNGrad"):
        tfxai.caso(model)(np.ones((1, 4, 4, 3)), 0)
    assert tfxai.cafo(model)(np.ones((1, 4, 4, 3)), 0).numpy().any()


def test_a_single_logit_is_explained_as_two_classes():
    model = keras.Sequential([keras.Input((3,)), L.Dense(1, "sigmoid")])
    model.set_weights([np.array([[2.0], [-1.0], [0.1]]), np.zeros(1)])
    x = np.zeros((1, 3))
    record = tfxai.caso(model, lambda1=0, lambda2=10).explain(x, [1], verbose=0)
    w = np.array([2.0, -1.0, 0.1])
    expected = reference.caso(-0.5 * w, 0.25 * np.outer(w, w), 0, 10)
    np.testing.assert_allclose(record.attributions[0], expected, rtol=1e-5)
    assert record.scores[0] == pytest.approx(np.log(2))


def test_saved_settings_hold_every_option():
    explainer = tfxai.caso(small_cnn(), lambda1=0.01, rank=7, backtracking=True)
    rerun = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(explainer))
    assert rerun.settings == explainer.settings
    assert explainer.settings["rank"] == 7
