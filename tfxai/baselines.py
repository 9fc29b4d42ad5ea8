"""Baselines: the inputs x' without information with which an attribution compares x."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfxai.core import axes
from tfxai.core.axes import Order, OrderOf
from tfxai.core.baseline_functions import checked
from tfxai.core.baselines_of_examples import blur, blurred, convolve, mean, noise
from tfxai.core.named_inputs import check_names
from tfxai.core.types import Tensors

__all__ = ["Baseline", "arrays", "baseline", "blur", "rise_blur"]

Baseline = Callable[[Tensors], Tensors]
"""A function from inputs ``[B, ...]`` to references ``[R, B | 1, ...]``, R for each example."""

NAMES = ("black", "white", "blur", "mean", "noise")


def baseline(
    value: Any,
    bounds: tuple[Any, Any] | None = None,
    *,
    argument: str = "baseline",
    order: OrderOf = axes.order_of,
) -> Baseline:
    """Turn a value that stands for a baseline into a function from inputs to references.

    Args:
        value: one of

            * a number;
            * an array of one example's shape, or a batch of references ``[R, ...]``;
            * ``"black"`` or ``"white"``, the ends of `bounds`; for images, sequences and volumes
              also ``"blur"``, ``"mean"`` (the mean of each channel) or ``"noise"`` (normal, with
              the mean and spread of each channel; the draw is always the same);
            * for a model with several inputs, a structure like theirs of numbers, arrays and names,
              such as ``{"photo": "blur", "age": 0.0}``;
            * a function that gives each example its own references: inputs ``[B, ...]`` -> the same
              structure of ``[B, ...]``, or of ``[R, B | 1, ...]`` for R references each. A method
              calls it in its graph, on a part of a batch at a time: write it with TensorFlow's
              operations or keras.ops, so that a reference depends on its own example alone. To be
              saved it needs ``keras.saving.register_keras_serializable()``.
        bounds: the smallest and the largest value of an input, scalars or one for each channel.
        argument: the name of `value` in messages.
        order: a function from inputs to the order of their axes; by default the shapes tell.

    Returns:
        A function from inputs ``[B, ...]`` to references ``[R, B | 1, ...]`` of their structure.

    Raises:
        ValueError: the name is unknown, needs `bounds`, or is not defined for the inputs, or a
            value is not finite. The values of a function are checked when it is called, their shape
            when it is traced.

    Example:
        >>> half = baseline(lambda images: images / 2)
        >>> half(tf.ones([5, 8, 8, 3])).shape
        TensorShape([1, 5, 8, 8, 3])
    """
    if value is None:
        raise ValueError(f"{argument}=None: expected a number, an array, or one of {_listed()}")
    if callable(value):
        computed = checked(value, argument)
        return lambda inputs: _equally_many(computed(inputs), argument)
    if any(map(callable, tf.nest.flatten(value))):
        raise ValueError(
            f"{argument} has a function among its parts: pass one function of all inputs, "
            "which gives their structure"
        )
    parts = arrays(value)
    makers = [_of_one_input(part, bounds, argument) for part in parts]
    any_by_name = any(part.dtype.kind == "U" for part in parts)

    def references_of(inputs: Tensors) -> Tensors:
        if isinstance(value, dict):
            check_names(value, inputs, argument)
        flat = tf.nest.flatten(inputs)
        if len(makers) not in (1, len(flat)):
            raise ValueError(
                f"{argument} has {len(makers)} arrays for a model of {len(flat)} inputs"
            )
        each = makers * len(flat) if len(makers) == 1 else makers
        channels = order(inputs).channels if any_by_name else [-1] * len(flat)
        references = [make(x, Order((c,))) for make, x, c in zip(each, flat, channels, strict=True)]
        return _equally_many(tf.nest.pack_sequence_as(inputs, references), argument)

    return references_of


def arrays(value: Any) -> list[np.ndarray]:
    """Give the arrays of a structure as a flat list; a list of numbers is one array."""
    numbers = isinstance(value, list | tuple) and all(isinstance(v, Real) for v in value)
    return [np.asarray(v) for v in ([value] if numbers else tf.nest.flatten(value))]


@keras.saving.register_keras_serializable("tfxai")
def rise_blur(images: tf.Tensor) -> tf.Tensor:
    """Blur images slightly, as the published code of RISE's insertion game does.

    The kernel of 11 x 11 pixels is the answer of a Gaussian filter (sigma 5, with mirrored borders)
    to an impulse in the middle of an image of that size. Beyond the borders of the photo the values
    are zero.

    Args:
        images: ``[B, H, W, C]``.

    Returns:
        References ``[1, B, H, W, C]``.

    Raises:
        ValueError: the images look channels-first.

    Reference:
        Petsiuk, Das and Saenko 2018, section 3.3, and their code (docs/methods.md, Baselines).

    Example:
        >>> rise_blur(tf.ones([2, 30, 30, 3])).shape
        TensorShape([1, 2, 30, 30, 3])
    """
    axes.expect_channels_last("images", images)
    offsets = np.arange(-20, 21)
    gaussian = np.exp(-(offsets**2) / (2 * 5.0**2))
    position = (np.arange(11)[:, None] + offsets) % 22
    is_middle = np.where(position < 11, position, 21 - position) == 5
    return convolve(images, is_middle @ gaussian / gaussian.sum(), "SAME")[None]


OfOneInput = Callable[[tf.Tensor, Order], tf.Tensor]
"""An input ``[B, ...]``, the order of its axes -> its references ``[R, B | 1, ...]``."""


def _of_one_input(part: np.ndarray, bounds: tuple[Any, Any] | None, argument: str) -> OfOneInput:
    """Turn a name, a number or an array into a function from one input to its references."""
    if part.dtype.kind == "U" and part.ndim == 0:
        return _named(part.item(), bounds, argument)
    if part.dtype.kind not in "fiub" or not np.isfinite(part).all():
        raise ValueError(f"{argument} must be finite numbers, got {part.dtype} {_short(part)}")
    return lambda x, order: _references(part, x, argument)


def _named(name: str, bounds: tuple[Any, Any] | None, argument: str) -> OfOneInput:
    if name not in NAMES:
        raise ValueError(f"{argument}={name!r}: expected a number, an array, or one of {_listed()}")
    make = {"blur": blurred, "mean": mean, "noise": noise}.get(name)
    if make is not None:
        label = f"{argument}={name!r}"
        return lambda x, order: order.from_channels_last(make(order.to_channels_last(x), label))
    if bounds is None:
        raise ValueError(
            f"{argument}={name!r} needs bounds=(smallest, largest), the range of the inputs after "
            "preprocessing, e.g. bounds=(0, 1)"
        )
    return _of_one_input(np.asarray(bounds[0] if name == "black" else bounds[1]), None, argument)


def _references(value: np.ndarray, x: tf.Tensor, argument: str) -> tf.Tensor:
    """Give an array as references ``[R, 1, ...]`` of the rank of the inputs plus one."""
    example = x.shape[1:]
    batch = value if value.ndim == len(example) + 1 else value[None]
    try:
        np.broadcast_shapes(batch.shape[1:], [1 if d is None else d for d in example])
        fits = batch.ndim <= len(example) + 1 and all(
            a in (1, b) or b is None
            for a, b in zip(reversed(batch.shape[1:]), reversed(list(example)), strict=False)
        )
    except ValueError:
        fits = False
    if not fits or batch.shape[0] == 0:
        raise ValueError(
            f"{argument} has shape {list(value.shape)}, expected a number, one example's shape "
            f"{list(example)}, or a batch of references {['R', *example]}"
        )
    missing = len(example) + 1 - batch.ndim
    shaped = batch.reshape([batch.shape[0]] + [1] * (missing + 1) + list(batch.shape[1:]))
    return tf.cast(tf.constant(shaped), x.dtype)


def _equally_many(references: Tensors, argument: str) -> Tensors:
    """Repeat the only reference of an input where another input has R of them."""
    counts = {r.shape[0] for r in tf.nest.flatten(references)}
    most = max(counts)
    if counts - {1, most}:
        raise ValueError(
            f"{argument} has {' and '.join(map(str, sorted(counts)))} references for the inputs of "
            "one model: expected as many for each, or one"
        )

    def repeated(r: tf.Tensor) -> tf.Tensor:
        return r if r.shape[0] == most else tf.tile(r, [most] + [1] * (r.shape.rank - 1))

    return tf.nest.map_structure(repeated, references)


def _listed() -> str:
    return ", ".join(repr(n) for n in NAMES)


def _short(array: np.ndarray) -> str:
    return f"{array}" if array.size == 1 else f"array of shape {list(array.shape)}"
