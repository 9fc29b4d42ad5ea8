"""A Keras classifier of images as functions of numpy images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfxai.core import batch, checks
from tfxai.core.axes import Order
from tfxai.core.tracing import traced
from tfxai.models import keras_graph
from tfxai.models.model_info import ModelInspector, check_logits
from tfxai.models.shared_graphs import run
from tfxai.scores import as_rows
from tfxai.scores.rows import at_least_float32


class Predictor(NamedTuple):
    """A classifier as functions of numpy images, each of them traced once."""

    probabilities: Callable[[np.ndarray], np.ndarray]
    """Maps images ``[N, H, W, C]`` to ``[N, classes]``; there are at least two classes."""
    logits: Callable[[np.ndarray], np.ndarray]
    """Each class's score by `scores.logit`, ``[N, classes]``.

    Of a one-unit output z that is (-z, z), whose sigmoids, not whose softmax, are the
    probabilities (docs/methods.md, The benchmark).
    """
    units: int
    """How many units the model's output has."""
    order: Order
    """The order of the axes of the model's inputs."""

    @property
    def classes(self) -> int:
        """How many classes there are; one unit stands for two."""
        return max(self.units, 2)


def build_predictor(model: keras.Model) -> Predictor:
    """Give the functions of a classifier.

    Raises:
        ValueError: the model does not take single images of a fixed size, does not give
            ``[N, classes]``, or gives probabilities without a softmax that could be bypassed.
    """
    specs = keras_graph.declared_inputs(model)
    if not isinstance(specs, tf.TensorSpec) or len(specs.shape) != 4 or None in specs.shape[1:]:
        raise ValueError(
            f"model: {model.name} has no single declared input of images [H, W, C] of a fixed "
            "size, which the metrics need"
        )
    inspector = ModelInspector(model)
    info, order = inspector.model_info(specs), inspector.order(specs)
    if info.units is None:
        raise ValueError(f"model: {model.name} has no single output [N, classes]")
    check_logits(model, info, batch.example_of_ones(specs))
    units, head = info.units, info.head

    def logits(images: tf.Tensor) -> tf.Tensor:
        rows = at_least_float32(as_rows(run(model, images).single()))
        return tf.concat([-rows, rows], 1) if units == 1 else rows

    def probabilities(images: tf.Tensor) -> tf.Tensor:
        rows = logits(images)
        if units == 1:
            return tf.sigmoid(rows)
        return tf.sigmoid(rows) if head == "sigmoid" else tf.nn.softmax(rows)

    any_images = tf.TensorSpec([None, *specs.shape[1:]], keras_graph.float_type(model))

    def on_numpy(function: Callable[[tf.Tensor], tf.Tensor]) -> Callable[[np.ndarray], np.ndarray]:
        concrete = traced(function).get_concrete_function(any_images)
        return lambda images: concrete(
            tf.constant(order.from_channels_last(images), any_images.dtype)
        ).numpy()

    return Predictor(on_numpy(probabilities), on_numpy(logits), units, order)


def classes_to_explain(
    predictor: Predictor, inputs: np.ndarray, targets: Sequence[int | None]
) -> np.ndarray:
    """Give the class to explain of each input, int32 ``[B]``: its target, or the predicted class.

    Args:
        predictor: the classifier.
        inputs: ``[B, ...]``, in the order of the model's inputs.
        targets: ``[B]``; None stands for the predicted class.
    """
    predicted = predictor.probabilities(predictor.order.to_channels_last(inputs)).argmax(1)
    classes = [p if t is None else t for t, p in zip(targets, predicted, strict=True)]
    return checks.targets(classes, len(classes), predictor.classes, None)
