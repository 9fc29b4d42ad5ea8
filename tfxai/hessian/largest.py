"""The largest eigenvalue of the Hessian, with an upper bound of it.

The code of Singla et al. 2019 takes ten power iterations from a random vector. Where the Hessian
has many eigenvalues little below the largest one, or negative eigenvalues of a larger size, these
iterations end far from the largest eigenvalue with a small residual. Lanczos from the same vector
is closer after as many products, and bounds the eigenvalue (docs/methods.md, The input Hessian).
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfxai.core import batch
from tfxai.hessian.lanczos import Goal, lanczos
from tfxai.hessian.products import HVP


class MaxEigenvalue(NamedTuple):
    """The largest eigenvalue of each example's Hessian."""

    value: tf.Tensor
    """The Rayleigh quotient v . H v, which is at most the largest eigenvalue, ``[B]``."""
    vector: tf.Tensor
    """v, of unit length: ``[B, F]``, or of the inputs' structure where users get it."""
    residual: tf.Tensor
    """\\|H v - value v\\|, ``[B]``: an eigenvalue, if not the largest, is this close to `value`."""
    bound: tf.Tensor
    """An upper bound of the largest eigenvalue, with probability .9999, ``[B]``."""
    num_hvps: tf.Tensor
    """How many Hessian-vector products each example took, ``[B]``."""


def max_eigenvalue(
    hvp: HVP,
    like: tf.Tensor,
    seed: tf.Tensor,
    *,
    tolerance: float,
    max_iterations: int,
    rounding: float,
) -> MaxEigenvalue:
    """Find the largest eigenvalue of each example's Hessian by Lanczos.

    Args:
        hvp: products with the Hessian.
        like: any vectors ``[B, F]``, for their shape and data type.
        seed: of the vector with which Lanczos begins.
        tolerance: where to stop: how far the value may be below the bound, relative to the value.
        max_iterations: the most products that Lanczos takes.
        rounding: the error of a product, relative to the Hessian's norm.
    """
    goal = Goal(max_iterations, tolerance, rounding=rounding)
    krylov = lanczos(hvp, tf.zeros_like(like), goal, seed)
    vector = krylov.max_eigenvector()
    product = hvp(vector)
    value = tf.reduce_sum(vector * product, 1)
    residual = batch.safe_norm(product - value[:, None] * vector)
    bound = tf.maximum(krylov.ends.max_eigenvalue_bound, value)
    return MaxEigenvalue(value, vector, residual, bound, krylov.num_hvps + 1)
