"""Models joined with scores: scores of the logits before a head, or of the outputs themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from tfxai.core.types import Classifier, Score, ScoredModel, Tensors
from tfxai.models.held_inputs import completed
from tfxai.models.shared_graphs import in_graph, run
from tfxai.scores import as_rows, cross_entropy, expects_logits, on_logits, part, two_classes
from tfxai.scores.advice import not_rows, several_outputs

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
    model: keras.Model,
    score: Score,
    layers: Sequence[str] = (),
    *,
    folded: bool = False,
    twice: bool = False,
    unrolled: bool = False,
) -> Callable[[Tensors, tf.Tensor], ScoredOutputs]:
    """Give the function (inputs, targets) -> outputs and scores, whose operations can be read.

    For a score of the logits the head is bypassed, and the outputs are the logits; of several
    outputs, they are those that the score reads.

    Args:
        model: any Keras model.
        score: what is explained.
        layers: the names of layers whose outputs are wanted, too.
        folded: whether normalisations may be folded into the convolutions before them.
        twice: whether second derivatives are wanted.
        unrolled: whether loops are wanted step by step, where the numbers of their steps are known.

    Raises:
        TypeError: `score` is not a function.
    """
    _check(score)

    def forward(inputs: Tensors, targets: tf.Tensor) -> ScoredOutputs:
        whole, inputs, targets = completed(model, inputs, targets)
        outputs, output_of = in_graph(
            whole, inputs, layers, inline=True, folded=folded, twice=twice, unrolled=unrolled
        )
        scores = part.evaluate(score, outputs, targets)
        return ScoredOutputs(part.read(score, outputs), scores, output_of)

    return forward


def scored(model: keras.Model, score: Score) -> ScoredModel:
    """Join a model and a score, to be evaluated; the head is bypassed for a score of the logits."""
    _check(score)

    def forward(inputs: Tensors, targets: tf.Tensor) -> tf.Tensor:
        whole, inputs, targets = completed(model, inputs, targets)
        return part.evaluate(score, run(whole, inputs), targets)

    return forward


def differentiable(model: keras.Model, score: Score) -> ScoredModel:
    """Join a model and a score as `scored` does, to be differentiated within the same graph."""
    _check(score)

    def forward(inputs: Tensors, targets: tf.Tensor) -> tf.Tensor:
        whole, inputs, targets = completed(model, inputs, targets)
        outputs, _ = in_graph(whole, inputs, inline=False, folded=True)
        return part.evaluate(score, outputs, targets)

    return forward


def scored_targets(
    model: keras.Model, score: Score, *, predicts: bool
) -> Callable[[Tensors, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Give the function (inputs, targets) -> (the explained classes, their scores), ``[B]`` each.

    Args:
        model: any Keras model.
        score: what is explained.
        predicts: whether a target below 0 stands for the predicted class.
    """
    _check(score)

    def forward(inputs: Tensors, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        outputs = run(model, inputs)
        if predicts:
            targets = tf.where(targets < 0, part.predicted(score, outputs), targets)
        explained = part.explained(score, outputs, targets)
        return targets, part.evaluate(score, outputs, explained)

    return forward


def explained(model: keras.Model, score: Score) -> Callable[[Tensors, tf.Tensor], tf.Tensor]:
    """Give the function (inputs, targets ``[B]``) -> what is explained of each example.

    These are the targets, and behind each of them what the model's prediction for the example
    chooses of a part, ``[B, 1 + n]``, where the score has such a part.
    """
    if not part.fixes(score):
        return lambda inputs, targets: targets
    return lambda inputs, targets: part.explained(score, run(model, inputs), targets)


def no_prediction(outputs: Tensors, score: Score) -> ValueError:
    """Give the error of a model that predicts no class for a score.

    Args:
        outputs: the TensorSpecs of the outputs.
        score: what is explained.
    """
    if expects_logits(score) and not isinstance(score, part.Part):
        if not isinstance(outputs, tf.TensorSpec):
            return several_outputs(outputs)
        return not_rows(outputs.shape)
    return ValueError(
        "targets=None: the model has no [batch, classes] output to predict a class from; "
        "pass targets, or 0 if your score ignores them"
    )


def checked_loss(score: Score) -> Score:
    """Give a score that is the cross-entropy of one row of classes of the outputs, or raise.

    Raises:
        ValueError: the score is another one.
    """
    if part.innermost(score) is not cross_entropy or not part.has_one_row(score):
        raise ValueError(
            f"score={part.text(score)}: expected tfxai.scores.cross_entropy, or that of a part "
            "with one row of classes, such as output('label', cross_entropy) or "
            "position(-1, cross_entropy)"
        )
    return score


def classifier(model: keras.Model, score: Score = cross_entropy) -> Classifier:
    """Give the function (inputs, targets) -> (logits ``[B, C]`` of two or more classes, targets).

    A one-unit head z has the logits (0, z). Of a sigmoid head with several units, z is the unit of
    the target, and the targets become 1. The logits may be differentiated twice.

    Args:
        model: any Keras model.
        score: as `checked_loss` gives it.
    """

    @on_logits
    def all_classes(logits: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return two_classes(as_rows(logits)), targets

    forward = scored_outputs(model, part.with_innermost(score, all_classes), twice=True)
    return lambda inputs, targets: forward(inputs, targets).scores


def _check(score: Score) -> None:
    if not callable(score):
        raise TypeError(f"score={score!r}: expected a function (outputs, targets) -> [B]")
