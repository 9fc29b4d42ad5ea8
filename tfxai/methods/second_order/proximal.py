"""The concave problem of CASO, and how it is solved (paper 003, METHODS 4.1, 4.2 and 4.4).

    maximise  c . D + 1/2 D^T H D - lambda1 |D|_1 - lambda2 |D|_2^2

Its smooth part, negated, has curvatures between mu = 2 lambda2 - L and m = 2 lambda2 - l, where
l <= 0 <= L bound the eigenvalues of H (l = 0 for piecewise-linear nets). A proximal gradient step
of the length 1 / m brings every D closer to the solution, by the factor 1 - mu / m at least; so
the distance that it moves bounds the error: |D - D*| <= m / mu |D - D+|.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfxai.core import batch
from tfxai.hessian.factors import LowRankFactor

Products = Callable[[tf.Tensor], tf.Tensor]
"""Vectors ``[B, K, F]`` -> H v."""
_SLACK = 1e-6
"""Relative rounding that a backtracking test forgives (METHODS 4.4)."""
_HALVINGS = 40


class Problem(NamedTuple):
    """K problems for each of B examples."""

    linear: tf.Tensor
    """c: the gradient, ``[B, K or 1, F]``."""
    lambda1: tf.Tensor
    """``[B, K]``."""
    lambda2: tf.Tensor
    """``[B, 1]``."""
    top: tf.Tensor
    """At least L and 0, ``[B, 1]``."""
    lowest: tf.Tensor
    """At most l and 0, ``[B, 1]``."""

    @property
    def mu(self) -> tf.Tensor:
        """The least curvature, ``[B, 1]``."""
        return 2 * self.lambda2 - self.top

    @property
    def m(self) -> tf.Tensor:
        """The largest curvature, ``[B, 1]``."""
        return 2 * self.lambda2 - self.lowest


class Solution(NamedTuple):
    """D, and how good it is."""

    delta: tf.Tensor
    """``[B, K, F]``."""
    residual: tf.Tensor
    """Bound of D's relative L2 error, ``[B, K]``."""
    iterations: tf.Tensor
    """``[B, K]``."""


def soft_threshold(x: tf.Tensor, threshold: tf.Tensor) -> tf.Tensor:
    """Give sign(x) max(|x| - threshold, 0)."""
    return x - tf.minimum(tf.maximum(x, -threshold), threshold)


def first_order(linear: tf.Tensor, lambda1: tf.Tensor, lambda2: tf.Tensor) -> tf.Tensor:
    """Solve the problem without H: CAFO's closed form (METHODS 4.2), ``[B, K, F]``."""
    return soft_threshold(linear, lambda1[..., None]) / (2 * lambda2[..., None])


def without_lambda1(linear: tf.Tensor, lambda2: tf.Tensor, factor: LowRankFactor) -> tf.Tensor:
    """Solve (2 lambda2 - H) D = c, CASO's closed form for lambda1 = 0 (METHODS 4.2).

    With H = sum_j s_j u_j u_j^T it is c / 2 lambda2 + sum_j (1 / (2 lambda2 - s_j) - 1 / 2 lambda2)
    u_j (u_j . c), and the bracket is s_j / (2 lambda2 (2 lambda2 - s_j)).
    """
    twice = 2 * lambda2[..., None]
    values = factor.eigenvalues[:, None]
    inner = tf.matmul(linear, factor.vectors, transpose_b=True)
    inner *= tf.sign(values) / (twice * (twice - values))
    return linear / twice + tf.matmul(inner, factor.vectors)


def objective(problem: Problem, delta: tf.Tensor, products: tf.Tensor) -> tf.Tensor:
    """Give what is maximised, ``[B, K]``; `products` is H D.

    It is summed as |D| (sign(D) (c + H D / 2) - lambda1 - lambda2 |D|), whose terms do not cancel.
    """
    size = tf.abs(delta)
    gain = tf.sign(delta) * (problem.linear + products / 2) - problem.lambda1[..., None]
    return tf.reduce_sum(size * (gain - problem.lambda2[..., None] * size), 2)


