"""The arrays that metrics take: images, attributions, targets and baselines, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfxai.baselines import baseline
from tfxai.core import checks
from tfxai.core.axes import Order


def one_array(name: str, values: Any, dtype: type | None = None) -> np.ndarray:
    """Give values as one array.

    Raises:
        TypeError: the values are a dict, as the inputs or maps of a model of several inputs are.

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


def finite(name: str, values: np.ndarray) -> np.ndarray:
    """Give an array back, or raise a ValueError if it has NaN or infinite values."""
    if not np.isfinite(values).all():
        raise ValueError(f"{name} has NaN or infinite values")
    return values


def checked_images(images: Any) -> np.ndarray:
    """Give images ``[B, H, W, C]`` or ``[B, C, H, W]`` as floating-point numbers.

    Raises:
        ValueError: the images have another rank, are none, or are not finite.
    """
    images = one_array("images", images)
    if images.dtype.kind != "f":
        images = images.astype(np.float32)
    if images.ndim != 4 or images.size == 0:
        raise ValueError(f"images has shape {list(images.shape)}: expected [B, H, W, C]")
    return finite("images", images)


def checked_maps(name: str, values: Any, images: np.ndarray, order: Order) -> np.ndarray:
    """Give the attributions of images with the channels last, ``[B, H, W, C | 1]``.

    Args:
        name: what messages call the attributions.
        values: attributions, their axes in the order of the model's inputs.
        images: the images, ``[B, H, W, C]``.
        order: the order of the axes of the model's inputs.

    Raises:
        ValueError: the shape is not that of the images, or the values are not finite.
    """
    maps = one_array(name, values)
    maps = order.to_channels_last(maps) if maps.ndim == 4 else maps[..., None]
    if maps.shape[:3] != images.shape[:3] or maps.shape[3:] not in ((1,), images.shape[3:]):
        expected = list(order.from_channels_last(images).shape)
        raise ValueError(
            f"{name} has shape {list(np.shape(values))}: expected {expected}, or one channel"
        )
    return finite(name, maps)


def checked_targets(targets: Any, count: int) -> np.ndarray | None:
    """Give targets as ``[count]``; None, which stands for the predicted classes, stays None."""
    return None if targets is None else checks.targets(targets, count, None, None)


def baselines_of(
    argument: str,
    value: Any,
    bounds: tuple[Any, Any] | None,
    inputs: np.ndarray,
    order: Order,
) -> np.ndarray:
    """Give the baseline of each input, an array with the shape and type of the inputs.

    Args:
        argument: what messages call `value`.
        value: as in `tfxai.baselines.baseline`; but an array ``[B, ...]`` of the inputs' rank has
            one baseline for each input.
        bounds: as in `tfxai.baselines.baseline`.
        inputs: ``[B, ...]``.
        order: the order of the inputs' axes.

    Raises:
        ValueError: the number of baselines is neither one nor the number of inputs, their shape is
            not that of the inputs, or their values are not finite.
    """
    baselines_for = baseline(value, bounds, argument=argument, order=lambda _: order)
    baselines = np.asarray(baselines_for(tf.constant(inputs)))
    one_for_each = not callable(value) and np.ndim(value) == inputs.ndim
    if one_for_each and len(baselines) == len(inputs):
        baselines = np.swapaxes(baselines, 0, 1)
    if len(baselines) != 1:
        raise ValueError(
            f"{argument} is a batch of {len(baselines)}; pass one, or as many as there are inputs, "
            f"{len(inputs)}"
        )
    return np.broadcast_to(baselines[0], inputs.shape)
