"""What metrics ask of images, maps and models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfxai.baselines import baseline
from tfxai.core import axes, checks
from tfxai.core.axes import Order
from tfxai.core.tracing import traced
from tfxai.core.types import Score
from tfxai.models import graph_axes, heads
from tfxai.models.model_info import check_logits, trace_info
from tfxai.scores import expects_logits

Explain = Callable[[np.ndarray, Any], Any]
"""Maps images ``[B, ...]`` and targets ``[B]`` (or None: the predicted classes) to attributions
``[B, ...]``. An `Explainer` is one."""


def one_array(name: str, values: Any, dtype: type | None = None) -> np.ndarray:
    """Give numbers as one array, or raise a TypeError for what a model of several inputs has.

    Example:
        >>> one_array("attributions", {"image": np.ones(2), "row": np.ones(3)})
        Traceback (most recent call last):
        TypeError: attributions: expected one array, got a dict with the keys 'image', 'row'; pass
        attributions['image'], and where a model is asked for, one of that input alone
    """
    if isinstance(values, Mapping):
        keys = list(map(repr, values))
        raise TypeError(
            f"{name}: expected one array, got a dict with the keys {', '.join(keys)}; pass "
            f"{name}[{keys[0] if keys else '...'}], and where a model is asked for, one of that "
            "input alone"
        )
    return np.asarray(values, dtype)


def checked_images(images: Any) -> np.ndarray:
    """Give images as floating-point ``[B, H, W, C]`` or ``[B, C, H, W]``, or raise a ValueError."""
    images = one_array("images", images)
    if images.dtype.kind != "f":
        images = images.astype(np.float32)
    if images.ndim != 4 or images.size == 0:
        raise ValueError(f"images has shape {list(images.shape)}: expected [B, H, W, C]")
    return finite("images", images)


def checked_maps(name: str, values: Any, images: np.ndarray, order: Order) -> np.ndarray:
    """Give attributions of images ``[B, H, W, C]`` as ``[B, H, W, C | 1]``, or raise a ValueError.

    They come in the order of the images that the model takes.
    """
    maps = one_array(name, values)
    maps = order.to_channels_last(maps) if maps.ndim == 4 else maps[..., None]
    if maps.shape[:3] != images.shape[:3] or maps.shape[3:] not in ((1,), images.shape[3:]):
        expected = list(order.from_channels_last(images).shape)
        raise ValueError(
            f"{name} has shape {list(np.shape(values))}: expected {expected}, or one channel"
        )
    return finite(name, maps)


def finite(name: str, values: np.ndarray) -> np.ndarray:
    """Give an array back, or raise a ValueError for NaN and infinite values."""
    if not np.isfinite(values).all():
        raise ValueError(f"{name} has NaN or infinite values")
    return values


def references_of(
    argument: str,
    value: Any,
    bounds: tuple[Any, Any] | None,
    inputs: np.ndarray,
    order: Order,
) -> np.ndarray:
    """Give what each of the inputs ``[B, ...]`` is compared with, of their shape and type.

    Args:
        argument: what messages call `value`.
        value: as in `tfxai.baselines.baseline`; but an array of the inputs' rank, ``[B, ...]``, is
            one for each input.
        bounds: as in `tfxai.baselines.baseline`.
        inputs: ``[B, ...]``.
        order: of their axes.

    Raises:
        ValueError: none or several for an input, another shape, or values that are not finite.
    """
    references = baseline(value, bounds, argument=argument, order=lambda _: order)
    found = np.asarray(references(tf.constant(inputs)))
    of_each = not callable(value) and np.ndim(value) == inputs.ndim
    if of_each and len(found) == len(inputs):
        found = np.swapaxes(found, 0, 1)
    if len(found) != 1:
        raise ValueError(
            f"{argument} is a batch of {len(found)}; pass one, or as many as there are inputs, "
            f"{len(inputs)}"
        )
    return np.broadcast_to(found[0], inputs.shape)


def maps_of(explain: Explain, inputs: np.ndarray, targets: Any, batch_size: int) -> np.ndarray:
    """Explain `batch_size` inputs at a time, ``[B, ...]`` in float64.

    Targets are one for each input, or None.
    """
    size = checks.positive_integer("batch_size", batch_size)
    if len(inputs) == 0:
        raise ValueError(f"inputs is an empty batch, shape {list(inputs.shape)}")
    parts = []
    for start in range(0, len(inputs), size):
        part = slice(start, start + size)
        chosen = None if targets is None else targets[part]
        parts.append(one_array("attributions", explain(inputs[part], chosen), np.float64))
    return finite("attributions", np.concatenate(parts))


def checked_targets(targets: Any, count: int) -> np.ndarray | None:
    """Give targets ``[count]``, or None for the predicted classes."""
    return None if targets is None else checks.targets(targets, count, None, None)


def score_function(
    model: Callable, score: Score | None, images: np.ndarray, data_format: str | None = None
) -> tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], Order]:
    """Give (images, targets) -> scores ``[N]``, and the order of the images' axes.

    A Keras model runs as a graph, traced once. Without a score that is the model's output at the
    target as it stands.

    Args:
        model: images ``[N, ...]`` -> outputs ``[N, classes]``.
        score: (outputs, targets) -> ``[N]``.
        images: like those that will be scored.
        data_format: their order, "channels_last" or "channels_first"; None for what a Keras model
            says, or else what they look like.
    """
    checks.one_of("data_format", data_format, (None, *axes.DATA_FORMATS))
    if not isinstance(model, keras.Model):
        order = axes.order_of(images, data_format=data_format)
        if score is None:
            return lambda x, targets: _picked(model(x), targets), order
        return lambda x, targets: np.asarray(score(tf.convert_to_tensor(model(x)), targets)), order
    any_images = tf.TensorSpec([None, *images.shape[1:]], images.dtype)
    if score is None:
        function = traced(lambda x: model(x, training=False)).get_concrete_function(any_images)
    else:
        function = traced(heads.scored(model, score)).get_concrete_function(
            any_images, tf.TensorSpec([None], tf.int32)
        )
    checks.supported_convolutions(function.graph)
    if score is not None and expects_logits(score):
        check_logits(model, trace_info(model, any_images), tf.constant(images[:1]))
    read = [graph_axes.channel_axis(function.graph.inputs[0])]
    order = axes.order_of(images, read=read, data_format=data_format)
    if score is None:
        return lambda x, targets: _picked(function(tf.constant(x)), targets), order
    return lambda x, targets: function(tf.constant(x), tf.constant(targets)).numpy(), order


def _picked(outputs: Any, targets: np.ndarray) -> np.ndarray:
    values = np.asarray(outputs)
    if values.ndim == 1:
        return values
    if values.ndim != 2 or targets.max() >= values.shape[1]:
        raise ValueError(
            f"the model gives outputs of shape {list(values.shape)} for targets up to "
            f"{targets.max()}: expected [N, classes]"
        )
    return values[np.arange(len(values)), targets]
