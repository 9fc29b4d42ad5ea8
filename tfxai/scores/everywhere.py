"""A score at every place of an output ``[B, ..., C]``: at every pixel, token or box."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfxai.core.types import Score
from tfxai.scores.forward import Forward
from tfxai.scores.part import evaluate
from tfxai.scores.rows import at_least_float32


class Places(NamedTuple):
    """An output ``[B, ..., C]`` as one row of classes for each of its P places."""

    forward: Forward
    """Outputs and logits of all examples' places, ``[B P, C]``."""
    count: tf.Tensor
    """P."""
    examples: tf.Tensor
    """B."""

    def scores(self, score: Score, classes: tf.Tensor) -> tf.Tensor:
        """Give the score of the examples' classes ``[B]`` at every place, ``[B, P]``."""
        repeated = tf.repeat(classes, self.count)
        return self.of_examples(evaluate(score, self.forward, repeated))

    def logits(self) -> tf.Tensor:
        """Give the logits of two or more classes, ``[B, P, C]``; one unit z gives (-z, z).

        Behind a softmax they are normalised over the classes, so that places can be compared.
        """
        rows = at_least_float32(self.forward.logits)
        if rows.shape[-1] == 1:
            rows = tf.concat([-rows, rows], 1)
        elif self.forward.heads == "softmax":
            rows = tf.nn.log_softmax(rows)
        return self.of_examples(rows)

    def predicted(self) -> tf.Tensor:
        """Give whether a class is predicted at a place, booleans ``[B, P, C]``.

        That is the class of the largest logit; of a sigmoid head with several units, every class
        with a positive logit.
        """
        logits = self.logits()
        if self.forward.heads == "sigmoid" and self.forward.logits.shape[-1] != 1:
            return logits > 0
        classes = tf.argmax(logits, -1)
        return tf.one_hot(classes, tf.shape(logits)[-1], True, False, dtype=tf.bool)

    def of_examples(self, rows: tf.Tensor) -> tf.Tensor:
        """Give values of all places ``[B P, ...]`` as ``[B, P, ...]``."""
        shape = tf.concat([[self.examples, self.count], tf.shape(rows)[1:]], 0)
        values = tf.reshape(rows, shape)
        return tf.ensure_shape(values, [None, None, *rows.shape[1:]])


def everywhere(forward: Forward) -> Places:
    """Take an output ``[B, ..., C]`` apart into its places."""

    def rows(x: tf.Tensor) -> tf.Tensor:
        return tf.reshape(x, [-1, tf.shape(x)[-1] if x.shape[-1] is None else x.shape[-1]])

    at_all = forward.map(rows)
    shape = tf.shape(forward.outputs)
    return Places(at_all, tf.reduce_prod(shape[1:-1]), shape[0])


def places_spec(call: str, spec: tf.TensorSpec) -> tf.TensorSpec:
    """Give the TensorSpec of the rows of classes, or raise a ValueError where there are none."""
    if spec.shape.rank is None or spec.shape.rank < 3:
        raise ValueError(
            f"score: {call} needs outputs [batch, ..., classes] of three axes or more, got "
            f"{spec.shape}"
        )
    return tf.TensorSpec([None, spec.shape[-1]], spec.dtype)
