"""A model's head, found in its traced TensorFlow graph.

The head is found in the graph, not among the Keras layers. A softmax is one operation there,
whether it was written as an `activation=` argument, a layer, or a part of a nested or subclassed
model, and the input of this operation is the logits.
"""

from __future__ import annotations

import tensorflow as tf

_HEADS = {"Softmax": "softmax", "LogSoftmax": "softmax", "Sigmoid": "sigmoid"}
_SHAPING = {"Identity", "IdentityN", "Cast", "Reshape", "Squeeze", "ExpandDims"}


def strip_head(outputs: tf.Tensor) -> tuple[tf.Tensor, str | None]:
    """Give the logits behind a symbolic output, and the head that was bypassed, if there is one.

    What selects or rearranges rows of classes behind the head, such as a slice, a transpose or the
    stack of a `TimeDistributed` layer, does the same to their logits. A softmax over other classes
    than those of the output's last axis is no head.

    Raises:
        ValueError: TensorFlow runs functions eagerly.
    """
    if tf.executing_eagerly():
        raise ValueError(
            "tfxai reads the model's head from its graph: call "
            "tf.config.run_functions_eagerly(False)."
        )
    return _strip(outputs) or (outputs, None)


def _strip(x: tf.Tensor) -> tuple[tf.Tensor, str] | None:
    """Give the logits behind a tensor, of its shape, and the head; None where it has none."""
    operation, index = x.op, x.value_index
    while operation.type in _SHAPING:
        before = operation.inputs[index]
        operation, index = before.op, before.value_index
    found = _of_operation(operation)
    if found is None:
        return None
    logits, head = found
    if head == "softmax" and x.shape[-1] != logits.shape[-1]:
        return None
    if x.shape.rank != logits.shape.rank:
        logits = tf.ensure_shape(tf.reshape(logits, tf.shape(x)), x.shape)
    return logits, head


def _of_operation(operation: tf.Operation) -> tuple[tf.Tensor, str] | None:
    """Give the logits behind an operation that is a head, or that moves rows of classes."""
    if operation.type in _HEADS:
        return operation.inputs[0], _HEADS[operation.type]
    moved = _MOVING.get(operation.type)
    if moved is None:
        return None
    count = len(operation.inputs) if operation.type == "Pack" else 1
    found = [_strip(x) for x in list(operation.inputs)[:count]]
    heads = {f[1] for f in found if f is not None}
    if None in found or len(heads) != 1:
        return None
    logits = moved(operation, [f[0] for f in found if f is not None])
    return None if logits is None else (logits, heads.pop())


def _transposed(operation: tf.Operation, logits: list[tf.Tensor]) -> tf.Tensor | None:
    order = tf.get_static_value(operation.inputs[1])
    if order is None or order[-1] != len(order) - 1:
        return None
    return tf.transpose(logits[0], order)


def _stacked(operation: tf.Operation, logits: list[tf.Tensor]) -> tf.Tensor | None:
    axis, rank = operation.get_attr("axis"), operation.outputs[0].shape.rank
    return None if rank is None or axis % rank == rank - 1 else tf.stack(logits, axis)


def _sliced(operation: tf.Operation, logits: list[tf.Tensor]) -> tf.Tensor | None:
    """Give the same slice of the logits, if it leaves the classes as they are."""
    source, result = operation.inputs[0].shape, operation.outputs[0].shape
    if None in (source.rank, result.rank) or source[-1] is None or source[-1] != result[-1]:
        return None
    if operation.get_attr("ellipsis_mask") or operation.get_attr("new_axis_mask"):
        return None
    masks = {name: operation.get_attr(name) for name in ("begin_mask", "end_mask")}
    shrunk = operation.get_attr("shrink_axis_mask")
    begin, end, strides = operation.inputs[1:]
    if shrunk >> (source.rank - 1) or _reverses(strides, source.rank):
        return None
    return tf.strided_slice(logits[0], begin, end, strides, shrink_axis_mask=shrunk, **masks)


def _reverses(strides: tf.Tensor, rank: int) -> bool:
    """Whether a slice may reverse the last axis."""
    values = tf.get_static_value(strides)
    return values is None or (len(values) == rank and values[-1] != 1)


_MOVING = {"Transpose": _transposed, "Pack": _stacked, "StridedSlice": _sliced}
"""Operations that select or rearrange rows of classes -> what they make of the logits."""
