"""What a measure is shown: one method's maps of one batch, and the model that they are of.

All images and maps are channels-last here, whatever the order of the model's inputs is.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfxai.core import batch, checks
from tfxai.core.axes import Order
from tfxai.core.map_checks import is_constant
from tfxai.core.tracing import traced
from tfxai.explaining.explainer import Explainer
from tfxai.metrics.scoring import Explain
from tfxai.models import heads, keras_graph
from tfxai.models.model_info import ModelInspector, check_logits
from tfxai.scores import as_rows

Build = Callable[[keras.Model], Explainer]
"""Makes a method's explainer of a model."""
SLOPES = {
    "gradient",
    "smoothgrad",
    "adaptgrad",
    "noisegrad",
    "fusiongrad",
    "guided_backprop",
    "deconvnet",
    "pattern_net",
}
"""Methods whose maps are changes of the score per change of the input, not shares of the score."""


class Predictor(NamedTuple):
    """A model as functions of numpy images, each traced once."""

    probabilities: Callable[[np.ndarray], np.ndarray]
    """``[N, H, W, C]`` -> ``[N, classes]``, of at least two classes."""
    logits: Callable[[np.ndarray], np.ndarray]
    """The same before the softmax; of a one-unit output z they are (-z, z)."""
    units: int
    order: Order
    """Of the model's inputs."""


class Subject(NamedTuple):
    """One method's maps of one batch."""

    model: keras.Model
    predictor: Predictor
    inputs: np.ndarray
    targets: np.ndarray
    regions: np.ndarray | None
    bounds: tuple[Any, Any] | None
    attributions: np.ndarray
    """As the method gives them, ``[B, H, W, C | 1]``."""
    heatmaps: np.ndarray
    """Their sum over channels, ``[B, H, W]``."""
    sign: str
    """What is summed there: "signed" for the attributions, "absolute" for their sizes."""
    constant: np.ndarray
    """Whether a heatmap is the same everywhere, booleans ``[B]``."""
    slopes: bool
    """Whether the maps are per change of the input."""
    explain: Explain
    explain_on: Callable[[keras.Model], Explain]
    """The same method on another model."""
    seed: int


def predictor(model: keras.Model) -> Predictor:
    """Give a classifier's functions.

    Raises:
        ValueError: the model takes no single image, or gives no ``[N, classes]``, or gives
            probabilities without a softmax to bypass.
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
        rows = as_rows(heads.strip_head(model(images, training=False))[0])
        rows = tf.cast(rows, tf.float32) if rows.dtype.size < 4 else rows
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


def explained(
    explainer: Explainer,
    predictor: Predictor,
    inputs: np.ndarray,
    targets: np.ndarray,
    *,
    regions: np.ndarray | None,
    bounds: tuple[Any, Any] | None,
    sign: str,
    seed: int,
    explain_on: Callable[[keras.Model], Explain],
) -> Subject:
    """Explain a batch; other arguments as the fields of `Subject`, `sign` as in `run`.

    `inputs` are in the order of the model's.
    """
    order = predictor.order

    def channels_last(of: Explain) -> Explain:
        return lambda x, targets: order.to_channels_last(
            np.asarray(of(order.from_channels_last(x), targets))
        )

    explain = channels_last(quiet(explainer, seed))
    images = order.to_channels_last(inputs)
    maps = explain(images, targets)
    heatmaps = over_channels(maps, sign)
    return Subject(
        explainer.model,
        predictor,
        images,
        targets,
        regions,
        bounds,
        maps,
        heatmaps,
        sign,
        is_constant(heatmaps),
        has_slopes(explainer.settings),
        explain,
        lambda model: channels_last(explain_on(model)),
        seed,
    )


def over_channels(maps: np.ndarray, sign: str) -> np.ndarray:
    """Sum attributions ``[B, H, W, C]``, or their sizes if `sign` is "absolute", over channels."""
    return (np.abs(maps) if sign == "absolute" else maps).sum(-1)


def summed(explain: Explain, sign: str) -> Explain:
    """Give an `Explain` of heatmaps ``[B, H, W]``, as the papers compare them (METHODS 2.2)."""
    return lambda inputs, targets: over_channels(np.asarray(explain(inputs, targets)), sign)


def quiet(explainer: Explainer, seed: int) -> Explain:
    """Give (inputs, targets) -> attributions in bounded memory, without warnings of single maps."""

    def explain(inputs: np.ndarray, targets: Any) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return explainer.explain(inputs, targets, verbose=0, seed=seed).attributions

    return explain


def chosen_targets(predictor: Predictor, inputs: np.ndarray, given: Sequence[int | None]) -> Any:
    """Give the classes to explain, int32 ``[B]``: those given, else the predicted ones."""
    predicted = predictor.probabilities(predictor.order.to_channels_last(inputs)).argmax(1)
    targets = [p if t is None else t for t, p in zip(given, predicted, strict=True)]
    return checks.targets(targets, len(targets), predictor.units, None)


def has_slopes(settings: dict[str, Any]) -> bool:
    """Whether maps are per change of the input, of an explainer's settings."""
    while "of" in settings:
        settings = settings["of"]
    return settings["method"] in SLOPES
