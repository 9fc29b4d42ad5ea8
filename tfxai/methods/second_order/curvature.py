"""The Hessian of the loss, for the solver: products with it, and bounds of its eigenvalues."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfxai.core import checks
from tfxai.hessian import bounds, factors
from tfxai.hessian.classes import factor_by_classes
from tfxai.hessian.factors import LowRankFactor
from tfxai.hessian.lanczos import Goal, lanczos
from tfxai.methods.second_order.concave_problem import Products
from tfxai.methods.second_order.loss import Expansion

MAX_HVPS = 64
"""The most products from which the eigenvalues are bounded where no factor is wanted."""
MIN_HVPS = 32
"""How many products a factor may always take, even one of a lower rank."""
TOP_GAP = 1e-3
"""How far L may be below its bound, as a share of L, if the products suffice."""
LOWEST_GAP = 0.1
"""How far the smallest eigenvalue may be above its bound, as a share of H's size. The solver's
steps become shorter by it."""
COUPLING = 0.02
"""What a factor may leave out of H, in units of the least curvature; the solver corrects for it."""
DIGITS = 8
"""How many rounding errors of 2 lambda2 must fit into the least curvature."""


class Curvature(NamedTuple):
    """The Hessian H of the loss; L is its largest eigenvalue."""

    products: Products
    """Vectors ``[B, K, F]`` -> H v, by the factor if there is one."""
    top: tf.Tensor
    """The value found for L, at least 0, ``[B]``."""
    top_bound: tf.Tensor
    """An upper bound of L, with probability .9999, at least 0, ``[B]``."""
    lowest_bound: tf.Tensor
    """A lower bound of all eigenvalues, with the same probability, at most 0, ``[B]``."""
    factor: LowRankFactor | None
    """The eigenvectors that approximate H; None if every product passes through the network."""


def find_curvature(expansion: Expansion, *, kind: str, rank: int, margin: float) -> Curvature:
    """Give the Hessian of the loss.

    Args:
        expansion: the loss around the inputs.
        kind: "classes": the exact factor by a gradient for each class; "krylov": a factor by
            Lanczos from the gradient on; "auto": the cheaper of these two; "products": no factor.
        rank: the most eigenvectors of the factor.
        margin: of lambda2 above L / 2.

    Raises:
        ValueError: "classes" of a model that is not piecewise linear.
    """
    loss, linearization = expansion.loss, expansion.linearization
    if kind == "auto":
        kind = factors.cheaper_kind(linearization) if loss.noise is None else "krylov"
    if kind == "classes":
        exact, left_out = factor_by_classes(
            loss.classifier, linearization, mass=1, rank=rank, rows=loss.rows
        )
        rounding = linearization.rounding * tf.reduce_sum(exact.eigenvalues, 1)
        top_bound = exact.max_eigenvalue + left_out + rounding
        return Curvature(
            exact.multiply, exact.max_eigenvalue, top_bound, tf.zeros_like(left_out), exact
        )

    is_semidefinite = linearization.curved_operation is None  # piecewise-linear models
    lowest_gap = float("inf") if is_semidefinite else LOWEST_GAP
    goal = Goal(MAX_HVPS, TOP_GAP, lowest_gap, rounding=linearization.rounding)
    if kind == "krylov":
        goal = goal._replace(
            max_hvps=max(rank, MIN_HVPS), rank=rank, absolute_coupling=COUPLING * 2 * margin
        )
    krylov = lanczos(expansion.hvp, expansion.gradient, goal, tf.constant(bounds.SEED))
    factor = krylov.low_rank_factor(rank) if kind == "krylov" else None
    products = expansion.hvps if factor is None else factor.multiply
    top, top_bound = (
        tf.maximum(krylov.ends.max_eigenvalue, 0),
        tf.maximum(krylov.ends.max_eigenvalue_bound, 0),
    )
    lowest_bound = tf.minimum(krylov.ends.min_eigenvalue_bound, 0)
    if is_semidefinite:
        lowest_bound = tf.zeros_like(lowest_bound)
    return Curvature(products, top, top_bound, lowest_bound, factor)


def choose_lambda2(top_bound: tf.Tensor, lambda2: float | None, margin: float) -> tf.Tensor:
    """Give lambda2 of each example, ``[B, 1]``: the option, or the bound of L / 2 + `margin`.

    Args:
        top_bound: an upper bound of L, ``[B]``.
        lambda2: the option; None for the default.
        margin: of the default.

    Raises:
        InvalidArgumentError: on its use, where lambda2 may not be above L / 2. The objective would
            have no maximum, or none that can be told from rounding.
    """
    top_bound = top_bound[:, None]
    if lambda2 is None:
        values = top_bound / 2 + margin
        refusal = (
            f"margin={margin}: too small beside the largest eigenvalue of the Hessian, L, for the "
            "type's digits; take a larger margin or a model in float64. For these examples L is "
            "at most"
        )
        shown = top_bound[:, 0]
    else:
        values = tf.fill(tf.shape(top_bound), tf.constant(lambda2, top_bound.dtype))
        refusal = (
            f"lambda2={lambda2}: expected more than half the largest eigenvalue of the Hessian, "
            "L / 2, or no change raises the loss most; for these examples the bound of L / 2 is"
        )
        shown = top_bound[:, 0] / 2
    least = DIGITS * np.finfo(top_bound.dtype.as_numpy_dtype).eps * 2 * values
    return checks.asserted(values, 2 * values - top_bound > least, refusal, shown)
