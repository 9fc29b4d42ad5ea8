"""What makes masks small and smooth: the regulariser of I-GOS, and its proximal operator."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf


class Regulariser(NamedTuple):
    """g(M) = lambda1 mean|1 - M| + lambda2 TV(M), for masks in [0, 1] (Qi et al. 2020)."""

    lambda1: tf.Tensor
    """``[N]`` or a scalar."""
    lambda2: tf.Tensor
    """``[N]`` or a scalar."""
    beta: int
    """The power of the differences in TV(M), see `total_variation`."""

    def __call__(self, masks: tf.Tensor) -> tf.Tensor:
        """Map masks M, ``[N, h, w]``, to g(M), ``[N]``."""
        deleted = tf.reduce_mean(tf.abs(1 - masks), (1, 2))
        return self.lambda1 * deleted + self.lambda2 * total_variation(masks, self.beta)


def total_variation(masks: tf.Tensor, beta: int) -> tf.Tensor:
    """Give TV(M) = mean |M_i+1,j - M_ij|^beta + mean |M_i,j+1 - M_ij|^beta, ``[N]``.

    An axis of one cell has no differences and adds nothing.
    """
    total = tf.zeros_like(masks[:, 0, 0])
    for step in (masks[:, 1:] - masks[:, :-1], masks[:, :, 1:] - masks[:, :, :-1]):
        if 0 not in step.shape[1:]:
            total += tf.reduce_mean(step * step if beta == 2 else tf.abs(step) ** beta, (1, 2))
    return total


def proximal(values: tf.Tensor, step: tf.Tensor, lambda1: tf.Tensor, lambda2: float) -> tf.Tensor:
    """Give argmin_M |M - X|^2 / 2 + alpha (lambda1 mean(1 - M) + lambda2 TV(M)), ``[N, h, w]``.

    TV has beta = 2, so that TV(M) = M' D M / 2 for a matrix D, and the minimum is
    M = (I + alpha lambda2 D)^-1 (X + alpha lambda1 / (h w)). D is the sum of a matrix for the rows
    and a matrix for the columns, so the products of their eigenvectors make D diagonal. This step
    is ours (docs/methods.md, I-GOS).

    Args:
        values: X, ``[N, h, w]``.
        step: alpha, ``[N]``.
        lambda1: ``[N]``.
        lambda2: a scalar.
    """
    height, width = values.shape[1:]
    (row_eigenvalues, row_vectors), (column_eigenvalues, column_vectors) = (
        _squared_differences(cells) for cells in (height, width)
    )
    eigenvalues = 2 * (
        row_eigenvalues[:, None] / max((height - 1) * width, 1)
        + column_eigenvalues / max(height * (width - 1), 1)
    )
    u, v, curvature = (
        tf.constant(array, values.dtype)
        for array in (row_vectors, column_vectors, lambda2 * eigenvalues)
    )
    raised = values + (step * lambda1 / (height * width))[:, None, None]
    coefficients = tf.einsum("hi,nhw,wj->nij", u, raised, v)
    solution = coefficients / (1 + step[:, None, None] * curvature)
    return tf.einsum("hi,nij,wj->nhw", u, solution, v)


def _squared_differences(cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Give the eigenvalues and eigenvectors of the quadratic form sum_i (m_i+1 - m_i)^2."""
    differences = np.diff(np.eye(cells), axis=0)
    return np.linalg.eigh(differences.T @ differences)
