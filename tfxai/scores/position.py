"""`position`: the score of one time step, token, pixel or box; `unit`: one number."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
import tensorflow as tf

from tfxai.core.types import Score
from tfxai.scores.advice import several_outputs
from tfxai.scores.forward import Forward
from tfxai.scores.indexing import at_places, check_places, checked_index, index_text
from tfxai.scores.of_classes import logit
from tfxai.scores.part import Part
from tfxai.scores.rows import at_least_float32


def position(index: int | tuple[int, ...], score: Score = logit) -> Position:
    """Explain one time step or token of outputs ``[B, T, C]``, or one pixel of ``[B, H, W, C]``.

    Args:
        index: the place of the step, counted from 0, or from the end if it is negative; for several
            axes a tuple, such as (row, column).
        score: what is explained of this place, (outputs ``[B, C]``, targets) -> ``[B]``. Without
            targets, the class that is predicted at this place is explained.

    Returns:
        A score, which can be saved.

    Example:
        >>> outputs = tf.constant([[[1.0, 2.0], [3.0, 4.0]]])
        >>> position(-1)(outputs, tf.constant([0])).numpy().round(4)
        array([3.], dtype=float32)
    """
    return Position(index, score)


def unit(index: int | tuple[int, ...]) -> Unit:
    """Explain one number of the outputs as it stands, such as one of several that are regressed.

    Args:
        index: the place of the unit in outputs ``[B, F]``; for outputs of more axes a tuple, such
            as (box, coordinate) for ``[B, boxes, 4]``; () for outputs ``[B]``.

    Returns:
        A score, which can be saved. It has no classes: leave out targets, or pass 0.

    Example:
        >>> unit((1, 0))(tf.constant([[[1.0, 2.0], [3.0, 4.0]]]), tf.constant([0])).numpy().round(4)
        array([3.], dtype=float32)
    """
    return Unit(index)


@keras.saving.register_keras_serializable("tfxai")
class Position(Part):
    """The score that `position` makes."""

    def __init__(self, index: int | tuple[int, ...], score: Score):
        super().__init__(score)
        self.index = checked_index("index", index)

    def part(self, forward: Forward) -> Forward:
        """Give the outputs at this place."""
        return forward.map(partial(at_places, repr(self), self.index))

    def part_spec(self, spec: Any) -> Any:
        """Give the TensorSpec at this place, or raise a ValueError if there is no such place."""
        if not isinstance(spec, tf.TensorSpec):
            raise several_outputs(spec)
        check_places(repr(self), self.index, spec.shape)
        return tf.TensorSpec([spec.shape[0], *spec.shape[1 + len(self.index) :]], spec.dtype)

    def options(self) -> dict[str, Any]:
        """Give the index."""
        return {"index": list(self.index)}

    def __repr__(self) -> str:
        return self.described("position", index_text(self.index))


@keras.saving.register_keras_serializable("tfxai")
class Unit(Part):
    """The score that `unit` makes."""

    def __init__(self, index: int | tuple[int, ...]):
        super().__init__(None)
        self.index = () if index in ((), []) else checked_index("index", index)

    def of(self, forward: Forward, explained: tf.Tensor) -> tf.Tensor:
        """Give the unit, whatever is explained."""
        del explained
        if not tf.is_tensor(forward.outputs):
            raise several_outputs(forward.outputs)
        self._check_rank(forward.outputs.shape)
        return at_least_float32(at_places(repr(self), self.index, forward.outputs))

    def predicted(self, forward: Forward) -> tf.Tensor:
        """Give 0 for each example: there are no classes."""
        return tf.zeros(tf.shape(forward.outputs)[:1], tf.int32)

    def explained(self, forward: Forward, targets: tf.Tensor) -> tf.Tensor:
        """Give the targets, which are 0."""
        del forward
        return targets

    def classes(self, specs: Any) -> int | None:
        """Give 1, so that 0 is the only target."""
        if not isinstance(specs, tf.TensorSpec):
            raise several_outputs(specs)
        self._check_rank(specs.shape)
        check_places(repr(self), self.index, specs.shape)
        return 1

    def get_config(self) -> dict[str, Any]:
        """Give the index."""
        return {"index": list(self.index)}

    def with_innermost(self, score: Score) -> Unit:
        """Raise, since a unit has no classes."""
        raise ValueError(f"score={self!r}: a unit has no classes, which {score!r} needs")

    def _check_rank(self, shape: tf.TensorShape) -> None:
        if shape.rank != 1 + len(self.index):
            raise ValueError(
                f"score: {self!r} of outputs {shape} is no single number; give an index for each "
                f"axis behind the batch, such as unit({tuple([0] * (shape.rank - 1))})"
            )

    def __repr__(self) -> str:
        return f"unit({index_text(self.index)})"
