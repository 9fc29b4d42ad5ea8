"""LSTM, GRU and RNN as Keras layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from tfxai.models.converted_layers import Constant, Pad, Slice, call_with_weights

from ..constants import Operand
from ..layout import Value, tensor_in_order
from ..onnx_graph import Node, UnsupportedError
from .operands import expect_arrays, expect_value

ACTIVATIONS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
"""ONNX's activations by operation, for each direction, where a node names none."""
KERAS_NAMES = {"Sigmoid": "sigmoid", "Tanh": "tanh", "Relu": "relu"}
GATES = {"LSTM": (0, 2, 3, 1), "GRU": (0, 1, 2), "RNN": (0,)}
"""The order of ONNX's gates in Keras's weights."""


class Recurrence(NamedTuple):
    """The operands of a node."""

    inputs: keras.KerasTensor
    """``[B, T, channels]``."""
    weights: np.ndarray
    """``[directions, gates, units, channels]``."""
    recurrent: np.ndarray
    """``[directions, gates, units, units]``."""
    bias: np.ndarray
    """Of the inputs and of the state, ``[directions, 2, gates, units]``."""
    states: list[list[Any]]
    """For each direction the initial states, ``[B, units]`` each; none where they are 0."""


def recurrent(node: Node, operands: list[Operand]) -> list[Operand]:
    """LSTM, GRU and RNN: forward, reverse or both, from states that are 0 or given.

    The outputs are all states, the last state and, of an LSTM, the last state of its cells.
    """
    _check(node, operands)
    value, layout = expect_value(node, operands[0]), node.attributes.get("layout", 0)
    parts = _recurrence(node, operands, value, layout)
    steps = parts.inputs.shape[1]
    length = _length(node, operands, steps)
    if length < steps:
        cut = Slice([[0, length, 1], [None, None, None]], name=f"{node.name}_steps")
        parts = parts._replace(inputs=cut(parts.inputs))
    direction = node.attributes.get("direction", "forward")
    backwards = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[direction]
    results = [_run(node, parts, i, backward) for i, backward in enumerate(backwards)]
    units = parts.weights.shape[2]
    rows = [
        keras.layers.Reshape((length, 1, units), name=f"{node.name}_rows_{i}")(states)
        for i, (states, *_) in enumerate(results)
    ]
    states = _joined(rows, 2, f"{node.name}_states")
    if length < steps:
        padding = [[0, steps - length], [0, 0], [0, 0]]
        states = Pad(padding, name=f"{node.name}_padded")(states)
    outputs: list[Operand] = [Value(states, (0, 1, 2, 3) if layout else (2, 0, 1, 3))]
    for number in range(2 if node.op == "LSTM" else 1):
        last = [
            keras.layers.Reshape((1, units), name=f"{node.name}_last_{number}_{i}")(found)
            for i, (_, *final) in enumerate(results)
            for found in final[number : number + 1]
        ]
        tensor = _joined(last, 1, f"{node.name}_final_{number}")
        outputs.append(Value(tensor, (0, 1, 2) if layout else (1, 0, 2)))
    return outputs


def _check(node: Node, operands: list[Operand]) -> None:
    """Raise an UnsupportedError for what Keras's layers do not have."""
    peepholes = operands[7] if len(operands) > 7 else None
    if peepholes is not None and (not isinstance(peepholes, np.ndarray) or peepholes.any()):
        raise UnsupportedError(node, "peepholes")
    for name in ("clip", "input_forget"):
        if node.attributes.get(name):
            raise UnsupportedError(node, f"{name}={node.attributes[name]}")
    names = _activations(node)
    if set(names) - set(KERAS_NAMES):
        raise UnsupportedError(node, f"the activations {names}")
    if node.op == "LSTM" and names[1::3] != names[2::3]:
        raise UnsupportedError(node, f"the activations {names}, another one of the cells' states")


def _activations(node: Node) -> list[str]:
    """Give the names of the activations of each direction, one after another."""
    both = node.attributes.get("direction") == "bidirectional"
    named = node.attributes.get("activations") or ACTIVATIONS[node.op] * (2 if both else 1)
    names = [name.decode() if isinstance(name, bytes) else name for name in named]
    return [next((k for k in KERAS_NAMES if k.lower() == n.lower()), n) for n in names]


