"""A model's head and size, read from its traced TensorFlow graph.

A head is found there, not among the Keras layers: a softmax is one operation in the graph,
whether it came from an `activation=` argument, a layer, a nested or a subclassed model, and its
input is the logits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfxai.core import batch, checks
from tfxai.core.tracing import any_batch_specs
from tfxai.core.types import Classifier, Score, ScoredModel, Tensors
from tfxai.models import graph_axes, keras_graph
from tfxai.scores import as_rows, expects_logits, on_logits, two_classes

PREDICTED = -1
"""The target that stands for the class that the model predicts."""
_HEADS = {"Softmax": "softmax", "LogSoftmax": "softmax", "Sigmoid": "sigmoid"}
_SHAPING = {"Identity", "IdentityN", "Cast", "Reshape", "Squeeze", "ExpandDims"}
_FREE = {"Placeholder", "Const", "ReadVariableOp", "VarHandleOp", "NoOp"}


class ModelInfo(NamedTuple):
    """What one trace of a model's forward pass tells."""

    head: str | None
    """"softmax", "sigmoid", or None when the outputs are taken as logits."""
    units: int | None
    """Size of the last axis of a single ``[B, C]`` output (1 for ``[B]``), else None."""
    bytes_per_row: int
    """All the forward pass's intermediate results, for one example."""
    channel_axes: tuple[int | None, ...] = ()
    """Of each input, the axis that the model reads as its channels; None where nothing tells."""


def strip_head(outputs: tf.Tensor) -> tuple[tf.Tensor, str | None]:
    """Give the logits behind symbolic outputs and the head that was bypassed, if there was one.

    Raises:
        ValueError: there are several outputs, or TensorFlow runs functions eagerly.
    """
    outputs = as_rows(outputs) if not tf.is_tensor(outputs) else outputs
    if tf.executing_eagerly():
        raise ValueError(
            "tfxai reads the model's head from its graph: call "
            "tf.config.run_functions_eagerly(False)."
        )
    operation, index = outputs.op, outputs.value_index
    while operation.type in _SHAPING:
        before = operation.inputs[index]
        operation, index = before.op, before.value_index
    head = _HEADS.get(operation.type)
    if head is None:
        return outputs, None
    logits = operation.inputs[0]
    if outputs.shape.rank != logits.shape.rank:
        logits = tf.ensure_shape(tf.reshape(logits, tf.shape(outputs)), outputs.shape)
    return logits, head


