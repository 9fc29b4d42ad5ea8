"""Rules on loops: read step by step where the number of steps is known, else refused by name."""

import functools

import keras
import numpy as np
import pytest

import tfxai
from tests.thorough import quick

L = keras.layers
ops = keras.ops
DOUBLE = {"dtype": "float64"}
BUILDERS = {
    "guided_backprop": tfxai.guided_backprop,
    "deconvnet": tfxai.deconvnet,
    "excitation_backprop": tfxai.excitation_backprop,
}
RECURRENT = {
    "LSTM": lambda unroll: L.LSTM(5, unroll=unroll, name="loop", **DOUBLE),
    "GRU": lambda unroll: L.GRU(
        4, unroll=unroll, return_sequences=True, go_backwards=True, name="loop", **DOUBLE
    ),
    "SimpleRNN": lambda unroll: L.SimpleRNN(
        5, activation="relu", unroll=unroll, name="loop", **DOUBLE
    ),
    "both ways": lambda unroll: L.Bidirectional(
        L.LSTM(3, unroll=unroll, return_sequences=True, **DOUBLE), name="loop", **DOUBLE
    ),
    "ConvLSTM1D": lambda unroll: L.ConvLSTM1D(2, 3, unroll=unroll, name="loop", **DOUBLE),
}


def recurrent(kind, *, unroll=False, steps=3, masked=False):
    keras.utils.set_random_seed(8)
    inputs = keras.Input((steps, 6, 2) if kind == "ConvLSTM1D" else (steps, 6), dtype="float64")
    y = L.Masking(**DOUBLE)(inputs) if masked else inputs
    y = RECURRENT[kind](unroll)(y)
    y = L.Flatten(**DOUBLE)(y) if len(y.shape) > 2 and steps else y
    return keras.Model(inputs, L.Dense(3, **DOUBLE)(y))


def sequences(model, count=4, steps=3):
    shape = (count, steps, *model.inputs[0].shape[2:])
    return np.random.default_rng(4).normal(size=shape)


