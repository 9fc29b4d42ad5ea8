"""Arithmetic by constants behind a convolution or product becomes part of its weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from .onnx_graph import Graph, Node, consumers

ARITHMETIC = ("Add", "Sub", "Mul", "Div")


def fused(graph: Graph) -> Graph:
    """Give the graph with each chain of a weighted node and such arithmetic as one node.

    A chain is fused where nothing else reads what is inside, and the constant is a number for each
    channel. A product becomes a Gemm when it gets a bias.
    """
    readers, constants = consumers(graph), dict(graph.constants)
    nodes: list[Node] = []
    makers: dict[str, int] = {}
    for node in graph.nodes:
        place = _behind(node, makers, readers, graph)
        joined = None if place is None else _joined(nodes[place], node, constants)
        if joined is None or place is None:
            makers |= {name: len(nodes) for name in node.outputs}
            nodes.append(node)
        else:
            nodes[place] = joined
            makers[node.outputs[0]] = place
    return graph._replace(nodes=tuple(nodes), constants=constants)


def _behind(
    node: Node, makers: dict[str, int], readers: dict[str, list[Node]], graph: Graph
) -> int | None:
    """Give the place of the node whose only reader this arithmetic is."""
    if node.op not in ARITHMETIC:
        return None
    for name in node.inputs:
        if name in makers and len(readers[name]) == 1 and name not in graph.outputs:
            return makers[name]
    return None


def _joined(maker: Node, node: Node, constants: dict[str, np.ndarray]) -> Node | None:
    """Give one node for both, and put its weights among the constants; None if it cannot be."""
    if maker.op not in ("Conv", "Gemm", "MatMul") or maker.inputs[1] not in constants:
        return None
    if maker.op == "MatMul" and constants[maker.inputs[1]].ndim != 2:
        return None
    first = node.inputs[0] in constants
    other = constants.get(node.inputs[0 if first else 1])
    bias_name = maker.inputs[2] if len(maker.inputs) > 2 else ""
    if other is None or (first and node.op == "Div") or (bias_name and bias_name not in constants):
        return None
    weights, bias, channels = _affine(maker, constants, bias_name)
    per_channel = _per_channel(other, maker.op, constants[maker.inputs[1]].ndim, channels)
    if per_channel is None:
        return None
    scale, shift = _scale_and_shift(node.op, per_channel, first=first)
    names = [f"{node.outputs[0]} weights", f"{node.outputs[0]} bias"]
    axes = (-1, *[1] * (weights.ndim - 1)) if maker.op == "Conv" else (1, -1)
    scale = np.broadcast_to(np.asarray(scale, weights.dtype), (channels,))
    constants[names[0]] = weights * scale.reshape(axes)
    keeps = bias is None and node.op in ("Mul", "Div")
    if not keeps:
        offset = np.zeros(channels, weights.dtype) if bias is None else bias
        constants[names[1]] = (offset * scale + shift).astype(weights.dtype)
    return maker._replace(
        op="Conv" if maker.op == "Conv" else "Gemm",
        inputs=(maker.inputs[0], *(names[:1] if keeps else names)),
        outputs=node.outputs,
        attributes=maker.attributes if maker.op == "Conv" else {},
    )


def _scale_and_shift(op: str, constant: np.ndarray, *, first: bool) -> tuple[Any, Any]:
    """Give a and b, where the arithmetic is a x + b; `first` stands for constant - x."""
    match op:
        case "Add":
            return 1.0, constant
        case "Sub":
            return (-1.0, constant) if first else (1.0, -constant)
        case "Mul":
            return constant, 0.0
        case _:
            return 1 / constant, 0.0


def _affine(
    maker: Node, constants: dict[str, np.ndarray], bias_name: str
) -> tuple[np.ndarray, np.ndarray | None, int]:
    """Give weights ([out, in, ...] of a convolution, else [in, out]), bias and channels."""
    weights, bias = constants[maker.inputs[1]], constants.get(bias_name)
    if maker.op == "Conv":
        return weights, bias, len(weights)
    given = maker.attributes
    weights = given.get("alpha", 1.0) * (weights.T if given.get("transB", 0) else weights)
    if bias is not None:
        bias = given.get("beta", 1.0) * bias
    return weights, bias, weights.shape[-1]


def _per_channel(array: np.ndarray, op: str, rank: int, channels: int) -> np.ndarray | None:
    """Give what broadcasts along channels alone as ``[channels]``, else None."""
    if array.dtype.kind != "f" or array.ndim > rank:
        return None
    full = array.reshape((1,) * (rank - array.ndim) + array.shape)
    axis = 1 if op == "Conv" else rank - 1
    if full.size != full.shape[axis] or full.size not in (1, channels):
        return None
    return np.broadcast_to(full.ravel(), (channels,))
