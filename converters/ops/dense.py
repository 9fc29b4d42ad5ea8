"""Matrix products; a product with constant weights is a Dense layer."""

from __future__ import annotations

import keras
import numpy as np

from tfxai.models.converted_layers import Apply, apply_with_constant, call_with_weights

from ..constants import Operand
from ..layout import Value, file_order, tensor_in_order, value_in_file_order
from ..onnx_graph import Node, UnsupportedError


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
    if isinstance(a, Value) and isinstance(b, Value):
        pair = [tensor_in_order(v, file_order(v.rank), node, f"_{i}") for i, v in enumerate((a, b))]
        return value_in_file_order(Apply("matmul", name=node.name)(pair))
    if isinstance(a, Value) and isinstance(b, np.ndarray):
        tensor = tensor_in_order(a, file_order(a.rank), node)
        return value_in_file_order(apply_with_constant("matmul", tensor, b, name=node.name))
    if isinstance(b, Value) and isinstance(a, np.ndarray) and b.rank > 2:
        tensor = tensor_in_order(b, file_order(b.rank), node)
        product = apply_with_constant("matmul", tensor, a, first=True, name=node.name)
        return value_in_file_order(product)
    raise UnsupportedError(node, "a product across the examples of a batch")


def dense(node: Node, value: Value, weights: np.ndarray, bias: np.ndarray | None) -> Value:
    """Apply a Dense layer along the file's last axis: weights ``[in, out]``, bias ``[out]``."""
    last = value.rank - 1
    order = value.order if value.order[-1] == last else file_order(value.rank)
    layer = keras.layers.Dense(
        weights.shape[1],
        use_bias=bias is not None,
        kernel_initializer="zeros",
        name=node.name,
    )
    tensor = tensor_in_order(value, order, node)
    arrays = [weights] if bias is None else [weights, bias]
    return Value(call_with_weights(layer, tensor, *arrays), order)
