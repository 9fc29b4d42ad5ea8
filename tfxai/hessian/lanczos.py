"""Eigenvalues and eigenvectors of any symmetric matrix, from products with it alone."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfxai.hessian.factors import Factor, eigen
from tfxai.hessian.products import Product

_TOP = 0.05
_ALL_DIRECTIONS = 25
"""How much more than one vector's coupling a random one may show: it sees all that is left."""


class _State(NamedTuple):
    q: tf.Tensor
    """The next vector, ``[B, F]``."""
    basis: tf.Tensor
    """Those before it, ``[B, rank, F]``."""
    t: tf.Tensor
    """The matrix in this basis, tridiagonal, ``[B, rank, rank]``."""
    size: tf.Tensor
    """The largest norm of a product, ``[B]``."""
    random: tf.Tensor
    """Whether q is a random vector, ``[B]``."""
    going: tf.Tensor
    """``[B]``."""


def by_lanczos(
    product: Product,
    start: tf.Tensor,
    *,
    rank: int,
    seed: tf.Tensor,
    absolute: float = 0.0,
    relative: float = 0.0,
) -> Factor:
    """Factor any symmetric matrix by products with it: Lanczos, fully reorthogonalised.

    From the gradient on, the largest eigenvalues that matter to it are found first. Where the
    space is nearly invariant, one random vector looks for what it has missed, such as the second
    eigenvector of a double eigenvalue, and if it finds something the search goes on.

    Args:
        product: with the matrix.
        start: where to begin, ``[B, F]``; the gradient.
        rank: the most products to take.
        seed: of the random vectors.
        absolute: stop where the matrix couples the space found to the rest by no more than this,
            and the largest eigenvector by no more than a twentieth of it and of the norm below.
        relative: the same, as a share of the largest norm of a product so far.
    """
    count, features = tf.shape(start)[0], tf.shape(start)[1]
    numbers = tf.range(rank)

    def random(j: tf.Tensor) -> tf.Tensor:
        """Give one vector for all examples, so that none depends on its batch."""
        here = tf.random.fold_in(seed, j)
        drawn = tf.random.stateless_normal([features], here, dtype=start.dtype)
        return tf.zeros_like(start) + drawn

    def step(j: tf.Tensor, now: _State) -> tuple[tf.Tensor, _State]:
        q = tf.where(now.going[:, None], now.q, tf.zeros_like(now.q))
        basis = tf.where((numbers == j)[None, :, None], q[:, None], now.basis)
        w = product(q)
        size = tf.maximum(now.size, tf.norm(w, axis=1))
        limit = absolute + relative * size
        diagonal = tf.reduce_sum(q * w, 1)
        w = _orthogonal(w, basis)
        coupling = tf.norm(w, axis=1)
        t = now.t + _at(j, j, rank, diagonal)
        of_top = coupling * _share_of_top(t, j)
        invariant = (coupling <= limit) & (of_top <= _TOP * tf.minimum(limit, size))
        # A random unit vector has the share 1 / sqrt(F) of each eigenvector.
        seen = tf.sqrt(tf.cast(features, w.dtype) * (coupling**2 + diagonal**2))
        going = now.going & ~(now.random & (seen <= _ALL_DIRECTIONS * limit))
        ahead = tf.where(invariant[:, None], _orthogonal(random(j), basis), w)
        ahead = tf.math.divide_no_nan(ahead, tf.norm(ahead, axis=1, keepdims=True))
        beside = tf.where(going & ~invariant, coupling, tf.zeros_like(coupling))
        t += _at(j, j + 1, rank, beside) + _at(j + 1, j, rank, beside)
        return j + 1, _State(ahead, basis, t, size, invariant, going)

    nothing = tf.zeros([count, rank, features], start.dtype)
    first = _State(
        q=tf.math.divide_no_nan(start, tf.norm(start, axis=1, keepdims=True)),
        basis=tf.ensure_shape(nothing, [None, rank, start.shape[1]]),
        t=tf.zeros([count, rank, rank], start.dtype),
        size=tf.zeros([count], start.dtype),
        random=tf.zeros([count], tf.bool),
        going=tf.ones([count], tf.bool),
    )
    j, last = tf.while_loop(
        lambda j, now: (j < rank) & tf.reduce_any(now.going),
        step,
        (0, first),
        parallel_iterations=1,
    )
    basis = last.basis[:, :j]
    values, mixing = eigen(last.t[:, :j, :j])
    vectors = tf.matmul(mixing, basis, transpose_a=True) * tf.sqrt(tf.abs(values))[:, :, None]
    used = tf.reduce_sum(tf.cast(tf.norm(basis, axis=2) > 0, tf.int32), 1)
    return Factor(values, vectors, used)


def _at(row: tf.Tensor, column: tf.Tensor, rank: int, values: tf.Tensor) -> tf.Tensor:
    """Give matrices with values ``[B]`` in one place; outside it, zeros."""
    place = tf.one_hot(row, rank)[:, None] * tf.one_hot(column, rank)[None, :]
    return values[:, None, None] * tf.cast(place, values.dtype)


def _share_of_top(t: tf.Tensor, j: tf.Tensor) -> tf.Tensor:
    """Give how much the j-th basis vector has of the largest eigenvector, ``[B]``."""
    return tf.abs(eigen(t)[1][:, j, 0])


def _orthogonal(w: tf.Tensor, basis: tf.Tensor) -> tf.Tensor:
    """Take away what is in the span of orthonormal rows; twice, for rounding."""
    for _ in range(2):
        inner = tf.linalg.matvec(basis, w)
        w -= tf.linalg.matvec(basis, inner, transpose_a=True)
    return w
