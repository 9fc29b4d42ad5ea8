"""TensorFlow's own swish, read through the operation that gives it a gradient of its own.

`tf.nn.silu` computes x sigmoid(beta x), and hides it behind an `IdentityN` whose gradient computes
the sigmoid again, to save memory. That gradient is the derivative of x sigmoid(beta x), so that
ordinary differentiation gives the same.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow.python.framework.ops import get_gradient_function

_GRADIENT = ("tensorflow.python.ops.nn_impl", "swish.<locals>.swish_impl.<locals>.grad")
"""The module and the name of the function by which TensorFlow differentiates its swish."""


def is_swish(operation: tf.Operation) -> bool:
    """Whether an operation is what `tf.nn.silu` hides x sigmoid(beta x) behind.

    Both are looked at: what it computes, and that its gradient is TensorFlow's own. A function with
    another gradient, which a user may have given it, is no swish.

    Args:
        operation: any operation of the graph in which it was made.
    """
    if operation.type != "IdentityN" or len(operation.inputs) != 3:
        return False
    result, x, _ = operation.inputs
    return _is_product_with_sigmoid(result.op, x) and _has_gradient_of_swish(operation)


def _is_product_with_sigmoid(product: tf.Operation, x: tf.Tensor) -> bool:
    if product.type != "Mul" or product.inputs[0] is not x:
        return False
    sigmoid = product.inputs[1].op
    if sigmoid.type != "Sigmoid" or sigmoid.inputs[0].op.type != "Mul":
        return False
    return any(factor is x for factor in sigmoid.inputs[0].op.inputs)


def _has_gradient_of_swish(operation: tf.Operation) -> bool:
    try:
        found: list[Any] = [get_gradient_function(operation)]
    except LookupError:  # The operation was loaded from a file.
        return False
    looked_at = 0
    while found and looked_at < 8:  # The wrappers around a gradient are two functions deep.
        function = found.pop()
        looked_at += 1
        if (function.__module__, function.__qualname__) == _GRADIENT:
            return True
        cells = getattr(function, "__closure__", None) or ()
        found += [c.cell_contents for c in cells if _is_wrapped_gradient(c)]
    return False


def _is_wrapped_gradient(cell: Any) -> bool:
    try:
        return hasattr(cell.cell_contents, "__qualname__") and callable(cell.cell_contents)
    except ValueError:  # The cell is empty.
        return False
