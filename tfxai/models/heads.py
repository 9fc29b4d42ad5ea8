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

    A softmax over other classes than those of the output's last axis is no head.

    Raises:
        ValueError: TensorFlow runs functions eagerly.
    """
    if tf.executing_eagerly():
        raise ValueError(
            "tfxai reads the model's head from its graph: call "
            "tf.config.run_functions_eagerly(False)."
        )
    operation, index = outputs.op, outputs.value_index
    while operation.type in _SHAPING:
        before = operation.inputs[index]
        operation, index = before.op, before.value_index
    head = _HEADS.get(operation.type)
    if head is None:
        return outputs, None
    logits = operation.inputs[0]
    if head == "softmax" and outputs.shape[-1] != logits.shape[-1]:
        return outputs, None
    if outputs.shape.rank != logits.shape.rank:
        logits = tf.ensure_shape(tf.reshape(logits, tf.shape(outputs)), outputs.shape)
    return logits, head
