"""`build`: the nodes of an ONNX graph as a Keras model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import keras

from . import constants
from .constants import Operand
from .layout import Value, channels_last_order, file_order, single_or_list, tensor_in_order
from .onnx_graph import Graph, GraphInput, Node, UnsupportedError, consumers
from .ops import JOINING, OPERATIONS

IMAGE_OPERATIONS = (
    *("Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"),
    *("InstanceNormalization", "GroupNormalization", "DepthToSpace", "SpaceToDepth"),
)
"""Operations whose first input is an image with its channels along axis 1, in the file."""

InputShape = Sequence[int] | Mapping[str, Sequence[int]]
"""The shape of one example in the file's order; for several inputs, shapes by name."""


def build(graph: Graph, input_shape: InputShape | None = None) -> keras.Model:
    """Build a Keras model with a layer for each node.

    Args:
        graph: the graph.
        input_shape: the sizes of inputs that the file leaves open.

    Raises:
        UnsupportedError: an operation that is not known here, or that layers cannot express.
        ValueError: sizes that are neither in the file nor in `input_shape`, or integer inputs.
    """
    names = _LayerNames()
    inputs = [
        _input(graph, item, example_shape(graph.inputs, item, input_shape), names)
        for item in graph.inputs
    ]
    operands: dict[str, Operand] = {"": None, **graph.constants}
    operands |= {item.name: value for item, value in zip(graph.inputs, inputs, strict=True)}
    producers: dict[str, Node] = {}
    for node in graph.nodes:
        results = _results(node._replace(name=names.unique(node.name)), node, operands)
        operands |= dict(zip(node.outputs, results, strict=False))
        producers |= dict.fromkeys(node.outputs, node)
    for name in graph.outputs:
        if name not in operands:
            raise UnsupportedError(producers[name], f"the output {name!r} is not known")
    outputs = [_output(name, operands[name], producers.get(name)) for name in graph.outputs]
    return keras.Model(
        single_or_list([value.tensor for value in inputs]),
        single_or_list(outputs),
        name=_valid_name(graph.name) or "model",
    )


def is_channels_first(graph: Graph, graph_input: GraphInput) -> bool:
    """Say whether the axes of an input are batch, channels, space.

    They are if a convolution or a pool is reached from the input before any transpose. An input of
    rank 4 from which neither is reached is taken to be channels-first, too.
    """
    if not 3 <= len(graph_input.shape) <= 5:
        return False
    readers = consumers(graph)
    seen, queue = {graph_input.name}, [graph_input.name]
    while queue:
        for node in readers.get(queue.pop(0), []):
            if node.op in IMAGE_OPERATIONS:
                return True
            if node.op == "Transpose":
                return False
            unseen = [name for name in node.outputs if name not in seen]
            seen |= set(unseen)
            queue += unseen
    return len(graph_input.shape) == 4


def example_shape(
    inputs: Sequence[GraphInput], graph_input: GraphInput, input_shape: InputShape | None
) -> tuple[int, ...]:
    """Give the shape of one example of an input, in the file's order.

    Args:
        inputs: all inputs of the graph.
        graph_input: the input.
        input_shape: the user's sizes; None for those in the file.

    Raises:
        ValueError: a size that is neither in the file nor in `input_shape`, or two sizes that
            differ.
    """
    name, in_file = graph_input.name, graph_input.shape[1:]
    if isinstance(input_shape, Mapping):
        input_shape = input_shape.get(name)
    elif input_shape is not None and len(inputs) > 1:
        raise ValueError(
            f"input_shape={input_shape!r}: the model has the inputs "
            f"{[i.name for i in inputs]}; pass a dict of shapes by name"
        )
    if input_shape is None:
        if None in in_file:
            raise ValueError(
                f"the file leaves the size of the input {name!r} open, {graph_input.shape}; pass "
                "input_shape=, without the batch and in the file's order"
            )
        return tuple(n for n in in_file if n is not None)
    fits = len(input_shape) == len(in_file) and all(
        n in (None, m) for n, m in zip(in_file, input_shape, strict=True)
    )
    if not fits:
        raise ValueError(
            f"input_shape={tuple(input_shape)}: the input {name!r} has the shape {in_file} in the "
            "file, without the batch"
        )
    return tuple(input_shape)


