"""Consistency and invariance: laws, and scipy for the ranks.

Sources: docs/methods.md, Consistency and invariance.
"""

import keras
import numpy as np
import pytest
from scipy.stats import spearmanr

import tfxai
from tests.networks import small_cnn
from tfxai import metrics, quadrature
from tfxai.models import keras_graph

L = keras.layers


@pytest.fixture
def model():
    return small_cnn()


def test_ranks_against_scipy():
    random = np.random.default_rng(0)
    one, other = random.normal(size=(2, 4, 5, 6, 3)).round(1)  # with ties
    expected = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(one, other, strict=True)]
    np.testing.assert_allclose(metrics.rank_correlation(one, other), expected)
    np.testing.assert_allclose(metrics.rank_correlation(one, np.exp(one)), 1)
    np.testing.assert_allclose(metrics.rank_correlation(one, -one), -1)
    assert np.isnan(metrics.rank_correlation(one, 0 * other)).all()


def test_cascade_goes_from_the_output_to_the_input(model, images):
    """And each stage is a permutation of the layer's own weights, put back at the end."""
    before = model.get_weights()
    seen = []

    def explain(x, targets):
        seen.append(model.get_weights())
        return tfxai.gradient(model)(x, targets)

    found = metrics.consistency(model, explain, images, [0, 1, 2, 3, 4])
    assert [len(names) for names in found.layers] == [1, 1, 1]
    kinds = [names[0].split("_")[0] for names in found.layers]
    assert kinds == ["dense", "dense", "conv2d"]
    assert found.correlations.shape == (3, 5)
    changed = [[not np.array_equal(a, b) for a, b in zip(before, w, strict=True)] for w in seen]
    kernels = [c[::2] for c in changed]
    assert kernels == [[False] * 3, [False, False, True], [False, True, True], [True] * 3]
    for weights in seen:
        for a, b in zip(before, weights, strict=True):
            np.testing.assert_array_equal(np.sort(a.ravel()), np.sort(b.ravel()))
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(found.mean, np.abs(found.correlations).mean(0))


def test_independent_stages_touch_one_group_each(model, images):
    before, seen = model.get_weights(), []

    def explain(x, targets):
        weights = model.get_weights()
        seen.append([not np.array_equal(a, b) for a, b in zip(before, weights, strict=True)][::2])
        return tfxai.gradient(model)(x, targets)

    metrics.consistency(model, explain, images, 0, order="independent")
    assert seen == [[False] * 3, [False, False, True], [False, True, False], [True, False, False]]


def test_nothing_depends_on_the_batches(model, images):
    sizes = []

    def explain(x, targets):
        sizes.append((len(x), list(targets)))
        return tfxai.gradient(model)(x, targets)

    found = metrics.consistency(model, explain, images, [0, 1, 2, 3, 4], batch_size=2, stages=1)
    assert sizes[:3] == [(2, [0, 1]), (2, [2, 3]), (1, [4])]
    whole = metrics.consistency(model, tfxai.gradient(model), images, [0, 1, 2, 3, 4], stages=1)
    np.testing.assert_allclose(found.correlations, whole.correlations, atol=1e-3)


def test_stages_divide_the_layers(model, images):
    found = metrics.consistency(model, lambda x, t: x, images, 0, stages=2)
    assert [len(names) for names in found.layers] == [2, 1]
    assert found.layers[1][0].startswith("conv2d")
    np.testing.assert_array_equal(found.correlations, 1)


def test_weights_come_back_after_an_error(model, images):
    before, calls = model.get_weights(), []

    def explain(x, targets):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("stop")
        return x

    with pytest.raises(RuntimeError, match="stop"):
        metrics.consistency(model, explain, images, 0)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_explainer_sees_the_random_weights(images):
    """Though it was traced before; edges drawn by the input alone stay."""
    model = small_cnn(activation="tanh")
    explainer = tfxai.gradient(model)
    explainer(images, 0)
    found = metrics.consistency(model, explainer, images, 0, seed=1)
    assert (found.mean < 0.6).all()
    rerun = metrics.consistency(model, explainer, images, 0, seed=1)
    np.testing.assert_array_equal(found.correlations, rerun.correlations)
    assert not np.array_equal(
        found.correlations, metrics.consistency(model, explainer, images, 0, seed=2).correlations
    )


