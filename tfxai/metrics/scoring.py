"""The score of inputs by a model, as metrics follow it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfxai.core import axes, checks
from tfxai.core.axes import Order
from tfxai.core.tracing import any_batch_specs, traced
from tfxai.core.types import Score, Tensors
from tfxai.metrics.arrays import constants
from tfxai.models import scored_models
from tfxai.models.model_info import check_logits, trace_info
from tfxai.models.shared_graphs import outputs_of
from tfxai.scores import expects_logits
from tfxai.scores import part as score_parts
from tfxai.scores.advice import several_outputs
from tfxai.scores.forward import Forward

ScoreFunction = Callable[[Tensors, np.ndarray], np.ndarray]
"""Maps inputs ``[N, ...]``, in the structure of the model's, and what is explained of them
``[N, ...]`` to scores ``[N]``."""

Explained = Callable[[Tensors, np.ndarray], np.ndarray]
"""Maps inputs ``[N, ...]`` and targets ``[N]`` to what is explained: these, or ``[N, 1 + n]``.

A score that lets the model choose a part for each input, as `tfxai.scores.region` does, keeps that
part while a metric changes the input.
"""


def score_function(
    model: Callable, score: Score | None, inputs: Tensors, data_format: str | None = None
) -> tuple[ScoreFunction, Order, Explained]:
    """Give a function from inputs and what is explained of them to scores, and two others.

    A Keras model runs as a graph that is traced once.

    Args:
        model: maps inputs ``[N, ...]`` to outputs ``[N, classes]``.
        score: maps outputs and targets to scores ``[N]``; None takes the model's output at the
            target as it stands.
        inputs: an example of the inputs that will be scored: an array, or a structure of arrays.
        data_format: "channels_last" or "channels_first"; None takes what a Keras model says, and
            for other models what the shapes suggest.

    Returns:
        The function, the order of the inputs' axes, and what is explained of inputs.
    """
    checks.one_of("data_format", data_format, (None, *axes.DATA_FORMATS))
    if not isinstance(model, keras.Model):
        order = axes.order_of(inputs, data_format=data_format)
        if score is None:
            return lambda x, targets: _at_targets(model(x), targets), order, _classes_alone

        def outputs(x: Tensors) -> Any:
            return tf.nest.map_structure(tf.convert_to_tensor, model(x))

        def explained(x: Tensors, targets: np.ndarray) -> np.ndarray:
            forward = Forward.without_heads(outputs(x))
            return np.asarray(score_parts.explained(score, forward, tf.constant(targets)))

        return lambda x, targets: np.asarray(score(outputs(x), targets)), order, explained
    any_inputs = any_batch_specs(inputs)
    info = trace_info(model, any_inputs)
    order = axes.order_of(inputs, read=info.channel_axes, data_format=data_format)
    if score is None:
        if not isinstance(info.outputs, tf.TensorSpec):
            raise several_outputs(info.outputs)
        return (
            lambda x, targets: _at_targets(outputs_of(model, constants(x)), targets),
            order,
            _classes_alone,
        )
    if expects_logits(score):
        first = tf.nest.map_structure(lambda x: tf.constant(x[:1]), inputs)
        check_logits(model, info, first, score)
    fixes = score_parts.fixes(score)
    function = traced(scored_models.scored(model, score)).get_concrete_function(
        any_inputs, tf.TensorSpec([None, None] if fixes else [None], tf.int32)
    )
    explain = traced(scored_models.explained(model, score))

    def explained_by_model(x: Tensors, targets: np.ndarray) -> np.ndarray:
        with checks.assertions_as_errors("targets"):
            return explain(constants(x), tf.constant(targets)).numpy()

    return (
        lambda x, targets: function(constants(x), tf.constant(targets)).numpy(),
        order,
        explained_by_model if fixes else _classes_alone,
    )


def _classes_alone(inputs: Tensors, classes: np.ndarray) -> np.ndarray:
    del inputs
    return classes


def _at_targets(outputs: Any, targets: np.ndarray) -> np.ndarray:
    """Pick each row's output of its target; outputs ``[N]`` of a single unit stay as they are."""
    values = np.asarray(outputs)
    if values.ndim == 1:
        return values
    if values.ndim != 2 or targets.max() >= values.shape[1]:
        raise ValueError(
            f"the model gives outputs of shape {list(values.shape)} for targets up to "
            f"{targets.max()}: expected [N, classes]"
        )
    return values[np.arange(len(values)), targets]
