"""How many bytes the intermediate results of a traced function take for one example."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfxai.models.graph_copy import GraphCopy

_HOLDS_NO_RESULT = {"Placeholder", "Const", "ReadVariableOp", "VarHandleOp", "NoOp"}


def row_bytes(function: Any, shapes: Sequence[tf.TensorShape]) -> int:
    """Give the size of all intermediate results for one example, at least 1.

    Args:
        function: a traced function whose inputs are ``[None, ...]``.
        shapes: the shape of one example of each input.
    """
    graph = function.graph
    if not _rows_are_examples(graph, [x.shape[1:] for x in graph.inputs[: len(shapes)]], shapes):
        graph = _for_one_example(function, shapes)
    size = sum(
        (_of_one_row(output.shape) or 0) * output.dtype.size
        for operation in graph.get_operations()
        if operation.type not in _HOLDS_NO_RESULT and not _reads_weights_only(operation)
        for output in operation.outputs
    )
    return max(size, 1)


def _rows_are_examples(
    graph: tf.Graph, declared: Sequence[tf.TensorShape], shapes: Sequence[tf.TensorShape]
) -> bool:
    """Whether the first axis of each result is that of the examples, and all others are known."""
    if any(a != b for a, b in zip(declared, shapes, strict=True)):
        return False
    for operation in graph.get_operations():
        if any(t.shape.rank is None or None in t.shape[1:] for t in operation.outputs):
            return False
        if operation.type == "Reshape" and operation.outputs[0].shape.rank:
            before, after = operation.inputs[0].shape, operation.outputs[0].shape
            if None in after and before[1:].num_elements() != after[1:].num_elements():
                return False
    return True


def _for_one_example(function: Any, shapes: Sequence[tf.TensorShape]) -> tf.Graph:
    """Give the function's graph once more, with the shapes that it has for one example."""
    with tf.Graph().as_default() as graph:
        dtypes = [x.dtype for x in function.graph.inputs]
        inputs = [
            tf.compat.v1.placeholder(dtype, [1, *shape])
            for dtype, shape in zip(dtypes, shapes, strict=False)
        ]
        GraphCopy(function, with_shapes=False).into_current_graph(inputs, [])
    return graph


def _of_one_row(shape: tf.TensorShape) -> int | None:
    """Give the number of elements, counting one row where the number of rows is open."""
    if shape.rank and shape[0] is None:
        return shape[1:].num_elements()
    return shape.num_elements()


def _reads_weights_only(operation: tf.Operation) -> bool:
    return bool(operation.inputs) and all(
        x.op.type in _HOLDS_NO_RESULT - {"Placeholder"} for x in operation.inputs
    )
