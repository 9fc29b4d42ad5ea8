"""LSTM, GRU and RNN against onnxruntime."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from tests.onnx_models import METHODS, check, maps_of_opposites, normal, proto, run
from tests.thorough import quick
from tfxai.converters import UnsupportedError, from_onnx

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
few = settings(max_examples=20, deadline=None, derandomize=True)


def weights(op, directions, units, channels, *, bias=True):
    gates = GATES[op]
    found = {
        "w": normal(directions, gates * units, channels),
        "r": normal(directions, gates * units, units) / 2,
    }
    return found | ({"b": normal(directions, 2 * gates * units)} if bias else {})


def model(
    op, arrays, states=(), *, layout=0, length=None, opset=17, steps=5, channels=3, **options
):
    """A recurrence of sequences ``[B, T, channels]`` with all outputs of it, batch first."""
    units = arrays["r"].shape[-1]
    names = ["Y", "Y_h", *(["Y_c"] if op == "LSTM" else [])]
    states = dict(zip(("h0", "c0"), states, strict=False))
    given = ["x" if layout else "time", "w", "r", "b" if "b" in arrays else ""]
    given += ["n" if length else "", *states]
    options |= {"layout": layout} if opset >= 14 else {}
    node = helper.make_node(op, given, names, name="node", hidden_size=units, **options)
    turn = [] if layout else [helper.make_node("Transpose", ["x"], ["time"], perm=[1, 0, 2])]
    perms = [[2, 0, 1, 3], *[[1, 0, 2]] * 2]
    back = [
        helper.make_node(
            "Identity" if layout else "Transpose",
            [name],
            [f"out{i}"],
            **({} if layout else {"perm": perm}),
        )
        for i, (name, perm) in enumerate(zip(names, perms, strict=False))
    ]
    lengths = {"n": np.array(length, "int32")} if length else {}
    return proto(
        [*turn, node, *back],
        {"x": [None, steps, channels]},
        {**arrays, **states, **lengths},
        outputs=[f"out{i}" for i in range(len(names))],
        opset=opset,
    )


@few
@given(
    op=st.sampled_from(sorted(GATES)),
    direction=st.sampled_from(["forward", "reverse", "bidirectional"]),
    units=st.integers(1, 4),
    steps=st.integers(1, 5),
    bias=st.booleans(),
    linear=st.booleans(),
    opset=st.sampled_from([9, 14, 22]),
)
def test_recurrences(op, direction, units, steps, bias, linear, opset):
    arrays = weights(op, 2 if direction == "bidirectional" else 1, units, 3, bias=bias)
    options = {"direction": direction}
    options |= {"linear_before_reset": int(linear)} if op == "GRU" else {}
    net = model(op, arrays, steps=steps, opset=opset, **options)
    check(net, normal(3, steps, 3), channels_first=False)


@pytest.mark.parametrize("op", sorted(GATES))
def test_initial_states_and_lengths(op):
    arrays, count = weights(op, 2, 4, 3), 2 if op == "LSTM" else 1
    sequences = normal(3, 5, 3)
    states = [np.repeat(normal(2, 1, 4), 3, 1) for _ in range(count)]
    for initial in ((), states):
        for length in (None, [5] * 3, [3] * 3):
            net = model(op, arrays, initial, length=length, direction="bidirectional")
            check(net, sequences, channels_first=False)
    other = [normal(2, 3, 4) for _ in range(count)]
    for net in (
        model(op, arrays, other, direction="bidirectional"),
        model(op, arrays, length=[5, 3, 1], direction="bidirectional"),
    ):
        with pytest.raises(UnsupportedError, match=r"'node' .*differ between examples"):
            from_onnx(net)


@pytest.mark.parametrize("op", sorted(GATES))
def test_the_layout_with_the_batch_first(op):
    """onnxruntime does not know it: the other layout is what it is compared with."""
    arrays, sequences = weights(op, 2, 4, 3), normal(3, 5, 3)
    states = [normal(2, 1, 4) for _ in range(2 if op == "LSTM" else 1)]
    expected = run(
        model(op, arrays, [np.repeat(s, 3, 1) for s in states], direction="bidirectional"),
        sequences,
    )
    net = from_onnx(
        model(
            op, arrays, [s.transpose(1, 0, 2) for s in states], layout=1, direction="bidirectional"
        )
    )
    for x, y in zip(net(sequences), expected, strict=True):
        np.testing.assert_allclose(np.reshape(x, y.shape), y, rtol=1e-5, atol=1e-5)


def test_a_state_that_is_computed_from_the_input():
    arrays = weights("GRU", 1, 4, 3)
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("Gemm", ["mean", "m"], ["row"]),
        helper.make_node("Unsqueeze", ["row", "zero"], ["h0"]),
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node("GRU", ["t", "w", "r", "b", "", "h0"], ["", "last"], hidden_size=4),
        helper.make_node("Squeeze", ["last", "zero"], ["y"]),
    ]
    constants = {**arrays, "m": normal(3, 4), "zero": np.array([0])}
    net = check(proto(nodes, {"x": [None, 5, 3]}, constants), normal(3, 5, 3), channels_first=False)
    assert any(isinstance(layer, keras.layers.GRU) for layer in net.layers)


@pytest.mark.parametrize("names", [["Relu", "Tanh", "Tanh"], ["Sigmoid", "Relu", "Relu"]])
def test_activations(names):
    net = model("LSTM", weights("LSTM", 1, 4, 3), activations=names)
    check(net, normal(3, 5, 3), channels_first=False)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"clip": 0.5}, "clip=0.5"),
        ({"input_forget": 1}, "input_forget=1"),
        ({"activations": ["Sigmoid", "Tanh", "Relu"]}, "another one of the cells' states"),
        ({"activations": ["Sigmoid", "Affine", "Affine"]}, r"activations \['Sigmoid', 'Affine'"),
    ],
)
def test_what_keras_does_not_have_is_refused_by_name(options, text):
    with pytest.raises(UnsupportedError, match=rf"'node' \(LSTM\).*{text}"):
        from_onnx(model("LSTM", weights("LSTM", 1, 4, 3), **options))


def test_peepholes_and_sequences_with_time_first_are_refused():
    arrays = weights("LSTM", 1, 4, 3)
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["t", "w", "r", "b", "", "", "", "p"], ["y"], hidden_size=4),
    ]
    given = {**arrays, "p": normal(1, 12)}
    with pytest.raises(UnsupportedError, match="peepholes"):
        from_onnx(proto(nodes, {"x": [None, 5, 3]}, given))
    node = helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=4)
    with pytest.raises(UnsupportedError, match="time; export the model with batch_first=True"):
        from_onnx(proto([node], {"x": [5, 2, 3]}, arrays))


@pytest.mark.filterwarnings("ignore:.*zero everywhere")
@pytest.mark.parametrize("name", quick(list(METHODS), "grad_cam", "noisegrad"))
def test_methods_explain_a_converted_gru(name):
    arrays = weights("GRU", 2, 4, 3)
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node(
            "GRU",
            ["t", "w", "r", "b"],
            ["s"],
            hidden_size=4,
            direction="bidirectional",
            linear_before_reset=1,
        ),
        helper.make_node("Transpose", ["s"], ["p"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["p", "all"], ["joined"]),
        helper.make_node("ReduceMean", ["joined"], ["mean"], axes=[0], keepdims=0),
        helper.make_node("Gemm", ["mean", "d"], ["y"]),
    ]
    constants = {**arrays, "all": np.array([0, 0, -1]), "d": normal(8, 3)}
    sequences = normal(2, 5, 3)
    net = check(proto(nodes, {"x": [None, 5, 3]}, constants), sequences, channels_first=False)
    maps = maps_of_opposites(METHODS[name], net, sequences)
    assert maps[0].shape[:2] == (2, 5)
    assert np.isfinite(maps).all()
    assert np.abs(maps).max((0, 2, 3)).all()
