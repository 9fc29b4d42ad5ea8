"""Examples from arrays or from a `tf.data.Dataset`, read in one pass."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfxai.core.types import Tensors


def batches(data: Any, *, name: str, cut: int | None = None) -> Iterator[Tensors]:
    """Yield examples as structures of numpy arrays, batch by batch.

    Args:
        data: a structure of arrays ``[N, ...]``; or a batched dataset of examples, or of
            (examples, labels), as `keras.Model.predict` takes it.
        name: the argument's name, for messages.
        cut: how many examples of arrays are yielded at a time; None for all at once. A dataset
            keeps its own batches.

    Raises:
        ValueError: the dataset is empty or never ends.
    """
    if not isinstance(data, tf.data.Dataset):
        whole = keras.tree.map_structure(np.asarray, data)
        total = count(whole) or 0
        if cut is None:
            yield whole
        else:
            yield from (part(whole, i, i + cut) for i in range(0, total, cut))
        return
    if data.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError(f"{name}: the dataset never ends; take a part of it by .take(batches)")
    empty = True
    for element in data:
        empty = False
        examples = keras.utils.unpack_x_y_sample_weight(element)[0]
        yield keras.tree.map_structure(np.asarray, examples)
    if empty:
        raise ValueError(f"{name}: the dataset is empty")


def count(data: Any) -> int | None:
    """Give the number of examples of arrays; None for a dataset, which would have to be read."""
    if isinstance(data, tf.data.Dataset):
        return None
    return min((np.shape(x)[0] if np.ndim(x) else 0 for x in tf.nest.flatten(data)), default=0)


def size(examples: Tensors) -> int:
    """Give the number of examples of a batch."""
    return len(tf.nest.flatten(examples)[0])


def part(examples: Tensors, start: int, stop: int) -> Tensors:
    """Give the examples `start` to `stop` - 1 of a batch."""
    return keras.tree.map_structure(lambda x: x[start:stop], examples)
