"""Models joined with scores: scores of the logits before a head, or of the outputs themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from tfxai.core.types import Classifier, Score, ScoredModel, Tensors
from tfxai.models.model_graph import Forward
from tfxai.models.shared_graphs import in_graph, run
from tfxai.scores import as_rows, expects_logits, on_logits, two_classes

PREDICTED = -1
"""The target that stands for the class that the model predicts."""


class ScoredOutputs(NamedTuple):
    """What a model gives for inputs and targets, as operations of the current graph."""

    outputs: tf.Tensor
    """The outputs that the score reads; for a score of the logits, those before the head."""
    scores: tf.Tensor
    """``[B]``."""
    output_of: Callable[[str], tf.Tensor]
    """The name of a layer -> its output, a tensor."""


def scored_outputs(
    model: keras.Model, score: Score, layers: Sequence[str] = (), *, folded: bool = False
) -> Callable[[Tensors, tf.Tensor], ScoredOutputs]:
    """Give the function (inputs, targets) -> outputs and scores, whose operations can be read.

    For a score of the logits the head is bypassed, and the outputs are the logits. A sigmoid head
    with several units is a set of binary classifiers: the score sees only the target's unit.

    Args:
        model: any Keras model.
        score: what is explained.
        layers: the names of layers whose outputs are wanted, too.
        folded: whether normalisations may be folded into the convolutions before them.

    Raises:
        TypeError: `score` is not a function.
    """
    _check(score)

    def forward(inputs: Tensors, targets: tf.Tensor) -> ScoredOutputs:
        outputs, output_of = in_graph(model, inputs, layers, inline=True, folded=folded)
        return ScoredOutputs(*_apply(score, outputs, targets), output_of)

    return forward


def scored(model: keras.Model, score: Score) -> ScoredModel:
    """Join a model and a score, to be evaluated; the head is bypassed for a score of the logits."""
    _check(score)
    return lambda inputs, targets: _apply(score, run(model, inputs), targets)[1]


def differentiable(model: keras.Model, score: Score) -> ScoredModel:
    """Join a model and a score as `scored` does, to be differentiated within the same graph."""
    _check(score)

    def forward(inputs: Tensors, targets: tf.Tensor) -> tf.Tensor:
        outputs, _ = in_graph(model, inputs, inline=False, folded=True)
        return _apply(score, outputs, targets)[1]

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
    _check(score)

    def forward(inputs: Tensors, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        outputs = run(model, inputs)
        if predicts:
            targets = tf.where(targets < 0, _predicted(outputs), targets)
        return targets, _apply(score, outputs, targets)[1]

    return forward


def classifier(model: keras.Model) -> Classifier:
    """Give the function (inputs, targets) -> (logits ``[B, C]`` of two or more classes, targets).

    A one-unit head z has the logits (0, z). Of a sigmoid head with several units, z is the unit of
    the target, as in `scored_outputs`, and the targets become 1.
    """

    @on_logits
    def all_classes(logits: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return two_classes(as_rows(logits)), targets

    forward = scored_outputs(model, all_classes)
    return lambda inputs, targets: forward(inputs, targets).scores


def _check(score: Score) -> None:
    if not callable(score):
        raise TypeError(f"score={score!r}: expected a function (outputs, targets) -> [B]")


def _apply(score: Score, forward: Forward, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Give the outputs that the score reads, and the score ``[B]``."""
    if not expects_logits(score):
        return forward.outputs, score(forward.outputs, targets)
    outputs = forward.single()
    logits = as_rows(_at_least_float32(outputs))
    if forward.head == "sigmoid" and logits.shape[-1] != 1:
        logits = tf.gather(logits, targets, axis=1, batch_dims=1)[:, None]
        targets = tf.ones_like(targets)
    return outputs, score(logits, targets)


def _predicted(forward: Forward) -> tf.Tensor:
    logits = as_rows(forward.single())
    if logits.shape[-1] != 1:
        return tf.argmax(logits, -1, tf.int32)
    if forward.head is None:
        return tf.ones_like(logits[:, 0], tf.int32)
    return tf.cast(logits[:, 0] > 0, tf.int32)


def _at_least_float32(x: tf.Tensor) -> tf.Tensor:
    return tf.cast(x, tf.float32) if x.dtype.size < 4 else x
