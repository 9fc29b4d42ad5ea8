"""What the operands of a node are, or an error that says what they are not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..constants import Operand
from ..layout import Value
from ..onnx_graph import Node, UnsupportedError


def expect_value(node: Node, operand: Operand) -> Value:
    """Check that an operand is computed from the model's input, and is no constant."""
    if not isinstance(operand, Value):
        raise UnsupportedError(node, "what it reads is not computed from the input")
    return operand


def expect_arrays(node: Node, operands: Sequence[Operand]) -> list[np.ndarray]:
    """Check that operands are constants."""
    arrays = [operand for operand in operands if isinstance(operand, np.ndarray)]
    if len(arrays) < len(operands):
        raise UnsupportedError(node, "weights that are computed from the input")
    return arrays


def integers(node: Node, operand: Operand) -> list[int] | None:
    """Give a constant operand as integers; None where it is left out."""
    if operand is None:
        return None
    if not isinstance(operand, np.ndarray):
        raise UnsupportedError(node, "numbers that are computed from the input or the batch")
    return [int(n) for n in operand.ravel()]


def axis_after_batch(node: Node, value: Value, axis: int) -> int:
    """Give the axis of the Keras tensor for an axis in the file, which must not be the batch."""
    keras_axis = value.axis(axis)
    if keras_axis == 0:
        raise UnsupportedError(node, "it cuts or joins examples of the batch")
    return keras_axis


def axes_of(node: Node, operands: list[Operand], rank: int | None) -> list[int] | None:
    """Give the axes of a node: in old opsets an attribute, in new ones an input; None for neither.

    If `rank` is given, negative axes are replaced by the positive ones that they stand for.
    """
    axes = node.attributes.get("axes")
    if len(operands) > 1:
        axes = integers(node, operands[1])
    if axes is None or rank is None:
        return axes
    return [axis % rank for axis in axes]
