"""Structures of tensors seen as one row of features for each example."""

from __future__ import annotations

import tensorflow as tf

from tfxai.core.types import Tensors


def dtype(tensors: Tensors) -> tf.DType:
    """Give the type that the tensors share."""
    return tf.nest.flatten(tensors)[0].dtype


def features(tensors: Tensors) -> int | None:
    """Give the number of features of an example, None where a shape is not known."""
    sizes = [x.shape[1:].num_elements() for x in tf.nest.flatten(tensors)]
    return None if None in sizes else sum(sizes)


def ones(specs: Tensors) -> Tensors:
    """Give an example of ones, with an ordinary size where any is allowed."""
    return tf.nest.map_structure(
        lambda s: tf.ones([1, *(64 if n is None else n for n in s.shape[1:])], s.dtype), specs
    )


def rows(tensors: Tensors) -> tf.Tensor:
    """Give all features of each example, ``[B, F]``."""
    return tf.concat([_row(x) for x in tf.nest.flatten(tensors)], 1)


def from_rows(values: tf.Tensor, like: Tensors) -> Tensors:
    """Give rows ``[B, F]`` in the structure and shapes of `like`: the inverse of `rows`."""
    flat = tf.nest.flatten(like)
    parts = tf.split(values, [tf.reduce_prod(tf.shape(x)[1:]) for x in flat], axis=1)
    shaped = [
        tf.ensure_shape(tf.reshape(p, tf.shape(x)), x.shape)
        for p, x in zip(parts, flat, strict=True)
    ]
    return tf.nest.pack_sequence_as(like, shaped)


def total(tensors: Tensors) -> tf.Tensor:
    """Sum the features of each example, ``[B]``."""
    return tf.reduce_sum(rows(tensors), 1)


def norm(tensors: Tensors) -> tf.Tensor:
    """Give the L2 norm of each example's features, ``[B]``."""
    return tf.norm(rows(tensors), axis=1)


def lengths(vectors: tf.Tensor) -> tf.Tensor:
    """Give L2 norms along the last axis, also of numbers whose squares under- or overflow."""
    largest = tf.reduce_max(tf.abs(vectors), -1, keepdims=True)
    scale = tf.where(largest > 0, largest, tf.ones_like(largest))
    return tf.norm(vectors / scale, axis=-1) * scale[..., 0]


def unit(vectors: tf.Tensor) -> tf.Tensor:
    """Give vectors of length 1 along the last axis; 0 where a vector is."""
    return tf.math.divide_no_nan(vectors, lengths(vectors)[..., None])


def ratio(error: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Give error / size: 0 where there is no error, infinite where there is but no size."""
    return tf.where(tf.equal(error, 0), tf.zeros_like(error), error / size)


def where(which: tf.Tensor, one: Tensors, other: Tensors) -> Tensors:
    """Choose between structures by booleans over their tensors' leading axes."""

    def chosen(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        ones = [1] * (a.shape.rank - which.shape.rank)
        return tf.where(tf.reshape(which, tf.concat([tf.shape(which), ones], 0)), a, b)

    return tf.nest.map_structure(chosen, one, other)


def take(tensors: Tensors, which: tf.Tensor) -> Tensors:
    """Give some examples of each tensor, by their numbers ``[A]``."""
    return tf.nest.map_structure(lambda x: tf.gather(x, which), tensors)


def put(tensors: Tensors, which: tf.Tensor, values: Tensors) -> Tensors:
    """Give tensors with other values for some examples: what `take` has taken, put back."""
    return tf.nest.map_structure(
        lambda x, new: tf.tensor_scatter_nd_update(x, which[:, None], new), tensors, values
    )


def cast(tensors: Tensors, dtype: tf.DType) -> Tensors:
    """Give tensors in a type."""
    return tf.nest.map_structure(lambda x: tf.cast(x, dtype), tensors)


def _row(x: tf.Tensor) -> tf.Tensor:
    features = x.shape[1:].num_elements()
    count = tf.reduce_prod(tf.shape(x)[1:]) if features is None else features
    return tf.ensure_shape(tf.reshape(x, tf.stack([tf.shape(x)[0], count])), [None, features])