def explained(
    model: keras.Model, score: Score
) -> Callable[[Tensors, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Give (inputs, targets) -> (what the score is a function of, the score ``[B]``).

    That is the outputs or, for a score on logits, the logits: the head is bypassed. A sigmoid
    head with several units is so many binary classifiers: the score sees the target's.

    Raises:
        TypeError: `score` is not a function.
    """
    if not callable(score):
        raise TypeError(f"score={score!r}: expected a function (outputs, targets) -> [B]")

    def forward(inputs: Tensors, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return _scored_outputs(model(inputs, training=False), targets, score)

    return forward


def read(
    model: keras.Model, score: Score, *, predicts: bool
) -> Callable[[Tensors, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Give (inputs, targets) -> (the explained classes, their scores), both ``[B]``.

    Args:
        model: any Keras model.
        score: what is explained.
        predicts: whether the model has classes, so that a target below 0 is the predicted one: the
            class of the largest logit; 1 for a one-unit head without a sigmoid.
    """

    def forward(inputs: Tensors, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        outputs = model(inputs, training=False)
        if predicts:
            targets = tf.where(targets < 0, _predicted(outputs), targets)
        return targets, _scored_outputs(outputs, targets, score)[1]

    return forward


def scored(model: keras.Model, score: Score) -> ScoredModel:
    """Join a model and a score, with the head bypassed where the score is one on logits."""
    forward = explained(model, score)
    return lambda inputs, targets: forward(inputs, targets)[1]


def classifier(model: keras.Model) -> Classifier:
    """Give (inputs, targets) -> logits ``[B, C]`` of at least two classes, and the targets there.

    A one-unit head z has the logits (0, z); of a sigmoid head with several units it is the
    target's unit, as in `explained`.
    """

    @on_logits
    def all_classes(logits: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return two_classes(as_rows(logits)), targets

    forward = explained(model, all_classes)
    return lambda inputs, targets: forward(inputs, targets)[1]


def inspect(model: keras.Model, specs: Tensors) -> ModelInfo:
    """Trace the model once on inputs like `specs` (each ``[None, ...]``) and look at the graph."""
    found: dict[str, tf.Tensor | str | None] = {}

    def forward(*inputs: tf.Tensor) -> Tensors:
        outputs = model(tf.nest.pack_sequence_as(specs, inputs), training=False)
        if tf.is_tensor(outputs):
            found["outputs"] = outputs
            found["head"] = strip_head(outputs)[1]
        return outputs

    one_row = [tf.TensorSpec([1, *s.shape[1:]], s.dtype) for s in tf.nest.flatten(specs)]
    graph = tf.function(forward, autograph=False).get_concrete_function(*one_row).graph
    checks.supported_convolutions(graph)
    channels = tuple(graph_axes.channel_axis(x) for x in graph.inputs[: len(one_row)])
    size = sum(
        (output.shape.num_elements() or 0) * output.dtype.size
        for operation in graph.get_operations()
        if operation.type not in _FREE and not _reads_weights_only(operation)
        for output in operation.outputs
    )
    return ModelInfo(found.get("head"), _units(found.get("outputs")), max(size, 1), channels)


def check_logits(model: keras.Model, info: ModelInfo, examples: Tensors) -> None:
    """Refuse a model that gives probabilities but has no head to bypass: there are no logits.

    Everything that asks a model for logits comes by here. A head that is written by hand, as
    exp(z) / sum(exp(z)), is told by its outputs, which sum to 1 for the first example and for
    zeros as well.

    Args:
        model: any Keras model.
        info: of it.
        examples: concrete inputs ``[B, ...]``.

    Raises:
        ValueError: as it says.
    """
    if info.head is not None or info.units in (None, 1):
        return
    probes = tf.nest.map_structure(lambda x: tf.concat([x[:1], 0 * x[:1]], 0), examples)
    checks.not_probabilities(np.asarray(model(probes, training=False)))


def logits(model: keras.Model) -> keras.Model:
    """Give a model that shares all of `model`'s variables and ends before its softmax or sigmoid.

    Args:
        model: any Keras model with one output.

    Returns:
        A model with the same inputs and the logits as outputs; `model` itself if it has no head.

    Raises:
        ValueError: the outputs are probabilities, but there is no softmax to bypass.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, "softmax")])
        >>> _ = model.layers[0].kernel.assign([[1, 2, 3], [4, 5, 6]])
        >>> logits(model)(tf.constant([[1.0, 1.0]])).numpy().round(4)
        array([[5., 7., 9.]], dtype=float32)
    """
    specs = keras_graph.declared_inputs(model)
    if specs is not None and (info := inspect(model, specs)).head is None:
        check_logits(model, info, batch.example_of_ones(specs))
        return model
    return Logits(model)


@keras.saving.register_keras_serializable("tfxai")
class Logits(keras.Model):
    """What `logits` returns."""

    def __init__(self, model: keras.Model):
        super().__init__(name=f"{model.name}_logits", dtype=keras_graph.float_type(model))
        self.of = model
        self.traced = tf.function(
            lambda inputs: strip_head(self.of(inputs, training=False))[0],
            autograph=False,
            reduce_retracing=True,
        )
        self._checked = False

    def call(self, inputs: Tensors) -> tf.Tensor:
        """Compute the logits."""
        concrete = all(hasattr(x, "numpy") for x in tf.nest.flatten(inputs))
        if concrete and not self._checked:
            check_logits(self.of, inspect(self.of, any_batch_specs(inputs)), inputs)
            self._checked = True
        return self.traced(inputs)

    def get_config(self) -> dict:
        """Give the wrapped model."""
        return {"model": keras.saving.serialize_keras_object(self.of)}

    @classmethod
    def from_config(cls, config: dict) -> Logits:
        """Wrap the model again."""
        return cls(keras.saving.deserialize_keras_object(config["model"]))


def rows_within(budget: int, info: ModelInfo) -> int:
    """Give how many examples may be differentiated at once in `budget` bytes, at least one."""
    return max(1, math.floor(budget / info.bytes_per_row))


def _scored_outputs(outputs: Any, targets: tf.Tensor, score: Score) -> tuple[tf.Tensor, tf.Tensor]:
    """Give what the score is a function of, and the score ``[B]``."""
    if not expects_logits(score):
        return outputs, score(outputs, targets)
    outputs, head = strip_head(outputs)
    logits = as_rows(_at_least_float32(outputs))
    if head == "sigmoid" and logits.shape[-1] != 1:
        logits = tf.gather(logits, targets, axis=1, batch_dims=1)[:, None]
        targets = tf.ones_like(targets)
    return outputs, score(logits, targets)


def _predicted(outputs: tf.Tensor) -> tf.Tensor:
    logits, head = strip_head(outputs)
    logits = as_rows(logits)
    if logits.shape[-1] != 1:
        return tf.argmax(logits, -1, tf.int32)
    if head is None:
        return tf.ones_like(logits[:, 0], tf.int32)
    return tf.cast(logits[:, 0] > 0, tf.int32)


def _at_least_float32(x: tf.Tensor) -> tf.Tensor:
    return tf.cast(x, tf.float32) if x.dtype.size < 4 else x


def _units(outputs: tf.Tensor | None) -> int | None:
    if outputs is None or outputs.shape.rank not in (1, 2):
        return None
    return 1 if outputs.shape.rank == 1 else outputs.shape[-1]


def _reads_weights_only(operation: tf.Operation) -> bool:
    return bool(operation.inputs) and all(
        x.op.type in _FREE - {"Placeholder"} for x in operation.inputs
    )
