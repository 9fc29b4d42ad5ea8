"""Images blended with their baseline images by masks, of which 1 keeps and 0 deletes a pixel."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfxai.core.interpolation import align_corners
from tfxai.core.types import ScoredModel


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
    forward: ScoredModel,
    images: tf.Tensor,
    references: tf.Tensor,
    targets: tf.Tensor,
    masks: tf.Tensor,
) -> tf.Tensor:
    """Score each of the images ``[B, H, W, C]`` under each of the masks ``[K, H, W]``: ``[K, B]``.

    A masked pixel shows the image's baseline image in `references`, of the images' shape.
    """
    visible = masks[:, None, :, :, None]
    points = tf.reshape(references + visible * (images - references), [-1, *images.shape[1:]])
    scores = forward(points, tf.tile(targets, tf.shape(masks)[:1]))
    return tf.reshape(scores, [tf.shape(masks)[0], tf.shape(images)[0]])


def weighted_masks(weights: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
    """Multiply masks ``[K, H, W]`` by their weights for each image ``[K, B]``: ``[K, B, H W]``."""
    rows = tf.reshape(masks, [-1, masks.shape[1] * masks.shape[2]])
    return weights[..., None] * rows[:, None]
