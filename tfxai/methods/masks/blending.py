"""Images blended with their baseline images by masks, of which 1 keeps and 0 deletes a pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from tfxai.core import batch
from tfxai.core.interpolation import align_corners
from tfxai.methods.masks.masked_inputs import Examples, ScoreParts


class BlendedExamples(NamedTuple):
    """Images, the baseline images that show where a mask deletes, and target classes."""

    images: tf.Tensor
    """I, ``[N, H, W, C]``."""
    references: tf.Tensor
    """The baseline images I', ``[N, H, W, C]``."""
    targets: tf.Tensor
    """``[N]``."""


def upsample_masks(masks: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """Give up(M): masks ``[N, h, w]`` at the resolution of images, ``[N, H, W, 1]``.

    The interpolation is bilinear with aligned corners (docs/methods.md, I-GOS).
    """
    rows, columns = (
        tf.constant(align_corners(images.shape[axis], masks.shape[axis]), masks.dtype)
        for axis in (1, 2)
    )
    return tf.einsum("Hh,nhw,Ww->nHW", rows, masks, columns)[..., None]


def blend(images: tf.Tensor, references: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
    """Give Phi(I, up(M)) = I up(M) + I' (1 - up(M)), ``[N, H, W, C]`` (Qi et al. 2020).

    Args:
        images: I, ``[N, H, W, C]``.
        references: I', of the same shape.
        masks: M, ``[N, h, w]``.
    """
    up = upsample_masks(masks, images)
    return images * up + references * (1 - up)


def noise_like(images: tf.Tensor, level: float, seed: tf.Tensor) -> tf.Tensor:
    """Give normal noise of `level` times each image's own standard deviation, ``[N, H, W, C]``.

    All images share one draw, which is scaled for each of them.
    """
    drawn = tf.random.stateless_normal(tf.shape(images)[1:], seed, dtype=images.dtype)
    return level * tf.math.reduce_std(images, (1, 2, 3), keepdims=True) * drawn


def scores_under_masks(
    score: ScoreParts, examples: Examples, targets: tf.Tensor, masks: Sequence[tf.Tensor | None]
) -> tf.Tensor:
    """Score each of B examples under each of K masks: ``[K, B]``.

    Where a mask is 0, an input shows its reference.

    Args:
        score: the score of the parts of the examples.
        examples: B examples.
        targets: ``[B]``.
        masks: for each masked input K masks, ``[K, ...]``, which broadcast to an example; None for
            an input that stays whole.
    """
    count = next(tf.shape(m)[0] for m in masks if m is not None)

    def points(x: tf.Tensor, reference: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
        if mask is None:
            return tf.tile(x, [count] + [1] * (x.shape.rank - 1))
        visible = mask[:, None]
        return tf.reshape(reference + visible * (x - reference), [-1, *x.shape[1:]])

    parts = [
        points(*part) for part in zip(examples.inputs, examples.references, masks, strict=True)
    ]
    scores = score(parts, examples.others, batch.tiled(targets, count))
    return tf.reshape(scores, [count, tf.shape(targets)[0]])


def weighted_masks(weights: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
    """Multiply masks ``[K, ...]`` by their weights for each example ``[K, B]``: ``[K, B, F]``."""
    rows = tf.reshape(masks, [-1, math.prod(masks.shape[1:])])
    return weights[..., None] * rows[:, None]
