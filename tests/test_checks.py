"""Mistakes: each error names the argument, the value and what is expected."""

import keras
import numpy as np
import pytest

import tfxai
from tests.networks import small_cnn, two_inputs
from tfxai.core import checks

X = np.ones((2, 8, 8, 3))
ROWS = {"image": np.ones((2, 6, 6, 1)), "row": np.ones((2, 4))}


def with_nan():
    x = X.copy()
    x[1, 2, 3, 0] = np.nan
    return x


@pytest.fixture(scope="module")
def explainer():
    return tfxai.gradient(small_cnn())


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        (X[0], ValueError, r"inputs has shape \[8, 8, 3\], expected \[batch, 8, 8, 3\].*x\[None\]"),
        (X[..., :1], ValueError, r"inputs has shape \[2, 8, 8, 1\], expected \[batch, 8, 8, 3\]"),
        (X[:0], ValueError, "inputs is an empty batch"),
        (with_nan(), ValueError, r"inputs has 1 NaN or infinite.*\[1, 2, 3, 0\]"),
        (X * np.inf, ValueError, "NaN or infinite"),
        (np.array([["a"]]), TypeError, "inputs: expected numbers"),
        ([X, X], TypeError, "inputs: expected one array.*a list of 2"),
    ],
)
def test_inputs(inputs, error, message, explainer):
    with pytest.raises(error, match=message):
        explainer(inputs)
    if not isinstance(inputs, list):
        with pytest.raises(error, match=message):
            explainer.explain(inputs, verbose=0)


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        (X, TypeError, "expected a dict with the keys 'image', 'row'.*one array"),
        ({"image": ROWS["image"]}, TypeError, "expected a dict with the keys 'image', 'row'"),
        (ROWS | {"row": np.ones((3, 4))}, ValueError, "all need the same number of examples"),
        (ROWS | {"row": np.ones((2, 5))}, ValueError, r"inputs\['row'\] has shape \[2, 5\]"),
    ],
)
def test_inputs_of_a_model_with_several(inputs, error, message):
    with pytest.raises(error, match=message):
        tfxai.gradient(two_inputs())(inputs)


@pytest.mark.parametrize(
    ("targets", "error", "message"),
    [
        (5, ValueError, "targets: 5 is out of range, expected 0 to 4"),
        (-1, ValueError, "targets: -1 is out of range"),
        ([0, 9], ValueError, "targets: 9 is out of range"),
        ([0, 1, 2], ValueError, r"targets has shape \[3\]: expected one target or \[2\]"),
        (1.5, TypeError, "targets: expected class indices or names"),
        ("cat", ValueError, "'cat' is a name, but the class names are not known"),
    ],
)
def test_targets(targets, error, message, explainer):
    with pytest.raises(error, match=message):
        explainer(X, targets)


def test_target_names():
    model = small_cnn()
    model.class_names = ["crane", "crane", "tabby cat", "tiger cat", "dog"]
    explainer = tfxai.gradient(model)
    with pytest.raises(ValueError, match=r"no class is called 'tigre'; perhaps tiger$"):
        checks.class_index("tigre", ["cat, tabby", "big cat, tiger"])
    with pytest.raises(ValueError, match="no class is called 'cow'"):
        explainer(X, "cow")
    with pytest.raises(ValueError, match=r"several classes .2 'tabby cat', 3 'tiger cat'.; use an"):
        explainer(X, "cat")
    with pytest.raises(ValueError, match=r"several classes .0 'crane', 1 'crane'"):
        explainer(X, "crane")


@pytest.mark.parametrize("seed", ["a", 1.5, None, 2**40])
def test_seed(seed, explainer):
    with pytest.raises((TypeError, ValueError), match="seed="):
        explainer(X, seed=seed)


