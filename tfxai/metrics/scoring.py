"""What metrics ask of a model: the scores of images, and the attributions of inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfxai.core import axes, checks
from tfxai.core.axes import Order
from tfxai.core.tracing import traced
from tfxai.core.types import Score
from tfxai.metrics.arrays import (
    baselines_of,
    checked_images,
    checked_maps,
    finite,
    one_array,
)
from tfxai.models import scored_models
from tfxai.models.model_info import check_logits, trace_info
from tfxai.models.shared_graphs import outputs_of
from tfxai.scores import expects_logits
from tfxai.scores import part as score_parts
from tfxai.scores.advice import several_outputs
from tfxai.scores.forward import Forward

Explain = Callable[[np.ndarray, Any], Any]
"""Maps inputs ``[B, ...]`` and targets ``[B]`` to attributions ``[B, ...]``.

Targets may be None, which stands for the predicted classes. An `Explainer` is an `Explain`.
"""

ScoreFunction = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Maps inputs ``[N, ...]`` and what is explained of them ``[N, ...]`` to scores ``[N]``."""

Explained = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Maps inputs ``[N, ...]`` and targets ``[N]`` to what is explained: these, or ``[N, 1 + n]``.

A score that lets the model choose a part for each input, as `tfxai.scores.region` does, keeps that
part while a metric changes the input.
"""


def explain_in_batches(
    explain: Explain, inputs: np.ndarray, targets: np.ndarray | None, batch_size: int
) -> np.ndarray:
    """Explain inputs, `batch_size` of them at a time; give attributions ``[B, ...]`` in float64."""
    size = checks.positive_integer("batch_size", batch_size)
    if len(inputs) == 0:
        raise ValueError(f"inputs is an empty batch, shape {list(inputs.shape)}")
    parts = []
    for start in range(0, len(inputs), size):
        part = slice(start, start + size)
        classes = None if targets is None else targets[part]
        parts.append(one_array("attributions", explain(inputs[part], classes), np.float64))
    return finite("attributions", np.concatenate(parts))


class ScoredImages(NamedTuple):
    """Images, and the score that a metric follows while they change; channels are always last."""

    images: np.ndarray
    """``[B, H, W, C]``."""
    targets: np.ndarray
    """What is explained of each image: its class ``[B]``, or a part for it, too, ``[B, 1 + n]``."""
    score: ScoreFunction
    """Maps images ``[N, H, W, C]`` and targets ``[N]`` to scores ``[N]``."""
    order: Order
    """The order of the axes that the model takes, in which users give images and maps."""

    def maps(self, name: str, values: Any) -> np.ndarray:
        """Give attributions of the images, as `checked_maps` does."""
        return checked_maps(name, values, self.images, self.order)

    def baselines(self, argument: str, value: Any, bounds: tuple[Any, Any] | None) -> np.ndarray:
        """Give the baseline of each image, as `baselines_of` does, ``[B, H, W, C]``."""
        inputs = self.order.from_channels_last(self.images)
        return self.order.to_channels_last(
            baselines_of(argument, value, bounds, inputs, self.order)
        )


def scored_images(
    model: Callable, images: Any, targets: Any, score: Score | None, data_format: str | None
) -> ScoredImages:
    """Check the images and targets of a metric, and trace the score of its model.

    Args:
        model: as in `score_function`.
        images: ``[B, H, W, C]``, or ``[B, C, H, W]`` if the model takes them so.
        targets: class indices, ``[B]`` or one for all.
        score: as in `score_function`.
        data_format: as in `score_function`.
    """
    inputs = checked_images(images)
    function, order, explained = score_function(model, score, inputs, data_format)
    classes = checks.targets(targets, len(inputs), None, None)
    return ScoredImages(
        order.to_channels_last(inputs),
        explained(inputs, classes),
        order.channels_last_model(function),
        order,
    )


def score_perturbed(
    scored: ScoredImages,
    perturb: Callable[[np.ndarray, np.ndarray], np.ndarray],
    stages: np.ndarray,
    batch_size: int,
) -> np.ndarray:
    """Score every image at every stage of a perturbation.

    Args:
        scored: the images with their score.
        perturb: maps the indices of images ``[N]`` and the stage of each ``[N]`` to the perturbed
            images, ``[N, H, W, C]``.
        stages: integers, ``[n]``.
        batch_size: how many images the model is given at once.

    Returns:
        ``[B, n]``.
    """
    size = checks.positive_integer("batch_size", batch_size)
    count = len(scored.images)
    pairs = np.stack(np.meshgrid(np.arange(count), stages, indexing="ij"), -1).reshape(-1, 2)
    scores = []
    for start in range(0, len(pairs), size):
        indices, part = pairs[start : start + size].T
        scores.append(scored.score(perturb(indices, part), scored.targets[indices]))
    return np.concatenate(scores).reshape(count, -1)


def score_function(
    model: Callable, score: Score | None, images: np.ndarray, data_format: str | None = None
) -> tuple[ScoreFunction, Order, Explained]:
    """Give a function from images and what is explained of them to scores, and two others.

    A Keras model runs as a graph that is traced once.

    Args:
        model: maps images ``[N, ...]`` to outputs ``[N, classes]``.
        score: maps outputs and targets to scores ``[N]``; None takes the model's output at the
            target as it stands.
        images: an example of the images that will be scored.
        data_format: "channels_last" or "channels_first"; None takes what a Keras model says, and
            for other models what the shape of the images suggests.

    Returns:
        The function, the order of the images' axes, and what is explained of images.
    """
    checks.one_of("data_format", data_format, (None, *axes.DATA_FORMATS))
    if not isinstance(model, keras.Model):
        order = axes.order_of(images, data_format=data_format)
        if score is None:
            return lambda x, targets: _at_targets(model(x), targets), order, _classes_alone

        def outputs(x: np.ndarray) -> Any:
            return tf.nest.map_structure(tf.convert_to_tensor, model(x))

        def explained(x: np.ndarray, targets: np.ndarray) -> np.ndarray:
            forward = Forward.without_heads(outputs(x))
            return np.asarray(score_parts.explained(score, forward, tf.constant(targets)))

        return lambda x, targets: np.asarray(score(outputs(x), targets)), order, explained
    any_images = tf.TensorSpec([None, *images.shape[1:]], images.dtype)
    info = trace_info(model, any_images)
    order = axes.order_of(images, read=info.channel_axes, data_format=data_format)
    if score is None:
        if not isinstance(info.outputs, tf.TensorSpec):
            raise several_outputs(info.outputs)
        return (
            lambda x, targets: _at_targets(outputs_of(model, tf.constant(x)), targets),
            order,
            _classes_alone,
        )
    if expects_logits(score):
        check_logits(model, info, tf.constant(images[:1]), score)
    fixes = score_parts.fixes(score)
    function = traced(scored_models.scored(model, score)).get_concrete_function(
        any_images, tf.TensorSpec([None, None] if fixes else [None], tf.int32)
    )
    explain = traced(scored_models.explained(model, score))

    def explained_by_model(x: np.ndarray, targets: np.ndarray) -> np.ndarray:
        with checks.assertions_as_errors("targets"):
            return explain(tf.constant(x), tf.constant(targets)).numpy()

    return (
        lambda x, targets: function(tf.constant(x), tf.constant(targets)).numpy(),
        order,
        explained_by_model if fixes else _classes_alone,
    )


def _classes_alone(images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    del images
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
