"""How far the trapezoid rule may be off, by how the integrand changes from node to node.

With the increments D_i = g_{i+1} - g_i over intervals of width h_i, the bridges are b_i = h_i D_i.
Three things about them are known:

- Between two nodes a random walk is a Brownian bridge, and the rule's squared error is on average
  |b_i|^2 / 12; the errors of the intervals are independent.
- The correlation rho of successive increments tells how rough the integrand is: 0 for a random
  walk, -1/2 for white noise (the nodes resolve nothing), 1 for a line. For the family in between,
  fractional Brownian motion of exponent H with 1 + rho = 2^(2H-1), the mean squared error of an
  interval is 2 Gamma(2H+1) sin(pi H) zeta(2H+1) / (2 pi)^(2H+1) |b_i|^2; within 5 %, that is

      c(rho) |b_i|^2   with   c(rho) = (1 - rho) / (12 (1 + rho)^2).

- Averages are no bound for one interval: where the integrand is monotone the error can reach
  |b_i| / 2, three times the mean square. So the largest bridge counts thrice, and if its
  neighbours turn back, as beside a peak that no node has hit, with its own c(rho).

The arguments are ``squares``, |b_i|^2 ``[A, n-1]``, and ``products``, b_i . b_{i+1} ``[A, n-2]``.
"""

from __future__ import annotations

import tensorflow as tf

LEAST_CORRELATION = -0.9
"""Keeps c finite; it is below that of white noise, which few nodes reach by chance."""


def correlation(squares: tf.Tensor, products: tf.Tensor) -> tf.Tensor:
    """Correlation rho of successive bridges, ``[A]``; 0 if there is one bridge or no change."""
    return tf.math.divide_no_nan(
        tf.reduce_sum(products, -1), tf.reduce_sum(_means_of_pairs(squares), -1)
    )


def mean_squared_error(squares: tf.Tensor, rho: tf.Tensor) -> tf.Tensor:
    """Give c(rho) sum_i |b_i|^2, ``[A]``."""
    return _c(rho) * tf.reduce_sum(squares, -1)


def squared_error(squares: tf.Tensor, products: tf.Tensor, rho: tf.Tensor) -> tf.Tensor:
    """Give c(rho) sum_i |b_i|^2 + 2 c(rho_j) |b_j|^2, ``[A]``, with b_j the largest bridge.

    rho_j is the correlation of b_j with its neighbours, or 0 if that is positive.
    """
    with_neighbours = tf.math.divide_no_nan(
        _sum_of_neighbours(products), _sum_of_neighbours(_means_of_pairs(squares))
    )
    largest = tf.argmax(squares, -1)[:, None]
    square = tf.gather(squares, largest, batch_dims=1)
    rho_j = tf.minimum(tf.gather(with_neighbours, largest, batch_dims=1), 0)
    return mean_squared_error(squares, rho) + 2 * (_c(rho_j) * square)[:, 0]


def _c(rho: tf.Tensor) -> tf.Tensor:
    return (1 - rho) / (12 * (1 + tf.maximum(rho, LEAST_CORRELATION)) ** 2)


def _means_of_pairs(squares: tf.Tensor) -> tf.Tensor:
    return (squares[:, 1:] + squares[:, :-1]) / 2


def _sum_of_neighbours(of_pairs: tf.Tensor) -> tf.Tensor:
    """Sum, for each of n-1 bridges, the values ``[A, n-2]`` of the pairs that it is in."""
    return tf.pad(of_pairs, [[0, 0], [0, 1]]) + tf.pad(of_pairs, [[0, 0], [1, 0]])
