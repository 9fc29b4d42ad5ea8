"""An estimate of the trapezoid rule's error from the changes of the integrand between nodes.

Let D_i = g_{i+1} - g_i be the increments of the integrand g over intervals of width h_i, and
b_i = h_i D_i its bridges. Three facts about the bridges are used:

- A random walk is a Brownian bridge between two nodes. The squared error of the rule is then
  |b_i|^2 / 12 on average, and the errors of the intervals are independent.
- The correlation rho of successive increments measures the roughness of the integrand: 0 for a
  random walk, -1/2 for white noise (the nodes resolve nothing), 1 for a straight line. For the
  family in between, fractional Brownian motion of exponent H with 1 + rho = 2^(2H-1), the mean
  squared error of an interval is 2 Gamma(2H+1) sin(pi H) zeta(2H+1) / (2 pi)^(2H+1) |b_i|^2.
  Within 5 %, this is

      c(rho) |b_i|^2   with   c(rho) = (1 - rho) / (12 (1 + rho)^2).

- An average is no bound for a single interval: where the integrand is monotone, the error can reach
  |b_i| / 2, whose square is three times the mean. The largest bridge therefore counts three times.
  If its neighbours point back, as beside a peak that no node has hit, it counts with a c(rho) of
  its own.

The arguments are ``squares``, |b_i|^2 ``[A, n-1]``, and ``products``, b_i . b_{i+1} ``[A, n-2]``.
"""

from __future__ import annotations

import tensorflow as tf

MIN_CORRELATION = -0.9
"""Smaller correlations count as this one, which keeps c finite.

White noise has -1/2; with few nodes, chance can give less than -.9.
"""


def correlation(squares: tf.Tensor, products: tf.Tensor) -> tf.Tensor:
    """Give the correlation rho of successive bridges, ``[A]``; 0 for one bridge or no change."""
    return tf.math.divide_no_nan(
        tf.reduce_sum(products, -1), tf.reduce_sum(_means_of_pairs(squares), -1)
    )


def mean_squared_error(squares: tf.Tensor, rho: tf.Tensor) -> tf.Tensor:
    """Give c(rho) sum_i |b_i|^2, ``[A]``."""
    return _c(rho) * tf.reduce_sum(squares, -1)


def squared_error(squares: tf.Tensor, products: tf.Tensor, rho: tf.Tensor) -> tf.Tensor:
    """Give c(rho) sum_i |b_i|^2 + 2 c(rho_j) |b_j|^2, ``[A]``, with b_j the largest bridge.

    rho_j is the correlation of b_j with its neighbours, or 0 if this correlation is positive.
    """
    neighbour_correlations = tf.math.divide_no_nan(
        _sum_of_neighbours(products), _sum_of_neighbours(_means_of_pairs(squares))
    )
    largest = tf.argmax(squares, -1)[:, None]
    square = tf.gather(squares, largest, batch_dims=1)
    rho_j = tf.minimum(tf.gather(neighbour_correlations, largest, batch_dims=1), 0)
    return mean_squared_error(squares, rho) + 2 * (_c(rho_j) * square)[:, 0]


def _c(rho: tf.Tensor) -> tf.Tensor:
    """Give the mean squared error of an interval as a share of |b_i|^2."""
    return (1 - rho) / (12 * (1 + tf.maximum(rho, MIN_CORRELATION)) ** 2)


def _means_of_pairs(squares: tf.Tensor) -> tf.Tensor:
    """Give the means of |b_i|^2 and |b_{i+1}|^2, ``[A, n-2]``."""
    return (squares[:, 1:] + squares[:, :-1]) / 2


def _sum_of_neighbours(pair_values: tf.Tensor) -> tf.Tensor:
    """Give each of n-1 bridges the sum of the values ``[A, n-2]`` of the pairs that contain it."""
    return tf.pad(pair_values, [[0, 0], [0, 1]]) + tf.pad(pair_values, [[0, 0], [1, 0]])
