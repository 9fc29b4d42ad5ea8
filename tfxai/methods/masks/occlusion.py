"""Occlusion (Zeiler and Fergus 2014): how much the score drops when a patch is covered."""

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
from tfxai.methods.masks.blending import scores_under_masks, weighted_masks
from tfxai.methods.masks.image_inputs import (
    in_model_order,
    one_channel,
    one_channel_like,
    rows_and_columns,
    single_image_input,
    single_reference,
)
from tfxai.models.model_info import ModelInspector
from tfxai.models.scored_models import scored


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
    """Explain by how much the score drops, on average, when a patch over a pixel is covered.

    The mean is taken over all patches that contain the pixel.

    Args:
        model: a Keras model of images.
        patch: the size of a patch in pixels, for both sides or (rows, columns); None takes a
            seventh of the image.
        stride: the number of pixels from one patch to the next; None takes half a patch. The last
            patch ends with the image, so that every pixel is covered.
        baseline: what a covered pixel shows, as in `igos`.
        score: the function (outputs, targets) -> ``[B]`` that gives the score to explain.
        bounds: the smallest and the largest value of an input, for a baseline by name.
        data_format: where the channels of the images are, as in `rise`.

    Returns:
        An Explainer with attributions ``[B, H, W, 1]`` in units of the score; they are negative
        where the score rises.

    Raises:
        TypeError, ValueError: an option has the wrong type or is out of range, a patch is larger
            than the image, or a stride is longer than a patch.

    Reference:
        Zeiler and Fergus 2014, section 4.2. The mean over all patches that contain a pixel is taken
        from Captum.

    Example:
        >>> model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten()])
        >>> model.add(keras.layers.Dense(1, kernel_initializer="ones"))
        >>> maps = occlusion(model, patch=2)(keras.ops.ones((1, 4, 4, 1)))
        >>> maps[0, 0, :, 0].numpy().round(3)
        array([4., 4., 4., 4.], dtype=float32)
    """
    checks.model(model)
    patch_size = None if patch is None else rows_and_columns(patch, "patch")
    stride_size = None if stride is None else rows_and_columns(stride, "stride")
    inspector = ModelInspector(model, data_format)
    references_of = baseline_of(baseline, bounds, order=inspector.order)
    scored_model = scored(model, score)

    def build(rows: int, order: Order) -> Attribution:
        forward = order.channels_last_model(scored_model)

        def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
            images = single_image_input(inputs)
            patch_rows, patch_columns = patches(tuple(images.shape[1:3]), patch_size, stride_size)
            full_score = forward(images, targets)
            references = single_reference(order.channels_last_baseline(references_of), images)
            mean_drop = estimate(
                _score_drops(forward, patch_rows, patch_columns),
                len(patch_rows) * len(patch_columns),
                aggregators.mean(),
                rows=rows,
                like=lambda inputs: one_channel(inputs[0]),
            )
            drops = mean_drop((images, references, full_score), targets, seed).value
            # The mean over all patches counts those without the pixel as 0.
            covered_share = np.outer(patch_rows.mean(0), patch_columns.mean(0)).reshape(-1)
            return Result(tf.reshape(drops / covered_share, tf.shape(images[..., :1])), {})

        return attribute

    return Method(
        inspector,
        in_model_order(build, inspector),
        score,
        arrays_per_example=8,
        like=one_channel_like(inspector),
    )


def _score_drops(
    forward: ScoredModel, patch_rows: np.ndarray, patch_columns: np.ndarray
) -> Evaluate:
    """Give the function that evaluates the drop of the score at each pixel of the k-th patch.

    At all other pixels its values are 0. Its inputs are images, their baseline images and the
    scores of the whole images.
    """

    def evaluate(
        inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor, ks: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        del seed
        images, references, full_score = inputs
        row_numbers, column_numbers = ks // len(patch_columns), ks % len(patch_columns)
        covered = tf.cast(
            tf.gather(patch_rows, row_numbers)[:, :, None]
            & tf.gather(patch_columns, column_numbers)[:, None],
            images.dtype,
        )
        drop = full_score - scores_under_masks(forward, images, references, targets, 1 - covered)
        return weighted_masks(drop, covered), tf.ones_like(drop[:, 0])

    return evaluate


def patches(
    size: tuple[int, int], patch: tuple[int, int] | None, stride: tuple[int, int] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Give the rows ``[N, H]`` and the columns ``[M, W]`` that the patches cover, as booleans.

    There are N M patches: each of the N intervals of rows with each of the M intervals of columns.

    Args:
        size: rows and columns of the image.
        patch: rows and columns of a patch; None for a seventh of the image.
        stride: rows and columns from one patch to the next; None for half a patch.

    Raises:
        ValueError: a patch is larger than the image, or a stride is longer than a patch.
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
    """Give the pixels of each interval along one axis as booleans, ``[N, pixels]``."""
    last_start = pixels - length
    starts = np.unique([*range(0, last_start, stride), last_start])[:, None]
    positions = np.arange(pixels)
    return (positions >= starts) & (positions < starts + length)
