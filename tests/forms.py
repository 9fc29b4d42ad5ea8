"""The same small networks written in several ways."""

import keras
import numpy as np

from tests.networks import Subclassed

L = keras.layers
ops = keras.ops

CONV_ONE_WEIGHTS = [
    np.ones((3, 3, 1, 2)),
    np.array([-50.0, -75.0]),
    np.repeat([[1.0], [-1.0]], [5, 3], axis=0) * np.ones((8, 4)),
    np.zeros(4),
]
CONV_ONE_INPUT = np.arange(16.0).reshape(1, 4, 4, 1)


def conv_one(form):
    """ConvOne in one of FORMS (docs/methods.md, Published values that the tests reproduce)."""
    model = FORMS[form]()
    model(CONV_ONE_INPUT)
    model.set_weights(CONV_ONE_WEIGHTS)
    return model


def channel_first_rows(x):
    return L.Flatten()(L.Permute((3, 1, 2))(x))


def fused():
    x = keras.Input((4, 4, 1))
    y = channel_first_rows(L.Conv2D(2, 3, activation="relu", name="conv")(x))
    return keras.Model(x, L.Dense(4, activation="relu")(y))


def with_activations(first, second):
    x = keras.Input((4, 4, 1))
    y = channel_first_rows(first(L.Conv2D(2, 3, name="conv")(x)))
    return keras.Model(x, second(L.Dense(4)(y)))


def shared():
    relu = L.ReLU(name="rectified")
    return with_activations(relu, relu)


def nested():
    inner = keras.Sequential([keras.Input((4, 4, 1)), L.Conv2D(2, 3, name="conv"), L.ReLU()])
    x = keras.Input((4, 4, 1))
    return keras.Model(x, L.Dense(4, activation="relu")(channel_first_rows(inner(x))))


def subclassed():
    convolution, dense = L.Conv2D(2, 3, name="conv"), L.Dense(4)
    to_rows = [lambda x: ops.transpose(x, (0, 3, 1, 2)), lambda x: ops.reshape(x, (-1, 8))]
    return Subclassed(convolution, ops.relu, *to_rows, dense, ops.relu)


FORMS = {
    "activation argument": fused,
    "ReLU layers": lambda: with_activations(L.ReLU(), L.ReLU()),
    "Activation layers": lambda: with_activations(L.Activation("relu"), L.Activation("relu")),
    "one shared ReLU": shared,
    "keras.ops.relu": lambda: with_activations(ops.relu, ops.relu),
    "nested": nested,
    "subclassed": subclassed,
}
