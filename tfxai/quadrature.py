"""Quadrature rules on [0, 1]: ``rule(n) -> (nodes [n], weights [n])``, the weights sum to 1.

`trapezoid_weights` and `parabolic_weights` serve nodes that an adaptive method has chosen.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

Rule = Callable[[int], tuple[np.ndarray, np.ndarray]]


@keras.saving.register_keras_serializable("tfxai")
def left_riemann(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes (k-1)/n, k = 1..n; order 1.

    Example:
        >>> left_riemann(2)
        (array([0. , 0.5]), array([0.5, 0.5]))
    """
    return np.arange(n) / n, np.full(n, 1 / n)


@keras.saving.register_keras_serializable("tfxai")
def right_riemann(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes k/n, k = 1..n; order 1. The sum printed in the papers on IG and PGIG."""
    return np.arange(1, n + 1) / n, np.full(n, 1 / n)


@keras.saving.register_keras_serializable("tfxai")
def midpoint(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes (k-1/2)/n, k = 1..n; order 2, of the fixed rules the best without assumptions."""
    return (np.arange(n) + 0.5) / n, np.full(n, 1 / n)


@keras.saving.register_keras_serializable("tfxai")
def squared_midpoint(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Middles of the cells between (k/n)^2: denser near the baseline, where ReLU nets bend most."""
    edges = np.linspace(0, 1, n + 1) ** 2
    return (edges[1:] + edges[:-1]) / 2, np.diff(edges)


@keras.saving.register_keras_serializable("tfxai")
def trapezoid(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes k/(n-1), k = 0..n-1, both ends included; order 2. One node is the midpoint."""
    if n == 1:
        return midpoint(1)
    weights = np.full(n, 1 / (n - 1))
    weights[[0, -1]] /= 2
    return np.linspace(0, 1, n), weights


@keras.saving.register_keras_serializable("tfxai")
def gauss_legendre(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Exact for polynomials up to degree 2n - 1: the choice for smooth networks and few steps."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return (nodes + 1) / 2, weights / 2


def trapezoid_weights(nodes: tf.Tensor) -> tf.Tensor:
    """Weights of the piecewise linear interpolant through ascending nodes ``[..., n]`` with n >= 2.

    If the integrand is a random walk, this is its expected integral given the nodes.
    """
    half = (nodes[..., 1:] - nodes[..., :-1]) / 2
    return _pad(half, 0, 1) + _pad(half, 1, 0)


def parabolic_weights(nodes: tf.Tensor) -> tf.Tensor:
    """Weights of overlapping parabolas through ascending nodes ``[..., n]`` with n >= 3.

    Each interval is integrated under the mean of the parabola through its right neighbour and the
    one through its left neighbour (at the ends there is one); of order 4 on equal intervals.
    """
    width = nodes[..., 1:] - nodes[..., :-1]
    share = tf.pad(
        tf.fill(tf.shape(width[..., 2:]), tf.constant(0.5, nodes.dtype)),
        [[0, 0]] * (nodes.shape.rank - 1) + [[1, 1]],
        constant_values=1,
    )
    left, right = width[..., :-1], width[..., 1:]
    forward = _parabola_over_first(left, right)
    backward = _parabola_over_first(right, left)
    forward = [share[..., :-1] * w for w in forward]
    backward = [share[..., 1:] * w for w in backward]
    return (
        _pad(forward[0] + backward[2], 0, 2)
        + _pad(forward[1] + backward[1], 1, 1)
        + _pad(forward[2] + backward[0], 2, 0)
    )


def _parabola_over_first(first: tf.Tensor, second: tf.Tensor) -> list[tf.Tensor]:
    """Integrate the parabola through 0, first, first + second over [0, first]: three weights."""
    both = first + second
    return [
        first * (2 * first + 3 * second) / (6 * both),
        first * (first + 3 * second) / (6 * second),
        -(first**3) / (6 * second * both),
    ]


def _pad(x: tf.Tensor, before: int, after: int) -> tf.Tensor:
    return tf.pad(x, [[0, 0]] * (x.shape.rank - 1) + [[before, after]])
