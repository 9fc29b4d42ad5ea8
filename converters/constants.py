"""Constants: nodes of constants alone, and shapes, which may depend on the batch's size.

What may depend on the batch's size is computed for two sizes. If both results agree, it does not
depend on the size, and is an ordinary constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from .layout import Value
from .onnx_graph import Node

BATCHES = (2, 3)
"""The two sizes of the batch."""


class PerBatch(NamedTuple):
    """A constant that depends on the batch's size: an array for each size in `BATCHES`."""

    arrays: tuple[np.ndarray, ...]


Constant = np.ndarray | PerBatch
Operand = Value | Constant | None
"""An input of an operation; None where an optional input is left out."""


def shape_constant(value: Value, part: slice) -> Constant:
    """Give a part of a tensor's shape in the file, as the operation Shape does."""
    sizes = value.shape[part]
    return _merged([np.array([b if n is None else n for n in sizes], np.int64) for b in BATCHES])


def fold(node: Node, operands: Sequence[Constant | None]) -> list[Constant]:
    """Evaluate a node whose inputs are constants, by ONNX's reference implementation."""
    inputs = list(dict.fromkeys(filter(None, node.inputs)))
    attributes = {
        name: numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value
        for name, value in node.attributes.items()
    }
    proto = helper.make_node(node.op, node.inputs, node.outputs, **attributes)

    def evaluate(batch_index: int) -> list[np.ndarray]:
        arrays = {
            name: value.arrays[batch_index] if isinstance(value, PerBatch) else value
            for name, value in zip(node.inputs, operands, strict=True)
            if value is not None
        }
        infos = [_info(name, arrays[name]) for name in inputs]
        outputs = [helper.make_empty_tensor_value_info(name) for name in node.outputs]
        graph = helper.make_graph([proto], "constant", infos, outputs)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", node.opset)])
        return [np.asarray(output) for output in ReferenceEvaluator(model).run(None, arrays)]

    if any(isinstance(value, PerBatch) for value in operands):
        per_batch = map(evaluate, range(len(BATCHES)))
        return [_merged(arrays) for arrays in zip(*per_batch, strict=True)]
    return list(evaluate(0))


def _info(name: str, array: np.ndarray) -> helper.ValueInfoProto:
    element_type = helper.np_dtype_to_tensor_dtype(array.dtype)
    return helper.make_tensor_value_info(name, element_type, array.shape)


def _merged(arrays: Sequence[np.ndarray]) -> Constant:
    """Give one array if the arrays for all sizes of the batch are equal, else all of them."""
    first, *others = arrays
    alike = all(np.array_equal(first, other, equal_nan=first.dtype.kind == "f") for other in others)
    return first if alike else PerBatch(tuple(arrays))
