"""Concrete inputs and targets of a model, for functions that are called without an explainer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfxai.core import batch, checks
from tfxai.core.named_inputs import as_declared, as_given
from tfxai.core.tracing import any_batch_specs, traced
from tfxai.core.types import Tensors
from tfxai.models import keras_graph, scored_models
from tfxai.models.model_info import check_logits, trace_info
from tfxai.scores import logit


class Examples:
    """Inputs and targets that fit a model, in its floating-point type.

    Args:
        model: a Keras classifier.
        inputs: ``[B, ...]``.
        targets: one class for all examples, or ``[B]``.

    Raises:
        TypeError, ValueError: the inputs or targets do not fit the model, or it has no logits.
    """

    def __init__(self, model: keras.Model, inputs: Tensors, targets: Any):
        self.declared = keras_graph.declared_inputs(checks.model(model))
        checks.inputs(inputs, self.declared)
        self.given = inputs
        self.dtype = keras_graph.float_type(model)
        self.inputs = batch.cast(as_declared(inputs, self.declared), self.dtype)
        info = trace_info(model, any_batch_specs(self.inputs))
        check_logits(model, info, self.inputs)
        count = len(tf.nest.flatten(self.inputs)[0])
        self.targets = tf.constant(checks.targets(targets, count, info.classes(logit), None))
        self.classifier = scored_models.classifier(model)

    def as_declared(self, name: str, values: Tensors) -> Tensors:
        """Give an argument of the inputs' structure in the structure that the model declares."""
        return as_declared(values, self.declared, name=name)

    def run(self, function: Callable[..., Any], *arguments: tf.Tensor) -> Any:
        """Evaluate a function of (inputs, targets, *arguments) as a graph for any batch size.

        Raises:
            ValueError: an assertion of the graph fails.
        """
        specs = any_batch_specs((self.inputs, self.targets))
        concrete = traced(function).get_concrete_function(*specs, *any_batch_specs(arguments))
        with checks.assertions_as_errors("hessian"):
            return concrete(self.inputs, self.targets, *arguments)

    def structured(self, rows: tf.Tensor) -> Tensors:
        """Give rows ``[B, F]`` or ``[B, R, F]`` as arrays ``[B, ...]`` or ``[B, R, ...]``.

        The arrays have the structure in which the inputs were given.
        """
        rows = tf.convert_to_tensor(rows)
        ranks = tf.shape(rows)[1:-1]
        flat = tf.reshape(rows, [-1, rows.shape[-1]])
        like = tf.nest.map_structure(lambda x: tf.repeat(x, tf.reduce_prod(ranks), 0), self.inputs)
        parts = batch.from_rows(flat, like)

        def with_ranks(part: tf.Tensor, x: tf.Tensor) -> np.ndarray:
            return tf.reshape(part, tf.concat([x.shape[:1], ranks, x.shape[1:]], 0)).numpy()

        arrays = tf.nest.map_structure(with_ranks, parts, self.inputs)
        return as_given(arrays, self.given, self.declared)
