"""A model's head, found in its traced TensorFlow graph, and the scores of the logits before it.

The head is found in the graph, not among the Keras layers. A softmax is one operation there,
whether it was written as an `activation=` argument, a layer, or a part of a nested or subclassed
model, and the input of this operation is the logits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfxai.core.types import Classifier, Score, ScoredModel, Tensors
from tfxai.scores import as_rows, expects_logits, on_logits, two_classes

PREDICTED = -1
"""The target that stands for the class that the model predicts."""
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


def scored_outputs(
    model: keras.Model, score: Score
) -> Callable[[Tensors, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Give the function (inputs, targets) -> (outputs that the score reads, the score ``[B]``).

    For a score of the logits the head is bypassed, and the outputs are the logits. A sigmoid head
    with several units is a set of binary classifiers: the score sees only the target's unit.

    Raises:
        TypeError: `score` is not a function.
    """
    if not callable(score):
        raise TypeError(f"score={score!r}: expected a function (outputs, targets) -> [B]")

    def forward(inputs: Tensors, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return _apply(score, model(inputs, training=False), targets)

    return forward


def scored_targets(
    model: keras.Model, score: Score, *, predicts: bool
) -> Callable[[Tensors, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Give the function (inputs, targets) -> (the explained classes, their scores), ``[B]`` each.

    Args:
        model: any Keras model.
        score: what is explained.
        predicts: whether a target below 0 stands for the predicted class. That is the class of the
            largest logit. A one-unit sigmoid head predicts class 1 for a positive logit, else 0;
            one unit without a sigmoid always stands for class 1.
    """

    def forward(inputs: Tensors, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        outputs = model(inputs, training=False)
        if predicts:
            targets = tf.where(targets < 0, _predicted(outputs), targets)
        return targets, _apply(score, outputs, targets)[1]

    return forward


def scored(model: keras.Model, score: Score) -> ScoredModel:
    """Join a model and a score; the head is bypassed for a score of the logits."""
    forward = scored_outputs(model, score)
    return lambda inputs, targets: forward(inputs, targets)[1]


def classifier(model: keras.Model) -> Classifier:
    """Give the function (inputs, targets) -> (logits ``[B, C]`` of two or more classes, targets).

    A one-unit head z has the logits (0, z). Of a sigmoid head with several units, z is the unit of
    the target, as in `scored_outputs`, and the targets become 1.
    """

    @on_logits
    def all_classes(logits: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return two_classes(as_rows(logits)), targets

    forward = scored_outputs(model, all_classes)
    return lambda inputs, targets: forward(inputs, targets)[1]


def _apply(score: Score, outputs: Any, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Give the outputs that the score reads, and the score ``[B]``."""
    if not expects_logits(score):
        return outputs, score(outputs, targets)
    outputs, head = strip_head(outputs)
    logits = as_rows(_at_least_float32(outputs))
    if head == "sigmoid" and logits.shape[-1] != 1:
        logits = tf.gather(logits, targets, axis=1, batch_dims=1)[:, None]
        targets = tf.ones_like(targets)
    return outputs, score(logits, targets)


def _predicted(outputs: tf.Tensor) -> tf.Tensor:
    logits, head = strip_head(outputs)
    logits = as_rows(logits)
    if logits.shape[-1] != 1:
        return tf.argmax(logits, -1, tf.int32)
    if head is None:
        return tf.ones_like(logits[:, 0], tf.int32)
    return tf.cast(logits[:, 0] > 0, tf.int32)


def _at_least_float32(x: tf.Tensor) -> tf.Tensor:
    return tf.cast(x, tf.float32) if x.dtype.size < 4 else x
