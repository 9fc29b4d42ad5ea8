"""From the nodes of a file to a Keras model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import keras

from . import constants
from .constants import Operand
from .layout import Value, as_keras, channels_last, ordered, same
from .onnx_graph import Graph, Input, Node, UnsupportedError, consumers
from .ops import OPERATIONS

IMAGE_OPERATIONS = ("Conv", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool")
"""In the file their channels are axis 1."""
InputShape = Sequence[int] | Mapping[str, Sequence[int]]


def build(graph: Graph, input_shape: InputShape | None = None) -> keras.Model:
    """Build the model.

    Raises:
        UnsupportedError: an operation that layers cannot express, or that is not known here.
        ValueError: sizes that are neither in the file nor in `input_shape`, integer inputs.
    """
    names = _Names()
    inputs = [
        _input(graph, one, shape_of_example(graph.inputs, one, input_shape), names)
        for one in graph.inputs
    ]
    known: dict[str, Operand] = {"": None, **graph.constants}
    known |= {one.name: value for one, value in zip(graph.inputs, inputs, strict=True)}
    for node in graph.nodes:
        found = _results(node._replace(name=names.unique(node.name)), node, known)
        known |= dict(zip(node.outputs, found, strict=False))
    outputs = [_output(name, known[name]) for name in graph.outputs]
    return keras.Model(
        as_keras([value.tensor for value in inputs]),
        as_keras(outputs),
        name=_clean(graph.name) or "model",
    )


def is_channels_first(graph: Graph, one: Input) -> bool:
    """See whether the axes of an input are batch, channels, space.

    They are if it comes to a convolution or a pool before anything that reorders its axes; images
    that come to none are taken to be so as well.
    """
    if not 3 <= len(one.shape) <= 5:
        return False
    readers = consumers(graph)
    seen, waiting = {one.name}, [one.name]
    while waiting:
        for node in readers.get(waiting.pop(0), []):
            if node.op in IMAGE_OPERATIONS:
                return True
            if node.op == "Transpose":
                return False
            fresh = [name for name in node.outputs if name not in seen]
            seen |= set(fresh)
            waiting += fresh
    return len(one.shape) == 4


def shape_of_example(
    inputs: Sequence[Input], one: Input, given: InputShape | None
) -> tuple[int, ...]:
    """Give the shape of one example of an input, in the file's order.

    Raises:
        ValueError: a size that is known neither from the file nor from what is given.
    """
    if isinstance(given, Mapping):
        given = given.get(one.name)
    elif given is not None and len(inputs) > 1:
        raise ValueError(
            f"input_shape={given!r}: the model has the inputs "
            f"{[i.name for i in inputs]}; pass a dict of shapes by name"
        )
    in_file = one.shape[1:]
    if given is None:
        if None in in_file:
            raise ValueError(
                f"the file leaves the size of the input {one.name!r} open, {one.shape}; pass "
                "input_shape=, without the batch and in the file's order"
            )
        return tuple(n for n in in_file if n is not None)
    fits = len(given) == len(in_file) and all(
        n in (None, m) for n, m in zip(in_file, given, strict=True)
    )
    if not fits:
        raise ValueError(
            f"input_shape={tuple(given)}: the input {one.name!r} has the shape {in_file} in the "
            "file, without the batch"
        )
    return tuple(given)


def _results(node: Node, original: Node, known: dict[str, Operand]) -> Sequence[Operand]:
    """Give what a node computes: constants of constants, layers of what depends on the input."""
    operands = [known[name] for name in node.inputs]
    first = operands[0] if operands else None
    if node.op == "Shape" and isinstance(first, Value):
        start, stop = node.attributes.get("start"), node.attributes.get("end")
        return [constants.shape(first, slice(start, stop))]
    if operands and not any(isinstance(operand, Value) for operand in operands):
        return constants.fold(original, [o for o in operands if not isinstance(o, Value)])
    if node.op not in OPERATIONS:
        raise UnsupportedError(original, "this operation is not known")
    try:
        found = OPERATIONS[node.op](node, operands)
    except UnsupportedError:
        raise
    except (TypeError, ValueError, AssertionError, IndexError, KeyError) as error:
        raise UnsupportedError(original, f"it cannot be built: {error}") from error
    return [found] if isinstance(found, Value) else found


def _input(graph: Graph, one: Input, shape: tuple[int, ...], names: _Names) -> Value:
    if one.dtype.kind != "f":
        raise ValueError(
            f"the input {one.name!r} has {one.dtype}s, which have no gradient; export the part of "
            "the model behind its embedding or lookup"
        )
    rank = len(shape) + 1
    order = channels_last(rank) if is_channels_first(graph, one) else same(rank)
    tensor = keras.Input([shape[axis - 1] for axis in order[1:]], name=names.unique(one.name))
    return Value(tensor, order)


def _output(name: str, operand: Operand) -> keras.KerasTensor:
    if not isinstance(operand, Value):
        raise ValueError(f"the output {name!r} does not depend on the input")
    if operand.order in (same(operand.rank), channels_last(operand.rank)):
        return operand.tensor
    node = Node("output", _clean(name), (), (), {}, 0)
    return ordered(operand, same(operand.rank), node)


class _Names:
    """Names for layers: as in the file but for signs that Keras has no use for, each once."""

    def __init__(self) -> None:
        self.taken: set[str] = set()

    def unique(self, name: str) -> str:
        base = found = _clean(name) or "layer"
        count = 1
        while found in self.taken:
            found, count = f"{base}_{count}", count + 1
        self.taken.add(found)
        return found


def _clean(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("_")