def test_layers_of_nested_shared_and_subclassed_models():
    keras.utils.set_random_seed(0)
    inner = keras.Sequential(
        [keras.Input((4, 4, 3)), L.Conv2D(3, 1, name="a"), L.BatchNormalization(name="b")],
        name="inner",
    )
    inputs = keras.Input((4, 4, 3))
    shared = L.Dense(3, name="c")
    outputs = L.Dense(2, name="d")(L.Flatten()(shared(inner(shared(inner(inputs))))))
    nested = keras_graph.weighted_layers(keras.Model(inputs, outputs))
    assert [(name, len(own)) for name, own in nested] == [
        ("inner/a", 2),
        ("inner/b", 4),
        ("c", 2),
        ("d", 2),
    ]

    class Twice(keras.Model):
        def __init__(self):
            super().__init__()
            self.first, self.second = L.Dense(3, name="first"), L.Dense(2, name="second")

        def call(self, x):
            return self.second(self.first(x))

    model = Twice()
    model(np.ones((1, 4)))
    names = [name.rsplit("/", 1)[-1] for name, _ in keras_graph.weighted_layers(model)]
    assert names == ["first", "second"]


def test_gradients_are_invariant_and_products_with_the_input_are_not(images):
    """Kindermans et al. 2019: bias compensation."""
    model = small_cnn()
    other = metrics.shifted(model, [0.5, 1.0, -2.0])
    moved = images + np.float32([0.5, 1.0, -2.0])
    np.testing.assert_allclose(other(moved), model(images), atol=1e-5)
    assert other.layers[-1] is model
    targets = model(images).numpy().argmax(1)

    def measured(build, **options):
        one, two = (build(m, **options) for m in (model, other))
        return metrics.invariance(one, two, images, targets, shift=[0.5, 1.0, -2.0])

    assert (measured(tfxai.gradient) > 0.9999).all()
    assert (measured(tfxai.guided_backprop) > 0.9999).all()
    assert (measured(tfxai.smoothgrad, epsilon=0.1, samples=5) > 0.999).all()
    assert (measured(tfxai.noisegrad, samples=5, epsilon=0.2) > 0.999).all()
    assert (measured(tfxai.gradient_times_input) < 0.9).all()
    path = {"steps": 9, "quadrature": quadrature.midpoint}
    assert (measured(tfxai.integrated_gradients, baseline="mean", **path) > 0.99).all()
    assert (measured(tfxai.integrated_gradients, baseline=0.0, **path) < 0.9).all()


def test_invariance_of_a_model_that_was_trained_again(images):
    """The other reading takes another model, and each model's own class."""
    other = small_cnn()
    other.set_weights([w + 1e-3 for w in small_cnn().get_weights()])
    found = metrics.invariance(tfxai.gradient(small_cnn()), tfxai.gradient(other), images, None)
    assert found.shape == (5,)
    assert (np.abs(found) < 1).all()


def test_bad_input(model, images):
    none = keras.Sequential([keras.Input((8, 8, 3)), L.Flatten()])
    with pytest.raises(ValueError, match="has no weights"):
        metrics.consistency(none, lambda x, t: x, images, 0)
    with pytest.raises(ValueError, match="order='random'"):
        metrics.consistency(model, lambda x, t: x, images, 0, order="random")
    with pytest.raises(ValueError, match="stages=0"):
        metrics.consistency(model, lambda x, t: x, images, 0, stages=0)
    with pytest.raises(TypeError, match=r"expected a keras\.Model"):
        metrics.consistency(lambda x: x, lambda x, t: x, images, 0)
    with pytest.raises(ValueError, match="the same"):
        metrics.rank_correlation(images, images[:2])
