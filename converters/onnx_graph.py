"""An ONNX model in plain Python: its nodes, constants, inputs and outputs."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Node(NamedTuple):
    """A node of the graph, which applies an operation."""

    op: str
    """ONNX's name of the operation; "domain.Name" for one that is not ONNX's own."""
    name: str
    """The name in the file; where there is none, the name of the first output."""
    inputs: tuple[str, ...]
    """Names of tensors; "" where an optional input is left out."""
    outputs: tuple[str, ...]
    """Names of tensors; "" where an output is not wanted."""
    attributes: dict[str, Any]
    """Attributes by name: text as str, tensors as arrays."""
    opset: int
    """The version of ONNX's set of operations."""


class GraphInput(NamedTuple):
    """An input of the model, with the batch as its first axis."""

    name: str
    shape: tuple[int | None, ...]
    """None where the file leaves a size open."""
    dtype: np.dtype


class Graph(NamedTuple):
    """A model."""

    name: str
    inputs: tuple[GraphInput, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    """Each node comes after those that it depends on."""
    constants: dict[str, np.ndarray]
    """Weights and other constants by name."""
    opset: int
    """The version of ONNX's set of operations."""


class UnsupportedError(ValueError):
    """A node that the importer cannot rebuild as layers.

    Args:
        node: the node.
        reason: why it cannot be rebuilt.
        remedy: what the user can do; by default, use the engine "onnx2tf".
    """

    def __init__(self, node: Node, reason: str, remedy: str = "") -> None:
        remedy = remedy or "from_onnx(..., engine='onnx2tf') may know it, for gradients only"
        super().__init__(f"node {node.name!r} ({node.op}): {reason}; {remedy}")


def consumers(graph: Graph) -> dict[str, list[Node]]:
    """Give the nodes that read each tensor, by the tensor's name."""
    readers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in dict.fromkeys(node.inputs):
            readers.setdefault(name, []).append(node)
    return readers
