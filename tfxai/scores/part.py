"""Scores of a part of a model's outputs, and how any score reads what a model gives.

What is explained of an example is its class, ``[B]``. Some parts are chosen by the model's own
prediction for the example, such as the pixels of a region. They have to stay the same while a
method changes the input. They stand behind the class then, ``[B, 1 + n]``, and go wherever the
classes go: into parts of the batch, and to the samples of each example.
"""

from __future__ import annotations

import copy
from typing import Any, Self

import keras
import tensorflow as tf

from tfxai.core.types import Score, Tensors
from tfxai.scores.forward import Forward
from tfxai.scores.marks import expects_logits
from tfxai.scores.rows import as_rows, at_least_float32


class Part:
    """A score of a part of a model's outputs: another score, of this part.

    Args:
        score: what is explained of the part, (outputs, targets) -> ``[B]``; None for a part that is
            a number itself.
    """

    fixes = False
    """Whether the part is chosen by the model's prediction for the example."""
    has_one_row = True
    """Whether the inner score sees one row of classes for each example."""

    def __init__(self, score: Score | None):
        if score is not None and not callable(score):
            raise TypeError(f"score={score!r}: expected a function (outputs, targets) -> [B]")
        self.score = score

    @property
    def inner(self) -> Score:
        """What is explained of the part."""
        assert self.score is not None
        return self.score

    @property
    def on_logits(self) -> bool:
        """Whether the logits are read, not the outputs as they stand."""
        return self.score is not None and expects_logits(self.score)

    def __call__(self, outputs: Tensors, targets: tf.Tensor) -> tf.Tensor:
        """Map a model's outputs, which are taken for logits, and targets ``[B]`` to ``[B]``."""
        return self.of(Forward.without_heads(outputs), tf.convert_to_tensor(targets, tf.int32))

    def part(self, forward: Forward) -> Forward:
        """Give what the inner score reads."""
        raise NotImplementedError

    def part_spec(self, spec: Any) -> Any:
        """Give the TensorSpecs of the part, of the TensorSpecs of the model's outputs."""
        raise NotImplementedError

    def whole(self, forward: Forward) -> Forward:
        """Give the output of which this is a part."""
        return forward

    def of(self, forward: Forward, explained: tf.Tensor) -> tf.Tensor:
        """Give the scores ``[B]`` of what is explained, ``[B]`` or ``[B, 1 + n]``."""
        return evaluate(self.inner, self.part(forward), explained)

    def predicted(self, forward: Forward) -> tf.Tensor:
        """Give the predicted classes, int32 ``[B]``."""
        return predicted(self.inner, self.part(forward))

    def explained(self, forward: Forward, targets: tf.Tensor) -> tf.Tensor:
        """Give what is explained of each example: its class, and what stays fixed with it."""
        return explained(self.inner, self.part(forward), targets)

    def classes(self, specs: Any) -> int | None:
        """Give the number of classes; None if the part is not one row of classes."""
        return class_count(self.inner, self.part_spec(specs))

    def options(self) -> dict[str, Any]:
        """Give the arguments but for `score`, by name."""
        return {}

    def get_config(self) -> dict[str, Any]:
        """Give the arguments as Keras saves them."""
        return {**self.options(), "score": keras.saving.serialize_keras_object(self.score)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Make a saved part again."""
        return cls(**{k: keras.saving.deserialize_keras_object(v) for k, v in config.items()})

    def with_innermost(self, score: Score) -> Self:
        """Give a copy whose innermost score is another one."""
        changed = copy.copy(self)
        changed.score = with_innermost(self.inner, score)
        return changed

    def described(self, name: str, *arguments: str) -> str:
        """Give the call that makes this score, as text."""
        inner = [] if self.score is None or text(self.score) == "logit" else [text(self.score)]
        return f"{name}({', '.join([*arguments, *inner])})"


def evaluate(score: Score, forward: Forward, explained: tf.Tensor) -> tf.Tensor:
    """Give the scores ``[B]`` of what a model gives.

    A sigmoid head with several units is a set of binary classifiers: the score sees only the
    target's unit.
    """
    if isinstance(score, Part):
        return score.of(forward, explained)
    if not expects_logits(score):
        return score(forward.outputs, explained)
    logits = as_rows(at_least_float32(forward.single()))
    if forward.heads == "sigmoid" and logits.shape[-1] != 1:
        logits = tf.gather(logits, explained, axis=1, batch_dims=1)[:, None]
        explained = tf.ones_like(explained)
    return score(logits, explained)


def predicted(score: Score, forward: Forward) -> tf.Tensor:
    """Give the predicted classes, int32 ``[B]``.

    That is the class of the largest logit. A one-unit sigmoid head predicts class 1 for a positive
    logit, else 0; one unit without a sigmoid always stands for class 1.
    """
    if isinstance(score, Part):
        return score.predicted(forward)
    logits = as_rows(forward.single())
    if logits.shape[-1] != 1:
        return tf.argmax(logits, -1, tf.int32)
    if forward.heads is None:
        return tf.ones_like(logits[:, 0], tf.int32)
    return tf.cast(logits[:, 0] > 0, tf.int32)


def explained(score: Score, forward: Forward, targets: tf.Tensor) -> tf.Tensor:
    """Give what a score explains of each example: its class ``[B]``, and what stays fixed."""
    return score.explained(forward, targets) if isinstance(score, Part) else targets


def fixes(score: Score | None) -> bool:
    """Whether a score explains a part that the model's prediction for the example chooses."""
    return isinstance(score, Part) and (score.fixes or fixes(score.score))


def class_count(score: Score, specs: Any) -> int | None:
    """Give how many classes a score can explain, of TensorSpecs of the outputs; None: any number.

    One unit stands for two classes.
    """
    if isinstance(score, Part):
        return score.classes(specs)
    if not isinstance(specs, tf.TensorSpec) or specs.shape.rank not in (1, 2):
        return None
    units = 1 if specs.shape.rank == 1 else specs.shape[-1]
    return 2 if units == 1 else units


def whole(score: Score, forward: Forward) -> Forward:
    """Give the output of which a score reads a part; all outputs if the score does not choose."""
    return score.whole(forward) if isinstance(score, Part) else forward


def read(score: Score, forward: Forward) -> Tensors:
    """Give the tensor of a model that a score reads: an output, or the logits behind it."""
    output = whole(score, forward)
    return output.single() if expects_logits(score) else output.outputs


def text(score: Score) -> str:
    """Give a score as it is written in code."""
    return getattr(score, "__name__", None) or repr(score)


def innermost(score: Score) -> Score:
    """Give the score of the smallest part; a score of no part is its own."""
    while isinstance(score, Part) and score.score is not None:
        score = score.score
    return score


def has_one_row(score: Score) -> bool:
    """Whether the innermost score sees one row of classes for each example."""
    if not isinstance(score, Part) or score.score is None:
        return True
    return score.has_one_row and has_one_row(score.score)


def with_innermost(score: Score, new: Score) -> Score:
    """Give a score of the same part with another innermost score."""
    return score.with_innermost(new) if isinstance(score, Part) else new
