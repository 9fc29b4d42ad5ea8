"""A batch explained on several devices of one machine, each with its part of the examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfxai.core import batch
from tfxai.core.types import Tensors


def mirrored(strategy: tf.distribute.Strategy, model: keras.Model) -> tf.distribute.Strategy | None:
    """Give a strategy that has equal copies of a model on devices of this machine, or None.

    While a model is trained each replica gathers moving averages of its own; Keras takes those of
    the first to be the model's.
    """
    if strategy.num_replicas_in_sync == 1:
        return None
    if not isinstance(strategy, tf.distribute.MirroredStrategy):
        return None
    return (
        strategy if all(_same_everywhere(v.value) for v in model.non_trainable_variables) else None
    )


def on_replicas(function: Callable[..., Any], strategy: tf.distribute.Strategy) -> Callable:
    """Give a function that each replica runs on its part of the batch, with the same result.

    Args:
        function: of inputs ``[B, ...]``, targets ``[B]`` and a seed, to tensors ``[B, ...]``.
        strategy: what to run it by.
    """
    replicas = strategy.num_replicas_in_sync

    def everywhere(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Any:
        count = tf.shape(targets)[0]
        each = -(-count // replicas)

        def own() -> Any:
            first = tf.distribute.get_replica_context().replica_id_in_sync_group * each
            # Replicas must have parts of one size: what is missing is the last example again.
            rows = tf.minimum(tf.range(first, first + each), count - 1)
            return function(batch.take(inputs, rows), tf.gather(targets, rows), seed)

        parts = strategy.experimental_local_results(strategy.run(own))
        return tf.nest.map_structure(lambda *part: tf.concat(part, 0)[:count], *parts)

    return everywhere


def _same_everywhere(variable: tf.Variable) -> bool:
    first, *others = (np.asarray(copy) for copy in getattr(variable, "values", (variable,)))
    return all(np.array_equal(first, other, equal_nan=True) for other in others)
