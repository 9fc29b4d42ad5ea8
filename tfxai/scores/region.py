"""`region`: the mean score over a region, such as the pixels of an object in a segmentation."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfxai.core import checks
from tfxai.core.types import Score
from tfxai.scores.advice import several_outputs
from tfxai.scores.everywhere import Places, everywhere, places_spec
from tfxai.scores.forward import Forward
from tfxai.scores.of_classes import logit
from tfxai.scores.part import Part, class_count, text

REDUCTIONS = ("mean", "sum")


def region(mask: Any = None, *, score: Score = logit, reduction: str = "mean") -> Region:
    """Explain the target's score over a region of outputs ``[B, H, W, C]`` with classes last.

    There may be any number of axes in the place of H and W, such as one for tokens.

    Args:
        mask: the region, booleans or weights of at least 0, ``[H, W]``, the same for all examples.
            None for the places where the model predicts the target: where its logit is the largest,
            or, behind a sigmoid, positive. They are found for each example as it is given, and stay
            the same while a method changes its input.
        score: what is explained of each place, (outputs ``[N, C]``, targets) -> ``[N]``.
        reduction: "mean" or "sum" of the scores over the region.

    Returns:
        A score, which can be saved. Without targets, the class is explained that is predicted at
        most places of the mask, or of the whole output.

    Raises:
        ValueError: the mask has nothing in it, or another shape than the output; when it is used,
            the target is predicted nowhere.

    Example:
        >>> outputs = tf.constant([[[5.0, 1.0], [0.0, 2.0], [0.0, 4.0]]])
        >>> region()(outputs, tf.constant([1])).numpy().round(4)
        array([3.], dtype=float32)
        >>> region([1, 0, 0])(outputs, tf.constant([1])).numpy().round(4)
        array([1.], dtype=float32)
    """
    return Region(mask, score, reduction)


@keras.saving.register_keras_serializable("tfxai")
class Region(Part):
    """The score that `region` makes."""

    has_one_row = False

    def __init__(self, mask: Any, score: Score, reduction: str):
        super().__init__(score)
        if isinstance(score, Part):
            raise TypeError(
                f"score={score!r}: expected a score of rows [N, C], such as tfxai.scores.margin; "
                "to explain a region of a part, write the part around it, as in "
                "output('mask', region())"
            )
        self.mask = None if mask is None else _checked_mask(mask)
        self.reduction = checks.one_of("reduction", reduction, REDUCTIONS)
        self.fixes = mask is None

    def of(self, forward: Forward, explained: tf.Tensor) -> tf.Tensor:
        """Give the mean or the sum over the region."""
        places = self._places(forward)
        if self.mask is None and explained.shape.rank == 1:
            explained = self.explained(forward, explained)
        classes = explained if explained.shape.rank == 1 else explained[:, 0]
        values = places.scores(self.inner, classes)
        if self.mask is None:
            weights = tf.cast(explained[:, 1:], values.dtype)
        else:
            weights = _row(self.mask, values.dtype)
        total = tf.reduce_sum(values * weights, 1)
        return total if self.reduction == "sum" else total / tf.reduce_sum(weights, 1)

    def predicted(self, forward: Forward) -> tf.Tensor:
        """Give the class that is predicted at most places of the mask."""
        votes = tf.cast(self._places(forward).predicted(), tf.float32)
        if self.mask is not None:
            votes *= _row(self.mask, tf.float32)[..., None]
        return tf.argmax(tf.reduce_sum(votes, 1), -1, tf.int32)

    def explained(self, forward: Forward, targets: tf.Tensor) -> tf.Tensor:
        """Give the targets, and behind them 1 for each place of their region, ``[B, 1 + P]``."""
        if self.mask is not None:
            return targets
        predicted = self._places(forward).predicted()
        chosen = tf.cast(tf.gather(predicted, targets, axis=2, batch_dims=1), tf.int32)
        empty = tf.equal(tf.reduce_max(chosen, 1), 0)
        rows = tf.concat([targets[:, None], chosen], 1)
        return checks.asserted(
            rows,
            ~empty,
            f"score={self!r}: the model predicts the target nowhere, so there is no region; pass "
            "another target, or a mask. Examples (counted in their batch) and targets:",
            tf.where(empty)[:, 0],
            tf.boolean_mask(targets, empty),
        )

    def classes(self, specs: Any) -> int | None:
        """Give the number of classes of a place."""
        if not isinstance(specs, tf.TensorSpec):
            raise several_outputs(specs)
        spec = places_spec(repr(self), specs)
        self._check_shape(specs.shape)
        return class_count(self.inner, spec)

    def options(self) -> dict[str, Any]:
        """Give the mask and the reduction."""
        mask = keras.saving.serialize_keras_object(self.mask)
        return {"mask": mask, "reduction": self.reduction}

    def _places(self, forward: Forward) -> Places:
        if not tf.is_tensor(forward.outputs):
            raise several_outputs(forward.outputs)
        places_spec(repr(self), forward.outputs)
        self._check_shape(forward.outputs.shape)
        if self.mask is not None and None in forward.outputs.shape[1:-1]:
            fits = tf.equal(tf.shape(forward.outputs)[1:-1], self.mask.shape)
            message = f"score: mask has shape {list(self.mask.shape)}, but outputs have"
            sizes = tf.shape(forward.outputs)[1:-1]
            forward = forward.map(lambda x: checks.asserted(x, fits, message, sizes))
        return everywhere(forward)

    def _check_shape(self, shape: tf.TensorShape) -> None:
        if self.mask is None or shape[1:-1].is_compatible_with(self.mask.shape):
            return
        given = list(self.mask.shape)
        if shape[1:-1].is_compatible_with(self.mask.shape[1:]):
            raise ValueError(
                f"score: mask has shape {given}, one for each example, but a batch is cut, and a "
                "score does not know which examples it sees. Explain them one by one, each by an "
                f"explainer with region(mask[i]), of shape {given[1:]}"
            )
        raise ValueError(
            f"score: mask has shape {given}, but the outputs have the places {shape[1:-1]}"
        )

    def __repr__(self) -> str:
        mask = [] if self.mask is None else [f"<array {list(self.mask.shape)}>"]
        score = [] if self.score is logit else [f"score={text(self.inner)}"]
        reduction = [] if self.reduction == "mean" else [f"reduction={self.reduction!r}"]
        return f"region({', '.join([*mask, *score, *reduction])})"


def _row(mask: np.ndarray, dtype: tf.DType) -> tf.Tensor:
    """Give a mask as ``[1, P]``."""
    return tf.constant(mask.reshape(1, -1), dtype)


def _checked_mask(mask: Any) -> np.ndarray:
    array = np.asarray(mask)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"mask: expected booleans or numbers, got {array.dtype} values")
    weights = array.astype(np.float64)
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError("mask: expected booleans, or finite weights of at least 0")
    if not weights.any():
        raise ValueError(f"mask of shape {list(weights.shape)} has nothing in it")
    return weights
