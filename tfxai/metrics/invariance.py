"""Invariance: whether attributions stay the same where the model's function does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfxai.core import checks
from tfxai.core.named_inputs import check_option_names, leaf_names, quoted
from tfxai.metrics.arrays import checked_targets
from tfxai.metrics.explain import Explain, explain_in_batches
from tfxai.metrics.given_inputs import given_inputs
from tfxai.metrics.similarity import rank_correlation
from tfxai.models import keras_graph


def invariance(
    explain: Explain,
    other: Explain,
    inputs: Any,
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
        inputs: the inputs of the model, ``[B, ...]``; of several a dict by name.
        targets: class indices, ``[B]`` or one for all; None for the class that each model predicts.
        shift: what is added to the inputs of the other model, a number or one for each channel; for
            several inputs a dict by name, of those that are shifted.
        batch_size: how many examples are explained at once.

    Returns:
        Spearman's rank correlation ``[B]``; it is 1 for an invariant method.

    Raises:
        TypeError, ValueError: names that do not fit, or attributions that are not finite.

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
    given = given_inputs(inputs)
    moved = [
        x if offset is None else (x + np.asarray(offset)).astype(x.dtype)
        for x, offset in zip(given.flat, _shifts(shift, given.names), strict=True)
    ]
    classes = checked_targets(targets, len(given.flat[0]))
    return rank_correlation(
        explain_in_batches(explain, given.structure, classes, batch_size),
        explain_in_batches(other, given.pack(moved), classes, batch_size),
    )


def shifted(model: keras.Model, shift: Any = 1.0) -> keras.Model:
    """Give a model that does with x + shift what `model` does with x; both share their weights.

    Args:
        model: a model that declares its inputs.
        shift: a number, or one for each channel; for several inputs a dict by name, of those that
            are shifted.

    Raises:
        TypeError, ValueError: a model that declares no inputs, or names that are not theirs.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> moved = shifted(model, 1.0)
        >>> np.array_equal(moved(np.ones((1, 2))), model(np.zeros((1, 2))))
        True
    """
    specs = keras_graph.declared_inputs(checks.model(model))
    if specs is None:
        raise ValueError(f"model: {model.name} declares no inputs to shift")
    shifts = _shifts(shift, leaf_names(specs, specs))
    inputs = tf.nest.map_structure(
        lambda s: keras.Input(s.shape[1:], dtype=s.dtype, name=s.name), specs
    )
    back = [
        x if offset is None else _minus(x, offset, keras_graph.float_type(model))
        for x, offset in zip(tf.nest.flatten(inputs), shifts, strict=True)
    ]
    outputs = model(tf.nest.pack_sequence_as(specs, back))
    return keras.Model(inputs, outputs, name=f"{model.name}_shifted")


def _minus(x: Any, offset: Any, dtype: str) -> Any:
    """Take an offset off a symbolic input."""
    values = (-np.asarray(offset, np.float64)).tolist()
    return keras.layers.Rescaling(1.0, values, dtype=dtype)(x)


def _shifts(shift: Any, names: list[Any]) -> list[Any]:
    """Give the shift of each input, None for one that stays."""
    if isinstance(shift, Mapping):
        check_option_names("shift", shift, names)
        return [shift.get(name) for name in names]
    if len(names) > 1:
        raise TypeError(
            f"shift={shift!r}: expected a dict by the names of the inputs that are shifted, e.g. "
            f"shift={{{names[0]!r}: 1.0}}, of {quoted(names)}"
        )
    return [shift]
