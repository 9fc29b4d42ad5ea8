"""Scores: the scalar of a classifier that an explanation is about.

The scores of this file are functions of the **logits** ``z [B, C]``: tfxai bypasses a softmax or
sigmoid head before it calls them. A one-unit output ``[B, 1]`` (or ``[B]``) is the logit of
class 1 of a binary classifier. A score of your own receives the model's outputs unchanged;
decorate it with `on_logits` if it is a function of the logits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import keras
import tensorflow as tf

from tfxai.core.types import Score

_S = TypeVar("_S", bound=Callable[..., tf.Tensor])


def on_logits(score: _S) -> _S:
    """Mark a score as a function of the logits: a softmax or sigmoid head is bypassed before it.

    Example:
        >>> @on_logits
        ... def first_logit(outputs, targets):
        ...     return outputs[:, 0]
        >>> expects_logits(first_logit)
        True
    """
    score.on_logits = True  # type: ignore[attr-defined]
    return score


def expects_logits(score: Score) -> bool:
    """Whether `score` was marked by `on_logits`."""
    return getattr(score, "on_logits", False)


@keras.saving.register_keras_serializable("tfxai")
@on_logits
def logit(outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Give the target's logit ``z_t``; for a one-unit head ``+z`` (target 1) or ``-z`` (target 0).

    Args:
        outputs: logits ``[B, C]``, ``[B, 1]`` or ``[B]``.
        targets: class indices ``[B]``, int32.

    Returns:
        Scores ``[B]``.

    Raises:
        ValueError: the outputs are not one row of logits per example.

    Example:
        >>> logit(tf.constant([[1.0, 5.0]]), tf.constant([1])).numpy().round(4)
        array([5.], dtype=float32)
        >>> logit(tf.constant([[3.0]]), tf.constant([0])).numpy().round(4)
        array([-3.], dtype=float32)
    """
    rows = as_rows(outputs)
    if rows.shape[-1] == 1:
        return rows[:, 0] * tf.cast(2 * targets - 1, rows.dtype)
    return _pick(rows, targets)


@keras.saving.register_keras_serializable("tfxai")
@on_logits
def probability(outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Give the probability of the target: the softmax, for a one-unit head the sigmoid.

    Args:
        outputs: logits ``[B, C]``, ``[B, 1]`` or ``[B]``.
        targets: class indices ``[B]``, int32.

    Returns:
        Scores ``[B]``, from 0 to 1.

    Example:
        >>> probability(tf.constant([[0.0, 0.0]]), tf.constant([1])).numpy().round(4)
        array([0.5], dtype=float32)
    """
    return tf.exp(log_probability(outputs, targets))


@keras.saving.register_keras_serializable("tfxai")
@on_logits
def log_probability(outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Give the logarithm of `probability`, which is exact for confident predictions, too.

    log p_t = -log(1 + sum_{k != t} e^(z_k - z_t)). A softmax would lose 1 - p_t to rounding, and
    the gradient with it.

    Args:
        outputs: logits ``[B, C]``, ``[B, 1]`` or ``[B]``.
        targets: class indices ``[B]``, int32.

    Returns:
        Scores ``[B]``, at most 0.

    Example:
        >>> certain = log_probability(tf.constant([[0.0, 40.0]]), tf.constant([1]))
        >>> bool(-4.3e-18 < certain[0] < -4.2e-18)  # -exp(-40), not 0
        True
    """
    logits = two_classes(as_rows(outputs))
    others = tf.reduce_logsumexp(_without(logits, targets), axis=-1)
    return -tf.nn.softplus(others - _pick(logits, targets))


@keras.saving.register_keras_serializable("tfxai")
@on_logits
def cross_entropy(outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Give the loss ``-log p_t``, whose attributions show what speaks against the target.

    Args:
        outputs: logits ``[B, C]``, ``[B, 1]`` or ``[B]``.
        targets: class indices ``[B]``, int32.

    Returns:
        Scores ``[B]``, at least 0.

    Example:
        >>> cross_entropy(tf.constant([[0.0, 0.0]]), tf.constant([1])).numpy().round(4)
        array([0.6931], dtype=float32)
    """
    return -log_probability(outputs, targets)


@keras.saving.register_keras_serializable("tfxai")
@on_logits
def margin(outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Give the target's logit minus the largest other logit: positive where the target wins.

    Args:
        outputs: logits ``[B, C]``, ``[B, 1]`` or ``[B]``; one unit z stands for the logits (0, z).
        targets: class indices ``[B]``, int32.

    Returns:
        Scores ``[B]``.

    Example:
        >>> margin(tf.constant([[1.0, 5.0, 4.0]]), tf.constant([1])).numpy().round(4)
        array([1.], dtype=float32)
    """
    logits = two_classes(as_rows(outputs))
    return _pick(logits, targets) - tf.reduce_max(_without(logits, targets), axis=-1)


def as_rows(outputs: tf.Tensor) -> tf.Tensor:
    """Give outputs ``[B]`` or ``[B, C]`` as ``[B, C]``; refuse any others with a ValueError."""
    if not tf.is_tensor(outputs):
        raise ValueError(
            f"The model has several outputs ({type(outputs).__name__}) but a score needs one. "
            "Explain keras.Model(model.inputs, model.outputs[i]), or pass `score=` a function "
            "(outputs, targets) -> [B] of your own."
        )
    if outputs.shape.rank == 1:
        return outputs[:, None]
    if outputs.shape.rank != 2:
        raise ValueError(
            f"The model's outputs have shape {outputs.shape}, but this score needs "
            "[batch, classes]. Pass `score=` a function (outputs, targets) -> [B] that "
            "says which number to explain."
        )
    return outputs


def two_classes(logits: tf.Tensor) -> tf.Tensor:
    """Give a one-unit logit z ``[B, 1]`` as the softmax logits (0, z); leave others unchanged."""
    return tf.pad(logits, [[0, 0], [1, 0]]) if logits.shape[-1] == 1 else logits


def _without(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Replace the target's logit by the lowest finite number."""
    is_target = tf.one_hot(targets, logits.shape[-1], on_value=True, off_value=False, dtype=tf.bool)
    return tf.where(is_target, logits.dtype.min, logits)


def _pick(rows: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    return tf.gather(rows, targets, axis=1, batch_dims=1)
