"""Low-rank factors of the input Hessian, H ~ sum_j s_j u_j u_j^T, and bounds of their errors."""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf

from tfxai.core import batch
from tfxai.hessian.products import HVP, Linearization

FEW_CLASSES = 16
"""Up to this number of classes, the gradients of all classes cost less than Lanczos's products."""
PROBES = 4
"""How many random vectors bound the error of a factor."""
_CHI_SQUARED = 0.2971
"""A chi-squared variable of `PROBES` degrees of freedom exceeds this with probability .99."""


class LowRankFactor(NamedTuple):
    """Eigenvalues and scaled eigenvectors, whose products sum to H approximately."""

    eigenvalues: tf.Tensor
    """``[B, R]``, the largest first; 0 where an example has fewer."""
    vectors: tf.Tensor
    """The eigenvectors, each times the root of its eigenvalue's absolute value, ``[B, R, F]``."""
    num_hvps: tf.Tensor
    """How many Hessian-vector products, or gradients of classes, each example took, ``[B]``."""

    def multiply(self, vectors: tf.Tensor) -> tf.Tensor:
        """Give H v for vectors ``[B, K, F]``."""
        inner = tf.matmul(vectors, self.vectors, transpose_b=True)
        return tf.matmul(inner * tf.sign(self.eigenvalues)[:, None], self.vectors)

    @property
    def max_eigenvalue(self) -> tf.Tensor:
        """The largest eigenvalue, at least 0, ``[B]``."""
        return tf.maximum(tf.reduce_max(self.eigenvalues, 1), 0)

    @property
    def min_eigenvalue(self) -> tf.Tensor:
        """The smallest eigenvalue, at most 0, ``[B]``."""
        return tf.minimum(tf.reduce_min(self.eigenvalues, 1), 0)


def eigh(matrices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Give the eigenvalues of symmetric matrices, the largest first, and eigenvectors as columns.

    They are computed in float64, since the matrices are small. The results for a matrix that is not
    finite are NaN; TensorFlow would raise an error, which could hide the one that says why.
    """
    finite = tf.reduce_all(tf.math.is_finite(matrices), (1, 2), keepdims=True)
    values, vectors = tf.linalg.eigh(tf.cast(tf.where(finite, matrices, 0), tf.float64))
    unknown = tf.constant(math.nan, tf.float64)
    values = tf.where(finite[:, :, 0], values, unknown)[:, ::-1]
    vectors = tf.where(finite, vectors, unknown)[:, :, ::-1]
    return tf.cast(values, matrices.dtype), tf.cast(vectors, matrices.dtype)


def cheaper_kind(at: Linearization) -> str:
    """Say which way to the factor of a Hessian costs less, "classes" or "krylov"."""
    few = (at.logits.shape[1] or FEW_CLASSES + 1) <= FEW_CLASSES
    return "classes" if few and at.curved_operation is None else "krylov"


def error_bound(hvp: HVP, factor: LowRankFactor, seed: tf.Tensor) -> tf.Tensor:
    """Bound the spectral norm of H minus its factor, with probability .99, ``[B]``.

    For a Gaussian vector w and E = H - factor, |E w|^2 is at least the square of E's largest
    eigenvalue times a chi-squared variable, so a sum over a few vectors bounds this eigenvalue. The
    vectors must not be those with which Lanczos began, whose products with H it knows.
    """
    shape = tf.shape(factor.vectors)
    probe_seed = tf.random.fold_in(seed, -2)

    def add_probe(k: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        drawn = tf.random.stateless_normal(
            shape[2:], tf.random.fold_in(probe_seed, k), dtype=factor.vectors.dtype
        )
        w = tf.tile(drawn[None], [shape[0], 1])
        length = batch.safe_norm(hvp(w) - factor.multiply(w[:, None])[:, 0])
        return k + 1, batch.safe_norm(tf.stack([total, length], 1))

    _, total = tf.while_loop(
        lambda k, total: k < PROBES,
        add_probe,
        (0, tf.zeros(shape[:1], factor.vectors.dtype)),
        parallel_iterations=1,
    )
    return total / math.sqrt(_CHI_SQUARED)
