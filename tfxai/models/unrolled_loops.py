"""Copies of a traced graph in which every loop is the sequence of its steps.

A loop, such as that of an LSTM, hides its operations in a function that is run again and again.
Where the number of steps is known when the graph is built, the operations of the function can be
copied once for each step; what is left is a graph without loops, which can be read and
differentiated step by step. It computes the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.core.framework.attr_value_pb2 import AttrValue
from tensorflow.python.framework.tensor_util import constant_value, try_evaluate_constant
from tensorflow.python.ops import while_v2

from tfxai.models import tensor_lists
from tfxai.models.swish import is_swish

LOOPS = ("While", "StatelessWhile")
MOST_STEPS = 1000
"""The most steps of a loop that is unrolled; the time to trace a graph grows with its steps."""
_ORIGIN = "_operation_of_a_loop"
"""The attribute of a copied operation that names the operation of the loop."""
Values = dict[Any, Any]
"""A tensor's reference -> its copy: a tensor, or a `TensorList`."""


class CannotUnrollError(Exception):
    """The graph has a loop, or an operation, of which no such copy can be made."""


def has_loops(graph: tf.Graph) -> bool:
    """Whether a graph has loops."""
    return any(operation.type in LOOPS for operation in graph.get_operations())


def origin(operation: tf.Operation) -> str | None:
    """Give the name of the operation of a loop of which this is the copy for one step.

    None for an operation that is of no loop.
    """
    attribute = operation.node_def.attr.get(_ORIGIN)
    return None if attribute is None else attribute.s.decode()


def unrolled_copy(
    graph: Any, inputs: Sequence[tf.Tensor], wanted: Sequence[tf.Tensor]
) -> list[tf.Tensor]:
    """Copy a function's operations into the graph that is being built, with its loops unrolled.

    Args:
        graph: the function's graph.
        inputs: what takes the place of the function's inputs; of known sizes, but for the batch.
        wanted: tensors of the function's graph.

    Returns:
        The copies of the wanted tensors.

    Raises:
        CannotUnrollError: the number of steps of a loop is not known or too large, it assigns to
            variables, or an operation has a gradient of its own.
    """
    here = tf.compat.v1.get_default_graph()
    values: Values = {
        old.ref(): new for old, new in zip(graph.inputs[: len(inputs)], inputs, strict=True)
    }
    for outer, inner in graph.captures:
        values[inner.ref()] = outer if outer is inner else here.capture(outer)
    _copy(graph, values, wanted, {}, of_a_loop=False)
    return [_tensor(values[x.ref()]) for x in wanted]


def _copy(
    graph: tf.Graph,
    values: Values,
    wanted: Iterable[tf.Tensor],
    constant: dict,
    *,
    of_a_loop: bool,
) -> None:
    """Add to `values` the copies of all that leads to the wanted tensors.

    Args:
        graph: the graph of a function.
        values: what is known already, such as the function's inputs.
        wanted: tensors of the function's graph.
        constant: the copies of earlier steps, (operation, its inputs) -> results; the same
            operation of the same inputs is not copied again.
        of_a_loop: whether the function is the body of a loop.
    """
    for operation in _needed(graph, values, wanted):
        inputs = [values[x.ref()] for x in operation.inputs]
        key = (operation.name, *map(id, inputs))
        if key not in constant:
            results = _results(operation, inputs, of_a_loop=of_a_loop)
            if not operation.op_def.is_stateful or operation.type == "ReadVariableOp":
                constant[key] = results, inputs  # The inputs live on, so that no identity recurs.
        else:
            results, _ = constant[key]
        for old, new in zip(operation.outputs, results, strict=True):
            values[old.ref()] = new


def _needed(graph: tf.Graph, values: Values, wanted: Iterable[tf.Tensor]) -> list[tf.Operation]:
    """List the operations that lead from known values to wanted ones, in order of evaluation."""
    needed: dict[str, tf.Operation] = {}
    open_tensors = list(wanted)
    while open_tensors:
        tensor = open_tensors.pop()
        operation = tensor.op
        if tensor.ref() not in values and operation.name not in needed:
            needed[operation.name] = operation
            open_tensors.extend(operation.inputs)
    return [o for o in graph.get_operations() if o.name in needed]


def _results(operation: tf.Operation, inputs: list[Any], *, of_a_loop: bool) -> Sequence[Any]:
    if operation.type in LOOPS:
        return _unroll(operation, inputs)
    if is_swish(operation):  # whose gradient, read in the graph, is that of x sigmoid(beta x)
        return [inputs[0], *inputs[1:]]
    of_list = tensor_lists.results(operation, inputs, known)
    if of_list is not None:
        return of_list
    if not _is_plain(operation):
        raise CannotUnrollError(operation.name)
    attributes = dict(operation.node_def.attr)
    if of_a_loop:
        attributes[_ORIGIN] = AttrValue(s=operation.name.encode())
    here = tf.compat.v1.get_default_graph()
    copy = here.create_op(
        operation.type, list(map(_tensor, inputs)), attrs=attributes, name=operation.name
    )
    for old, new in zip(operation.outputs, copy.outputs, strict=True):
        new.set_shape(old.shape)
    return copy.outputs


def _unroll(loop: tf.Operation, inputs: list[Any]) -> list[Any]:
    """Copy the body of a loop once for each step; give what the loop's variables are at its end."""
    condition = while_v2._get_graph(loop, "cond", "_cond_graph")
    body = while_v2._get_graph(loop, "body", "_body_graph")
    if any("Assign" in operation.type for operation in body.get_operations()):
        raise CannotUnrollError(f"{loop.name} assigns to variables")
    constant: dict = {}
    variables = list(inputs)
    for _ in range(MOST_STEPS + 1):
        values = _values_of(condition, variables)
        _copy(condition, values, condition.outputs[:1], {}, of_a_loop=False)
        goes_on = known(_tensor(values[condition.outputs[0].ref()]))
        if goes_on is None:
            raise CannotUnrollError(f"{loop.name}: its number of steps is not known")
        if not goes_on:
            return variables
        values = _values_of(body, variables)
        _copy(body, values, body.outputs, constant, of_a_loop=True)
        variables = [_counted(values[x.ref()]) for x in body.outputs]
    raise CannotUnrollError(f"{loop.name} has more than {MOST_STEPS} steps")


def _values_of(function: Any, variables: list[Any]) -> Values:
    return {x.ref(): value for x, value in zip(function.inputs, variables, strict=True)}


def _counted(variable: Any) -> Any:
    """Give a constant for a counter that is one, so that what is counted from it is known fast."""
    if not tf.is_tensor(variable) or not variable.dtype.is_integer or variable.shape.rank != 0:
        return variable
    value = known(variable)
    return variable if value is None else tf.constant(value, variable.dtype)


def known(tensor: tf.Tensor) -> Any:
    """Give the value of a tensor if it follows from constants and known shapes; None if not."""
    value = constant_value(tensor)
    return try_evaluate_constant(tensor) if value is None else value


def _tensor(value: Any) -> tf.Tensor:
    if tf.is_tensor(value):
        return value
    raise CannotUnrollError("a list of tensors is read in a way that is not known")


def _is_plain(operation: tf.Operation) -> bool:
    """Whether a copy of an operation has its gradient, and does not call functions."""
    attributes = operation.node_def.attr
    return (
        operation._gradient_function is None
        and "_gradient_op_type" not in attributes
        and not any(v.HasField("func") or v.list.func for v in attributes.values())
    )
