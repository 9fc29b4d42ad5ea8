"""Matrix products; a product with constant weights is a Dense layer."""

from __future__ import annotations

import keras
import numpy as np

from tfxai.models.converted_layers import Apply, apply_with_constant, call_with_weights

from ..constants import Operand
from ..layout import Value, constant_in_order, tensor_in_order
from ..onnx_graph import Node, UnsupportedError
from .operands import expect_arrays


def gemm(node: Node, operands: list[Operand]) -> Value:
    """Gemm: alpha A B + beta C, with weights B that may be transposed first, and a bias C."""
    a, b, *rest = operands
    c = rest[0] if rest else None
    if (
        not isinstance(a, Value)
        or not isinstance(b, np.ndarray)
        or not isinstance(c, np.ndarray | None)
        or node.attributes.get("transA", 0)
    ):
        raise UnsupportedError(node, "a product that is not of the input with constant weights")
    weights = node.attributes.get("alpha", 1.0) * (b.T if node.attributes.get("transB", 0) else b)
    bias = None
    if c is not None:
        if c.ndim == 2 and len(c) > 1:
            raise UnsupportedError(node, f"a bias of shape {c.shape}, another for each example")
        bias = node.attributes.get("beta", 1.0) * np.broadcast_to(c.ravel(), weights.shape[1:])
    return dense(node, a, weights, bias)


def matmul(node: Node, operands: list[Operand]) -> Value:
    """MatMul: the product over the last two axes, of two tensors or a tensor and a constant."""
    a, b = operands
    if isinstance(a, Value) and isinstance(b, np.ndarray) and b.ndim == 2:
        return dense(node, a, b, None)
    values = [operand for operand in (a, b) if isinstance(operand, Value)]
    batch, rank = values[0].batch, values[0].rank
    if any((value.batch, value.rank) != (batch, rank) for value in values):
        shapes = [value.shape for value in values]
        raise UnsupportedError(node, f"a product of tensors of shapes {shapes}")
    if batch >= rank - 2:
        raise UnsupportedError(node, "a product across the examples of a batch")
    order = values[0].batch_first
    tensors = [tensor_in_order(v, order, node, f"_{i}") for i, v in enumerate(values)]
    if len(values) == 2:
        return Value(Apply("matmul", name=node.name)(tensors), order)
    (constant,) = expect_arrays(node, [o for o in operands if not isinstance(o, Value)])
    is_alike = constant.ndim == 2 or _broadcasts(constant, batch, rank)
    if not 2 <= constant.ndim <= rank or not is_alike:
        raise UnsupportedError(node, f"a product with a constant of shape {constant.shape}")
    array = constant_in_order(constant, order) if constant.ndim > 2 else constant
    is_first = isinstance(b, Value)
    product = apply_with_constant("matmul", tensors[0], array, first=is_first, name=node.name)
    return Value(product, order)


def _broadcasts(constant: np.ndarray, batch: int, rank: int) -> bool:
    """Say whether a constant is the same for all examples of a tensor, by its shape."""
    axis = batch - (rank - constant.ndim)
    return axis < 0 or constant.shape[axis] == 1


def dense(node: Node, value: Value, weights: np.ndarray, bias: np.ndarray | None) -> Value:
    """Apply a Dense layer along the file's last axis: weights ``[in, out]``, bias ``[out]``."""
    last = value.rank - 1
    if value.batch == last:
        raise UnsupportedError(node, "a product across the examples of a batch")
    order = value.order if value.order[-1] == last else value.batch_first
    layer = keras.layers.Dense(
        weights.shape[1],
        use_bias=bias is not None,
        kernel_initializer="zeros",
        name=node.name,
    )
    tensor = tensor_in_order(value, order, node)
    arrays = [weights] if bias is None else [weights, bias]
    return Value(call_with_weights(layer, tensor, *arrays), order)
