"""`name_patterns`: operations that a file writes out in others become nodes of their own.

Exports of old opsets write layer normalisation and GELU out in arithmetic. As one node they become
the layer or function that methods know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from scipy.special import erf

from .onnx_graph import Graph, Node, consumers

FUNCTIONS: dict[str, Callable[..., np.ndarray]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Pow": np.power,
    "Erf": erf,
    "Tanh": np.tanh,
}
"""The operations that a GELU may be written in."""
LONGEST = 12
"""The most nodes that a GELU is written in."""
POINTS = np.linspace(-6, 6, 97)
"""Where a function of one number is compared with GELU."""
GELUS = {
    "none": POINTS * (1 + erf(POINTS / np.sqrt(2))) / 2,
    "tanh": POINTS * (1 + np.tanh(np.sqrt(2 / np.pi) * (POINTS + 0.044715 * POINTS**3))) / 2,
}
"""The values there of each kind of GELU, by ONNX's names (Hendrycks and Gimpel 2016)."""


class _View(NamedTuple):
    """A graph, and what stands where in it."""

    producers: dict[str, Node]
    readers: dict[str, list[Node]]
    constants: dict[str, np.ndarray]
    kept: frozenset[str]
    """The outputs of the graph."""

    def number(self, name: str) -> float | None:
        """Give a constant that is a single number; None for anything else."""
        array = self.constants.get(name)
        return float(array.item()) if array is not None and array.size == 1 else None

    def made_by(self, name: str, *ops: str) -> Node | None:
        """Give the node that makes a tensor, if it applies one of some operations."""
        node = self.producers.get(name)
        return node if node is not None and node.op in ops else None


def name_patterns(graph: Graph) -> Graph:
    """Give the graph with layer normalisations and GELUs as nodes; what is unread is left out."""
    view = _View(
        {name: node for node in graph.nodes for name in node.outputs},
        consumers(graph),
        graph.constants,
        frozenset(graph.outputs),
    )
    nodes, constants = [], dict(graph.constants)
    for node in graph.nodes:
        found = _gelu(node, view)
        found = found or _layer_normalization(node, view, constants)
        nodes.append(node if found is None else found)
    return graph._replace(nodes=_read(nodes, graph.outputs), constants=constants)


