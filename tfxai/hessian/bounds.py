"""Bounds of all eigenvalues of a symmetric matrix, from a few products with it.

Lanczos from a vector v of unit length gives a tridiagonal T with couplings b_1, b_2, ... beside its
diagonal. With p(x) = det(x - T), after k steps p(H) v has the length b_1 ... b_k. So if the largest
eigenvalue s of H, with the eigenvector u, is above those of T,

    p(s) |u . v| <= b_1 ... b_k,

and s is at most the x above them where the two are equal. Nobody knows u . v; but v has a random
part, and with probability .99995 the share |u . v| is above a small number. That is enough: p grows
with the power k (van Dorsselaer, Hochstenbach & van der Vorst 2001, "Computing probabilistic bounds
for extreme eigenvalues of symmetric matrices with the Lanczos method"). An eigenvalue of T and its
residual alone are no bound: they say that an eigenvalue is near, not that none is above.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfxai.core import batch

SEED = (18, 2001)
"""Where a method has no random numbers otherwise, its random part is always the same."""
_PROBABLE = 6.2666e-5
"""A standard normal variable has a smaller size with probability 5e-5, once for either end."""
_KNOWN = 10.0
"""The known part of the first vector, in units of the random one."""
_NEWTON = 30
_LEAST = 1e-150
"""In place of a coupling of zero, whose logarithm is infinite."""


class Ends(NamedTuple):
    """The ends of a spectrum."""

    top: tf.Tensor
    """The largest eigenvalue found, which is at most the largest one, ``[B]``."""
    top_bound: tf.Tensor
    """At least the largest one."""
    lowest: tf.Tensor
    """The smallest one found."""
    lowest_bound: tf.Tensor
    """At most the smallest one; both bounds hold together with probability .9999."""


class Start(NamedTuple):
    """Where Lanczos begins."""

    vectors: tf.Tensor
    """Of unit length, ``[B, F]``."""
    log_share: tf.Tensor
    """Logarithm of what |u . v| is above with probability .99995, for any u, ``[B]``."""


def random_start(known: tf.Tensor, seed: tf.Tensor) -> Start:
    """Begin with a known part ``[B, F]``, such as the gradient, or zeros, and a random one.

    The product of a Gaussian vector with any unit vector is a standard normal variable; a part
    added to it makes small values less likely (Anderson 1955). All examples have the same random
    part, so that none depends on its batch.
    """
    features = tf.shape(known)[1]
    drawn = tf.random.stateless_normal([features], tf.random.fold_in(seed, -1), dtype=known.dtype)
    root = tf.sqrt(tf.cast(features, known.dtype))
    mixed = _KNOWN * root * batch.unit_vectors(known) + drawn
    length = tf.cast(batch.safe_norm(mixed), tf.float64)
    return Start(batch.unit_vectors(mixed), tf.math.log(_PROBABLE / length))


def ends(values: tf.Tensor, log_couplings: tf.Tensor, log_share: tf.Tensor) -> Ends:
    """Bound H's eigenvalues.

    Args:
        values: T's, the largest first, ``[B, k]`` in float64.
        log_couplings: sum of the logarithms of b_1 to b_k, ``[B]``.
        log_share: as in `Start`.
    """
    top, lowest = values[:, 0], values[:, -1]
    level = log_couplings - log_share
    above = _distance(top[:, None] - values, level)
    below = _distance(values - lowest[:, None], level)
    return Ends(top, top + above, lowest, lowest - below)


def log_coupling(coupling: tf.Tensor) -> tf.Tensor:
    """Give the logarithm of a coupling, which may be zero, in float64."""
    return tf.math.log(tf.maximum(tf.cast(coupling, tf.float64), _LEAST))


def _distance(gaps: tf.Tensor, level: tf.Tensor) -> tf.Tensor:
    """Solve sum_i log(x + gaps_i) = level for x > 0, ``[B]``; one of the gaps is 0.

    The sum is convex in log x, and Newton's iterates come from above: each of them is a bound.
    """

    def newton(i: tf.Tensor, log_x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        x = tf.exp(log_x)[:, None]
        excess = tf.reduce_sum(tf.math.log(x + gaps), 1) - level
        return i + 1, log_x - excess / tf.reduce_sum(x / (x + gaps), 1)

    first = level / tf.cast(tf.shape(gaps)[1], gaps.dtype)
    _, log_x = tf.while_loop(
        lambda i, log_x: i < _NEWTON,
        newton,
        (0, first),
        shape_invariants=(tf.TensorShape([]), tf.TensorShape([None])),
    )
    return tf.exp(log_x)
