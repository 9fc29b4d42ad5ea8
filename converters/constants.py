"""Constants: nodes of constants alone, and shapes, which may depend on the batch's size.

What may depend on the batch's size is computed for two sizes. If both results agree, it does not
depend on the size, and is an ordinary constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnxruntime.capi.onnxruntime_pybind11_state import Fail
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernel

from .layout import Value
from .onnx_graph import Node

IR_VERSION = 10
"""The format of the models that onnxruntime evaluates; any one that its old versions know."""
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
    rows = prod(value.rows)
    return _merged(
        [np.array([b * rows if n is None else n for n in sizes], np.int64) for b in BATCHES]
    )


def of_one_example(operand: Operand) -> Operand:
    """Give a constant that has the same entries for each example with a batch of 1 instead."""
    if not isinstance(operand, PerBatch):
        return operand
    one, other = operand.arrays
    if one.ndim != other.ndim:
        return operand
    axes = [i for i, (n, m) in enumerate(zip(one.shape, other.shape, strict=True)) if n != m]
    if len(axes) != 1 or one.shape[axes[0]] * BATCHES[1] != other.shape[axes[0]] * BATCHES[0]:
        return operand
    row = one.take([0], axes[0])
    alike = np.array_equal(one, np.broadcast_to(row, one.shape))
    return row if alike and np.array_equal(other, np.broadcast_to(row, other.shape)) else operand


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
        outputs = [helper.make_empty_tensor_value_info(name) for name in node.outputs if name]
        graph = helper.make_graph([proto], "constant", infos, outputs)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", node.opset)], ir_version=IR_VERSION
        )
        return _evaluated(model, node.outputs, arrays)

    if any(isinstance(value, PerBatch) for value in operands):
        per_batch = map(evaluate, range(len(BATCHES)))
        return [_merged(arrays) for arrays in zip(*per_batch, strict=True)]
    return list(evaluate(0))


def _evaluated(
    model: onnx.ModelProto, outputs: Sequence[str], arrays: dict[str, np.ndarray]
) -> list[np.ndarray]:
    """Evaluate a model of one node by onnxruntime; by ONNX's own code what it has no kernel for."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    names = [name for name in outputs if name]
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except (NoKernel, Fail):
        found = ReferenceEvaluator(model).run(names, arrays)
    else:
        found = session.run(names, arrays)
    by_name = dict(zip(names, map(np.asarray, found), strict=True))
    return [by_name.get(name, np.empty(0)) for name in outputs]


def _info(name: str, array: np.ndarray) -> helper.ValueInfoProto:
    element_type = helper.np_dtype_to_tensor_dtype(array.dtype)
    return helper.make_tensor_value_info(name, element_type, array.shape)


def _merged(arrays: Sequence[np.ndarray]) -> Constant:
    """Give one array if the arrays for all sizes of the batch are equal, else all of them."""
    first, *others = arrays
    alike = all(np.array_equal(first, other, equal_nan=first.dtype.kind == "f") for other in others)
    return first if alike else PerBatch(tuple(arrays))
