"""Rules on loops: refused by name, unless they keep their ordinary gradient."""

import functools

import keras
import numpy as np
import pytest

import tfxai
from tests.thorough import quick

L = keras.layers
ops = keras.ops
LOOPS = {
    "while_loop": lambda f, x: ops.while_loop(
        lambda i, y: i < 3, lambda i, y: (i + 1, f(y)), (0, x)
    )[1],
    "fori_loop": lambda f, x: ops.fori_loop(0, 3, lambda i, y: f(y), x),
    "scan": lambda f, x: ops.scan(lambda c, a: (f(c + a), c), x, ops.stack([x, x]))[0],
    "map": lambda f, x: ops.map(lambda row: f(row[None])[0], x),
}
RECURRENT = {
    "LSTM": lambda: L.LSTM(4, name="loop"),
    "GRU": lambda: L.GRU(4, name="loop"),
    "SimpleRNN": lambda: L.SimpleRNN(4, activation="relu", name="loop"),
    "RNN": lambda: L.RNN([L.LSTMCell(4), L.GRUCell(3)], name="loop"),
}
BUILDERS = {
    "guided_backprop": tfxai.guided_backprop,
    "deconvnet": tfxai.deconvnet,
    "excitation_backprop": tfxai.excitation_backprop,
}


class Repeated(L.Layer):
    """A dense layer in a loop; its weights are resources that the loop carries."""

    def __init__(self, loop):
        super().__init__(name="loop")
        self.loop = loop
        self.inside = L.Dense(6, activation="tanh")

    def build(self, shape):
        self.inside.build(shape)

    def call(self, x):
        return self.loop(self.inside, x)

    def compute_output_shape(self, shape):
        return shape


def net(kind):
    recurrent = kind in RECURRENT
    inputs = keras.Input((5, 6) if recurrent else (6,))
    layer = RECURRENT[kind]() if recurrent else Repeated(LOOPS[kind])
    model = keras.Model(inputs, L.Dense(3)(layer(inputs)))
    return model, np.random.default_rng(0).normal(size=(4, *inputs.shape[1:]))


@pytest.mark.parametrize("kind", [*LOOPS, *RECURRENT])
def test_rules_that_are_not_extended_refuse_loops_by_name(kind):
    model, x = net(kind)
    remedy = r"passthrough=\['loop'\], or explain a part of the model by tfxai.split"
    not_extended = {
        "guided_backprop": functools.partial(tfxai.guided_backprop, extend=False),
        "deconvnet": functools.partial(tfxai.deconvnet, extend=False),
        "excitation_backprop": tfxai.excitation_backprop,  # also where it is extended
    }
    for name, method in not_extended.items():
        refused = rf"{name} does not know the operation \w+ in '.*/loop.*part of a loop.*{remedy}"
        with pytest.raises(ValueError, match=refused):
            method(model)(x, 1)
        with pytest.raises(ValueError, match=refused):
            method(model).rule_report()
    with pytest.raises(ValueError, match=rf"part of a loop.*{remedy}"):
        tfxai.fit_patterns(model, x, extend=False, verbose=0)


@pytest.mark.parametrize("kind", quick([*LOOPS, *RECURRENT], "while_loop", "LSTM"))
def test_a_loop_may_keep_its_ordinary_gradient(kind):
    model, x = net(kind)
    expected = tfxai.gradient(model)(x, 1)
    for method in (tfxai.guided_backprop, tfxai.deconvnet):  # there are no other ReLUs
        maps = method(model, passthrough=["loop"])(x, 1)
        np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-6)
    assert tfxai.excitation_backprop(model, passthrough=["loop"])(x, 1).shape == x.shape
    patterns = tfxai.fit_patterns(model, x, passthrough=["loop"], verbose=0)
    maps = tfxai.pattern_attribution(model, patterns, passthrough=["loop"])(x, 1)
    assert np.isfinite(maps).all()
