"""Small networks that the tests share; random but fixed weights, and one that is trained."""

import importlib.util
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfxai.cli import main

L = keras.layers
ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True, scope="session")
def _this_checkout():
    """Fail where a part of the package is another checkout's, as in another's environment."""
    expected = {"tfxai": ROOT / "tfxai", "tfxai.converters": ROOT / "converters"}
    for name, folder in expected.items():
        spec = importlib.util.find_spec(name)
        found = None if spec is None else Path(spec.origin).parent
        assert found == folder, f"{name} comes from {found}: run `pip install --editable .` here"
    yield
    for name, module in sys.modules.items():
        if name.split(".")[0] == "tfxai":
            file = Path(module.__file__)
            assert file.is_relative_to(ROOT), f"{name} comes from {file}"


@pytest.fixture(autouse=True)
def _fixed_seed():
    keras.utils.set_random_seed(0)


@pytest.fixture
def images():
    return np.random.default_rng(0).normal(size=(5, 8, 8, 3)).astype("float32")


@pytest.fixture
def cnn():
    return small_cnn()


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command line in this process; give exit code, stdout and stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["tfxai", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main.main()
        return ended.value.code, *capsys.readouterr()

    return call


def small_cnn(head="softmax", activation="relu", policy="float32"):
    """A convolutional classifier of 8x8x3 images into 5 classes."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((8, 8, 3), dtype="float64" if policy == "float64" else "float32")
    x = L.Conv2D(4, 3, activation=activation, bias_initializer="normal", dtype=policy)(inputs)
    x = L.Flatten(dtype=policy)(x)
    x = L.Dense(12, activation=activation, bias_initializer="normal", dtype=policy)(x)
    return keras.Model(inputs, L.Dense(5, activation=head, dtype=policy)(x))


def two_inputs():
    """A regressor of an image and a row, in a dict."""
    keras.utils.set_random_seed(2)
    image, row = keras.Input((6, 6, 1), name="image"), keras.Input((4,), name="row")
    seen = L.Flatten()(L.Conv2D(2, 3, activation="relu")(image))
    joined = L.Concatenate()([seen, L.Dense(3, activation="tanh")(row)])
    return keras.Model({"image": image, "row": row}, L.Dense(3)(joined))


def as_model(function, features):
    """A model of rows ``[B, features]`` by a function of tensors."""
    inputs = keras.Input((features,))
    return keras.Model(inputs, function(inputs))


def digits():
    """Handwritten digits made here: ten glyphs, shifted and with noise; ``[N, 8, 8, 1]``."""
    random = np.random.default_rng(0)
    glyphs = (random.random((10, 6, 6)) > 0.5).astype("float32")
    labels = random.integers(0, 10, 600)
    data = random.normal(0, 0.15, (600, 8, 8, 1)).astype("float32")
    for i, label in enumerate(labels):
        dy, dx = random.integers(0, 3, 2)
        data[i, dy : dy + 6, dx : dx + 6, 0] += glyphs[label]
    return data, labels


@pytest.fixture(scope="session")
def trained():
    """A function from an activation to a trained glyph classifier (accuracy > 0.9) and its data."""
    data, labels = digits()
    models = {}

    def train(activation):
        if activation not in models:
            keras.utils.set_random_seed(3)
            model = keras.Sequential(
                [
                    keras.Input((8, 8, 1)),
                    L.Conv2D(8, 3, activation=activation),
                    L.Flatten(),
                    L.Dense(32, activation=activation),
                    L.Dense(10),
                ]
            )
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            model.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"])
            model.fit(data, labels, epochs=12, verbose=0)
            assert model.evaluate(data, labels, verbose=0)[1] > 0.9
            models[activation] = model
        return models[activation], data, labels

    return train


def gradient_of(model, x, target):
    """The gradient by TensorFlow alone."""
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        score = tf.reduce_sum(model(x)[:, target])
    return tape.gradient(score, x).numpy()


def trained_like(model):
    """Give a model other weights, of the size that training gives."""
    random = np.random.default_rng(7)
    model.set_weights([random.normal(0, 0.3, w.shape) for w in model.get_weights()])
