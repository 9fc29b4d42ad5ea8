"""`box`: the score of one box of a detector."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfxai.core.types import Score
from tfxai.scores.advice import several_outputs
from tfxai.scores.everywhere import Places, everywhere, places_spec
from tfxai.scores.forward import Forward
from tfxai.scores.of_classes import logit
from tfxai.scores.part import Part, class_count, evaluate, text
from tfxai.scores.position import Position


def box(index: int | None = None, score: Score = logit) -> Part:
    """Explain the class of one box, of a detector's outputs ``[B, boxes, C]``.

    Args:
        index: the number of the box, the same for all examples. None for the box with the highest
            score for the target; it is found for each example as it is given, and stays the same
            while a method changes its input.
        score: what is explained of the box, (outputs ``[N, C]``, targets) -> ``[N]``.

    Returns:
        A score, which can be saved. Without targets, the class that is predicted for the box is
        explained; without an index, the one that has the highest probability in any box. That may
        be the background, where a detector has a class for it: pass targets then.

    Example:
        >>> outputs = tf.constant([[[5.0, 1.0], [0.0, 2.0], [0.0, 4.0]]])
        >>> box()(outputs, tf.constant([1])).numpy().round(4)
        array([4.], dtype=float32)
        >>> box(0)(outputs, tf.constant([1])).numpy().round(4)
        array([1.], dtype=float32)
    """
    return BestBox(score) if index is None else Position(index, score)


@keras.saving.register_keras_serializable("tfxai")
class BestBox(Part):
    """The score that `box` makes without an index."""

    fixes = True

    def __init__(self, score: Score):
        super().__init__(score)
        if isinstance(score, Part):
            raise TypeError(
                f"score={score!r}: expected a score of rows [N, C], such as tfxai.scores.margin"
            )

    def of(self, forward: Forward, explained: tf.Tensor) -> tf.Tensor:
        """Give the score of the box that is explained."""
        if explained.shape.rank == 1:
            explained = self.explained(forward, explained)
        boxes = explained[:, 1]

        def rows(x: tf.Tensor) -> tf.Tensor:
            flat = tf.reshape(x, tf.concat([[tf.shape(x)[0], -1], tf.shape(x)[-1:]], 0))
            chosen = tf.gather(flat, boxes, axis=1, batch_dims=1)
            return tf.ensure_shape(chosen, [None, x.shape[-1]])

        return evaluate(self.inner, forward.map(rows), explained[:, 0])

    def predicted(self, forward: Forward) -> tf.Tensor:
        """Give the class that has the largest logit in any box."""
        places = self._places(forward)
        if places.forward.logits.shape[-1] == 1 and places.forward.heads is None:
            return tf.ones([places.examples], tf.int32)
        if places.forward.logits.shape[-1] == 1:
            largest = tf.reduce_max(places.logits()[..., 1], 1)
            return tf.cast(largest > 0, tf.int32)
        return tf.argmax(tf.reduce_max(places.logits(), 1), -1, tf.int32)

    def explained(self, forward: Forward, targets: tf.Tensor) -> tf.Tensor:
        """Give the targets, and behind each the number of its best box, ``[B, 2]``."""
        values = self._places(forward).scores(self.inner, targets)
        return tf.stack([targets, tf.argmax(values, 1, tf.int32)], 1)

    def classes(self, specs: Any) -> int | None:
        """Give the number of classes of a box."""
        if not isinstance(specs, tf.TensorSpec):
            raise several_outputs(specs)
        return class_count(self.inner, places_spec(repr(self), specs))

    def _places(self, forward: Forward) -> Places:
        if not tf.is_tensor(forward.outputs):
            raise several_outputs(forward.outputs)
        places_spec(repr(self), forward.outputs)
        return everywhere(forward)

    def __repr__(self) -> str:
        return "box()" if self.score is logit else f"box(score={text(self.inner)})"
