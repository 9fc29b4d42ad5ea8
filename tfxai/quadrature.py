"""Quadrature rules on [0, 1]: ``rule(n) -> (nodes [n], weights [n])``, whose weights sum to 1.

`trapezoid_weights` and `parabolic_weights` are for nodes that an adaptive method has chosen. The
rules are compared in docs/methods.md, Quadrature rules.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

Quadrature = Callable[[int], tuple[np.ndarray, np.ndarray]]
"""A function from the number of nodes n, at least 1, to nodes and weights, float64 ``[n]`` each."""


@keras.saving.register_keras_serializable("tfxai")
def left_riemann(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes (k-1)/n for k = 1..n, with equal weights; of order 1.

    Example:
        >>> left_riemann(2)
        (array([0. , 0.5]), array([0.5, 0.5]))
    """
    return np.arange(n) / n, np.full(n, 1 / n)


@keras.saving.register_keras_serializable("tfxai")
def right_riemann(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes k/n for k = 1..n, with equal weights; of order 1.

    This is the sum that the papers on integrated gradients (Sundararajan et al. 2017, equation 3)
    and on PGIG (Schwarzenberg and Castle 2020, equation 4) print.

    Example:
        >>> right_riemann(2)
        (array([0.5, 1. ]), array([0.5, 0.5]))
    """
    return np.arange(1, n + 1) / n, np.full(n, 1 / n)


@keras.saving.register_keras_serializable("tfxai")
def midpoint(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes (k-1/2)/n for k = 1..n, with equal weights; of order 2.

    It is the fixed rule to take where nothing is known of the integrand.

    Example:
        >>> midpoint(2)
        (array([0.25, 0.75]), array([0.5, 0.5]))
    """
    return (np.arange(n) + 0.5) / n, np.full(n, 1 / n)


@keras.saving.register_keras_serializable("tfxai")
def squared_midpoint(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Midpoints of the cells between (k/n)^2, k = 0..n, with the widths of the cells for weights.

    The nodes are denser near the baseline, where ReLU networks bend most.

    Example:
        >>> squared_midpoint(2)
        (array([0.125, 0.625]), array([0.25, 0.75]))
    """
    edges = np.linspace(0, 1, n + 1) ** 2
    return (edges[1:] + edges[:-1]) / 2, np.diff(edges)


@keras.saving.register_keras_serializable("tfxai")
def trapezoid(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes k/(n-1) for k = 0..n-1, both ends included; of order 2. One node is the midpoint.

    Example:
        >>> trapezoid(3)
        (array([0. , 0.5, 1. ]), array([0.25, 0.5 , 0.25]))
    """
    if n == 1:
        return midpoint(1)
    weights = np.full(n, 1 / (n - 1))
    weights[[0, -1]] /= 2
    return np.linspace(0, 1, n), weights


@keras.saving.register_keras_serializable("tfxai")
def gauss_legendre(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes, exact for polynomials up to degree 2n - 1.

    It is the rule to take for smooth networks and few steps.

    Example:
        >>> nodes, weights = gauss_legendre(2)
        >>> nodes.round(4), weights.round(4)
        (array([0.2113, 0.7887]), array([0.5, 0.5]))
    """
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return (nodes + 1) / 2, weights / 2


def trapezoid_weights(nodes: tf.Tensor) -> tf.Tensor:
    """Give the weights of the trapezoidal rule at ascending nodes ``[..., n]``, n at least 2.

    The rule integrates the piecewise linear interpolant. If the integrand is a random walk, that is
    its expected integral, given its values at the nodes.
    """
    half = (nodes[..., 1:] - nodes[..., :-1]) / 2
    return _pad(half, 0, 1) + _pad(half, 1, 0)


def parabolic_weights(nodes: tf.Tensor) -> tf.Tensor:
    """Give the weights of overlapping parabolas at ascending nodes ``[..., n]``, n at least 3.

    Over each interval the rule integrates the mean of two parabolas: one passes through the ends of
    the interval and the next node, the other through its ends and the node before. The first and
    last interval have one parabola. The rule is of order 4 on equal intervals.
    """
    width = nodes[..., 1:] - nodes[..., :-1]
    share = tf.pad(
        tf.fill(tf.shape(width[..., 2:]), tf.constant(0.5, nodes.dtype)),
        [[0, 0]] * (nodes.shape.rank - 1) + [[1, 1]],
        constant_values=1,
    )
    left, right = width[..., :-1], width[..., 1:]
    forward = [share[..., :-1] * w for w in _parabola_over_first(left, right)]
    backward = [share[..., 1:] * w for w in _parabola_over_first(right, left)]
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
