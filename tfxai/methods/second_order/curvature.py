"""The loss around an input to second order: its gradient, and its Hessian within bounds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfxai.core import batch, checks
from tfxai.core.types import Classifier, Sampler
from tfxai.hessian import bounds, factors, products
from tfxai.hessian.classes import factor_by_classes
from tfxai.hessian.factors import LowRankFactor
from tfxai.hessian.lanczos import Goal, lanczos
from tfxai.hessian.products import HVP, Linearization
from tfxai.methods.second_order.proximal import Products

STEPS = 64
"""The most products from which L is found where no factor is wanted."""
LEAST_STEPS = 32
"""The same where one is, of a lower rank."""
TOP = 1e-3
"""By which share of itself L may be below its bound, if the steps are enough."""
LOWEST = 0.1
"""By which share of H's size the lower end may be above its own: steps become shorter by it."""
COUPLING = 0.02
"""What a factor may leave out, in units of the least curvature: `refined` repairs it."""
DIGITS = 8
"""How many rounding errors of 2 lambda2 must fit into the least curvature."""


class Loss(NamedTuple):
    """The cross-entropy, or its mean over noisy inputs (METHODS 4.6)."""

    classifier: Classifier
    noise: Sampler | None
    samples: int
    """Of the noise."""
    rows: int
    """How many gradients may be computed at once."""

    def gradient(self, at: Linearization, seed: tf.Tensor) -> tf.Tensor:
        """Give g, ``[B, F]``.

        Raises:
            InvalidArgumentError: when it runs, where g is zero or not finite.
        """
        if self.noise is None:
            gradient = products.gradient(at)
        else:
            gradient = self._means(self.noise)[0](at.inputs, at.targets, seed)
        length = batch.safe_norm(gradient)
        gradient = checks.asserted(
            gradient,
            tf.math.is_finite(length),
            "the gradient of the cross-entropy is not finite: are the model's logits?",
        )
        return checks.asserted(
            gradient,
            tf.not_equal(length, 0),
            "the gradient of the cross-entropy is zero, so there is no change to look for: no unit "
            "of the model is active there, or the prediction is beyond doubt in its precision "
            "(float64 may help)",
        )

    def hessian(self, at: Linearization, seed: tf.Tensor) -> HVP:
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
    """L as found, at least 0, ``[B]``."""
    bound: tf.Tensor
    """L is at most this, with probability .9999, ``[B]``."""
    lowest: tf.Tensor
    """No eigenvalue is below this, which is at most 0, in the same sense, ``[B]``."""
    factor: LowRankFactor | None
    """None where the products are passes through the network."""


def factored(
    loss: Loss,
    at: Linearization,
    network: HVP,
    linear: tf.Tensor,
    *,
    kind: str,
    rank: int,
    margin: float,
) -> Curvature:
    """See H through its factor, by classes or by Lanczos from the gradient on."""
    if kind == "auto":
        kind = factors.cheaper_kind(at) if loss.noise is None else "krylov"
    if kind == "classes":
        factor, left = factor_by_classes(loss.classifier, at, mass=1, rank=rank, rows=loss.rows)
        rounding = at.rounding * tf.reduce_sum(factor.eigenvalues, 1)
        return Curvature(
            factor.multiply,
            factor.max_eigenvalue,
            factor.max_eigenvalue + left + rounding,
            tf.zeros_like(left),
            factor,
        )
    steps = max(rank, LEAST_STEPS)
    goal = _ends(at, steps)._replace(rank=rank, absolute_coupling=COUPLING * 2 * margin)
    krylov = lanczos(network, linear, goal, tf.constant(bounds.SEED))
    factor = krylov.low_rank_factor(rank)
    return _curvature(at, krylov.ends, factor.multiply, factor)


def through_network(
    loss: Loss, at: Linearization, network: HVP, linear: tf.Tensor, seed: tf.Tensor
) -> Curvature:
    """See H through products alone, but for its ends."""

    def several(vectors: tf.Tensor) -> tf.Tensor:
        """Multiply K vectors for each example, which is repeated as often."""
        count = tf.shape(vectors)[1]
        copies = tf.nest.map_structure(lambda x: tf.repeat(x, count, 0), at.inputs)
        there = products.linearize(loss.classifier, copies, tf.repeat(at.targets, count))
        flat = tf.ensure_shape(
            tf.reshape(vectors, [-1, tf.shape(vectors)[2]]), [None, linear.shape[1]]
        )
        return tf.reshape(loss.hessian(there, seed)(flat), tf.shape(vectors))

    krylov = lanczos(network, linear, _ends(at, STEPS), tf.constant(bounds.SEED))
    return _curvature(at, krylov.ends, several, None)


def _ends(at: Linearization, steps: int) -> Goal:
    """Look for L alone where no eigenvalue is negative."""
    lowest = float("inf") if at.curved_operation is None else LOWEST
    return Goal(steps, TOP, lowest, rounding=at.rounding)


def _curvature(
    at: Linearization, ends: bounds.SpectrumEnds, multiply: Products, factor: LowRankFactor | None
) -> Curvature:
    """See H through its products and the bounds of its ends."""
    nothing = tf.zeros_like(ends.max_eigenvalue)
    lowest = nothing if at.curved_operation is None else tf.minimum(ends.min_eigenvalue_bound, 0)
    top, bound = tf.maximum(ends.max_eigenvalue, 0), tf.maximum(ends.max_eigenvalue_bound, 0)
    return Curvature(multiply, top, bound, lowest, factor)


def lambda2_of(bound: tf.Tensor, lambda2: float | None, margin: float) -> tf.Tensor:
    """Give lambda2 ``[B, 1]``.

    When it runs, refuse one that may not be above L / 2, which is at most `bound` / 2 ``[B, 1]``:
    what is maximised would have no maximum, or none that can be told from rounding.
    """
    if lambda2 is None:
        chosen = bound / 2 + margin
        refusal = (
            f"margin={margin}: too small beside the largest eigenvalue of the Hessian, L, for the "
            "type's digits; take a larger margin or a model in float64. For these examples L is "
            "at most"
        )
        shown = bound[:, 0]
    else:
        chosen = tf.fill(tf.shape(bound), tf.constant(lambda2, bound.dtype))
        refusal = (
            f"lambda2={lambda2}: expected more than half the largest eigenvalue of the Hessian, "
            "L / 2, or no change raises the loss most; for these examples the bound of L / 2 is"
        )
        shown = bound[:, 0] / 2
    least = DIGITS * np.finfo(bound.dtype.as_numpy_dtype).eps * 2 * chosen
    return checks.asserted(chosen, 2 * chosen - bound > least, refusal, shown)