@pytest.mark.parametrize("kind", quick(list(RECURRENT), "LSTM", "GRU"))
def test_a_loop_is_the_sequence_of_its_steps(kind):
    loop, unrolled = recurrent(kind), recurrent(kind, unroll=True)
    unrolled.set_weights(loop.get_weights())
    x = sequences(loop)
    for builder in BUILDERS.values():
        explainer = builder(loop)
        maps = explainer(x, 1)
        assert np.abs(maps).max() > 1e-3
        np.testing.assert_allclose(maps, builder(unrolled)(x, 1), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(explainer(x[:1], 1), maps[:1], rtol=1e-9, atol=1e-12)


def test_masked_steps_are_left_out():
    loop, unrolled = (recurrent("LSTM", unroll=u, steps=5, masked=True) for u in (False, True))
    unrolled.set_weights(loop.get_weights())
    x = sequences(loop, steps=5)
    x[0, 3:], x[1, 1] = 0, 0
    for builder in BUILDERS.values():
        maps = builder(loop)(x, 2).numpy()
        assert not maps[0, 3:].any()
        assert not maps[1, 1].any()
        assert maps[2, 4].any()
        np.testing.assert_allclose(maps, builder(unrolled)(x, 2), rtol=1e-9, atol=1e-12)


CONSERVING = ["LSTM", "GRU", "both ways", "ConvLSTM1D"]


@pytest.mark.parametrize("kind", quick(CONSERVING, "LSTM", "GRU", "ConvLSTM1D"))
def test_excitation_conserves_probability_through_time(kind):
    model = recurrent(kind)
    for weight in model.weights:
        if "bias" in weight.path:
            weight.assign(weight * 0)
    x = sequences(model)
    head = model.layers[-1]
    contributions = keras.Model(model.inputs, head.input)(x) * head.kernel[:, 0]
    reached = np.any(
        contributions > 0, axis=1
    )  # Where nothing excites the class, nothing is shared.
    assert reached.any()
    maps = tfxai.excitation_backprop(model)(x, 0).numpy()
    assert (maps >= 0).all()
    np.testing.assert_allclose(maps.reshape(4, -1).sum(1), reached, rtol=1e-9)


def test_a_sequence_of_open_length_is_explained_at_any_length():
    model = recurrent("LSTM", steps=None)
    for builder in BUILDERS.values():
        explainer = builder(model)
        for steps in (3, 6, 3):
            fixed = recurrent("LSTM", steps=steps)
            fixed.set_weights(model.get_weights())
            x = sequences(model, steps=steps)
            np.testing.assert_allclose(explainer(x, 1), builder(fixed)(x, 1), rtol=1e-9, atol=1e-12)


def test_a_relu_network_in_a_loop_is_treated_as_in_the_papers():
    model = recurrent("SimpleRNN")
    x = sequences(model)
    for builder in BUILDERS.values():
        refusing = builder(model, extend=False)
        np.testing.assert_array_equal(builder(model)(x, 1), refusing(x, 1))
        assert not any(row.extended for row in builder(model).rule_report())
    with pytest.raises(ValueError, match=r"does not know the operation Tanh in '.*/loop"):
        tfxai.guided_backprop(recurrent("LSTM"), extend=False)(x, 1)


def test_the_report_and_the_record_name_an_operation_once_for_all_steps():
    model = recurrent("LSTM")
    explainer = tfxai.guided_backprop(model)
    extended = [row for row in explainer.rule_report() if row.extended]
    assert len(extended) == 5  # three sigmoids and two tanhs
    assert {row.description for row in extended} == {
        "sigmoid: positive gradients pass",
        "tanh: positive gradients pass",
    }
    noted = explainer.explain(sequences(model), 1, verbose=0).settings["extended"]
    assert sum(map(len, noted.values())) == 5
    assert all("/loop_1/" in row.operation for row in extended)


# Patterns


def test_the_kernels_of_a_loop_have_one_pattern_for_all_steps():
    """The pattern of W in y_t = W x_t + ... is that of a dense layer at every time."""
    loop = recurrent("SimpleRNN")
    x = sequences(loop, 60)
    patterns = tfxai.fit_patterns(loop, x, verbose=0)
    assert len(patterns) == 4, list(patterns)  # W, U, their sum, and the dense layer
    kernel = loop.layers[1].cell.kernel.numpy()
    rows = x.reshape(-1, 6)
    y = rows @ kernel + loop.layers[1].cell.bias.numpy()
    above = (y > 0).astype(float)
    of_xy = np.einsum("ni,no,no->io", rows, y, above) / above.sum(0)
    of_x = np.einsum("ni,no->io", rows, above) / above.sum(0)
    expected = of_xy - of_x * y.mean(0)
    expected /= (kernel * expected).sum(0)
    found = patterns["simple_rnn_cell/kernel"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", quick(["LSTM", "GRU", "ConvLSTM1D"], "GRU"))
def test_patterns_of_recurrent_layers(kind):
    loop = recurrent(kind)
    x = sequences(loop, 40)
    patterns = tfxai.fit_patterns(loop, x, verbose=0)
    assert all(q.error < 1e-4 for q in patterns.report)
    explainer = tfxai.pattern_attribution(loop, patterns)
    maps = explainer(x[:3], 1).numpy()
    assert np.isfinite(maps).all()
    assert (np.abs(maps).reshape(3, -1).max(1) > 1e-6).all()
    np.testing.assert_allclose(explainer(x[:1], 1), maps[:1], rtol=1e-9)


def test_patterns_of_a_loop_serve_sequences_of_any_length():
    model = recurrent("LSTM", steps=None)
    patterns = tfxai.fit_patterns(model, sequences(model, 40, steps=4), verbose=0)
    explainer = tfxai.pattern_attribution(model, patterns)
    for steps in (3, 7):
        assert np.isfinite(explainer(sequences(model, steps=steps), 1)).all()


# Loops of other kinds


LOOPS = {
    "while_loop": lambda f, x: ops.while_loop(
        lambda i, y: i < 3, lambda i, y: (i + 1, f(y)), (0, x)
    )[1],
    "fori_loop": lambda f, x: ops.fori_loop(0, 3, lambda i, y: f(y), x),
    "scan": lambda f, x: ops.scan(lambda c, a: (f(c + a), c), x, ops.stack([x, x]))[0],
    "nested": lambda f, x: ops.fori_loop(
        0, 2, lambda i, y: ops.fori_loop(0, 2, lambda j, z: f(z) + y, y), x
    ),
}
BY_HAND = {
    "while_loop": lambda f, x: f(f(f(x))),
    "fori_loop": lambda f, x: f(f(f(x))),
    "scan": lambda f, x: f(f(x + x) + x),
    "nested": lambda f, x: (lambda g: g(g(x)))(lambda y: f(f(y) + y) + y),
}
NOT_READ = {
    "map": lambda f, x: ops.map(lambda row: f(row[None])[0], x),
    "by values": lambda f, x: ops.while_loop(
        lambda y: ops.max(y) < 9, lambda y: (y + ops.abs(f(y)) + 1,), (x,)
    )[0],
}


class Repeated(L.Layer):
    """A dense layer in a loop; its weights are resources that the loop carries."""

    def __init__(self, loop, activation="swish"):
        super().__init__(name="loop")
        self.loop = loop
        self.inside = L.Dense(6, activation=activation)

    def build(self, shape):
        self.inside.build(shape)

    def call(self, x):
        return self.loop(self.inside, x)

    def compute_output_shape(self, shape):
        return shape


def repeated(loop):
    keras.utils.set_random_seed(2)
    inputs = keras.Input((6,))
    model = keras.Model(inputs, L.Dense(3)(Repeated(loop)(inputs)))
    return model, np.random.default_rng(0).normal(size=(4, 6))


@pytest.mark.parametrize("kind", LOOPS)
def test_any_loop_is_read_whose_number_of_steps_is_known(kind):
    (loop, x), (by_hand, _) = repeated(LOOPS[kind]), repeated(BY_HAND[kind])
    by_hand.set_weights(loop.get_weights())
    for builder in BUILDERS.values():
        maps = builder(loop)(x, 1)
        assert np.abs(maps).max() > 1e-3
        np.testing.assert_allclose(maps, builder(by_hand)(x, 1), rtol=1e-4, atol=1e-6)
    patterns = tfxai.fit_patterns(loop, x, verbose=0)
    assert np.isfinite(tfxai.pattern_attribution(loop, patterns)(x, 1)).all()


@pytest.mark.parametrize("kind", NOT_READ)
def test_other_loops_are_refused_by_name(kind):
    model, x = repeated(NOT_READ[kind])
    passthrough = r"passthrough=\['loop'\]"
    split = ", or explain a part of the model by tfxai.split"
    remedy = passthrough + split
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
    refused = rf"part of a loop.*{passthrough}, in tfxai.fit_patterns too{split}"
    with pytest.raises(ValueError, match=refused):
        tfxai.fit_patterns(model, x, extend=False, verbose=0)
    noted = tfxai.guided_backprop(model).explain(x, 1, verbose=0).settings["extended"]
    assert any("loop that cannot be unrolled: ordinary gradient" in key for key in noted)


@pytest.mark.parametrize("kind", quick([*NOT_READ, *LOOPS], "map", "by values", "while_loop"))
def test_a_loop_may_keep_its_ordinary_gradient(kind):
    model, x = repeated({**NOT_READ, **LOOPS}[kind])
    expected = tfxai.gradient(model)(x, 1)
    for method in (tfxai.guided_backprop, tfxai.deconvnet):  # there are no other activations
        maps = method(model, passthrough=["loop"])(x, 1)
        np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-6)
    assert tfxai.excitation_backprop(model, passthrough=["loop"])(x, 1).shape == x.shape
    patterns = tfxai.fit_patterns(model, x, passthrough=["loop"], verbose=0)
    maps = tfxai.pattern_attribution(model, patterns, passthrough=["loop"])(x, 1)
    assert np.isfinite(maps).all()


def test_a_loop_of_mixed_precision_is_read():
    inputs = keras.Input((4, 3))
    y = L.LSTM(5, name="loop", dtype="mixed_float16")(inputs)
    model = keras.Model(inputs, L.Dense(3)(y))
    maps = tfxai.excitation_backprop(model)(np.ones([2, 4, 3]), 1).numpy()
    assert (maps >= 0).all()
    assert maps.sum() > 0
