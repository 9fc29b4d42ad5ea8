"""Whatever asks a model for scores refuses the same models: one check for all."""

import keras
import numpy as np
import pytest

import tfxai
from tests.networks import Subclassed
from tfxai import benchmark

L = keras.layers
ROWS = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
ONES = np.ones_like(ROWS)


def normalised_exp(z):
    """A softmax written as exp(z) / sum(exp(z))."""
    return keras.ops.exp(z) / keras.ops.sum(keras.ops.exp(z), -1, keepdims=True)


def by_hand(rank=2):
    inputs = keras.Input((4,) if rank == 2 else (6, 5, 1))
    z = L.Dense(3)(inputs if rank == 2 else L.Flatten()(inputs))
    return keras.Model(inputs, normalised_exp(z))


def subclassed():
    return Subclassed(L.Dense(3), normalised_exp)


ASKING = {
    "a method": lambda model, x: tfxai.gradient(model)(x),
    "a record": lambda model, x: tfxai.caso(model).explain(x, 0, verbose=0),
    "logits": lambda model, x: tfxai.logits(model)(x),
    "hessian.hvp": lambda model, x: tfxai.hessian.hvp(model, x, np.ones_like(x), 0),
    "hessian.max_eigenvalue": lambda model, x: tfxai.hessian.max_eigenvalue(model, x, 0),
    "hessian.eigendecomposition": lambda model, x: tfxai.hessian.eigendecomposition(model, x, 0),
    "a metric": lambda model, x: tfxai.metrics.completeness(model, x, x, 0),
}


@pytest.mark.parametrize("asking", ASKING)
@pytest.mark.parametrize("build", [by_hand, subclassed])
def test_a_head_written_by_hand_is_refused(asking, build):
    with pytest.raises(ValueError, match="outputs are probabilities, but no softmax"):
        ASKING[asking](build(), ROWS)


def test_a_benchmark_refuses_it_too(tmp_path):
    images = np.random.default_rng(0).random((2, 6, 5, 1))
    with pytest.raises(ValueError, match="outputs are probabilities, but no softmax"):
        benchmark.run(by_hand(4), images, {"g": tfxai.gradient}, ["deletion"], tmp_path, verbose=0)


def test_logits_that_sum_to_1_for_one_example_are_none_by_hand():
    inputs = keras.Input((2,))
    model = keras.Model(inputs, L.Dense(2, use_bias=False, kernel_initializer="identity")(inputs))
    np.testing.assert_allclose(tfxai.gradient(model)(np.array([[1.0, 0.0]]), 0), [[1, 0]])


def token_ids():
    layers = [L.Embedding(5, 3), L.Flatten(), L.Dense(3)]
    return keras.Sequential([keras.Input((4,)), *layers]), np.array([[0, 1, 2, 3], [1, 1, 4, 0]])


def halved_integers():
    inputs = keras.Input((4,), dtype="uint8")
    model = keras.Model(inputs, L.Dense(3)(L.Rescaling(1 / 255)(inputs // 2)))
    return model, np.array([[0, 100, 255, 3], [7, 1, 200, 0]], np.uint8)


def unused():
    """The second input, in the model's order, does nothing."""
    zz, aa = keras.Input((4,), name="zz"), keras.Input((4,), name="aa")
    return keras.Model([zz, aa], L.Dense(3)(zz)), [ROWS, ROWS]


DIFFERENTIATING = {
    name: ask for name, ask in ASKING.items() if name not in ("logits", "a metric", "hessian.hvp")
} | {
    mode: lambda model, x, mode=mode: tfxai.hessian.hvp(model, x, x, 0, mode=mode)
    for mode in ("reverse", "forward", "gauss_newton")
}


@pytest.mark.parametrize("asking", DIFFERENTIATING)
@pytest.mark.parametrize("build", [token_ids, halved_integers, unused])
def test_inputs_without_a_gradient_are_refused(asking, build):
    model, inputs = build()
    position = 1 if build is unused else 0
    with pytest.raises(ValueError, match=f"no gradient with respect to input {position}"):
        DIFFERENTIATING[asking](model, inputs)