def _recurrence(node: Node, operands: list[Operand], value: Value, layout: int) -> Recurrence:
    given_arrays = [operand for operand in operands[1:4] if operand is not None]
    weights, recurrent_weights, *rest = expect_arrays(node, given_arrays)
    directions, gates, units = len(weights), len(GATES[node.op]), recurrent_weights.shape[-1]
    order = (0, 1, 2) if layout else (1, 0, 2)
    if value.batch != order[0]:
        raise UnsupportedError(
            node, "sequences whose first axis is time", "export the model with batch_first=True"
        )
    tensor = tensor_in_order(value, order, node)
    given = [operand for operand in operands[5:7] if operand is not None]
    has_states = any(isinstance(state, Value) or np.any(state) for state in given)
    count = 2 if node.op == "LSTM" else 1
    states: list[list[Any]] = [[] for _ in range(directions)]
    if has_states:
        padded = [operands[i] if len(operands) > i else None for i in range(5, 5 + count)]
        for i in range(directions):
            states[i] = [
                _state(node, state, value, (i, units, layout), f"{node.name}_initial_{n}_{i}")
                for n, state in enumerate(padded)
            ]
    bias = rest[0] if rest else np.zeros((directions, 2 * gates * units), weights.dtype)
    return Recurrence(
        tensor,
        weights.reshape(directions, gates, units, -1),
        recurrent_weights.reshape(directions, gates, units, units),
        bias.reshape(directions, 2, gates, units),
        states,
    )


def _state(
    node: Node, state: Operand, like: Value, place: tuple[int, int, int], name: str
) -> keras.KerasTensor:
    """Give the initial state of one direction, ``[B, units]``."""
    direction, units, layout = place
    if isinstance(state, Value):
        tensor = tensor_in_order(state, (0, 1, 2) if layout else (1, 0, 2), node, name)
        part = Slice([[direction, direction + 1, 1], [None, None, None]], name=f"{name}_part")
        return keras.layers.Reshape((units,), name=name)(part(tensor))
    array = np.zeros((1, units), "float32") if state is None else np.asarray(state)
    if state is not None:
        array = array[:, direction] if layout else array[direction]
    if (array != array[:1]).any():
        raise UnsupportedError(node, "initial states that differ between examples")
    return call_with_weights(Constant((units,), name=name), like.tensor, array[0])


def _length(node: Node, operands: list[Operand], steps: int | None) -> int:
    """Give the number of steps, which must be the same for all examples."""
    lengths = operands[4] if len(operands) > 4 else None
    if steps is None:
        raise UnsupportedError(
            node, "sequences of an unknown length", "pass input_shape= to from_onnx"
        )
    if lengths is None:
        return steps
    if not isinstance(lengths, np.ndarray) or len(set(lengths.tolist())) != 1:
        raise UnsupportedError(node, "lengths of sequences that differ between examples")
    return int(lengths.ravel()[0])


def _run(node: Node, parts: Recurrence, direction: int, backward: bool) -> list[Any]:
    """Give all states of one direction, in the order of time, and the last ones."""
    units = parts.weights.shape[2]
    names, per_direction = _activations(node), len(ACTIVATIONS[node.op])
    own = [KERAS_NAMES[n] for n in names[direction * per_direction :][:per_direction]]
    suffix = f"_{direction}" if len(parts.weights) > 1 else ""
    settings: dict[str, Any] = {
        "return_sequences": True,
        "return_state": True,
        "go_backwards": backward,
        "activation": own[-1],
        "kernel_initializer": "zeros",
        "recurrent_initializer": "zeros",
        "name": f"{node.name}{suffix}",
    }
    gates = list(GATES[node.op])
    bias = parts.bias[direction][:, gates].reshape(2, -1)
    # A GRU that resets the product with the state has a bias of its own there.
    keeps_both = node.op == "GRU" and bool(node.attributes.get("linear_before_reset", 0))
    if node.op == "LSTM":
        layer = keras.layers.LSTM(units, recurrent_activation=own[0], **settings)
    elif node.op == "GRU":
        layer = keras.layers.GRU(
            units, recurrent_activation=own[0], reset_after=keeps_both, **settings
        )
    else:
        layer = keras.layers.SimpleRNN(units, **settings)
    outputs = layer(parts.inputs, initial_state=parts.states[direction] or None)
    layer.set_weights(
        [
            _as_kernel(parts.weights[direction][gates]),
            _as_kernel(parts.recurrent[direction][gates]),
            bias if keeps_both else bias.sum(0),
        ]
    )
    states, *last = outputs
    if backward:
        turn = Slice([[None, None, -1], [None, None, None]], name=f"{node.name}{suffix}_turned")
        states = turn(states)
    return [states, *last]


def _as_kernel(weights: np.ndarray) -> np.ndarray:
    """Give weights ``[gates, units, inputs]`` as ``[inputs, gates * units]``."""
    return weights.reshape(-1, weights.shape[-1]).T


def _joined(tensors: Sequence[keras.KerasTensor], axis: int, name: str) -> keras.KerasTensor:
    if len(tensors) == 1:
        return tensors[0]
    return keras.layers.Concatenate(axis, name=name)(list(tensors))
