"""The lists of tensors that loops read and write, as Python lists of tensors.

TensorFlow's `TensorArray` is such a list. Where all indices are known, reading it is choosing an
element, and no operation is needed but one that takes a tensor apart and one that stacks tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

Known = Callable[[tf.Tensor], Any]
"""A tensor -> its value where that is known, else None."""


class TensorList(tuple[tf.Tensor | None, ...]):
    """The elements of a list; None for those that have not been written yet."""


def results(operation: tf.Operation, inputs: list[Any], known: Known) -> list[Any] | None:
    """Give the results of an operation on lists.

    Args:
        operation: any operation.
        inputs: its inputs, tensors and `TensorList`.
        known: gives the value of a size or an index.

    Returns:
        Tensors and `TensorList`; None if it is no operation on lists, or a size or an index is not
        known, or an element that is read has not been written.
    """
    kind = operation.type
    if kind == "TensorListReserve":
        size = known(inputs[1])
        return None if size is None else [TensorList([None] * int(size))]
    if kind == "TensorListFromTensor":
        size = inputs[0].shape[0] if inputs[0].shape.rank else None
        return None if size is None else [TensorList(tf.unstack(inputs[0]))]
    if not inputs or not isinstance(inputs[0], TensorList):
        return None
    elements = inputs[0]
    if kind == "Identity":
        return [elements]
    if kind == "TensorListLength":
        return [tf.constant(len(elements), tf.int32)]
    if kind == "TensorListStack":
        is_written = bool(elements) and all(element is not None for element in elements)
        return [tf.stack(elements)] if is_written else None
    if kind in ("TensorListGetItem", "TensorListSetItem"):
        index = known(inputs[1])
        if index is None or not 0 <= index < len(elements):
            return None
        if kind == "TensorListGetItem":
            return None if elements[index] is None else [elements[index]]
        return [TensorList((*elements[:index], inputs[2], *elements[index + 1 :]))]
    return None
