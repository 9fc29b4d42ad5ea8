"""The largest eigenvalue, with what it may be at most.

METHODS 4.3 takes ten power iterations from a random vector. Where the eigenvectors of smaller
eigenvalues are many, or those of negative ones are larger, they end, with a small residual, far
from the largest one; Lanczos from the same vector is closer after as many products, and bounds it.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfxai.core import batch
from tfxai.hessian.lanczos import Goal, lanczos
from tfxai.hessian.products import Product


class Eigenvalue(NamedTuple):
    """The largest eigenvalue of each example."""

    value: tf.Tensor
    """The Rayleigh quotient v . H v: the largest eigenvalue is at least this, ``[B]``."""
    vector: tf.Tensor
    """v, of unit length, ``[B, F]``; outside this file of the inputs' structure."""
    residual: tf.Tensor
    """\\|H v - value v\\|: an eigenvalue, if not the largest, is no further away, ``[B]``."""
    bound: tf.Tensor
    """The largest eigenvalue is at most this, with probability .9999, ``[B]``."""
    iterations: tf.Tensor
    """Products with H, ``[B]``."""


def top_eigenvalue(
    product: Product,
    like: tf.Tensor,
    seed: tf.Tensor,
    *,
    tolerance: float,
    max_iterations: int,
    rounding: float,
) -> Eigenvalue:
    """Find the largest eigenvalue of each example's Hessian.

    Args:
        product: with the Hessian.
        like: vectors ``[B, F]``.
        seed: of the vector to begin with.
        tolerance: of the value, below the bound, relative to the value.
        max_iterations: the most products.
        rounding: error of a product / the Hessian's norm.
    """
    goal = Goal(max_iterations, tolerance, rounding=rounding)
    found = lanczos(product, tf.zeros_like(like), goal, seed)
    vector = found.top()
    along = product(vector)
    value = tf.reduce_sum(vector * along, 1)
    residual = batch.safe_norm(along - value[:, None] * vector)
    bound = tf.maximum(found.ends.top_bound, value)
    return Eigenvalue(value, vector, residual, bound, found.used + 1)
