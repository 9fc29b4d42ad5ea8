"""Baselines by name that are made of an example's own values: its blur, its mean, noise like it.

They need positions, whose values are blurred or averaged: rows and columns, steps in time. Channels
are last.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

BLUR_SHARE = 51 / 224
"""The size of the blur's kernel over the image's side: 51 of 224 pixels in the published code of
I-GOS (docs/methods.md, Baselines)."""


def blurred(x: tf.Tensor, label: str) -> tf.Tensor:
    """Blur inputs ``[B, ..., C]`` heavily: references ``[1, B, ..., C]``.

    The kernel is in proportion to the shortest axis of positions.

    Args:
        x: the inputs.
        label: what messages call the baseline.

    Raises:
        ValueError: the inputs have no positions, or no known size.
    """
    positions = _positions(x, label)
    known = [n for n in positions if n is not None]
    if len(known) != len(positions):
        raise ValueError(
            f"{label} needs images of a known size [B, H, W, C], or sequences or volumes, got "
            f"{x.shape}"
        )
    size = 2 * max(1, int(min(known) * BLUR_SHARE / 2)) + 1
    return blur(x, size=size, sigma=float(size - 1))[None]


def mean(x: tf.Tensor, label: str) -> tf.Tensor:
    """Average each channel of inputs ``[B, ..., C]`` over the positions: ``[1, B, 1 ..., C]``."""
    return tf.reduce_mean(x, _axes(x, label), keepdims=True)[None]


def noise(x: tf.Tensor, label: str) -> tf.Tensor:
    """Scale one draw of noise, which all examples share, to the mean and spread of each channel."""
    spread = tf.math.reduce_std(x, _axes(x, label), keepdims=True)
    draw = tf.random.stateless_normal(tf.shape(x)[1:], [0, 0], dtype=x.dtype)
    return mean(x, label) + spread * draw


def blur(images: tf.Tensor, *, size: int, sigma: float) -> tf.Tensor:
    """Blur images by a Gaussian, with mirrored borders that do not repeat the outermost pixel.

    Args:
        images: ``[B, H, W, C]``, or sequences ``[B, T, C]`` or volumes ``[B, D, H, W, C]``; along
            each axis of positions larger than half the kernel, or of size one.
        size: number of taps of the kernel along each axis, odd.
        sigma: standard deviation of the Gaussian, in pixels.

    Returns:
        Blurred images of the same shape.

    Example:
        >>> blur(tf.ones([1, 8, 8, 1]), size=3, sigma=1.0).shape
        TensorShape([1, 8, 8, 1])
    """
    taps = _gaussian(size, sigma)
    for axis in range(1, images.shape.rank - 1):
        images = _blurred_along(images, axis, taps)
    return images


def convolve(images: tf.Tensor, taps: np.ndarray, padding: str) -> tf.Tensor:
    """Convolve the rows and the columns of each channel with the same taps."""
    kernel = _kernel(images, taps)
    rows = tf.nn.depthwise_conv2d(images, kernel, [1, 1, 1, 1], padding)
    return tf.nn.depthwise_conv2d(rows, tf.transpose(kernel, [1, 0, 2, 3]), [1, 1, 1, 1], padding)


def _gaussian(size: int, sigma: float) -> np.ndarray:
    offsets = np.arange(size) - size // 2
    taps = np.exp(-(offsets**2) / (2 * sigma**2))
    return taps / taps.sum()


def _kernel(images: tf.Tensor, taps: np.ndarray) -> tf.Tensor:
    """Give the kernel that convolves the rows of each channel with the same taps."""
    kernel = tf.constant(taps, images.dtype)[:, None, None, None]
    return tf.tile(kernel, [1, 1, images.shape[-1], 1])


def _blurred_along(x: tf.Tensor, axis: int, taps: np.ndarray) -> tf.Tensor:
    """Blur one axis of inputs ``[B, ..., C]``: as the rows of images whose columns are the rest."""
    sizes, channels = tf.shape(x), x.shape[-1]
    rest = tf.reduce_prod(sizes[axis + 1 : -1])
    images = tf.reshape(x, tf.stack([-1, sizes[axis], rest, channels]))
    half = len(taps) // 2
    # A single row has no other to mirror.
    mirror = "SYMMETRIC" if x.shape[axis] == 1 else "REFLECT"
    padded = tf.pad(images, [[0, 0], [half, half], [0, 0], [0, 0]], mirror)
    along = tf.nn.depthwise_conv2d(padded, _kernel(x, taps), [1, 1, 1, 1], "VALID")
    return tf.ensure_shape(tf.reshape(along, sizes), x.shape)


def _axes(x: tf.Tensor, label: str) -> list[int]:
    return list(range(1, 1 + len(_positions(x, label))))


def _positions(x: tf.Tensor, label: str) -> list[int | None]:
    """Give the sizes of the axes of positions, or raise where there are none."""
    if x.shape.rank is None or x.shape.rank < 3:
        raise ValueError(
            f"{label} needs images [B, H, W, C], or other inputs whose positions have neighbours; "
            f"{x.shape} have none: pass numbers, such as 0.0 or the mean of the training data; for "
            "several inputs a dict, such as {'photo': 'blur', 'age': 0.0}"
        )
    return x.shape.as_list()[1:-1]
