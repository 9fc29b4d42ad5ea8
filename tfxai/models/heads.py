"""A model's head, found in its traced TensorFlow graph.

The head is found in the graph, not among the Keras layers. A softmax is one operation there,
whether it was written as an `activation=` argument, a layer, or a part of a nested or subclassed
model, and the input of this operation is the logits.
"""

from __future__ import annotations

import tensorflow as tf

from tfxai.scores import as_rows

_HEADS = {"Softmax": "softmax", "LogSoftmax": "softmax", "Sigmoid": "sigmoid"}
_SHAPING = {"Identity", "IdentityN", "Cast", "Reshape", "Squeeze", "ExpandDims"}


def strip_head(outputs: tf.Tensor) -> tuple[tf.Tensor, str | None]:
    """Give the logits behind symbolic outputs, and the head that was bypassed, if there is one.

    Raises:
        ValueError: there are several outputs, or TensorFlow runs functions eagerly.
    """
    outputs = as_rows(outputs) if not tf.is_tensor(outputs) else outputs
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
    if outputs.shape.rank != logits.shape.rank:
        logits = tf.ensure_shape(tf.reshape(logits, tf.shape(outputs)), outputs.shape)
    return logits, head
