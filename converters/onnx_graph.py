"""An ONNX model as plain Python: nodes, constants, inputs and outputs."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Node(NamedTuple):
    """One operation of the file."""

    op: str
    """ONNX's name of it; of another domain than ONNX's own, "domain.Name"."""
    name: str
    """As in the file, or its first output's where it has none."""
    inputs: tuple[str, ...]
    """Empty where an optional one is left out."""
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    """Text as str, tensors as arrays."""
    opset: int
    """The version of ONNX's operations that it follows."""


class Input(NamedTuple):
    """What the model is called with."""

    name: str
    shape: tuple[int | None, ...]
    """None where the file leaves a size open."""
    dtype: np.dtype


class Graph(NamedTuple):
    """A whole model."""

    name: str
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    """Each after those that it depends on."""
    constants: dict[str, np.ndarray]
    opset: int


class UnsupportedError(ValueError):
    """What a file has and the importer cannot rebuild as layers."""

    def __init__(self, node: Node, what: str, remedy: str = "") -> None:
        remedy = remedy or "from_onnx(..., engine='onnx2tf') may know it, for gradients only"
        super().__init__(f"node {node.name!r} ({node.op}): {what}; {remedy}")


def consumers(graph: Graph) -> dict[str, list[Node]]:
    """Give the nodes that read each tensor."""
    found: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in dict.fromkeys(node.inputs):
            found.setdefault(name, []).append(node)
    return found
