"""Bounds of the inputs: the smallest and the largest possible value, for all examples alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfxai import baselines
from tfxai.baselines import Baseline
from tfxai.core.types import Tensors

RELATIVE_SLACK = 1e-5
"""How far rounding may carry an input beyond a bound, as a share of the bounds' distance."""


def lower_and_upper(
    bounds: tuple[Any, Any], as_declared: Callable[[str, Any], Any] = lambda argument, value: value
) -> tuple[Baseline, Baseline]:
    """Give the lower and the upper bound as functions of the inputs.

    Args:
        bounds: (smallest, largest).
        as_declared: (argument, value) -> the value in the structure of the model's inputs;
            `ModelInspector.as_declared` does this for a dict by the names of the inputs.

    Raises:
        TypeError, ValueError: bounds that are no pair, or reversed.
    """
    if not isinstance(bounds, tuple | list) or len(bounds) != 2:
        raise TypeError(f"bounds={bounds!r}: expected a pair (smallest, largest)")
    bounds = as_declared("bounds", bounds[0]), as_declared("bounds", bounds[1])
    low, high = (baselines.arrays(end) for end in bounds)
    count = max(len(low), len(high))
    pairs = zip(low * (count // len(low)), high * (count // len(high)), strict=True)
    if not all((a < b).all() for a, b in pairs):
        raise ValueError(f"bounds={bounds!r}: expected the smallest input before the largest")
    return _bound(bounds[0]), _bound(bounds[1])


def check_inside(inputs: Tensors, low: Baseline, high: Baseline) -> None:
    """Raise a ValueError if inputs lie outside the bounds by more than rounding."""
    tf.nest.map_structure(_check_input, inputs, low(inputs), high(inputs))


def _bound(value: Any) -> Baseline:
    """Give one of the two bounds as a function of the inputs."""
    references = baselines.baseline(value, argument="bounds")

    def bound(inputs: Tensors) -> Tensors:
        bounds_of_inputs = references(inputs)
        for end, x in zip(tf.nest.flatten(bounds_of_inputs), tf.nest.flatten(inputs), strict=True):
            if end.shape[0] != 1:
                raise ValueError(
                    f"bounds: got arrays {[end.shape[0], *end.shape[2:]]} of {end.shape[0]} "
                    "examples; bounds are the same for all examples: give numbers, one for each "
                    f"channel, or arrays of one example's shape {list(x.shape[1:])}"
                )
        return bounds_of_inputs

    return bound


def _check_input(x: tf.Tensor, low: tf.Tensor, high: tf.Tensor) -> None:
    slack = RELATIVE_SLACK * (high[0] - low[0])
    outside = np.asarray((x < low[0] - slack) | (x > high[0] + slack))
    if outside.any():
        raise ValueError(
            f"bounds: {outside.mean():.1%} of the inputs' values lie outside of them, the smallest "
            f"is {np.min(x):.6g}, the largest {np.max(x):.6g}. Give the bounds after preprocessing."
        )
