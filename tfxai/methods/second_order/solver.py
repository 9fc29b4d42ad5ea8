"""Solving the concave problem of CASO, and correcting the solution by the network itself."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfxai.core import batch
from tfxai.hessian.products import HVP
from tfxai.methods.second_order import fista
from tfxai.methods.second_order.concave_problem import (
    Problem,
    caso_closed_form,
    proximal_step,
    step_error_bound,
    total_error_bound,
)
from tfxai.methods.second_order.curvature import Curvature
from tfxai.methods.second_order.fista import Solution

FIRST_LENGTH = 0.1
"""The step with which backtracking begins in the code of Singla et al. 2019."""
MAX_EVALUATIONS = 8
"""How many candidates the network evaluates at most."""


class Limits(NamedTuple):
    """How the problem is solved, and how accurately."""

    tolerance: float
    """The bound of the relative L2 error of D at which the iterations stop."""
    max_iterations: int
    """Where an unsolved problem stops."""
    backtracking: bool
    """Whether each step's length is searched for, as in the code of Singla et al. 2019."""
    closed_form: bool
    """Whether lambda1 is zero, so that a factor of H gives the solution without iterations."""


class Candidate(NamedTuple):
    """A D for each example, evaluated by the network."""

    delta: tf.Tensor
    """D, ``[B, 1, F]``."""
    hessian_delta: tf.Tensor
    """H D, ``[B, 1, F]``."""
    residual: tf.Tensor
    """A bound of D's relative L2 error, ``[B, 1]``."""


class Optimum(NamedTuple):
    """The solution of CASO's problem for each example."""

    problem: Problem
    """The problems, with K = 1."""
    delta: tf.Tensor
    """D, ``[B, 1, F]``."""
    hessian_delta: tf.Tensor
    """H D, ``[B, 1, F]``."""
    residual: tf.Tensor
    """A bound of D's relative L2 error, rounding included, ``[B, 1]``."""
    iterations: tf.Tensor
    """How many iterations were made, ``[B, 1]``."""


class Solver(NamedTuple):
    """Solves the problems of a batch of examples for any lambda1."""

    gradient: tf.Tensor
    """The gradient of the loss, ``[B, F]``."""
    lambda2: tf.Tensor
    """``[B, 1]``."""
    curvature: Curvature
    """The Hessian of the loss."""
    limits: Limits

    def optimum(self, lambda1: tf.Tensor, hvp: HVP, rounding: float) -> Optimum:
        """Solve the problem of each example, and evaluate the solution by the network.

        Args:
            lambda1: ``[B, 1]``.
            hvp: gives H v by derivatives of the network.
            rounding: the relative error of a product with H.
        """
        problem = self._problem(lambda1)
        solution = self._solve(problem, self._zeros(lambda1))
        candidate = _evaluate(problem, solution.delta, hvp)
        if self.curvature.factor is not None:
            candidate = self._refine(problem, candidate, hvp)
        delta, hessian_delta, residual = candidate
        residual = total_error_bound(problem, delta, residual, rounding)
        return Optimum(problem, delta, hessian_delta, residual, solution.iterations)

    def deltas(self, lambda1: tf.Tensor) -> tf.Tensor:
        """Give D for K values of lambda1 of each example, ``[B, K]`` -> ``[B, K, F]``."""
        return self._solve(self._problem(lambda1), self._zeros(lambda1)).delta

    def _problem(self, lambda1: tf.Tensor) -> Problem:
        top_bound, lowest_bound = self.curvature.top_bound, self.curvature.lowest_bound
        return Problem(
            self.gradient[:, None], lambda1, self.lambda2, top_bound[:, None], lowest_bound[:, None]
        )

    def _zeros(self, lambda1: tf.Tensor) -> tf.Tensor:
        """Give the D that the iterations begin with, ``[B, K, F]``."""
        shape = tf.concat([tf.shape(lambda1), tf.shape(self.gradient)[1:]], 0)
        zeros = tf.zeros(shape, self.gradient.dtype)
        return tf.ensure_shape(zeros, [None, None, self.gradient.shape[1]])

    def _solve(self, problem: Problem, start: tf.Tensor) -> Solution:
        if self.limits.closed_form and self.curvature.factor is not None:
            delta = caso_closed_form(problem.linear, problem.lambda2, self.curvature.factor)
            no_error = tf.zeros_like(problem.lambda1)
            return Solution(delta, no_error, tf.zeros_like(no_error, tf.int32))
        tolerance, max_iterations = self.limits.tolerance, self.limits.max_iterations
        products = self.curvature.products
        if self.limits.backtracking:
            return fista.backtracking(
                problem,
                products,
                start,
                first_length=FIRST_LENGTH,
                tolerance=tolerance,
                max_iterations=max_iterations,
            )
        return fista.fista(
            problem, products, start, tolerance=tolerance, max_iterations=max_iterations
        )

    def _refine(self, problem: Problem, first: Candidate, hvp: HVP) -> Candidate:
        """Correct a solution for what the factor leaves out of H, by products from the network.

        Let F be the factor. The solution D also solves the problem with F in the place of H and
        c + (H - F) D in the place of c. Each round solves this problem with the D of the round
        before on the right, which brings D closer to the solution by the factor |H - F| / mu. An
        example stops at the tolerance, or where its error bound no longer falls.
        """

        def advance(evaluations: tf.Tensor, unsolved: tf.Tensor, best: Candidate) -> tuple:
            left_out = best.hessian_delta - self.curvature.products(best.delta)
            corrected = problem._replace(linear=problem.linear + left_out)
            solution = self._solve(corrected, best.delta)
            candidate = _evaluate(problem, solution.delta, hvp)
            is_better = unsolved & (candidate.residual < best.residual)
            best = batch.where(is_better, candidate, best)
            unsolved = is_better & (best.residual > self.limits.tolerance)
            return evaluations + 1, unsolved, best

        *_, best = tf.while_loop(
            lambda evaluations, unsolved, best: (
                (evaluations < MAX_EVALUATIONS) & tf.reduce_any(unsolved)
            ),
            advance,
            (1, first.residual > self.limits.tolerance, first),
            parallel_iterations=1,
        )
        return best


def _evaluate(problem: Problem, delta: tf.Tensor, hvp: HVP) -> Candidate:
    """Bound the error of D ``[B, 1, F]`` by one product from the network."""
    hessian_delta = hvp(delta[:, 0])[:, None]
    after = proximal_step(problem, delta, hessian_delta, 1 / problem.max_curvature)
    return Candidate(delta, hessian_delta, step_error_bound(problem, delta, after))
