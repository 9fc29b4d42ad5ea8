"""The arrays that metrics take: attributions, targets and baselines, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfxai.baselines import arrays, baseline
from tfxai.core import checks
from tfxai.core.axes import Order
from tfxai.core.types import Tensors


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
    try:
        return np.asarray(values, dtype)
    except ValueError as error:
        raise ValueError(
            f"{name}: expected one array, or for several inputs a dict by their names: {error}"
        ) from error


def finite(name: str, values: np.ndarray) -> np.ndarray:
    """Give an array back, or raise a ValueError if it has NaN or infinite values."""
    if not np.isfinite(values).all():
        raise ValueError(f"{name} has NaN or infinite values")
    return values


def floating(values: np.ndarray) -> np.ndarray:
    """Give an array as floating-point numbers, in float32 where it has others."""
    return values if values.dtype.kind == "f" else values.astype(np.float32)


def feature_rows(name: str, values: Any) -> np.ndarray:
    """Give maps as one row of features for each example, ``[B, F]`` in float64.

    Args:
        name: what messages call the maps.
        values: ``[B, ...]``, or a dict of such arrays, whose features count together.

    Raises:
        ValueError: maps without features or of different numbers of examples, or values that are
            not finite.

    Example:
        >>> feature_rows("attributions", {"b": [[1, 2]], "a": [[[3], [4]]]})
        array([[3., 4., 1., 2.]])
    """
    named = dict(values) if isinstance(values, Mapping) else {None: values}
    label = {key: name if key is None else f"{name}[{key!r}]" for key in named}
    parts = [one_array(label[key], named[key], np.float64) for key in sorted(named, key=str)]
    if not parts or any(m.ndim < 2 or m.size == 0 for m in parts):
        shapes = ", ".join(str(list(m.shape)) for m in parts)
        raise ValueError(f"{name} has shape {shapes}: expected [batch, ...], and not empty")
    if len({len(m) for m in parts}) != 1:
        counts = ", ".join(str(len(m)) for m in parts)
        raise ValueError(f"{name} has maps of {counts} examples: expected as many of each input")
    return finite(name, np.concatenate([m.reshape(len(m), -1) for m in parts], 1))


def checked_targets(targets: Any, count: int) -> np.ndarray | None:
    """Give targets as ``[count]``; None, which stands for the predicted classes, stays None."""
    return None if targets is None else checks.targets(targets, count, None, None)


def baselines_of(
    argument: str,
    value: Any,
    bounds: tuple[Any, Any] | None,
    inputs: Tensors,
    order: Order,
) -> Tensors:
    """Give the baseline of each input, arrays with the structure, shapes and types of the inputs.

    Args:
        argument: what messages call `value`.
        value: as in `tfxai.baselines.baseline`; but an array ``[B, ...]`` of an input's rank has
            one baseline for each example.
        bounds: as in `tfxai.baselines.baseline`.
        inputs: ``[B, ...]``, or a structure of such arrays.
        order: the order of the inputs' axes.

    Raises:
        ValueError: the number of baselines is neither one nor the number of examples, their shape
            is not that of the inputs, or their values are not finite.
    """
    baselines_for = baseline(value, bounds, argument=argument, order=lambda _: order)
    flat = tf.nest.flatten(inputs)
    found = [np.asarray(r) for r in tf.nest.flatten(baselines_for(constants(inputs)))]
    count = len(flat[0])
    if _one_for_each(value, flat) and len(found[0]) == count:
        found = [np.swapaxes(r, 0, 1) for r in found]
    if len(found[0]) != 1:
        raise ValueError(
            f"{argument} is a batch of {len(found[0])}; pass one, or as many as there are inputs, "
            f"{count}"
        )
    each = [np.broadcast_to(r[0], x.shape) for r, x in zip(found, flat, strict=True)]
    return tf.nest.pack_sequence_as(inputs, each)


def _one_for_each(value: Any, inputs: list[np.ndarray]) -> bool:
    """Whether some array of a baseline has the rank of its input, and so a row for each example."""
    if callable(value) or isinstance(value, str):
        return False
    ranks = [part.ndim for part in arrays(value)]
    each = ranks * len(inputs) if len(ranks) == 1 else ranks
    return any(rank == x.ndim for rank, x in zip(each, inputs, strict=True))


def constants(inputs: Tensors) -> Tensors:
    """Give arrays as tensors."""
    return tf.nest.map_structure(tf.constant, inputs)
