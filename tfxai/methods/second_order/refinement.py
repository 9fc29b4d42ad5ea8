"""The change that raises the loss most, and its correction by the network itself (paper 003)."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfxai.core import batch
from tfxai.hessian.products import HVP
from tfxai.methods.second_order import proximal
from tfxai.methods.second_order.curvature import Curvature
from tfxai.methods.second_order.proximal import Problem, Solution

FIRST_LENGTH = 0.1
"""The step with which the published backtracking begins (METHODS 4.4)."""
ROUNDS = 8


class Solver(NamedTuple):
    """How the problem is solved."""

    tolerance: float
    max_iterations: int
    backtracking: bool
    linear: bool
    """Whether lambda1 is zero."""

    def __call__(self, curvature: Curvature, problem: Problem, start: tf.Tensor) -> Solution:
        """Solve problems from a start ``[B, K, F]``."""
        if self.linear and curvature.factor is not None:
            delta = proximal.without_lambda1(problem.linear, problem.lambda2, curvature.factor)
            nothing = tf.zeros_like(problem.lambda1)
            return Solution(delta, nothing, tf.zeros_like(nothing, tf.int32))
        if self.backtracking:
            return proximal.backtracking(
                problem,
                curvature.products,
                start,
                first_length=FIRST_LENGTH,
                tolerance=self.tolerance,
                max_iterations=self.max_iterations,
            )
        return proximal.fista(
            problem,
            curvature.products,
            start,
            tolerance=self.tolerance,
            max_iterations=self.max_iterations,
        )


class Refined(NamedTuple):
    """A solution of the true problem, one for each example."""

    delta: tf.Tensor
    """``[B, 1, F]``."""
    along: tf.Tensor
    """H D, ``[B, 1, F]``."""
    residual: tf.Tensor
    """Bound of D's relative L2 error, ``[B, 1]``."""


def evaluated(problem: Problem, delta: tf.Tensor, network: HVP) -> Refined:
    """Judge D ``[B, 1, F]`` by a pass through the network."""
    along = network(delta[:, 0])[:, None]
    after = proximal.step(problem, delta, along, 1 / problem.m)
    return Refined(delta, along, proximal.error(problem, delta, after))


def refined(
    curvature: Curvature, problem: Problem, solver: Solver, start: tf.Tensor, network: HVP
) -> Refined:
    """Correct a solution for what the factor leaves out of H, by passes through the network.

    With the factor F, the solution D is that of the problem with F in H's place and c + (H - F) D
    in c's. Each round solves this with the last D on the right: it comes closer by the norm of
    H - F over the least curvature.

    Args:
        curvature: with a factor.
        problem: one for each example.
        solver: for the problem with F.
        start: its solution, ``[B, 1, F]``.
        network: gives H v.
    """

    def advance(i: tf.Tensor, going: tf.Tensor, best: Refined) -> tuple:
        missing = best.along - curvature.products(best.delta)
        corrected = problem._replace(linear=problem.linear + missing)
        now = evaluated(problem, solver(curvature, corrected, best.delta).delta, network)
        better = going & (now.residual < best.residual)
        best = batch.where(better, now, best)
        return i + 1, better & (best.residual > solver.tolerance), best

    first = evaluated(problem, start, network)
    *_, best = tf.while_loop(
        lambda i, going, best: (i < ROUNDS) & tf.reduce_any(going),
        advance,
        (1, first.residual > solver.tolerance, first),
        parallel_iterations=1,
    )
    return best


class Problems(NamedTuple):
    """The problems of a batch of examples, for whatever lambda1."""

    linear: tf.Tensor
    """c: the gradient, ``[B, F]``."""
    lambda2: tf.Tensor
    """``[B, 1]``."""
    curvature: Curvature
    solver: Solver

    def problem(self, lambda1: tf.Tensor) -> Problem:
        """Give the problems of each example for lambda1 ``[B, K]``."""
        bound, lowest = self.curvature.bound[:, None], self.curvature.lowest[:, None]
        return Problem(self.linear[:, None], lambda1, self.lambda2, bound, lowest)

    def solution(self, lambda1: tf.Tensor) -> Solution:
        """Solve the problems of each example for lambda1 ``[B, K]``, from D = 0 on."""
        shape = tf.concat([tf.shape(lambda1), tf.shape(self.linear)[1:]], 0)
        zeros = tf.zeros(shape, self.linear.dtype)
        start = tf.ensure_shape(zeros, [None, None, self.linear.shape[1]])
        return self.solver(self.curvature, self.problem(lambda1), start)

    def deltas(self, lambda1: tf.Tensor) -> tf.Tensor:
        """Give D alone, ``[B, K, F]``."""
        return self.solution(lambda1).delta

    def judged(self, problem: Problem, solution: Solution, network: HVP) -> Refined:
        """Judge solutions, one for each example, by the network; correct those by a factor."""
        if self.curvature.factor is None:
            return evaluated(problem, solution.delta, network)
        return refined(self.curvature, problem, self.solver, solution.delta, network)
