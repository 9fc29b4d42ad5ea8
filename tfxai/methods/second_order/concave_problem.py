"""The concave problem of CASO (Singla et al. 2019, section 3): closed forms, steps, error bounds.

    maximise  c . D + 1/2 D^T H D - lambda1 |D|_1 - lambda2 |D|_2^2

Let L be the largest eigenvalue of H, and l the smallest, with l <= 0 <= L (for piecewise-linear
networks l = 0). The smooth part, negated, has curvatures between mu = 2 lambda2 - L and
m = 2 lambda2 - l. A proximal gradient step of the length 1 / m moves every D to a D+ that is
closer to the solution D*, by a factor of at most 1 - mu / m. The length of this step therefore
bounds the error: |D - D*| <= m / mu |D - D+|.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfxai.core import batch
from tfxai.hessian.factors import LowRankFactor

Products = Callable[[tf.Tensor], tf.Tensor]
"""Vectors ``[B, K, F]`` -> H v, ``[B, K, F]``."""


class Problem(NamedTuple):
    """K problems for each of B examples."""

    linear: tf.Tensor
    """c, the gradient of the loss, ``[B, K or 1, F]``."""
    lambda1: tf.Tensor
    """``[B, K]``."""
    lambda2: tf.Tensor
    """``[B, 1]``."""
    top_bound: tf.Tensor
    """An upper bound of L, at least 0, ``[B, 1]``."""
    lowest_bound: tf.Tensor
    """A lower bound of l, at most 0, ``[B, 1]``."""

    @property
    def min_curvature(self) -> tf.Tensor:
        """A lower bound of mu, ``[B, 1]``."""
        return 2 * self.lambda2 - self.top_bound

    @property
    def max_curvature(self) -> tf.Tensor:
        """An upper bound of m, ``[B, 1]``."""
        return 2 * self.lambda2 - self.lowest_bound


def soft_threshold(x: tf.Tensor, threshold: tf.Tensor) -> tf.Tensor:
    """Give sign(x) max(|x| - threshold, 0)."""
    return x - tf.minimum(tf.maximum(x, -threshold), threshold)


def cafo_closed_form(linear: tf.Tensor, lambda1: tf.Tensor, lambda2: tf.Tensor) -> tf.Tensor:
    """Solve the problem without H, ``[B, K, F]`` (Singla et al. 2019, appendix A.5)."""
    return soft_threshold(linear, lambda1[..., None]) / (2 * lambda2[..., None])


def caso_closed_form(linear: tf.Tensor, lambda2: tf.Tensor, factor: LowRankFactor) -> tf.Tensor:
    """Solve (2 lambda2 - H) D = c, the problem with lambda1 = 0 (Singla et al. 2019, section 3).

    With H = sum_j s_j u_j u_j^T the solution is

        c / 2 lambda2 + sum_j (1 / (2 lambda2 - s_j) - 1 / 2 lambda2) u_j (u_j . c).

    The bracket is computed as s_j / (2 lambda2 (2 lambda2 - s_j)).

    Args:
        linear: c, ``[B, K, F]``.
        lambda2: ``[B, 1]``.
        factor: H by its eigenvalues and eigenvectors.
    """
    twice = 2 * lambda2[..., None]
    eigenvalues = factor.eigenvalues[:, None]
    coefficients = tf.matmul(linear, factor.vectors, transpose_b=True)
    coefficients *= tf.sign(eigenvalues) / (twice * (twice - eigenvalues))
    return linear / twice + tf.matmul(coefficients, factor.vectors)


def objective(problem: Problem, delta: tf.Tensor, hessian_delta: tf.Tensor) -> tf.Tensor:
    """Give the value that is maximised, ``[B, K]``.

    It is summed as |D| (sign(D) (c + H D / 2) - lambda1 - lambda2 |D|), whose terms do not cancel.

    Args:
        problem: the problem.
        delta: D, ``[B, K, F]``.
        hessian_delta: H D, ``[B, K, F]``.
    """
    size = tf.abs(delta)
    gain = tf.sign(delta) * (problem.linear + hessian_delta / 2) - problem.lambda1[..., None]
    return tf.reduce_sum(size * (gain - problem.lambda2[..., None] * size), 2)


def proximal_step(
    problem: Problem, delta: tf.Tensor, hessian_delta: tf.Tensor, length: tf.Tensor
) -> tf.Tensor:
    """Take a proximal gradient step from D, ``[B, K, F]``.

    Args:
        problem: the problem.
        delta: D, ``[B, K, F]``.
        hessian_delta: H D, ``[B, K, F]``.
        length: the step's length, ``[B, K or 1]``.
    """
    uphill = problem.linear + hessian_delta - 2 * problem.lambda2[..., None] * delta
    threshold = (length * problem.lambda1)[..., None]
    return soft_threshold(delta + length[..., None] * uphill, threshold)


def step_error_bound(problem: Problem, delta: tf.Tensor, after: tf.Tensor) -> tf.Tensor:
    """Bound the error of D relative to the length of `after`, ``[B, K]``.

    Args:
        problem: the problem.
        delta: D, ``[B, K, F]``.
        after: D+, where the step of the length 1 / m leads from D, ``[B, K, F]``.
    """
    moved = batch.safe_norm(after - delta)
    scaled = problem.max_curvature / problem.min_curvature * moved
    return batch.relative_error(scaled, batch.safe_norm(after))


def total_error_bound(
    problem: Problem, delta: tf.Tensor, residual: tf.Tensor, rounding: float
) -> tf.Tensor:
    """Bound the error of D, rounding included, relative to the length of the solution, ``[B, K]``.

    Where D is not zero, c, H D and 2 lambda2 D are known up to the share `rounding` of their size;
    divided by mu, these errors are errors of D. An error of e |D| is at most e / (1 - e) times the
    length of the solution.

    Args:
        problem: the problem.
        delta: D, ``[B, K, F]``.
        residual: the bound that `step_error_bound` gives for D.
        rounding: the relative error of c and of products with H.
    """
    linear = tf.where(tf.equal(delta, 0), tf.zeros_like(delta), problem.linear)
    size = batch.safe_norm(delta)
    hessian_norm = tf.maximum(problem.top_bound, -problem.lowest_bound)
    rounded = batch.safe_norm(linear) + (2 * problem.lambda2 + hessian_norm) * size
    share = residual + rounding * batch.relative_error(rounded, problem.min_curvature * size)
    return tf.where(share < 1, share / (1 - share), float("inf"))
