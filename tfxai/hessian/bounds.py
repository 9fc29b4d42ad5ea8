"""Bounds of all eigenvalues of a symmetric matrix, from a few products with it.

Lanczos from a vector v of unit length gives a tridiagonal matrix T, with couplings b_1, b_2, ...
beside its diagonal. With p(x) = det(x - T), the vector p(H) v has the length b_1 ... b_k after k
steps. So if the largest eigenvalue s of H, with the eigenvector u, is above the eigenvalues of T,

    p(s) |u . v| <= b_1 ... b_k,

and s is at most the x above them at which both sides are equal. The share |u . v| is unknown; but v
has a random part, and with probability .99995 the share is above a small number. A small number is
enough, since p grows with the power k (van Dorsselaer, Hochstenbach and van der Vorst 2001,
"Computing probabilistic bounds for extreme eigenvalues of symmetric matrices with the Lanczos
method"). An eigenvalue of T and its residual alone are no bound: they tell that an eigenvalue of H
is near, not that none is above.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfxai.core import batch

SEED = (18, 2001)
"""The seed of the random part for methods that use no other random numbers."""
_PROBABLE = 6.2666e-5
"""The absolute value of a standard normal variable is below this with probability 5e-5. It is used
once for each end of the spectrum."""
_KNOWN = 10.0
"""The length of the first vector's known part, in units of the length of its random part."""
_NEWTON_ITERATIONS = 30
_LEAST_COUPLING = 1e-150
"""The value in place of a coupling of zero, whose logarithm is infinite."""


class SpectrumEnds(NamedTuple):
    """The largest and the smallest eigenvalue of a matrix, and bounds of them.

    Both bounds hold together with probability .9999.
    """

    max_eigenvalue: tf.Tensor
    """The largest value found, at most the largest eigenvalue, ``[B]``."""
    max_eigenvalue_bound: tf.Tensor
    """An upper bound of all eigenvalues, ``[B]``."""
    min_eigenvalue: tf.Tensor
    """The smallest value found, at least the smallest eigenvalue, ``[B]``."""
    min_eigenvalue_bound: tf.Tensor
    """A lower bound of all eigenvalues, ``[B]``."""


class Start(NamedTuple):
    """The vectors with which Lanczos begins."""

    vectors: tf.Tensor
    """v of each example, of unit length, ``[B, F]``."""
    log_share: tf.Tensor
    """The logarithm of a number that |u . v| exceeds with probability .99995, ``[B]``; it holds for
    any unit vector u."""


def random_start(known: tf.Tensor, seed: tf.Tensor) -> Start:
    """Add a random part to known vectors ``[B, F]``, such as gradients or zeros.

    The product of a Gaussian vector with any unit vector is a standard normal variable; adding a
    known part makes small values less likely (Anderson 1955). All examples have the same random
    part, so that no example depends on its batch.
    """
    features = tf.shape(known)[1]
    drawn = tf.random.stateless_normal([features], tf.random.fold_in(seed, -1), dtype=known.dtype)
    root = tf.sqrt(tf.cast(features, known.dtype))
    mixed = _KNOWN * root * batch.unit_vectors(known) + drawn
    length = tf.cast(batch.safe_norm(mixed), tf.float64)
    return Start(batch.unit_vectors(mixed), tf.math.log(_PROBABLE / length))


def bound_ends(values: tf.Tensor, log_couplings: tf.Tensor, log_share: tf.Tensor) -> SpectrumEnds:
    """Bound the eigenvalues of H.

    Args:
        values: the eigenvalues of T, the largest first, ``[B, k]`` in float64.
        log_couplings: the sum of the logarithms of b_1 to b_k, ``[B]``.
        log_share: as in `Start`.
    """
    largest, smallest = values[:, 0], values[:, -1]
    level = log_couplings - log_share
    above = _distance(largest[:, None] - values, level)
    below = _distance(values - smallest[:, None], level)
    return SpectrumEnds(largest, largest + above, smallest, smallest - below)


def log_coupling(coupling: tf.Tensor) -> tf.Tensor:
    """Give the logarithm of a coupling, which may be zero, in float64."""
    return tf.math.log(tf.maximum(tf.cast(coupling, tf.float64), _LEAST_COUPLING))


def _distance(gaps: tf.Tensor, level: tf.Tensor) -> tf.Tensor:
    """Solve sum_i log(x + gaps_i) = level for x > 0, ``[B]``, where one of the gaps is 0.

    The sum is convex in log x, so Newton's iterates approach x from above: each of them is a bound.
    """

    def newton(i: tf.Tensor, log_x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        x = tf.exp(log_x)[:, None]
        excess = tf.reduce_sum(tf.math.log(x + gaps), 1) - level
        return i + 1, log_x - excess / tf.reduce_sum(x / (x + gaps), 1)

    first = level / tf.cast(tf.shape(gaps)[1], gaps.dtype)
    _, log_x = tf.while_loop(
        lambda i, log_x: i < _NEWTON_ITERATIONS,
        newton,
        (0, first),
        shape_invariants=(tf.TensorShape([]), tf.TensorShape([None])),
    )
    return tf.exp(log_x)
