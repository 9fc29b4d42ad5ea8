"""Operations of constants alone, and of shapes, which may depend on how large a batch is.

What depends on the batch is computed for two sizes of it: where the results agree it does not
depend on it after all.
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


class PerBatch(NamedTuple):
    """An array for each size of the batch in BATCHES."""

    arrays: tuple[np.ndarray, ...]


Constant = np.ndarray | PerBatch
Operand = Value | Constant | None
"""What an operation reads; None where an optional input is left out."""


def shape(value: Value, which: slice) -> Constant:
    """Give some of a tensor's sizes in the file, as the operation Shape does."""
    sizes = value.shape[which]
    return _joined([np.array([b if n is None else n for n in sizes], np.int64) for b in BATCHES])


def fold(node: Node, operands: Sequence[Constant | None]) -> list[Constant]:
    """Evaluate a node of constants, by ONNX's own reference."""
    inputs = list(dict.fromkeys(filter(None, node.inputs)))
    attributes = {
        name: numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value
        for name, value in node.attributes.items()
    }
    proto = helper.make_node(node.op, node.inputs, node.outputs, **attributes)

    def evaluated(which: int) -> list[np.ndarray]:
        given = {
            name: value.arrays[which] if isinstance(value, PerBatch) else value
            for name, value in zip(node.inputs, operands, strict=True)
            if value is not None
        }
        infos = [_info(name, given[name]) for name in inputs]
        outputs = [helper.make_empty_tensor_value_info(name) for name in node.outputs]
        graph = helper.make_graph([proto], "constant", infos, outputs)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", node.opset)])
        return [np.asarray(found) for found in ReferenceEvaluator(model).run(None, given)]

    if any(isinstance(value, PerBatch) for value in operands):
        return [
            _joined(arrays) for arrays in zip(*map(evaluated, range(len(BATCHES))), strict=True)
        ]
    return list(evaluated(0))


def _info(name: str, array: np.ndarray) -> helper.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    return helper.make_tensor_value_info(name, kind, array.shape)


def _joined(arrays: Sequence[np.ndarray]) -> Constant:
    first, *others = arrays
    alike = all(np.array_equal(first, other, equal_nan=first.dtype.kind == "f") for other in others)
    return first if alike else PerBatch(tuple(arrays))
