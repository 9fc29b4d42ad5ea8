"""Structures of tensors, seen as one row of features for each example."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfxai.core.types import Tensors


def dtype(tensors: Tensors) -> tf.DType:
    """Give the data type that all tensors of a structure share."""
    return tf.nest.flatten(tensors)[0].dtype


def feature_count(tensors: Tensors) -> int | None:
    """Give the number of features of one example, None where a shape is not known."""
    sizes = [x.shape[1:].num_elements() for x in tf.nest.flatten(tensors)]
    return None if None in sizes else sum(sizes)


def example_of_ones(specs: Tensors, *, open_size: int = 64) -> Tensors:
    """Give a batch of one example of ones, of size `open_size` along axes of any size."""
    return tf.nest.map_structure(
        lambda s: tf.ones([1, *(open_size if n is None else n for n in s.shape[1:])], s.dtype),
        specs,
    )


def accepted_example(specs: Tensors, accepts: Callable[[Tensors], Any]) -> Any:
    """Give what a function makes of an example of ones: the largest that it takes.

    A model of inputs of any size may have a limit all the same, such as the number of positions
    for which it has learnt an embedding.

    Args:
        specs: of the inputs.
        accepts: raises a ValueError or an InvalidArgumentError for what it does not take.

    Raises:
        ValueError, InvalidArgumentError: what `accepts` raises for the first example, if it takes
            none.
    """
    refusals = []
    for open_size in (64, 32, 16, 8, 4, 2, 1):
        try:
            return accepts(example_of_ones(specs, open_size=open_size))
        except (ValueError, tf.errors.InvalidArgumentError) as error:
            refusals.append(error)
        if all(s.shape[1:].is_fully_defined() for s in tf.nest.flatten(specs)):
            break
    raise refusals[0]


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


def feature_sum(tensors: Tensors) -> tf.Tensor:
    """Sum the features of each example, ``[B]``."""
    return tf.reduce_sum(rows(tensors), 1)


def norm(tensors: Tensors) -> tf.Tensor:
    """Give the L2 norm of each example's features, ``[B]``."""
    return tf.norm(rows(tensors), axis=1)


def safe_norm(vectors: tf.Tensor) -> tf.Tensor:
    """Give L2 norms along the last axis, even where squares of elements under- or overflow."""
    largest = tf.reduce_max(tf.abs(vectors), -1, keepdims=True)
    scale = tf.where(largest > 0, largest, tf.ones_like(largest))
    return tf.norm(vectors / scale, axis=-1) * scale[..., 0]


def unit_vectors(vectors: tf.Tensor) -> tf.Tensor:
    """Divide vectors by their L2 norms along the last axis; a zero vector stays zero."""
    return tf.math.divide_no_nan(vectors, safe_norm(vectors)[..., None])


def relative_error(error: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Give error / size: 0 where the error is 0, infinite where only the size is 0."""
    return tf.where(tf.equal(error, 0), tf.zeros_like(error), error / size)


def where(condition: tf.Tensor, x: Tensors, y: Tensors) -> Tensors:
    """Give `x` where the condition holds, else `y`, by booleans over the leading axes."""

    def choose(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        ones = [1] * (a.shape.rank - condition.shape.rank)
        return tf.where(tf.reshape(condition, tf.concat([tf.shape(condition), ones], 0)), a, b)

    return tf.nest.map_structure(choose, x, y)


def take(tensors: Tensors, indices: tf.Tensor) -> Tensors:
    """Give some examples of each tensor, by their indices ``[A]``."""
    return tf.nest.map_structure(lambda x: tf.gather(x, indices), tensors)


def put(tensors: Tensors, indices: tf.Tensor, values: Tensors) -> Tensors:
    """Replace some examples of each tensor by `values`: put back what `take` has taken."""
    return tf.nest.map_structure(
        lambda x, new: tf.tensor_scatter_nd_update(x, indices[:, None], new), tensors, values
    )


def tiled(targets: tf.Tensor, count: Any) -> tf.Tensor:
    """Repeat what is explained of the examples of a batch, one batch after the other.

    Args:
        targets: ``[B, ...]``.
        count: how many batches are wanted.

    Returns:
        ``[count B, ...]``.
    """
    return tf.tile(targets, [count] + [1] * (targets.shape.rank - 1))


def fold(x: tf.Tensor) -> tf.Tensor:
    """Give ``[K, B, ...]`` as ``[K B, ...]``."""
    return tf.ensure_shape(
        tf.reshape(x, tf.concat([[-1], tf.shape(x)[2:]], 0)), [None, *x.shape[2:]]
    )


def unfold(x: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Give ``[K B, ...]`` as ``[K, B, ...]``."""
    return tf.reshape(x, tf.concat([[count, tf.shape(x)[0] // count], tf.shape(x)[1:]], 0))


def cast(tensors: Tensors, dtype: tf.DType) -> Tensors:
    """Cast each tensor to a data type."""
    return tf.nest.map_structure(lambda x: tf.cast(x, dtype), tensors)


def _row(x: tf.Tensor) -> tf.Tensor:
    features = x.shape[1:].num_elements()
    count = tf.reduce_prod(tf.shape(x)[1:]) if features is None else features
    return tf.ensure_shape(tf.reshape(x, tf.stack([tf.shape(x)[0], count])), [None, features])
