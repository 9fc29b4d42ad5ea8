"""The largest eigenvalue by power iteration (METHODS 4.3), to a tolerance."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfxai import batch
from tfxai.hessian.products import Product


class Eigenvalue(NamedTuple):
    """An eigenvalue of each example, found by iteration."""

    value: tf.Tensor
    """The Rayleigh quotient v . H v, ``[B]``."""
    vector: tf.Tensor
    """v, of unit length, ``[B, F]``; outside this file of the inputs' structure."""
    residual: tf.Tensor
    """\\|H v - value v\\|: an eigenvalue is no further away, ``[B]``."""
    iterations: tf.Tensor
    """``[B]``."""


def start_like(rows: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Give one vector for all examples ``[B, F]``, uniform in (-1/2, 1/2)."""
    drawn = tf.random.stateless_uniform(tf.shape(rows)[1:], seed, -0.5, 0.5, rows.dtype)
    return tf.zeros_like(rows) + drawn


def top_eigenvalue(
    product: Product, start: tf.Tensor, *, tolerance: float, max_iterations: int
) -> Eigenvalue:
    """Find the largest eigenvalue of each example's Hessian.

    Power iteration finds the eigenvalue of largest size, or none where two of both signs are alike.
    Where it is negative or none, it begins again with H plus its norm, which has no negative ones.

    Args:
        product: with the Hessian.
        start: vectors ``[B, F]`` to begin with.
        tolerance: of the residual, relative to the eigenvalue.
        max_iterations: where each search gives up.
    """
    largest = _largest_in_size(product, start, tolerance, max_iterations)
    other_sign = (largest.value < 0) | (largest.residual > tolerance * tf.abs(largest.value))
    norm = tf.sqrt(largest.value**2 + largest.residual**2)  # of H v, for the last v
    shift = tf.where(other_sign, norm, tf.zeros_like(norm))[:, None]

    def shifted() -> Eigenvalue:
        found = _largest_in_size(lambda v: product(v) + shift * v, start, tolerance, max_iterations)
        return found._replace(
            value=found.value - shift[:, 0], iterations=found.iterations + largest.iterations
        )

    other = tf.cond(tf.reduce_any(other_sign), shifted, lambda: largest)
    return batch.where(other_sign, other, largest)


def _largest_in_size(
    product: Product, start: tf.Tensor, tolerance: float, max_iterations: int
) -> Eigenvalue:
    def step(k: tf.Tensor, going: tf.Tensor, v: tf.Tensor, found: Eigenvalue) -> tuple:
        w = product(v)
        value = tf.reduce_sum(v * w, 1)
        residual = tf.norm(w - value[:, None] * v, axis=1)
        now = Eigenvalue(value, v, residual, tf.fill(tf.shape(value), k + 1))
        found = batch.where(going, now, found)
        unit = tf.math.divide_no_nan(w, tf.norm(w, axis=1, keepdims=True))
        return k + 1, going & (residual > tolerance * tf.abs(value)), unit, found

    count = tf.shape(start)[0]
    nothing = tf.zeros([count], start.dtype)
    begin = start / tf.norm(start, axis=1, keepdims=True)
    none = Eigenvalue(nothing, begin, nothing, tf.zeros([count], tf.int32))
    *_, found = tf.while_loop(
        lambda k, going, v, found: (k < max_iterations) & tf.reduce_any(going),
        step,
        (0, tf.ones([count], tf.bool), begin, none),
        parallel_iterations=1,
    )
    return found
