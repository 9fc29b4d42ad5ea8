"""The input Hessian as a sum of few terms, H ~ sum_j s_j u_j u_j^T, and what it leaves out."""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf

from tfxai.core import batch
from tfxai.hessian.products import Local, Product

FEW_CLASSES = 16
"""Up to this number, the gradients of all classes cost less than Lanczos' products."""
PROBES = 4
_CHI_SQUARED = 0.2971
"""A chi-squared variable with as many degrees of freedom is above it with probability .99."""


class Factor(NamedTuple):
    """Eigenvalues and eigenvectors, the largest eigenvalue first."""

    eigenvalues: tf.Tensor
    """``[B, R]``; 0 where an example has fewer."""
    vectors: tf.Tensor
    """``[B, R, F]``: the eigenvectors times the root of their eigenvalue's size."""
    passes: tf.Tensor
    """How many vectors were sent through the network for each example, ``[B]``."""

    def product(self, vectors: tf.Tensor) -> tf.Tensor:
        """Give H v for vectors ``[B, K, F]``."""
        inner = tf.matmul(vectors, self.vectors, transpose_b=True)
        return tf.matmul(inner * tf.sign(self.eigenvalues)[:, None], self.vectors)

    @property
    def top(self) -> tf.Tensor:
        """The largest eigenvalue, at least 0, ``[B]``."""
        return tf.maximum(tf.reduce_max(self.eigenvalues, 1), 0)

    @property
    def lowest(self) -> tf.Tensor:
        """The smallest eigenvalue, at most 0, ``[B]``."""
        return tf.minimum(tf.reduce_min(self.eigenvalues, 1), 0)


def eigen(matrices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Give the eigenvalues of symmetric matrices, the largest first, and eigenvectors as columns.

    They are computed in float64: the matrices are small. Those of a matrix that is not finite are
    NaN; TensorFlow's would raise an error of their own, before or after the one that says why.
    """
    finite = tf.reduce_all(tf.math.is_finite(matrices), (1, 2), keepdims=True)
    values, vectors = tf.linalg.eigh(tf.cast(tf.where(finite, matrices, 0), tf.float64))
    unknown = tf.constant(math.nan, tf.float64)
    values = tf.where(finite[:, :, 0], values, unknown)
    ordered = values[:, ::-1], tf.where(finite, vectors, unknown)[:, :, ::-1]
    return tf.cast(ordered[0], matrices.dtype), tf.cast(ordered[1], matrices.dtype)


def cheaper(at: Local) -> str:
    """Say which factor of a Hessian costs less, "classes" or "krylov"."""
    few = (at.logits.shape[1] or FEW_CLASSES + 1) <= FEW_CLASSES
    return "classes" if few and at.curved is None else "krylov"


def error_bound(product: Product, factor: Factor, seed: tf.Tensor) -> tf.Tensor:
    """Bound the spectral norm of H less its factor, with probability .99, ``[B]``.

    For a Gaussian vector w and E = H - factor, |E w|^2 is at least the square of E's largest
    eigenvalue times a chi-squared variable. So a sum over few vectors bounds it. They must not be
    those that Lanczos has begun with: it knows what H does to them.
    """
    shape = tf.shape(factor.vectors)
    own = tf.random.fold_in(seed, -2)

    def longer(k: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        drawn = tf.random.stateless_normal(
            shape[2:], tf.random.fold_in(own, k), dtype=factor.vectors.dtype
        )
        w = tf.tile(drawn[None], [shape[0], 1])
        length = batch.safe_norm(product(w) - factor.product(w[:, None])[:, 0])
        return k + 1, batch.safe_norm(tf.stack([total, length], 1))

    _, total = tf.while_loop(
        lambda k, total: k < PROBES,
        longer,
        (0, tf.zeros(shape[:1], factor.vectors.dtype)),
        parallel_iterations=1,
    )
    return total / math.sqrt(_CHI_SQUARED)
