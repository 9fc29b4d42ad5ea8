"""Normalisations folded into the convolutions before them, in a graph that is to be copied.

    s (W * x + b) + o  =  (s W) * x + (s b + o)

A trained batch normalisation multiplies and shifts each channel. To pass over all activations for
that takes long; over the weights, it is almost free. The folded weights are computed at each call,
so that new values of the variables count, and gradients flow to the variables.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial, reduce

import tensorflow as tf
from tensorflow.core.framework.attr_value_pb2 import AttrValue
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef

CONVOLUTIONS = ("Conv2D", "Conv3D", "DepthwiseConv2dNative")
STEPS = ("Mul", "Add", "AddV2", "BiasAdd")
TYPES = (tf.float32.as_datatype_enum, tf.float64.as_datatype_enum)
"""In types of fewer digits the rounding of the folded weights could be seen."""


def fold_normalizations(graph_def: GraphDef, inputs: set[str]) -> tuple[GraphDef, set[str]]:
    """Fold what multiplies and shifts the channels of convolutions into their weights.

    Args:
        graph_def: operations, with their known shapes.
        inputs: the names of those nodes that are the network's inputs.

    Returns:
        The operations with the normalisations folded, and the names of the nodes whose values are
        others now: the convolutions, and all but the last of the operations folded into each.
    """
    graph = _Graph(graph_def, inputs)
    changed: set[str] = set()
    folded: dict[str, list[NodeDef]] = {}
    for node in graph_def.node:
        chain = graph.channelwise_after(node)
        if any(step.op == "Mul" for step, _ in chain):
            last, _ = chain[-1]
            folded[last.name] = _folded(node, graph.kernel_of(node), chain)
            changed.update([node.name, *(step.name for step, _ in chain[:-1])])
    kept = [node for node in graph_def.node if node.name not in changed | set(folded)]
    result = GraphDef(versions=graph_def.versions, library=graph_def.library)
    result.node.extend([*kept, *(node for nodes in folded.values() for node in nodes)])
    return result, changed


class _Graph:
    """Which nodes of a GraphDef read which.

    Args:
        graph_def: the operations.
        inputs: the names of the nodes that are the network's inputs.
    """

    def __init__(self, graph_def: GraphDef, inputs: set[str]):
        self._nodes = {node.name: node for node in graph_def.node}
        self._readers: dict[str, list[str]] = {}
        for node in graph_def.node:
            for name in node.input:
                self._readers.setdefault(_node_of(name), []).append(node.name)
        self._data: set[str] = set()  # what depends on the inputs; all else is parameters
        reached = list(inputs)
        while reached:
            name = reached.pop()
            if name not in self._data:
                self._data.add(name)
                reached += self._readers.get(name, [])

    def kernel_of(self, convolution: NodeDef) -> NodeDef | None:
        """Give the weights of a convolution, None if they depend on the network's inputs."""
        name = convolution.input[1]
        return None if name in self._data else self._nodes.get(name)

    def channelwise_after(self, node: NodeDef) -> list[tuple[NodeDef, NodeDef]]:
        """List what multiplies or shifts the channels of a convolution after it, and by what.

        Each of the operations is the only one that reads the result of the operation before it.
        """
        if node.op not in CONVOLUTIONS or node.attr["T"].type not in TYPES:
            return []
        channels = _shape(node)[-1:]
        kernel = self.kernel_of(node)
        is_last = node.attr["data_format"].s.endswith(b"C")
        if not is_last or channels in ([], [-1]) or kernel is None or not _shape(kernel):
            return []
        chain: list[tuple[NodeDef, NodeDef]] = []
        before = node
        while len(readers := self._readers.get(before.name, [])) == 1:
            step = self._nodes[readers[0]]
            parameter = self._parameter(step, before)
            if parameter is None or not _is_for_each_channel(parameter, _shape(node)):
                break
            chain.append((step, parameter))
            before = step
        return chain

    def _parameter(self, step: NodeDef, before: NodeDef) -> NodeDef | None:
        """Give what a step multiplies a result by or adds to it, None if it does neither."""
        others = [name for name in step.input if name != before.name]
        if step.op not in STEPS or len(others) != 1 or others[0] in self._data:
            return None
        return self._nodes.get(others[0])  # None for an output after the first, or a control input


def _folded(
    convolution: NodeDef, kernel: NodeDef, chain: Sequence[tuple[NodeDef, NodeDef]]
) -> list[NodeDef]:
    """Give a convolution with other weights, what stands for the last step, and what they read."""
    new = _NewNodes(convolution)
    channels = _shape(convolution)[-1]
    steps = [(step.op == "Mul", new.reshaped(p.name, [channels])) for step, p in chain]
    scale = reduce(partial(new.binary, "Mul"), [value for is_scale, value in steps if is_scale])
    offset = None
    for is_scale, value in steps:
        if offset is not None:
            offset = new.binary("Mul" if is_scale else "AddV2", offset, value)
        elif not is_scale:
            offset = value
    if convolution.op == "DepthwiseConv2dNative":  # its weights are [H, W, C, M]
        scale = new.reshaped(scale, _shape(kernel)[2:])
    last, _ = chain[-1]
    with_weights = NodeDef()
    with_weights.CopyFrom(convolution)
    with_weights.input[1] = new.binary("Mul", kernel.name, scale)
    shifted = NodeDef(op="Identity" if offset is None else "BiasAdd", name=last.name)
    shifted.input.extend([convolution.name] if offset is None else [convolution.name, offset])
    for name in ("T", "_output_shapes"):
        shifted.attr[name].CopyFrom(last.attr[name])
    if offset is not None:
        shifted.attr["data_format"].s = b"NHWC"
    return [*new.nodes, with_weights, shifted]


class _NewNodes:
    """Nodes that compute weights; their names begin with that of a convolution."""

    def __init__(self, convolution: NodeDef):
        self.nodes: list[NodeDef] = []
        self._convolution = convolution

    def binary(self, op: str, x: str, y: str) -> str:
        """Add an operation of two values of the convolution's type, and give its name."""
        return self._add(op, [x, y], T=self._convolution.attr["T"])

    def reshaped(self, x: str, shape: Sequence[int]) -> str:
        """Add a reshape, and give its name."""
        int32 = AttrValue(type=tf.int32.as_datatype_enum)
        value = AttrValue(tensor=tf.make_tensor_proto(list(shape), tf.int32))
        wanted = self._add("Const", [], dtype=int32, value=value)
        return self._add("Reshape", [x, wanted], T=self._convolution.attr["T"], Tshape=int32)

    def _add(self, op: str, inputs: Sequence[str], **attributes: AttrValue) -> str:
        name = f"{self._convolution.name}/folded_{len(self.nodes)}"
        node = NodeDef(op=op, name=name, input=inputs)
        for key, value in attributes.items():
            node.attr[key].CopyFrom(value)
        self.nodes.append(node)
        return name


def _node_of(name: str) -> str:
    """Give the name of the node that gives a tensor, or on which another waits."""
    return name.removeprefix("^").split(":")[0]


def _shape(node: NodeDef) -> list[int]:
    """Give the shape of a node's first output, [] if it is a number or not known; -1: any size."""
    shapes = node.attr["_output_shapes"].list.shape
    return [axis.size for axis in shapes[0].dim] if shapes else []


def _is_for_each_channel(parameter: NodeDef, activations: Sequence[int]) -> bool:
    """Whether a parameter has one value for each channel of the activations."""
    shape = _shape(parameter)
    ones = [1] * (len(shape) - 1)
    return len(shape) <= len(activations) and shape == [*ones, activations[-1]]