def _read(nodes: list[Node], outputs: tuple[str, ...]) -> tuple[Node, ...]:
    """Give the nodes whose outputs are read, or are outputs of the graph."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted.intersection(node.outputs):
            wanted.update(node.inputs)
            kept.append(node)
    return tuple(reversed(kept))


def _gelu(node: Node, view: _View) -> Node | None:
    """Give the node Gelu for the last node of one that is written out, else None.

    The parts are recognised by what they compute: by their values at `POINTS`.
    """
    if node.op != "Mul":
        return None
    parts, queue = [node], [node]
    while queue:
        for name in queue.pop(0).inputs:
            inner = view.producers.get(name)
            if inner is not None and inner.op in FUNCTIONS and inner not in parts:
                parts.append(inner)
                queue.append(inner)
        if len(parts) > 2 * LONGEST:
            break
    curves = [part for part in parts[: 2 * LONGEST] if part.op in ("Erf", "Tanh")]
    if not curves:
        return None
    for source in dict.fromkeys(name for part in parts for name in part.inputs):
        if source in view.constants:
            continue
        values = _evaluated(node.outputs[0], view, {source: POINTS}, [LONGEST])
        if values is None or values.shape != POINTS.shape:
            continue
        for kind, expected in GELUS.items():
            if np.abs(values - expected).max() < 1e-6:
                attributes = {"approximate": kind}
                return node._replace(op="Gelu", inputs=(source,), attributes=attributes)
    return None


def _evaluated(
    name: str, view: _View, known: Mapping[str, np.ndarray], left: list[int]
) -> np.ndarray | None:
    """Give a tensor that is computed from known ones and numbers; None if it is not.

    Args:
        name: the tensor.
        view: the graph.
        known: values by name.
        left: how many nodes may still be gone through.
    """
    if name in known:
        return known[name]
    number, node = view.number(name), view.producers.get(name)
    if number is not None:
        return np.array(number)
    if node is None or node.op not in FUNCTIONS or left[0] == 0:
        return None
    left[0] -= 1
    operands = [_evaluated(operand, view, known, left) for operand in node.inputs]
    if any(operand is None for operand in operands):
        return None
    with np.errstate(all="ignore"):
        return np.asarray(FUNCTIONS[node.op](*operands))


def _layer_normalization(node: Node, view: _View, constants: dict[str, np.ndarray]) -> Node | None:
    """Give the node LayerNormalization for the last node of one that is written out, else None.

    That is (x - mean) / sqrt(mean((x - mean)^2) + epsilon), by Ba et al. 2016, equation 4, with
    what scales and shifts it if these are constants along the last axis.
    """
    shift, scaled = _without_constant(node, "Add", "Mul", view)
    scale, last = (None, None) if scaled is None else _without_constant(scaled, "Mul", "Div", view)
    if last is None:
        return None
    found = _normalised(last, view)
    if found is None or _continues(node, view, has_scale=scale is not None, has_shift=bool(shift)):
        return None
    source, epsilon = found
    arrays = [view.constants[name] for name in (scale, shift) if name]
    if any(array.ndim > 1 and array.size != array.shape[-1] for array in arrays):
        return None
    size = max((array.shape[-1] for array in arrays if array.ndim), default=0)
    if not size:
        return None
    names = []
    for array, role in zip(arrays, ("scale", "shift"), strict=False):
        names.append(f"{node.outputs[0]} {role}")
        constants[names[-1]] = np.broadcast_to(array.ravel(), (size,))
    attributes = {"axis": -1, "epsilon": epsilon}
    inputs = (source, *names)
    return node._replace(op="LayerNormalization", inputs=inputs, attributes=attributes)


def _continues(node: Node, view: _View, *, has_scale: bool, has_shift: bool) -> bool:
    """Say whether what follows a normalisation is its scale or shift, so that it ends later."""
    readers = view.readers.get(node.outputs[0], [])
    if has_shift or len(readers) != 1 or node.outputs[0] in view.kept:
        return False
    wanted = "Add" if has_scale else "Mul"
    return readers[0].op == wanted and _constant_and_other(readers[0], view)[0] is not None


def _without_constant(
    node: Node, op: str, inner: str, view: _View
) -> tuple[str | None, Node | None]:
    """Give the constant that a node adds or multiplies with, and the node of the other operand.

    Args:
        node: the node; one of another operation is given back itself, without a constant.
        op: the operation that scales or shifts.
        inner: the operation that the other operand has to be the result of, read here alone; else
            both are None.
        view: the graph.
    """
    if node.op != op:
        return None, node
    constant, other = _constant_and_other(node, view)
    made = view.made_by(other, inner) if constant is not None else None
    if made is None or len(view.readers[made.outputs[0]]) > 1:
        return None, None
    return constant, made


def _constant_and_other(node: Node, view: _View) -> tuple[str | None, str]:
    """Give the operand of a node that is a constant, and the other one."""
    first, second = node.inputs
    if first in view.constants:
        return first, second
    return (second, first) if second in view.constants else (None, "")


def _normalised(node: Node, view: _View) -> tuple[str, float] | None:
    """Give x and epsilon of (x - mean) / sqrt(mean((x - mean)^2) + epsilon), else None."""
    if node.op != "Div":
        return None
    centred, root = (
        view.made_by(n, op) for n, op in zip(node.inputs, ("Sub", "Sqrt"), strict=True)
    )
    if centred is None or root is None:
        return None
    total = view.made_by(root.inputs[0], "Add")
    if total is None:
        return None
    epsilon, name = _constant_and_other(total, view)
    variance = view.made_by(name, "ReduceMean")
    number = None if epsilon is None else view.number(epsilon)
    if number is None or variance is None or not _is_over_last(variance, view):
        return None
    square = view.made_by(variance.inputs[0], "Pow", "Mul")
    if square is None:
        return None
    source, mean_name = centred.inputs
    mean = view.made_by(mean_name, "ReduceMean")
    if mean is None or mean.inputs[0] != source or not _is_over_last(mean, view):
        return None
    squared = square.inputs[0]
    is_square = (
        view.number(square.inputs[1]) == 2 if square.op == "Pow" else (square.inputs[1] == squared)
    )
    other = view.made_by(squared, "Sub")
    is_same = other is not None and other.inputs == centred.inputs
    return (source, number) if is_square and is_same else None


def _is_over_last(node: Node, view: _View) -> bool:
    """Say whether a reduction is over the last axis, which stays with size 1."""
    axes = node.attributes.get("axes")
    if len(node.inputs) > 1 and node.inputs[1] in view.constants:
        axes = view.constants[node.inputs[1]].tolist()
    return list(axes or []) == [-1] and bool(node.attributes.get("keepdims", 1))
