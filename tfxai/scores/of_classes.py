"""Scores of one row of logits for each example: logit, probability, cross-entropy, margin."""

from __future__ import annotations

import keras
import tensorflow as tf

from tfxai.scores.marks import on_logits
from tfxai.scores.rows import as_rows, pick, two_classes


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
    return pick(rows, targets)


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
    return -tf.nn.softplus(others - pick(logits, targets))


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
    return pick(logits, targets) - tf.reduce_max(_without(logits, targets), axis=-1)


def _without(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Replace the target's logit by the lowest finite number."""
    is_target = tf.one_hot(targets, logits.shape[-1], on_value=True, off_value=False, dtype=tf.bool)
    return tf.where(is_target, logits.dtype.min, logits)
