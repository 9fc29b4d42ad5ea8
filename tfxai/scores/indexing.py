"""Places in the axes of an output, by their indices."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import tensorflow as tf

from tfxai.core import checks


def checked_index(name: str, value: Any) -> tuple[int, ...]:
    """Give an index, or several, as a tuple of integers, or raise a TypeError."""
    indices = value if isinstance(value, tuple | list) else (value,)
    if not indices or any(isinstance(i, bool) or not isinstance(i, Integral) for i in indices):
        raise TypeError(f"{name}={value!r}: expected an integer, or a tuple of integers")
    return tuple(int(i) for i in indices)


def check_places(call: str, indices: Sequence[int], shape: tf.TensorShape) -> None:
    """Raise a ValueError for indices that an output ``[B, ...]`` does not have behind its batch."""
    if shape.rank is None or shape.rank < 1 + len(indices):
        raise ValueError(
            f"score: {call} needs outputs with {len(indices)} axes behind the batch, got {shape}"
        )
    for index, size in zip(indices, shape[1:], strict=False):
        if size is not None and not -size <= index < size:
            raise ValueError(
                f"score: {call} of outputs {shape}: {index} is out of range, expected "
                f"{-size} to {size - 1}"
            )


def at_places(call: str, indices: Sequence[int], x: tf.Tensor) -> tf.Tensor:
    """Give what an output ``[B, ...]`` has at indices of the axes behind its batch.

    Raises:
        ValueError: an index is out of range; within a graph, at its evaluation, where a size is
            known only then.
    """
    check_places(call, indices, x.shape)
    if None in x.shape[1 : 1 + len(indices)]:
        sizes = tf.shape(x)[1 : 1 + len(indices)]
        places = tf.constant(indices)
        in_range = (places >= -sizes) & (places < sizes)
        x = checks.asserted(x, in_range, f"score: {call} is out of range of sizes", sizes)
    return x[(slice(None), *indices)]


def index_text(indices: Sequence[int]) -> str:
    """Give indices as the argument of a call."""
    return repr(indices[0]) if len(indices) == 1 else repr(tuple(indices))
