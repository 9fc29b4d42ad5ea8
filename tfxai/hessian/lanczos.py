"""Lanczos: a symmetric matrix seen from a small space, by products with it alone."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfxai.core import batch
from tfxai.hessian import bounds
from tfxai.hessian.bounds import Ends
from tfxai.hessian.factors import Factor, eigen
from tfxai.hessian.products import Product

_ALL_DIRECTIONS = 25
"""How much more than one vector's coupling a random one may show: it sees all that is left."""


class Goal(NamedTuple):
    """What is to be found; all shares are of the matrix itself, whatever its scale."""

    steps: int
    """The most products to take."""
    top: float
    """By which share of itself the largest eigenvalue may be below its bound."""
    lowest: float = float("inf")
    """By which share of H's size the smallest one may be above its own."""
    rank: int = 1
    """With how many vectors H is wanted; fewer, where they leave no more out than follows."""
    absolute: float = 0.0
    """The coupling to what is left out, in H's units, ..."""
    relative: float = 0.0
    """... and as a share of H's size."""
    rounding: float = 0.0
    """Error of a product / H's size: no coupling below it can be told from zero."""


class Krylov(NamedTuple):
    """The matrix in an orthonormal basis."""

    basis: tf.Tensor
    """Rows ``[B, K, F]``; 0 beyond those that an example has taken."""
    diagonal: tf.Tensor
    """Of the matrix in this basis, ``[B, K]``."""
    beside: tf.Tensor
    """Next to its diagonal, ``[B, K]``; the last one leads out of the basis."""
    size: tf.Tensor
    """The largest norm of a product, ``[B]``."""
    ends: Ends
    """Of the spectrum."""
    used: tf.Tensor
    """How many products each example has taken, ``[B]``."""

    def eigen(self, beyond: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Give eigenvalues ``[B, K]``, the largest first, and eigenvectors ``[B, K, F]``.

        Those beyond an example's own basis are the eigenvalue `beyond`, and the vector zero.
        """
        own = tf.range(tf.shape(self.diagonal)[1]) < self.used[:, None]
        diagonal = tf.where(own, self.diagonal, beyond[:, None])
        values, mixing = eigen(_tridiagonal(diagonal, self.beside))
        return values, tf.matmul(mixing, self.basis, transpose_a=True)

    def factor(self, rank: int) -> Factor:
        """Give the matrix by the eigenvalues of largest size, at most `rank` of them."""
        values, vectors = self.eigen(tf.zeros_like(self.size))
        count = tf.minimum(tf.shape(values)[1], rank)
        kept = tf.sort(tf.math.top_k(tf.abs(values), count).indices, 1)
        values = tf.gather(values, kept, axis=1, batch_dims=1)
        vectors = tf.gather(vectors, kept, axis=1, batch_dims=1)
        return Factor(values, vectors * tf.sqrt(tf.abs(values))[:, :, None], self.used)

    def top(self) -> tf.Tensor:
        """Give the eigenvector of the largest eigenvalue, ``[B, F]``."""
        below = -tf.where(self.size > 0, 4 * self.size, tf.ones_like(self.size))
        return self.eigen(below)[1][:, 0]


class _State(NamedTuple):
    found: Krylov
    q: tf.Tensor
    """The next vector, ``[B, F]``."""
    log_couplings: tf.Tensor
    """Sum of the logarithms, ``[B]``."""
    random: tf.Tensor
    """Whether q is another random vector, ``[B]``."""
    closed: tf.Tensor
    """Whether there was one: the first vector's space is exhausted, ``[B]``."""
    going: tf.Tensor
    """``[B]``."""


def lanczos(product: Product, known: tf.Tensor, goal: Goal, seed: tf.Tensor) -> Krylov:
    """See any symmetric matrix from a Krylov space, fully reorthogonalised.

    From the gradient on, the eigenvectors that matter to it are found first; its random part
    bounds all eigenvalues. Where the space is nearly invariant before `rank` vectors are found,
    another random one looks for what it has missed, such as the second eigenvector of a double
    eigenvalue, and if it finds something the search goes on.

    Args:
        product: with the matrix.
        known: what to begin with besides a random vector, ``[B, F]``; the gradient, or zeros.
        goal: where to stop.
        seed: of the random vectors.
    """
    features = tf.shape(known)[1]
    steps = tf.minimum(features, goal.steps)
    start = bounds.random_start(known, seed)

    def step(j: tf.Tensor, now: _State) -> tuple[tf.Tensor, _State]:
        q = tf.where(now.going[:, None], now.q, tf.zeros_like(now.q))
        w = product(q)
        size = tf.maximum(now.found.size, batch.safe_norm(w))
        basis = tf.concat([now.found.basis, q[:, None]], 1)
        inner = tf.reduce_sum(q * w, 1)
        w = _orthogonal(w, basis)
        out = batch.safe_norm(w)
        coupling = tf.where(j + 1 < features, out, tf.zeros_like(out))
        diagonal = tf.concat([now.found.diagonal, inner[:, None]], 1)
        values, _ = eigen(tf.cast(_tridiagonal(diagonal, now.found.beside), tf.float64))
        log_couplings = now.log_couplings + bounds.log_coupling(coupling)
        ends = _narrowed(now, bounds.ends(values, log_couplings, start.log_share))

        limit = goal.absolute + max(goal.relative, goal.rounding) * size
        last = tf.greater_equal(j + 1, goal.rank)
        closed = _resolved(ends, size, goal) & (coupling <= limit) & ~last
        # A random unit vector has the share 1 / sqrt(F) of each eigenvector.
        seen = tf.sqrt(tf.cast(features, w.dtype)) * batch.safe_norm(tf.stack([inner, out], 1))
        nothing = now.random & (seen <= _ALL_DIRECTIONS * limit)
        going = now.going & ~nothing & ~(_resolved(ends, size, goal) & last)
        ahead = tf.where(closed[:, None], _random(known, seed, j), w)
        ahead = batch.unit_vectors(_orthogonal(batch.unit_vectors(ahead), basis))
        beside = tf.where(going & ~closed, coupling, tf.zeros_like(coupling))
        found = Krylov(
            basis,
            diagonal,
            tf.concat([now.found.beside, beside[:, None]], 1),
            size,
            ends,
            now.found.used + tf.cast(now.going, tf.int32),
        )
        return j + 1, _State(found, ahead, log_couplings, closed, now.closed | closed, going)

    first = _first(known, start)
    shapes = tf.nest.map_structure(lambda x: tf.TensorShape([None, *x.shape[1:]]), first)
    found = shapes.found._replace(
        basis=tf.TensorShape([None, None, known.shape[1]]),
        diagonal=tf.TensorShape([None, None]),
        beside=tf.TensorShape([None, None]),
    )
    _, last = tf.while_loop(
        lambda j, now: (j < steps) & tf.reduce_any(now.going),
        step,
        (0, first),
        shape_invariants=(tf.TensorShape([]), shapes._replace(found=found)),
        parallel_iterations=1,
    )
    return _rounded(last.found, goal.rounding)


def _first(known: tf.Tensor, start: bounds.Start) -> _State:
    size = tf.zeros_like(known[:, 0])
    unknown = tf.fill(tf.shape(size), tf.constant(float("inf"), tf.float64))
    none = Krylov(
        basis=known[:, None][:, :0],
        diagonal=size[:, None][:, :0],
        beside=size[:, None][:, :0],
        size=size,
        ends=Ends(-unknown, unknown, unknown, -unknown),
        used=tf.zeros_like(size, tf.int32),
    )
    no = tf.zeros_like(size, tf.bool)
    return _State(none, start.vectors, tf.zeros_like(unknown), no, no, ~no)


def _narrowed(now: _State, ends: Ends) -> Ends:
    """Give the best of the ends known so far; no bound follows from another random vector."""
    before = now.found.ends
    open_ = ~now.closed
    top, lowest = tf.maximum(before.top, ends.top), tf.minimum(before.lowest, ends.lowest)
    above = tf.where(open_, tf.minimum(before.top_bound, ends.top_bound), before.top_bound)
    below = tf.where(open_, tf.maximum(before.lowest_bound, ends.lowest_bound), before.lowest_bound)
    bounded = Ends(top, tf.maximum(above, top), lowest, tf.minimum(below, lowest))
    return batch.where(now.going, bounded, before)


def _resolved(ends: Ends, size: tf.Tensor, goal: Goal) -> tf.Tensor:
    """Say where both ends are as close to their bounds as is wanted, or can be."""
    size = tf.cast(size, tf.float64)
    least = goal.rounding * size
    above = goal.top * tf.abs(ends.top) + least
    near = ends.top_bound - ends.top <= above
    return near & (ends.lowest - ends.lowest_bound <= goal.lowest * size + least)


def _rounded(found: Krylov, rounding: float) -> Krylov:
    """Let the bounds allow for the rounding of products, and give all ends in their type."""
    ends = tf.nest.map_structure(lambda end: tf.cast(end, found.size.dtype), found.ends)
    least = rounding * found.size
    bounded = ends._replace(
        top_bound=ends.top_bound + least, lowest_bound=ends.lowest_bound - least
    )
    return found._replace(ends=bounded)


def _random(like: tf.Tensor, seed: tf.Tensor, j: tf.Tensor) -> tf.Tensor:
    """Give one vector for all examples ``[B, F]``, so that none depends on its batch."""
    drawn = tf.random.stateless_normal(
        tf.shape(like)[1:], tf.random.fold_in(seed, j), dtype=like.dtype
    )
    return tf.zeros_like(like) + drawn


def _tridiagonal(diagonal: tf.Tensor, beside: tf.Tensor) -> tf.Tensor:
    """Give symmetric matrices ``[B, K, K]`` of diagonals ``[B, K]`` and what is next to them."""
    inner = beside[:, : tf.shape(diagonal)[1] - 1]
    above = tf.pad(tf.linalg.diag(inner), [[0, 0], [0, 1], [1, 0]])
    return tf.linalg.diag(diagonal) + above + tf.linalg.matrix_transpose(above)


def _orthogonal(w: tf.Tensor, basis: tf.Tensor) -> tf.Tensor:
    """Take away what is in the span of orthonormal rows; twice, for rounding."""
    for _ in range(2):
        inner = tf.linalg.matvec(basis, w)
        w -= tf.linalg.matvec(basis, inner, transpose_a=True)
    return w
