"""Explaining a batch on several devices of one machine, each with a part of the examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfxai.core import batch
from tfxai.core.types import Tensors


def mirrored(strategy: tf.distribute.Strategy, model: keras.Model) -> tf.distribute.Strategy | None:
    """Give the strategy if its replicas hold equal copies of the model, or None.

    The copies of a model that is being trained may differ: each replica gathers its own moving
    averages, and Keras takes those of the first replica as the model's.
    """
    if strategy.num_replicas_in_sync == 1:
        return None
    if not isinstance(strategy, tf.distribute.MirroredStrategy):
        return None
    if not all(_same_on_all_devices(v.value) for v in model.non_trainable_variables):
        return None
    return strategy


def on_replicas(function: Callable[..., Any], strategy: tf.distribute.Strategy) -> Callable:
    """Give a function with the same result, of which each replica computes a part of the batch.

    Args:
        function: inputs ``[B, ...]``, targets ``[B]`` and a seed -> tensors ``[B, ...]``.
        strategy: the strategy whose replicas run the function.
    """
    replicas = strategy.num_replicas_in_sync

    def run_on_replicas(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Any:
        count = tf.shape(targets)[0]
        part_size = -(-count // replicas)

        def run_on_part() -> Any:
            first = tf.distribute.get_replica_context().replica_id_in_sync_group * part_size
            # All parts must have one size: the last part repeats the last example if need be.
            rows = tf.minimum(tf.range(first, first + part_size), count - 1)
            return function(batch.take(inputs, rows), tf.gather(targets, rows), seed)

        parts = strategy.experimental_local_results(strategy.run(run_on_part))
        return tf.nest.map_structure(lambda *pieces: tf.concat(pieces, 0)[:count], *parts)

    return run_on_replicas


def _same_on_all_devices(variable: tf.Variable) -> bool:
    """Whether all replicas hold the same values of a variable."""
    first, *others = (np.asarray(copy) for copy in getattr(variable, "values", (variable,)))
    return all(np.array_equal(first, other, equal_nan=True) for other in others)
