"""Bounds of the inputs: the smallest and the largest that can be, the same for all examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfxai import baselines
from tfxai.baselines import Baseline
from tfxai.core.types import Tensors

SLACK = 1e-5
"""Share of the bounds' distance that rounding may carry an input beyond them."""


def ends(
    bounds: tuple[Any, Any], arranged: Callable[[str, Any], Any] = lambda argument, value: value
) -> tuple[Baseline, Baseline]:
    """Give the bounds as functions of the inputs, and raise if they are reversed.

    Args:
        bounds: (smallest, largest).
        arranged: gives a dict by the names of inputs in the structure of a model's, as
            `ModelInspector.as_declared` does.
    """
    if not isinstance(bounds, tuple | list) or len(bounds) != 2:
        raise TypeError(f"bounds={bounds!r}: expected a pair (smallest, largest)")
    bounds = arranged("bounds", bounds[0]), arranged("bounds", bounds[1])
    low, high = (baselines.arrays(end) for end in bounds)
    wide = max(len(low), len(high))
    pairs = zip(low * (wide // len(low)), high * (wide // len(high)), strict=True)
    if not all((a < b).all() for a, b in pairs):
        raise ValueError(f"bounds={bounds!r}: expected the smallest input before the largest")
    return _bound(bounds[0]), _bound(bounds[1])


def check_inside(inputs: Tensors, low: Baseline, high: Baseline) -> None:
    """Raise a ValueError if values lie outside the bounds by more than rounding."""
    tf.nest.map_structure(_check_one, inputs, low(inputs), high(inputs))


def _bound(value: Any) -> Baseline:
    """Give an end of the bounds as a function of the inputs; it is the same for all examples."""
    references = baselines.baseline(value, argument="bounds")

    def bound(inputs: Tensors) -> Tensors:
        ends_of_inputs = references(inputs)
        for end, x in zip(tf.nest.flatten(ends_of_inputs), tf.nest.flatten(inputs), strict=True):
            if end.shape[0] != 1:
                raise ValueError(
                    f"bounds: got arrays {[end.shape[0], *end.shape[2:]]} of {end.shape[0]} "
                    "examples; bounds are the same for all examples: give numbers, one for each "
                    f"channel, or arrays of one example's shape {list(x.shape[1:])}"
                )
        return ends_of_inputs

    return bound


def _check_one(x: tf.Tensor, low: tf.Tensor, high: tf.Tensor) -> None:
    slack = SLACK * (high[0] - low[0])
    outside = np.asarray((x < low[0] - slack) | (x > high[0] + slack))
    if outside.any():
        raise ValueError(
            f"bounds: {outside.mean():.1%} of the inputs' values lie outside of them, the smallest "
            f"is {np.min(x):.6g}, the largest {np.max(x):.6g}. Give the bounds after preprocessing."
        )
