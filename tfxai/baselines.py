"""Baselines: the input x' without information that an attribution compares with."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from numbers import Real
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfxai.core import axes
from tfxai.core.axes import Order, OrderOf
from tfxai.core.baseline_functions import checked
from tfxai.core.named_inputs import check_names
from tfxai.core.types import Tensors

Baseline = Callable[[Tensors], Tensors]
"""Maps inputs ``[B, ...]`` to references ``[R, B | 1, ...]``, R of them for each example."""

NAMES = ("black", "white", "blur", "mean", "noise")
BLUR_SHARE = 51 / 224
"""Kernel size over image side, from the 51 of 224 pixels of METHODS 5.4."""


def baseline(
    value: Any,
    bounds: tuple[Any, Any] | None = None,
    *,
    argument: str = "baseline",
    order: OrderOf = axes.order_of,
) -> Baseline:
    """Turn what a user calls a baseline into a function of the inputs.

    Args:
        value: a number; an array of one example's shape; a batch of references ``[R, ...]``;
            ``"black"`` or ``"white"`` (the ends of `bounds`); for images also ``"blur"``,
            ``"mean"`` (each channel's own) or ``"noise"`` (normal, with each channel's mean and
            spread, always the same draw); for a model with several inputs also a structure like
            theirs of numbers and arrays; or a function that gives each example references of its
            own, inputs ``[B, ...]`` -> the same structure of ``[B, ...]``, or ``[R, B | 1, ...]``
            for R each. A method calls it in its graph, on a part of a batch at a time: write it
            with TensorFlow's operations or keras.ops, so that a reference depends on its own
            example alone. To be saved it needs ``keras.saving.register_keras_serializable()``.
        bounds: smallest and largest value of an input, scalars or per channel.
        argument: what messages call `value`.
        order: which axes of the inputs are rows, columns and channels; from their shape alone,
            unless told.

    Raises:
        ValueError: an unknown name, a name without `bounds`, or values that are not finite. What a
            function gives is checked when it is called, its shape when it is traced.

    Example:
        >>> half = baseline(lambda images: images / 2)
        >>> half(tf.ones([5, 8, 8, 3])).shape
        TensorShape([1, 5, 8, 8, 3])
    """
    if value is None:
        raise ValueError(f"{argument}=None: expected a number, an array, or one of {_listed()}")
    if isinstance(value, str):
        return _named(value, bounds, argument, order)
    if callable(value):
        computed = checked(value, argument)
        return lambda inputs: _same_number(computed(inputs), argument)
    parts = arrays(value)
    for part in parts:
        if part.dtype.kind == "O" and any(map(callable, tf.nest.flatten(value))):
            raise ValueError(
                f"{argument} has a function among its parts: pass one function of all inputs, "
                "which gives their structure"
            )
        if part.dtype.kind not in "fiub" or not np.isfinite(part).all():
            raise ValueError(f"{argument} must be finite numbers, got {part.dtype} {_short(part)}")

    def constant(inputs: Tensors) -> Tensors:
        if isinstance(value, dict):
            check_names(value, inputs, argument)
        flat = tf.nest.flatten(inputs)
        if len(parts) not in (1, len(flat)):
            raise ValueError(
                f"{argument} has {len(parts)} arrays for a model of {len(flat)} inputs"
            )
        wide = parts * len(flat) if len(parts) == 1 else parts
        references = [_references(b, x, argument) for b, x in zip(wide, flat, strict=True)]
        return _same_number(tf.nest.pack_sequence_as(inputs, references), argument)

    return constant


def arrays(value: Any) -> list[np.ndarray]:
    """Give the arrays of a structure; a list of numbers is one array."""
    numbers = isinstance(value, list | tuple) and all(isinstance(v, Real) for v in value)
    return [np.asarray(v) for v in ([value] if numbers else tf.nest.flatten(value))]


def blur(images: tf.Tensor, *, size: int, sigma: float) -> tf.Tensor:
    """Blur ``[B, H, W, C]`` by a Gaussian of `size` (odd) taps, borders mirrored (reflect-101).

    Example:
        >>> blur(tf.ones([1, 8, 8, 1]), size=3, sigma=1.0).shape
        TensorShape([1, 8, 8, 1])
    """
    offsets = np.arange(size) - size // 2
    taps = np.exp(-(offsets**2) / (2 * sigma**2))
    half = size // 2
    padded = images
    for axis in (1, 2):
        around = [[half, half] if a == axis else [0, 0] for a in range(4)]
        # A single row or column has no other to mirror.
        padded = tf.pad(padded, around, "SYMMETRIC" if images.shape[axis] == 1 else "REFLECT")
    return _convolved(padded, taps / taps.sum(), "VALID")


@keras.saving.register_keras_serializable("tfxai")
def rise_blur(images: tf.Tensor) -> tf.Tensor:
    """Give images as RISE's insertion begins with them, slightly blurred, ``[1, B, H, W, C]``.

    Its 11 x 11 kernel is a Gaussian filter's answer (sigma 5) to an impulse in an image of that
    size, whose borders mirror; beyond the photo there is zero (METHODS 5.6).

    Example:
        >>> rise_blur(tf.ones([2, 30, 30, 3])).shape
        TensorShape([1, 2, 30, 30, 3])
    """
    axes.expect_channels_last("images", images)
    offsets = np.arange(-20, 21)
    gaussian = np.exp(-(offsets**2) / (2 * 5.0**2))
    seen = (np.arange(11)[:, None] + offsets) % 22
    hits = np.where(seen < 11, seen, 21 - seen) == 5
    return _convolved(images, hits @ gaussian / gaussian.sum(), "SAME")[None]


def _convolved(images: tf.Tensor, taps: np.ndarray, padding: str) -> tf.Tensor:
    """Convolve rows and columns of each channel."""
    kernel = tf.constant(taps, images.dtype)[:, None, None, None]
    kernel = tf.tile(kernel, [1, 1, images.shape[-1], 1])
    rows = tf.nn.depthwise_conv2d(images, kernel, [1, 1, 1, 1], padding)
    return tf.nn.depthwise_conv2d(rows, tf.transpose(kernel, [1, 0, 2, 3]), [1, 1, 1, 1], padding)


def _named(name: str, bounds: tuple[Any, Any] | None, argument: str, order: OrderOf) -> Baseline:
    if name not in NAMES:
        raise ValueError(f"{argument}={name!r}: expected a number, an array, or one of {_listed()}")
    of_image = {"blur": _blurred, "mean": _mean_colour, "noise": _noise}.get(name)
    if of_image is not None:
        each = partial(of_image, argument=argument)
        return lambda inputs: _of_images(each, inputs, order(inputs))
    if bounds is None:
        raise ValueError(
            f"{argument}={name!r} needs bounds=(smallest, largest), the range of the inputs after "
            "preprocessing, e.g. bounds=(0, 1)"
        )
    return baseline(bounds[0] if name == "black" else bounds[1], argument=argument)


def _of_images(
    of_image: Callable[[tf.Tensor], tf.Tensor], inputs: Tensors, order: Order
) -> Tensors:
    return order.from_channels_last(tf.nest.map_structure(of_image, order.to_channels_last(inputs)))


def _blurred(x: tf.Tensor, argument: str) -> tf.Tensor:
    if x.shape.rank != 4 or None in x.shape[1:]:
        raise ValueError(
            f"{argument}='blur' needs images of a known size [B, H, W, C], got {x.shape}"
        )
    size = 2 * max(1, int(min(x.shape[1:3]) * BLUR_SHARE / 2)) + 1
    return blur(x, size=size, sigma=float(size - 1))[None]


def _mean_colour(x: tf.Tensor, argument: str, name: str = "mean") -> tf.Tensor:
    if x.shape.rank != 4:
        raise ValueError(f"{argument}={name!r} needs images [B, H, W, C], got {x.shape}")
    return tf.reduce_mean(x, (1, 2), keepdims=True)[None]


def _noise(x: tf.Tensor, argument: str) -> tf.Tensor:
    """Give noise that all images share but for its mean and spread."""
    mean = _mean_colour(x, argument, "noise")
    spread = tf.math.reduce_std(x, (1, 2), keepdims=True)
    return mean + spread * tf.random.stateless_normal(tf.shape(x)[1:], [0, 0], dtype=x.dtype)


def _references(value: np.ndarray, x: tf.Tensor, argument: str) -> tf.Tensor:
    """Give a value as ``[R, 1, ...]``, of the rank of the inputs plus one."""
    example = x.shape[1:]
    one = value if value.ndim == len(example) + 1 else value[None]
    try:
        np.broadcast_shapes(one.shape[1:], [1 if d is None else d for d in example])
        fits = one.ndim <= len(example) + 1 and all(
            a in (1, b) or b is None
            for a, b in zip(reversed(one.shape[1:]), reversed(list(example)), strict=False)
        )
    except ValueError:
        fits = False
    if not fits or one.shape[0] == 0:
        raise ValueError(
            f"{argument} has shape {list(value.shape)}, expected a number, one example's shape "
            f"{list(example)}, or a batch of references {['R', *example]}"
        )
    missing = len(example) + 1 - one.ndim
    shaped = one.reshape([one.shape[0]] + [1] * (missing + 1) + list(one.shape[1:]))
    return tf.cast(tf.constant(shaped), x.dtype)


def _same_number(references: Tensors, argument: str) -> Tensors:
    """Repeat the one reference of an input beside the R of another."""
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
