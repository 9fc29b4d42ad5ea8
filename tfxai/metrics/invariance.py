"""Invariance: whether attributions stay the same where the model's function does."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfxai.core import checks
from tfxai.metrics.arrays import checked_targets, finite, one_array
from tfxai.metrics.scoring import Explain, explain_in_batches
from tfxai.metrics.similarity import rank_correlation
from tfxai.models import keras_graph


def invariance(
    explain: Explain,
    other: Explain,
    inputs: np.ndarray,
    targets: Any,
    *,
    shift: Any = 1.0,
    batch_size: int = 32,
) -> np.ndarray:
    """Compare a model's maps with the maps of a model that takes shifted inputs.

    Args:
        explain: maps inputs ``[B, ...]`` and targets ``[B]`` to attributions of the model.
        other: the same for the other model. That is `shifted(model, shift)`, which computes
            exactly the same function; or a model that was trained on shifted inputs, whose maps
            differ by the randomness of training too.
        inputs: the inputs of the model, ``[B, ...]``.
        targets: class indices, ``[B]`` or one for all; None for the class that each model predicts.
        shift: what is added to the inputs of the other model, a number or one for each channel.
        batch_size: how many inputs are explained at once.

    Returns:
        Spearman's rank correlation ``[B]``; it is 1 for an invariant method.

    Raises:
        ValueError: attributions that are not finite.

    Reference:
        Kindermans et al. 2019, whose second model computes the same function; Zhou et al. 2024a
        (AdaptGrad) and 2024b (smoothing kernels) train it anew (docs/methods.md, Consistency and
        invariance).

    Example:
        >>> gradient, product = (lambda x, t: np.array([[1.0, 2.0]])), (lambda x, t: x)
        >>> x = np.array([[0.2, 0.1]])
        >>> invariance(gradient, gradient, x, 0).round(6)
        array([1.])
        >>> invariance(product, product, x, 0, shift=[0, 1]).round(6)
        array([-1.])
    """
    inputs = finite("inputs", one_array("inputs", inputs))
    moved = (inputs + np.asarray(shift)).astype(inputs.dtype)
    classes = checked_targets(targets, len(inputs))
    return rank_correlation(
        explain_in_batches(explain, inputs, classes, batch_size),
        explain_in_batches(other, moved, classes, batch_size),
    )


def shifted(model: keras.Model, shift: Any = 1.0) -> keras.Model:
    """Give a model that does with x + shift what `model` does with x; both share their weights.

    Args:
        model: a model of one input.
        shift: a number, or one for each channel.

    Raises:
        ValueError: a model that declares no single input.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> moved = shifted(model, 1.0)
        >>> np.array_equal(moved(np.ones((1, 2))), model(np.zeros((1, 2))))
        True
    """
    specs = keras_graph.declared_inputs(checks.model(model))
    if not isinstance(specs, tf.TensorSpec):
        raise ValueError(f"model: {model.name} has no single declared input to shift")
    inputs = keras.Input(specs.shape[1:], dtype=specs.dtype)
    offset = (-np.asarray(shift, np.float64)).tolist()
    back = keras.layers.Rescaling(1.0, offset, dtype=keras_graph.float_type(model))
    return keras.Model(inputs, model(back(inputs)), name=f"{model.name}_shifted")
