"""Masks that keep (1) or delete (0) parts of an image, and what makes them small and smooth."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfxai.core.interpolation import align_corners


def large(masks: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """Draw masks ``[N, h, w]`` at the resolution of images ``[N, H, W, C]``: ``[N, H, W, 1]``."""
    rows, columns = (
        tf.constant(align_corners(images.shape[axis], masks.shape[axis]), masks.dtype)
        for axis in (1, 2)
    )
    return tf.einsum("Hh,nhw,Ww->nHW", rows, masks, columns)[..., None]


def blend(images: tf.Tensor, references: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
    """Give Phi(I, M) = I up(M) + I' (1 - up(M)), ``[N, H, W, C]`` (METHODS 5.1)."""
    up = large(masks, images)
    return images * up + references * (1 - up)


def noise_like(images: tf.Tensor, level: float, seed: tf.Tensor) -> tf.Tensor:
    """Give normal noise of `level` times each image's own standard deviation, ``[N, H, W, C]``.

    The images share the draw.
    """
    drawn = tf.random.stateless_normal(tf.shape(images)[1:], seed, dtype=images.dtype)
    return level * tf.math.reduce_std(images, (1, 2, 3), keepdims=True) * drawn


class Regulariser(NamedTuple):
    """g(M) = lambda1 mean|1 - M| + lambda2 TV(M), for masks in [0, 1] (METHODS 5.1)."""

    lambda1: tf.Tensor
    """``[N]`` or a scalar."""
    lambda2: tf.Tensor
    """The same."""
    beta: int
    """The power of the differences in TV."""

    def __call__(self, masks: tf.Tensor) -> tf.Tensor:
        """Map masks ``[N, h, w]`` to ``[N]``."""
        deleted = tf.reduce_mean(tf.abs(1 - masks), (1, 2))
        return self.lambda1 * deleted + self.lambda2 * total_variation(masks, self.beta)


def total_variation(masks: tf.Tensor, beta: int) -> tf.Tensor:
    """Give TV(M) = mean |M_i+1,j - M_ij|^beta + mean |M_i,j+1 - M_ij|^beta, ``[N]``.

    An axis of one cell has no differences and adds nothing.
    """
    total = tf.zeros_like(masks[:, 0, 0])
    for d in (masks[:, 1:] - masks[:, :-1], masks[:, :, 1:] - masks[:, :, :-1]):
        if 0 not in d.shape[1:]:
            total += tf.reduce_mean(d * d if beta == 2 else tf.abs(d) ** beta, (1, 2))
    return total


def proximal(values: tf.Tensor, step: tf.Tensor, lambda1: tf.Tensor, lambda2: float) -> tf.Tensor:
    """Give argmin_M |M - X|^2 / 2 + alpha (lambda1 mean(1 - M) + lambda2 TV(M)), TV's beta = 2.

    M = (I + alpha lambda2 D)^-1 (X + alpha lambda1 / (h w)), with M' D M / 2 = TV(M): sums over
    rows and columns, so D is diagonal in the product of their eigenvectors.

    Args:
        values: X, ``[N, h, w]``.
        step: alpha, ``[N]``.
        lambda1: ``[N]``.
        lambda2: a scalar.
    """
    height, width = values.shape[1:]
    (along_rows, u), (along_columns, v) = (_differences(n) for n in (height, width))
    scale = 2 * (
        along_rows[:, None] / max((height - 1) * width, 1)
        + along_columns / max(height * (width - 1), 1)
    )
    u, v, curvature = (tf.constant(a, values.dtype) for a in (u, v, lambda2 * scale))
    raised = values + (step * lambda1 / (height * width))[:, None, None]
    there = tf.einsum("hi,nhw,wj->nij", u, raised, v) / (1 + step[:, None, None] * curvature)
    return tf.einsum("hi,nij,wj->nhw", u, there, v)


def _differences(cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Give the eigenvalues and eigenvectors of sum_i (m_i+1 - m_i)^2."""
    differences = np.diff(np.eye(cells), axis=0)
    return np.linalg.eigh(differences.T @ differences)