def _results(node: Node, original: Node, known: dict[str, Operand]) -> Sequence[Operand]:
    """Give the outputs of a node: constants of constants, else tensors by layers.

    Args:
        node: the node, with the name of its layer.
        original: the node with its name in the file, for messages.
        known: the operands by name.
    """
    missing = [name for name in node.inputs if name not in known]
    if missing:
        raise UnsupportedError(original, f"it reads {missing[0]!r}, an output that is not known")
    operands = [known[name] for name in node.inputs]
    first = operands[0] if operands else None
    if node.op == "Shape" and isinstance(first, Value):
        start, stop = node.attributes.get("start"), node.attributes.get("end")
        return [constants.shape_constant(first, slice(start, stop))]
    if operands and not any(isinstance(operand, Value) for operand in operands):
        try:
            return constants.fold(original, [o for o in operands if not isinstance(o, Value)])
        except Exception as error:  # onnxruntime's errors have no class of their own in common
            raise UnsupportedError(original, f"its constants do not fit: {error}") from error
    if node.op not in OPERATIONS:
        raise UnsupportedError(original, "this operation is not known")
    try:
        results = OPERATIONS[node.op](node, [constants.of_one_example(o) for o in operands])
    except UnsupportedError:
        raise
    except (TypeError, ValueError, AssertionError, IndexError, KeyError) as error:
        raise UnsupportedError(original, f"it cannot be built: {error}") from error
    several: Sequence[Operand] = [results] if isinstance(results, Value) else results
    return [_with_batch(original, operands, result) for result in several]


def _with_batch(node: Node, operands: Sequence[Operand], result: Operand) -> Operand:
    """Give a result what the operands know of the batch."""
    if not isinstance(result, Value):
        return result
    values = [operand for operand in operands if isinstance(operand, Value)]
    if node.op not in JOINING:
        rows = {value.rows for value in values}
        if len(rows) > 1:
            raise UnsupportedError(node, f"tensors with other rows of an example, {sorted(rows)}")
        result = result._replace(rows=values[0].rows)
    return result._replace(examples=max(value.examples for value in values))


def _input(
    graph: Graph, graph_input: GraphInput, shape: tuple[int, ...], names: _LayerNames
) -> Value:
    name = graph_input.name
    if graph_input.dtype.kind != "f" and graph_input.dtype.name != "bfloat16":
        raise ValueError(
            f"the input {name!r} has {graph_input.dtype}s, which have no gradient; export the part "
            "of the model behind its embedding or lookup"
        )
    if not graph_input.shape:
        raise ValueError(f"the input {name!r} is a single number, without an axis for the batch")
    rank = len(shape) + 1
    is_image = is_channels_first(graph, graph_input)
    order = channels_last_order(rank) if is_image else file_order(rank)
    tensor = keras.Input([shape[axis - 1] for axis in order[1:]], name=names.unique(name))
    return Value(tensor, order, examples=graph_input.shape[0] or 0)


def _output(name: str, operand: Operand, producer: Node | None) -> keras.KerasTensor:
    if not isinstance(operand, Value):
        raise ValueError(f"the output {name!r} does not depend on the input")
    if producer is not None and operand.rows != (1, 1):
        raise UnsupportedError(producer, "an output that joins the batch with other axes")
    if operand.tensor.dtype == "bool":
        raise ValueError(f"the output {name!r} has truth values, which have no gradient")
    if operand.order in (file_order(operand.rank), channels_last_order(operand.rank)):
        return operand.tensor
    node = Node("output", _valid_name(name), (), (), {}, 0)
    return tensor_in_order(operand, file_order(operand.rank), node)


class _LayerNames:
    """Gives each layer a name of its own: that of the file, without characters Keras refuses."""

    def __init__(self) -> None:
        self.taken: set[str] = set()

    def unique(self, name: str) -> str:
        base = candidate = _valid_name(name) or "layer"
        count = 1
        while candidate in self.taken:
            candidate, count = f"{base}_{count}", count + 1
        self.taken.add(candidate)
        return candidate


def _valid_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("_")
