"""Outputs of a classifier as one row of logits for each example."""

from __future__ import annotations

import tensorflow as tf

from tfxai.scores.advice import not_rows, several_outputs


def as_rows(outputs: tf.Tensor) -> tf.Tensor:
    """Give outputs ``[B]`` or ``[B, C]`` as ``[B, C]``; refuse any others with a ValueError."""
    if not tf.is_tensor(outputs):
        raise several_outputs(outputs)
    if outputs.shape.rank == 1:
        return outputs[:, None]
    if outputs.shape.rank != 2:
        raise not_rows(outputs.shape)
    return outputs


def two_classes(logits: tf.Tensor) -> tf.Tensor:
    """Give a one-unit logit z ``[B, 1]`` as the softmax logits (0, z); leave others unchanged."""
    return tf.pad(logits, [[0, 0], [1, 0]]) if logits.shape[-1] == 1 else logits


def pick(rows: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Give the element of each row that its target names, ``[B]``."""
    return tf.gather(rows, targets, axis=1, batch_dims=1)


def at_least_float32(x: tf.Tensor) -> tf.Tensor:
    """Cast half precision to float32, in which scores are computed."""
    return tf.cast(x, tf.float32) if x.dtype.size < 4 else x