@pytest.mark.parametrize("size", [0, -1, 1.5, "all"])
def test_batch_size(size, explainer):
    with pytest.raises((TypeError, ValueError), match="batch_size="):
        explainer.explain(X, batch_size=size)


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("integrated_gradients", {"steps": 0}, ValueError, "steps=0: expected at least 1"),
        ("integrated_gradients", {"steps": 2.5}, TypeError, "steps=2.5: expected an integer"),
        ("integrated_gradients", {"steps": True}, TypeError, "steps=True"),
        ("integrated_gradients", {"tolerance": 0}, ValueError, "tolerance=0: expected.*above 0"),
        ("integrated_gradients", {"tolerance": float("nan")}, ValueError, "tolerance=nan"),
        ("integrated_gradients", {"max_steps": 1}, ValueError, "max_steps=1"),
        ("integrated_gradients", {"quadrature": "simpson"}, ValueError, "quadrature='simpson'"),
        (
            "integrated_gradients",
            {"quadrature": tfxai.quadrature.midpoint, "tolerance": 0.1},
            ValueError,
            "tolerance needs quadrature='adaptive'",
        ),
        ("integrated_gradients", {"baseline": "red"}, ValueError, "baseline='red'.*'black'"),
        ("integrated_gradients", {"baseline": "black"}, ValueError, "needs bounds="),
        ("integrated_gradients", {"baseline": np.nan}, ValueError, "baseline must be finite"),
        ("integrated_gradients", {"baseline": None}, ValueError, "baseline=None"),
        ("expected_gradients", {"baselines": X[:0]}, ValueError, "baselines: expected examples"),
        ("expected_gradients", {"baselines": X, "samples": 0}, ValueError, "samples=0"),
        ("smoothgrad", {"samples": -3}, ValueError, "samples=-3"),
        ("smoothgrad", {"noise_level": -0.1}, ValueError, "noise_level=-0.1"),
        ("smoothgrad", {"noise_level": "much"}, TypeError, "noise_level='much'"),
        ("vargrad", {"kernel": "gaussian"}, TypeError, "kernel='gaussian'"),
        ("vargrad", {"samples": 1}, ValueError, "samples=1: expected at least 2"),
        ("smoothgrad", {"r": 0}, ValueError, "r=0: expected.*above 0"),
        ("smoothgrad", {"r": -1.0}, ValueError, "r=-1.0"),
        ("smoothgrad", {"r": 1.0, "confidence": 1.5}, ValueError, "confidence=1.5: .*below 1"),
        ("smoothgrad", {"r": 1, "epsilon": 1}, ValueError, "epsilon=1 and r=1: give one"),
        (
            "smoothgrad_squared",
            {"noise_level": 0.2, "epsilon": 1},
            ValueError,
            "epsilon=1 and noise_level=0.2: give one of them",
        ),
        ("smoothgrad", {"epsilon": -1}, ValueError, "epsilon=-1: expected.*at least 0"),
        ("smoothgrad", {"tolerance": 0}, ValueError, "tolerance=0: expected.*above 0"),
        ("smoothgrad", {"max_samples": 1}, ValueError, "max_samples=1"),
        ("smoothgrad", {"resolution": 0}, ValueError, "resolution=0"),
        ("smoothgrad", {"proposal": 3}, TypeError, "proposal=3: expected a kernel"),
        ("noisegrad", {"r": 0}, ValueError, "r=0"),
        ("noisegrad", {"confidence": 0.0}, ValueError, "confidence=0.0"),
        ("noisegrad", {"noise": "Additive"}, ValueError, "noise='Additive'.*'additive'"),
        ("noisegrad", {"exclude": "dense"}, TypeError, "exclude='dense': expected a list"),
        ("noisegrad", {"samples": 0}, ValueError, "samples=0"),
        ("fusiongrad", {"samples": 50}, TypeError, "samples=50: expected a pair"),
        ("fusiongrad", {"samples": (5, 0)}, ValueError, "samples=0"),
    ],
)
def test_options(name, options, error, message):
    with pytest.raises(error, match=message):
        getattr(tfxai, name)(small_cnn(), **options)


@pytest.mark.parametrize("shape", [(3, 3), (8, 8, 2, 3), (2, 8, 8, 4)])
def test_a_baseline_of_another_shape(shape):
    with pytest.raises(ValueError, match=r"baseline has shape .*\['R', 8, 8, 3\]"):
        tfxai.integrated_gradients(small_cnn(), baseline=np.zeros(shape))(X)


@pytest.mark.parametrize("name", ["gradient", "integrated_gradients", "smoothgrad", "vargrad"])
def test_what_is_not_a_model(name):
    with pytest.raises(TypeError, match=r"model: expected a keras\.Model, got str"):
        getattr(tfxai, name)("model.keras")


def test_token_ids_have_no_gradient():
    layers = [keras.layers.Embedding(5, 3), keras.layers.Flatten(), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    with pytest.raises(ValueError, match=r"no gradient with respect to input 0.*floating-point"):
        tfxai.gradient(model)(np.ones((2, 4), int))


def test_an_option_that_does_not_exist_is_python_s_own_error():
    with pytest.raises(TypeError, match="step"):
        tfxai.integrated_gradients(small_cnn(), step=3)