def step(problem: Problem, delta: tf.Tensor, products: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """Take a proximal gradient step of a length ``[B, K or 1]``; `products` is H D."""
    uphill = problem.linear + products - 2 * problem.lambda2[..., None] * delta
    threshold = (length * problem.lambda1)[..., None]
    return soft_threshold(delta + length[..., None] * uphill, threshold)


def error(problem: Problem, delta: tf.Tensor, after: tf.Tensor) -> tf.Tensor:
    """Bound D's relative error by the step of length 1 / m that leads from it, ``[B, K]``."""
    moved = batch.safe_norm(after - delta)
    return batch.relative_error(problem.m / problem.mu * moved, batch.safe_norm(after))


def stated(problem: Problem, delta: tf.Tensor, residual: tf.Tensor, rounding: float) -> tf.Tensor:
    """Bound D's error, relative to the solution and rounding included, ``[B, K]``.

    c, H D and 2 lambda2 D are known to a share `rounding` of their size where D is not zero, and D
    to as much over mu. An error of e |D| is at most e / (1 - e) of the solution's own length.

    Args:
        problem: what D is to solve.
        delta: D, ``[B, K, F]``.
        residual: as `error` gives it.
        rounding: relative error of c and of products with H.
    """
    there = tf.where(tf.equal(delta, 0), tf.zeros_like(delta), problem.linear)
    size = batch.safe_norm(delta)
    norm = tf.maximum(problem.top, -problem.lowest)
    lost = batch.safe_norm(there) + (2 * problem.lambda2 + norm) * size
    share = residual + rounding * batch.relative_error(lost, problem.mu * size)
    return tf.where(share < 1, share / (1 - share), float("inf"))


def fista(
    problem: Problem,
    products: Products,
    start: tf.Tensor,
    *,
    tolerance: float,
    max_iterations: int,
) -> Solution:
    """Solve by accelerated proximal gradients, with the momentum of strongly concave problems.

    The momentum is (1 - sqrt q) / (1 + sqrt q), q = mu / m (Nesterov 2004, 2.2.11; Beck 2017,
    theorem 10.42). Each iteration takes one product. A problem ends by itself.
    """
    length = 1 / problem.m
    root = tf.sqrt(problem.mu / problem.m)
    momentum = ((1 - root) / (1 + root))[..., None]

    def advance(
        k: tf.Tensor, going: tf.Tensor, before: tf.Tensor, delta: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        ahead = delta + momentum * (delta - before)
        after = step(problem, ahead, products(ahead), length)
        return after, error(problem, ahead, after)

    return _iterated(start, advance, tolerance, max_iterations)


def backtracking(
    problem: Problem,
    products: Products,
    start: tf.Tensor,
    *,
    first_length: float,
    tolerance: float,
    max_iterations: int,
) -> Solution:
    """Solve by FISTA as published (METHODS 4.4): momentum (k - 2) / (k + 1), lengths by trial.

    Each iteration begins with `first_length` and halves it until the quadratic bound holds. Other
    than published, each problem has a length of its own, rounding is forgiven, and the halving
    ends.
    """

    def advance(
        k: tf.Tensor, going: tf.Tensor, before: tf.Tensor, delta: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        number = tf.cast(k + 1, start.dtype)
        ahead = delta + (number - 2) / (number + 1) * (delta - before)
        along = products(ahead)

        def accepted(length: tf.Tensor, after: tf.Tensor) -> tf.Tensor:
            # The published test, written for a quadratic: its values would cancel to noise.
            moved = batch.unit_vectors(after - ahead)
            curved = 2 * problem.lambda2[..., None] * moved - products(moved)
            square = tf.reduce_sum(moved**2, 2)
            return tf.reduce_sum(moved * curved, 2) * length <= square * (1 + _SLACK)

        def halve(i: tf.Tensor, length: tf.Tensor, after: tf.Tensor, open_: tf.Tensor) -> tuple:
            length = tf.where(open_, length / 2, length)
            after = step(problem, ahead, along, length)
            return i + 1, length, after, open_ & ~accepted(length, after)

        length = tf.fill(tf.shape(going), tf.constant(first_length, start.dtype))
        after = step(problem, ahead, along, length)
        _, length, after, _ = tf.while_loop(
            lambda i, length, after, open_: (i < _HALVINGS) & tf.reduce_any(open_),
            halve,
            (0, length, after, going & ~accepted(length, after)),
            parallel_iterations=1,
        )
        return after, error(problem, ahead, step(problem, ahead, along, 1 / problem.m))

    return _iterated(start, advance, tolerance, max_iterations)


def _iterated(
    start: tf.Tensor,
    advance: Callable[..., tuple[tf.Tensor, tf.Tensor]],
    tolerance: float,
    max_iterations: int,
) -> Solution:
    """Iterate until each problem is solved within the tolerance.

    Args:
        start: the first D, ``[B, K, F]``.
        advance: number of iterations so far, which problems go on ``[B, K]``, the D before the
            last, the last D -> the next D, and a bound of its error.
        tolerance: of the bound.
        max_iterations: where an unsolved problem ends.
    """

    def iterate(k: tf.Tensor, going: tf.Tensor, before: tf.Tensor, solution: Solution) -> tuple:
        after, bound = advance(k, going, before, solution.delta)
        now = Solution(after, bound, tf.fill(tf.shape(going), k + 1))
        before = tf.where(going[..., None], solution.delta, before)
        solution = batch.where(going, now, solution)
        return k + 1, going & (solution.residual > tolerance), before, solution

    shape = tf.shape(start)[:2]
    infinite = tf.fill(shape, tf.constant(float("inf"), start.dtype))
    unsolved = Solution(start, infinite, tf.zeros(shape, tf.int32))
    *_, solution = tf.while_loop(
        lambda k, going, before, solution: (k < max_iterations) & tf.reduce_any(going),
        iterate,
        (0, tf.ones(shape, tf.bool), start, unsolved),
        parallel_iterations=1,
    )
    return solution
