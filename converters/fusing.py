"""`fuse_arithmetic`: arithmetic by constants after a convolution becomes part of its weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from .onnx_graph import Graph, Node, consumers

ARITHMETIC = ("Add", "Sub", "Mul", "Div")


def fuse_arithmetic(graph: Graph) -> Graph:
    """Fuse each convolution or product with the arithmetic by constants that follows it.

    They are fused if nothing else reads the result in between, and if the constant has one number
    for each channel. A product becomes a Gemm, which can have a bias.
    """
    readers, constants = consumers(graph), dict(graph.constants)
    nodes: list[Node] = []
    producers: dict[str, int] = {}
    for node in graph.nodes:
        index = _only_producer(node, producers, readers, graph)
        fused = None if index is None else _fused(nodes[index], node, constants)
        if fused is None or index is None:
            producers |= {name: len(nodes) for name in node.outputs}
            nodes.append(node)
        else:
            nodes[index] = fused
            producers[node.outputs[0]] = index
    return graph._replace(nodes=tuple(nodes), constants=constants)


def _only_producer(
    node: Node, producers: dict[str, int], readers: dict[str, list[Node]], graph: Graph
) -> int | None:
    """Give the index of a node whose output nothing reads but this arithmetic; else None.

    Args:
        node: the arithmetic.
        producers: the index of the node that gives each tensor.
        readers: the nodes that read each tensor.
        graph: the graph.
    """
    if node.op not in ARITHMETIC:
        return None
    for name in node.inputs:
        if name in producers and len(readers[name]) == 1 and name not in graph.outputs:
            return producers[name]
    return None


def _fused(producer: Node, node: Node, constants: dict[str, np.ndarray]) -> Node | None:
    """Give one node for a producer and arithmetic, and add its weights to the constants.

    Where the two cannot be fused, give None.
    """
    if producer.op not in ("Conv", "Gemm", "MatMul") or producer.inputs[1] not in constants:
        return None
    if producer.op == "MatMul" and constants[producer.inputs[1]].ndim != 2:
        return None
    is_first = node.inputs[0] in constants
    operand = constants.get(node.inputs[0 if is_first else 1])
    bias_name = producer.inputs[2] if len(producer.inputs) > 2 else ""
    if operand is None or (is_first and node.op == "Div"):
        return None
    if bias_name and bias_name not in constants:
        return None
    weights, bias, channels = _affine(producer, constants, bias_name)
    per_channel = _per_channel(operand, producer.op, constants[producer.inputs[1]].ndim, channels)
    if per_channel is None:
        return None
    scale, shift = _scale_and_shift(node.op, per_channel, is_first=is_first)
    names = [f"{node.outputs[0]} weights", f"{node.outputs[0]} bias"]
    axes = (-1, *[1] * (weights.ndim - 1)) if producer.op == "Conv" else (1, -1)
    scale = np.broadcast_to(np.asarray(scale, weights.dtype), (channels,))
    constants[names[0]] = weights * scale.reshape(axes)
    needs_bias = bias is not None or node.op in ("Add", "Sub")
    if needs_bias:
        offset = np.zeros(channels, weights.dtype) if bias is None else bias
        constants[names[1]] = (offset * scale + shift).astype(weights.dtype)
    return producer._replace(
        op="Conv" if producer.op == "Conv" else "Gemm",
        inputs=(producer.inputs[0], *(names if needs_bias else names[:1])),
        outputs=node.outputs,
        attributes=producer.attributes if producer.op == "Conv" else {},
    )


def _scale_and_shift(op: str, constant: np.ndarray, *, is_first: bool) -> tuple[Any, Any]:
    """Write the arithmetic as a x + b, and give a and b.

    Args:
        op: one of `ARITHMETIC`.
        constant: the constant operand; x is the other one.
        is_first: whether the constant is the first operand.
    """
    match op:
        case "Add":
            return 1.0, constant
        case "Sub":
            return (-1.0, constant) if is_first else (1.0, -constant)
        case "Mul":
            return constant, 0.0
        case _:
            return 1 / constant, 0.0


def _affine(
    producer: Node, constants: dict[str, np.ndarray], bias_name: str
) -> tuple[np.ndarray, np.ndarray | None, int]:
    """Give weights, bias and number of output channels; Gemm's alpha and beta are multiplied in.

    Weights are ``[out, in, ...]`` for a convolution and ``[in, out]`` for a product.
    """
    weights, bias = constants[producer.inputs[1]], constants.get(bias_name)
    if producer.op == "Conv":
        return weights, bias, len(weights)
    attributes = producer.attributes
    weights = attributes.get("alpha", 1.0) * (weights.T if attributes.get("transB", 0) else weights)
    if bias is not None:
        bias = attributes.get("beta", 1.0) * bias
    return weights, bias, weights.shape[-1]


def _per_channel(array: np.ndarray, op: str, rank: int, channels: int) -> np.ndarray | None:
    """Give a constant as ``[channels]`` if it broadcasts along channels alone, else None."""
    if array.dtype.kind != "f" or array.ndim > rank:
        return None
    of_full_rank = array.reshape((1,) * (rank - array.ndim) + array.shape)
    axis = 1 if op == "Conv" else rank - 1
    if array.size != of_full_rank.shape[axis] or array.size not in (1, channels):
        return None
    return np.broadcast_to(array.ravel(), (channels,))
