"""Occlusion (Zeiler and Fergus 2014): what the score loses when a patch is covered."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfxai import scores
from tfxai.baselines import baseline as baseline_of
from tfxai.core import checks
from tfxai.core.axes import Order
from tfxai.core.types import Attribution, Result, Score, ScoredModel, Tensors
from tfxai.estimation import aggregators
from tfxai.estimation.estimate import Evaluate, estimate
from tfxai.explaining.builder import builder
from tfxai.explaining.method import Method
from tfxai.methods.masks.images import (
    channels_last,
    flat,
    maps_of,
    one_image,
    one_map,
    one_reference,
    resolution_of,
    scores_under,
)
from tfxai.models.heads import scored
from tfxai.models.model_info import ModelInspector


@builder
def occlusion(
    model: keras.Model,
    *,
    patch: int | tuple[int, int] | None = None,
    stride: int | tuple[int, int] | None = None,
    baseline: Any = 0.0,
    score: Score = scores.logit,
    bounds: tuple[Any, Any] | None = None,
    data_format: str | None = None,
) -> Method:
    """Explain by how much the score falls, on average, when a patch with the pixel is covered.

    Args:
        model: a Keras model of images.
        patch: pixels that are covered at a time, for both sides or (rows, columns); None takes a
            seventh of the image.
        stride: pixels from one patch to the next; None takes half a patch. The last patch ends
            with the image, so that every pixel is covered.
        baseline: what covers it, as in `igos`.
        score: what is explained, (outputs, targets) -> ``[B]``.
        bounds: smallest and largest value of an input, for a baseline by name.
        data_format: as in `rise`.

    Returns:
        An Explainer with attributions ``[B, H, W, 1]`` in units of the score; negative where it
        rises.

    Raises:
        TypeError, ValueError: an option of the wrong type or out of range, a patch beyond the
            image, or a stride beyond the patch.

    Reference:
        Zeiler and Fergus 2014, section 4.2. The mean over all patches with a pixel is that of
        Captum.

    Example:
        >>> model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten()])
        >>> model.add(keras.layers.Dense(1, kernel_initializer="ones"))
        >>> maps = occlusion(model, patch=2)(keras.ops.ones((1, 4, 4, 1)))
        >>> maps[0, 0, :, 0].numpy().round(3)
        array([4., 4., 4., 4.], dtype=float32)
    """
    checks.model(model)
    patch_size = None if patch is None else resolution_of(patch, "patch")
    step = None if stride is None else resolution_of(stride, "stride")
    inspector = ModelInspector(model, data_format)
    references = baseline_of(baseline, bounds, order=inspector.order)
    of_model = scored(model, score)

    def build(rows: int, order: Order) -> Attribution:
        forward = order.channels_last_model(of_model)

        def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
            images = one_image(inputs)
            rows_of, columns_of = patches(tuple(images.shape[1:3]), patch_size, step)
            whole = forward(images, targets)
            hidden = one_reference(order.channels_last_baseline(references), images)
            mean_fall = estimate(
                _falls(forward, rows_of, columns_of),
                len(rows_of) * len(columns_of),
                aggregators.mean(),
                rows=rows,
                like=lambda inputs: one_map(inputs[0]),
            )
            falls = mean_fall((images, hidden, whole), targets, seed).value
            share = np.outer(rows_of.mean(0), columns_of.mean(0)).reshape(-1)
            return Result(tf.reshape(falls / share, tf.shape(images[..., :1])), {})

        return attribute

    return Method(
        inspector,
        channels_last(build, inspector),
        score,
        arrays_per_example=8,
        like=maps_of(inspector),
    )


def _falls(forward: ScoredModel, rows_of: np.ndarray, columns_of: np.ndarray) -> Evaluate:
    """Give what evaluates the fall of the score on each pixel of the k-th patch, 0 elsewhere."""

    def evaluate(
        inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor, ks: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        del seed
        images, hidden, whole = inputs
        down, across = ks // len(columns_of), ks % len(columns_of)
        covered = tf.cast(
            tf.gather(rows_of, down)[:, :, None] & tf.gather(columns_of, across)[:, None],
            images.dtype,
        )
        fall = whole - scores_under(forward, images, hidden, targets, 1 - covered)
        return fall[..., None] * flat(covered)[:, None], tf.ones_like(fall[:, 0])

    return evaluate


def patches(
    size: tuple[int, int], patch: tuple[int, int] | None, stride: tuple[int, int] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Give which rows ``[N, H]`` and which columns ``[M, W]`` the patches of an image cover.

    Raises:
        ValueError: a patch beyond the image, or a stride beyond the patch.
    """
    patch = patch or (max(1, round(size[0] / 7)), max(1, round(size[1] / 7)))
    stride = stride or (max(1, patch[0] // 2), max(1, patch[1] // 2))
    if any(p > pixels for p, pixels in zip(patch, size, strict=True)):
        raise ValueError(f"patch={patch}: the images have {size} pixels")
    if any(s > p for s, p in zip(stride, patch, strict=True)):
        raise ValueError(
            f"stride={stride}: longer than the patch {patch}, it would leave pixels uncovered"
        )
    rows, columns = (_intervals(*numbers) for numbers in zip(size, patch, stride, strict=True))
    return rows, columns


def _intervals(pixels: int, length: int, stride: int) -> np.ndarray:
    last = pixels - length
    starts = np.unique([*range(0, last, stride), last])
    at = np.arange(pixels)
    return (at >= starts[:, None]) & (at < starts[:, None] + length)
