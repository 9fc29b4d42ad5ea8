"""Copies of the operations of a traced function in another graph."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef
from tensorflow.python.ops import handle_data_util

from tfxai.models.held_means import is_held_mean
from tfxai.models.normalization_folding import fold_normalizations
from tfxai.models.swish import is_swish

_GROUPED = "Conv2D"


def is_copyable(graph: tf.Graph) -> bool:
    """Whether a copy of the operations has the gradients of the operations themselves.

    TensorFlow keeps some gradients in Python, beside the graph: those of functions and loops, and
    gradients that were given by `tf.custom_gradient`. TensorFlow's swish has one of these, but it
    is the ordinary one, which the copies have. Grouped convolutions lack a gradient on some
    machines (`tfxai.models.grouped_convolutions`).
    """
    return not any(map(_has_gradient_of_its_own, graph.get_operations()))


def _has_gradient_of_its_own(operation: tf.Operation) -> bool:
    if operation._gradient_function is not None:
        return True
    if is_swish(operation):
        return False
    if operation.type == _GROUPED and operation.get_attr("data_format") == b"NHWC":
        x, kernel = operation.inputs
        return x.shape[-1] != kernel.shape[-2]
    attributes = operation.node_def.attr
    return "_gradient_op_type" in attributes or any(
        value.HasField("func") or value.list.func for value in attributes.values()
    )


class GraphCopy:
    """Makes copies of the operations of a traced function.

    Args:
        function: a traced function of tensors.
        with_shapes: whether the copies have the shapes that are known of the operations, beside
            those that TensorFlow infers from the new inputs.
    """

    def __init__(self, function: Any, *, with_shapes: bool = True):
        self._variables = function.graph.variables
        self._captures = [(outer, inner.name) for outer, inner in function.graph.captures]
        count = len(function.graph.inputs) - len(self._captures)
        self._inputs = [x.name for x in function.graph.inputs[:count]]
        placeholders = {x.op.name for x in function.graph.inputs}
        graph_def = function.graph.as_graph_def(add_shapes=with_shapes)
        self._held_means = {o.name for o in function.graph.get_operations() if is_held_mean(o)}
        swishes = {o.name for o in function.graph.get_operations() if is_swish(o)}
        kept = [node for node in graph_def.node if node.name not in placeholders]
        of_inputs = {f"^{name}" for name in placeholders}
        for node in kept:
            # Nothing has to wait for an input, nor to be on its device.
            read = [name for name in node.input if name not in of_inputs]
            del node.input[:]
            node.input.extend(read)
            node.attr.pop("_class", None)
            if node.name in swishes:
                _make_identity(node)
        del graph_def.node[:]
        graph_def.node.extend(kept)
        self._graph_def = graph_def
        self._read = {name for node in kept for name in node.input}

    @property
    def has_normalizations(self) -> bool:
        """Whether there are normalisations that can be folded into convolutions."""
        return bool(self._folded[1])

    @cached_property
    def _folded(self) -> tuple[GraphDef, set[str]]:
        return fold_normalizations(self._graph_def, set(map(_in_node, self._inputs)))

    @cached_property
    def _with_second_derivatives(self) -> GraphDef:
        """The operations with no mean held constant."""
        graph_def = GraphDef()
        graph_def.CopyFrom(self._graph_def)
        for node in graph_def.node:
            if node.name in self._held_means:
                node.op = "Identity"
        return graph_def

    def into_current_graph(
        self,
        inputs: Sequence[tf.Tensor],
        names: Sequence[str],
        *,
        folded: bool = False,
        twice: bool = False,
    ) -> list[tf.Tensor]:
        """Copy the operations into the graph that is being built.

        Args:
            inputs: what takes the place of the function's inputs.
            names: tensors of the function's graph.
            folded: whether normalisations are folded into the convolutions before them, unless a
                tensor between them is wanted.
            twice: whether second derivatives are wanted (`tfxai.models.held_means`); then nothing
                is folded.

        Returns:
            The copies of the tensors with these names.
        """
        graph = tf.compat.v1.get_default_graph()
        replaced = dict(zip(self._inputs, inputs, strict=True))
        if hasattr(graph, "watch_variable"):
            for variable in self._variables:
                graph.watch_variable(variable)  # so that gradients flow to the weights, too
        for outer, name in self._captures:
            replaced[name] = _captured(graph, outer)
        wanted = [name for name in names if name not in replaced]
        read = {name: tensor for name, tensor in replaced.items() if _in_node(name) in self._read}
        graph_def = self._graph_def
        if twice:
            graph_def = self._with_second_derivatives
        elif folded and self._folded[1].isdisjoint(map(_in_node, wanted)):
            graph_def = self._folded[0]
        copied = tf.graph_util.import_graph_def(graph_def, read, wanted, name="")
        tensor_of = {**replaced, **dict(zip(wanted, copied, strict=True))}
        return [tensor_of[name] for name in names]


def _make_identity(swish: NodeDef) -> None:
    """Make an Identity of x sigmoid(beta x) of the node that has a gradient of its own."""
    swish.op = "Identity"
    del swish.input[1:]
    dtype = swish.attr["T"].list.type[0]
    shapes = swish.attr["_output_shapes"].list.shape[:1] if "_output_shapes" in swish.attr else []
    swish.attr.clear()
    swish.attr["T"].type = dtype
    if shapes:
        swish.attr["_output_shapes"].list.shape.extend(shapes)


def _captured(graph: tf.Graph, outer: tf.Tensor) -> tf.Tensor:
    """Give a tensor of outside, such as a variable's handle, within a graph.

    A plain `tf.Graph`, in which nothing runs, gets a placeholder.
    """
    if hasattr(graph, "capture"):
        return graph.capture(outer)
    placeholder = tf.compat.v1.placeholder(outer.dtype, outer.shape)
    handle_data_util.copy_handle_data(outer, placeholder)  # the shape of a variable's value
    return placeholder


def _in_node(name: str) -> str:
    """Give the name of a tensor as the nodes of a graph write it: the first output's without 0."""
    return name.removesuffix(":0")
