"""The loss around an input to second order, and the change that raises it most (paper 003)."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfxai import batch, checks, proximal
from tfxai.hessian import factors, power, products
from tfxai.hessian.classes import by_classes
from tfxai.hessian.factors import Factor
from tfxai.hessian.lanczos import by_lanczos
from tfxai.hessian.products import Local, Product
from tfxai.proximal import Problem, Products, Solution
from tfxai.types import Classifier, Sampler

FIRST_LENGTH = 0.1
"""The step with which the published backtracking begins (METHODS 4.4)."""
POWER_ITERATIONS = 1000
POWER_TOLERANCE = 1e-3
"""Of the residual; L is far closer, and the margin of lambda2 covers the rest."""
COUPLING = 0.02
"""Where Lanczos stops, in units of the least curvature: `refined` repairs what it leaves out."""
ROUNDS = 8


class Loss(NamedTuple):
    """The cross-entropy, or its mean over noisy inputs (METHODS 4.6)."""

    classifier: Classifier
    noise: Sampler | None
    samples: int
    """Of the noise."""
    rows: int
    """How many gradients may be computed at once."""

    def gradient(self, at: Local, seed: tf.Tensor) -> tf.Tensor:
        """Give g, ``[B, F]``.

        Raises:
            InvalidArgumentError: when it runs, where g is zero or not finite.
        """
        if self.noise is None:
            found = products.gradient(at)
        else:
            found = self._means(self.noise)[0](at.inputs, at.targets, seed)
        size = tf.norm(found, axis=1)
        found = checks.required(
            found,
            tf.math.is_finite(size),
            "the gradient of the cross-entropy is not finite: are the model's logits?",
        )
        return checks.required(
            found,
            tf.not_equal(size, 0),
            "the gradient of the cross-entropy is zero, so there is no change to look for: no unit "
            "of the model is active there, or the prediction is beyond doubt in its precision "
            "(float64 may help)",
        )

    def hessian(self, at: Local, seed: tf.Tensor) -> Product:
        """Give products with H, by passes through the network."""
        if self.noise is None:
            return products.finite(products.exact(at))
        return products.finite(self._means(self.noise)[1](at.inputs, at.targets, seed))

    def _means(self, noise: Sampler) -> tuple:
        return products.averaged(self.classifier, noise, self.samples, self.rows)


class Curvature(NamedTuple):
    """H as the solver sees it."""

    products: Products
    top: tf.Tensor
    """L, ``[B]``."""
    lowest: tf.Tensor
    """``[B]``."""
    factor: Factor | None
    """None where the products are passes through the network."""


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


def factored(
    loss: Loss,
    at: Local,
    network: Product,
    linear: tf.Tensor,
    seed: tf.Tensor,
    *,
    kind: str,
    rank: int,
    margin: float,
) -> Curvature:
    """See H through its factor, by classes or by Lanczos from the gradient on."""
    if kind == "auto":
        kind = factors.cheaper(at) if loss.noise is None else "krylov"
    if kind == "classes":
        found = by_classes(loss.classifier, at, mass=1, rank=rank, rows=loss.rows)
    else:
        coupling = COUPLING * 2 * margin
        found = by_lanczos(network, linear, rank=rank, seed=seed, absolute=coupling)
    return Curvature(found.product, found.top, found.lowest, found)


def through_network(
    loss: Loss, at: Local, network: Product, linear: tf.Tensor, seed: tf.Tensor
) -> Curvature:
    """See H through products alone; its ends are found by power iteration."""

    def several(vectors: tf.Tensor) -> tf.Tensor:
        """Multiply K vectors for each example, which is repeated as often."""
        count = tf.shape(vectors)[1]
        copies = tf.nest.map_structure(lambda x: tf.repeat(x, count, 0), at.inputs)
        there = products.local(loss.classifier, copies, tf.repeat(at.targets, count))
        flat = tf.ensure_shape(
            tf.reshape(vectors, [-1, tf.shape(vectors)[2]]), [None, linear.shape[1]]
        )
        return tf.reshape(loss.hessian(there, seed)(flat), tf.shape(vectors))

    def top(product: Product) -> tf.Tensor:
        return power.top_eigenvalue(
            product,
            power.start_like(linear, seed),
            tolerance=POWER_TOLERANCE,
            max_iterations=POWER_ITERATIONS,
        ).value

    above = tf.maximum(top(network), 0)
    below = tf.zeros_like(above)
    if at.curved is not None:
        below = tf.minimum(above - top(lambda v: above[:, None] * v - network(v)), 0)
    return Curvature(several, above, below, None)


def lambda2_of(top: tf.Tensor, lambda2: float | None, margin: float) -> tf.Tensor:
    """Give lambda2 ``[B, 1]``; when it runs, refuse one that is not above L / 2."""
    if lambda2 is None:
        return top / 2 + margin
    given = tf.fill(tf.shape(top), tf.constant(lambda2, top.dtype))
    return checks.required(
        given,
        2 * given > top,
        f"lambda2={lambda2}: expected more than half the largest eigenvalue of the Hessian, "
        "L / 2, or no change raises the loss most; for these examples L / 2 is",
        top[:, 0] / 2,
    )


class Refined(NamedTuple):
    """A solution of the true problem, one for each example."""

    delta: tf.Tensor
    """``[B, 1, F]``."""
    along: tf.Tensor
    """H D, ``[B, 1, F]``."""
    residual: tf.Tensor
    """Bound of D's relative L2 error, ``[B, 1]``."""


def refined(
    curvature: Curvature, problem: Problem, solver: Solver, start: tf.Tensor, network: Product
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

    def advance(i: tf.Tensor, going: tf.Tensor, delta: tf.Tensor, best: Refined) -> tuple:
        along = network(delta[:, 0])[:, None]
        after = proximal.step(problem, delta, along, 1 / problem.m)
        residual = proximal.error(problem, delta, after)
        better = going & ~(residual >= best.residual)
        best = batch.where(better, Refined(delta, along, residual), best)
        missing = best.along - curvature.products(best.delta)
        corrected = problem._replace(linear=problem.linear + missing)
        again = solver(curvature, corrected, best.delta).delta
        return i + 1, better & (residual > solver.tolerance), again, best

    infinite = tf.fill(tf.shape(problem.lambda1), tf.constant(float("inf"), start.dtype))
    *_, best = tf.while_loop(
        lambda i, going, delta, best: (i < ROUNDS) & tf.reduce_any(going),
        advance,
        (0, tf.math.is_inf(infinite), start, Refined(start, tf.zeros_like(start), infinite)),
        parallel_iterations=1,
    )
    return best
