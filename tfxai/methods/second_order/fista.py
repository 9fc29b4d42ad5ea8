"""FISTA, accelerated proximal gradients, for the concave problem of CASO."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfxai.core import batch
from tfxai.methods.second_order.concave_problem import (
    Problem,
    Products,
    proximal_step,
    step_error_bound,
)

_SLACK = 1e-6
"""The relative rounding error that the test of a step's length forgives."""
_MAX_HALVINGS = 40
"""How often backtracking halves one step at most."""


class Solution(NamedTuple):
    """An approximate solution of each problem, and its accuracy."""

    delta: tf.Tensor
    """D, ``[B, K, F]``."""
    residual: tf.Tensor
    """A bound of D's relative L2 error, ``[B, K]``."""
    iterations: tf.Tensor
    """How many iterations were made, ``[B, K]``."""


def fista(
    problem: Problem,
    products: Products,
    start: tf.Tensor,
    *,
    tolerance: float,
    max_iterations: int,
) -> Solution:
    """Solve by FISTA with the momentum of strongly concave problems and steps of 1 / m.

    The momentum is (1 - sqrt q) / (1 + sqrt q) with q = mu / m (Nesterov 2004, 2.2.11; Beck 2017,
    theorem 10.42). Each iteration takes one product with H. Each problem stops by itself.

    Args:
        problem: the problems.
        products: gives products with H.
        start: the first D, ``[B, K, F]``.
        tolerance: a problem whose error bound is at most this is solved.
        max_iterations: where an unsolved problem stops.
    """
    length = 1 / problem.max_curvature
    root = tf.sqrt(problem.min_curvature / problem.max_curvature)
    momentum = ((1 - root) / (1 + root))[..., None]

    def advance(
        iteration: tf.Tensor, unsolved: tf.Tensor, previous: tf.Tensor, delta: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        extrapolated = delta + momentum * (delta - previous)
        after = proximal_step(problem, extrapolated, products(extrapolated), length)
        return after, step_error_bound(problem, extrapolated, after)

    return _iterate(start, advance, tolerance, max_iterations)


def backtracking(
    problem: Problem,
    products: Products,
    start: tf.Tensor,
    *,
    first_length: float,
    tolerance: float,
    max_iterations: int,
) -> Solution:
    """Solve by FISTA as in the code of Singla et al. 2019 (docs/methods.md, CAFO and CASO).

    The momentum of the k-th iteration is (k - 2) / (k + 1). Each iteration begins with a step of
    `first_length` and halves it until the quadratic bound holds. Unlike the published code, each
    problem has a length of its own, the test of the bound forgives rounding, and the number of
    halvings is limited.

    Args:
        problem: as in `fista`.
        products: as in `fista`.
        start: as in `fista`.
        first_length: the length that each iteration tries first.
        tolerance: as in `fista`.
        max_iterations: as in `fista`.
    """

    def advance(
        iteration: tf.Tensor, unsolved: tf.Tensor, previous: tf.Tensor, delta: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        k = tf.cast(iteration + 1, start.dtype)
        extrapolated = delta + (k - 2) / (k + 1) * (delta - previous)
        hessian_extrapolated = products(extrapolated)

        def accepts(length: tf.Tensor, after: tf.Tensor) -> tf.Tensor:
            # The published test, written for a quadratic: its values would cancel to noise.
            direction = batch.unit_vectors(after - extrapolated)
            curved = 2 * problem.lambda2[..., None] * direction - products(direction)
            square = tf.reduce_sum(direction**2, 2)
            return tf.reduce_sum(direction * curved, 2) * length <= square * (1 + _SLACK)

        def halve(
            halvings: tf.Tensor, length: tf.Tensor, after: tf.Tensor, rejected: tf.Tensor
        ) -> tuple:
            length = tf.where(rejected, length / 2, length)
            after = proximal_step(problem, extrapolated, hessian_extrapolated, length)
            return halvings + 1, length, after, rejected & ~accepts(length, after)

        length = tf.fill(tf.shape(unsolved), tf.constant(first_length, start.dtype))
        after = proximal_step(problem, extrapolated, hessian_extrapolated, length)
        _, length, after, _ = tf.while_loop(
            lambda halvings, length, after, rejected: (
                (halvings < _MAX_HALVINGS) & tf.reduce_any(rejected)
            ),
            halve,
            (0, length, after, unsolved & ~accepts(length, after)),
            parallel_iterations=1,
        )
        # The error bound holds for the step of the length 1 / m alone.
        reference = proximal_step(
            problem, extrapolated, hessian_extrapolated, 1 / problem.max_curvature
        )
        return after, step_error_bound(problem, extrapolated, reference)

    return _iterate(start, advance, tolerance, max_iterations)


def _iterate(
    start: tf.Tensor,
    advance: Callable[..., tuple[tf.Tensor, tf.Tensor]],
    tolerance: float,
    max_iterations: int,
) -> Solution:
    """Iterate until each problem is solved within the tolerance.

    Args:
        start: the first D, ``[B, K, F]``.
        advance: takes the number of iterations so far, which problems are unsolved ``[B, K]``, the
            D before the last one, and the last D; gives the next D and a bound of its error.
        tolerance: a problem whose error bound is at most this is solved.
        max_iterations: where an unsolved problem stops.
    """

    def iterate(
        iteration: tf.Tensor, unsolved: tf.Tensor, previous: tf.Tensor, solution: Solution
    ) -> tuple:
        after, bound = advance(iteration, unsolved, previous, solution.delta)
        advanced = Solution(after, bound, tf.fill(tf.shape(unsolved), iteration + 1))
        previous = tf.where(unsolved[..., None], solution.delta, previous)
        solution = batch.where(unsolved, advanced, solution)
        return iteration + 1, unsolved & (solution.residual > tolerance), previous, solution

    shape = tf.shape(start)[:2]
    infinite = tf.fill(shape, tf.constant(float("inf"), start.dtype))
    first = Solution(start, infinite, tf.zeros(shape, tf.int32))
    *_, solution = tf.while_loop(
        lambda iteration, unsolved, previous, solution: (
            (iteration < max_iterations) & tf.reduce_any(unsolved)
        ),
        iterate,
        (0, tf.ones(shape, tf.bool), start, first),
        parallel_iterations=1,
    )
    return solution
