"""What metrics ask of a method: the attributions of inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfxai.core import checks
from tfxai.core.types import Tensors
from tfxai.metrics.arrays import feature_rows

Explain = Callable[[Any, Any], Any]
"""Maps inputs ``[B, ...]`` and targets ``[B]`` to attributions ``[B, ...]``.

Inputs and attributions may be dicts of arrays by the names of a model's inputs. Targets may be
None, which stands for the predicted classes. An `Explainer` is an `Explain`.
"""


def explain_in_batches(
    explain: Explain, inputs: Tensors, targets: np.ndarray | None, batch_size: int
) -> np.ndarray:
    """Explain inputs, `batch_size` of them at a time.

    Args:
        explain: the method.
        inputs: ``[B, ...]``, or a dict of such arrays.
        targets: ``[B]``, or None for the predicted classes.
        batch_size: how many examples are explained at once.

    Returns:
        The attributions of each example, those of all inputs in one row, ``[B, F]`` in float64.
    """
    size = checks.positive_integer("batch_size", batch_size)
    count = len(tf.nest.flatten(inputs)[0])
    parts = []
    for start in range(0, count, size):
        part = slice(start, start + size)
        classes = None if targets is None else targets[part]
        some = tf.nest.map_structure(lambda x, part=part: x[part], inputs)
        parts.append(feature_rows("attributions", explain(some, classes)))
    return np.concatenate(parts)
