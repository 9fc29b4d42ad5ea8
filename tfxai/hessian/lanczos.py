"""Lanczos: a symmetric matrix in a small Krylov space, from products with vectors alone."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfxai.core import batch
from tfxai.hessian import bounds
from tfxai.hessian.bounds import SpectrumEnds
from tfxai.hessian.factors import LowRankFactor, eigh
from tfxai.hessian.products import HVP

_ALL_DIRECTIONS = 25
"""How much larger a random vector's coupling may be than that of one vector, since it has a part in
every direction that is left."""


class Goal(NamedTuple):
    """When Lanczos stops; all shares are of the matrix itself, whatever its scale."""

    max_hvps: int
    """The most products with the matrix."""
    max_eigenvalue_gap: float
    """How far the largest eigenvalue may be below its bound, relative to the eigenvalue."""
    min_eigenvalue_gap: float = float("inf")
    """How far the smallest eigenvalue may be above its bound, relative to the norm of H."""
    rank: int = 1
    """How many vectors the space should have; fewer suffice where little is left out of it."""
    absolute_coupling: float = 0.0
    """The coupling to the rest of the space that counts as little, in units of H, ..."""
    relative_coupling: float = 0.0
    """... or relative to the norm of H."""
    rounding: float = 0.0
    """The error of a product, relative to the norm of H: a smaller coupling counts as zero."""


class Krylov(NamedTuple):
    """A symmetric matrix in an orthonormal basis, where it is tridiagonal."""

    basis: tf.Tensor
    """The basis as rows ``[B, K, F]``; 0 beyond the vectors that an example has taken."""
    diagonal: tf.Tensor
    """The diagonal of the tridiagonal matrix, ``[B, K]``."""
    couplings: tf.Tensor
    """The elements beside the diagonal, ``[B, K]``; the last couples to the rest of the space."""
    norm: tf.Tensor
    """The largest norm of a product with a unit vector, ``[B]``."""
    ends: SpectrumEnds
    """The ends of the matrix's spectrum."""
    num_hvps: tf.Tensor
    """How many products each example has taken, ``[B]``."""

    def eigenpairs(self, padding: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Give eigenvalues ``[B, K]``, the largest first, and eigenvectors ``[B, K, F]``.

        Beyond the size of an example's own space the eigenvalues are `padding` ``[B]``, and the
        vectors are zero.
        """
        is_own = tf.range(tf.shape(self.diagonal)[1]) < self.num_hvps[:, None]
        diagonal = tf.where(is_own, self.diagonal, padding[:, None])
        values, mixing = eigh(_tridiagonal(diagonal, self.couplings))
        return values, tf.matmul(mixing, self.basis, transpose_a=True)

    def low_rank_factor(self, rank: int) -> LowRankFactor:
        """Give the matrix by the eigenvalues of largest absolute value, at most `rank` of them."""
        values, vectors = self.eigenpairs(tf.zeros_like(self.norm))
        count = tf.minimum(tf.shape(values)[1], rank)
        kept = tf.sort(tf.math.top_k(tf.abs(values), count).indices, 1)
        values = tf.gather(values, kept, axis=1, batch_dims=1)
        vectors = tf.gather(vectors, kept, axis=1, batch_dims=1)
        roots = tf.sqrt(tf.abs(values))[:, :, None]
        return LowRankFactor(values, vectors * roots, self.num_hvps)

    def max_eigenvector(self) -> tf.Tensor:
        """Give the eigenvector of the largest eigenvalue, ``[B, F]``."""
        below_all = -tf.where(self.norm > 0, 4 * self.norm, tf.ones_like(self.norm))
        return self.eigenpairs(below_all)[1][:, 0]


class _State(NamedTuple):
    """Where each example is after some steps."""

    krylov: Krylov
    vector: tf.Tensor
    """The vector of the next step, ``[B, F]``."""
    log_couplings: tf.Tensor
    """The sum of the couplings' logarithms, ``[B]``."""
    is_random: tf.Tensor
    """Whether the vector is a random one that continues a closed space, ``[B]``."""
    was_closed: tf.Tensor
    """Whether the space of the first vector has been exhausted, ``[B]``."""
    active: tf.Tensor
    """Whether the example takes further steps, ``[B]``."""


def lanczos(hvp: HVP, known: tf.Tensor, goal: Goal, seed: tf.Tensor) -> Krylov:
    """Describe a symmetric matrix in a Krylov space, with full reorthogonalisation.

    With the gradient as known vector, the eigenvectors that matter to the gradient are found first;
    a random part that is added to it bounds all eigenvalues. If the space is nearly invariant
    before `goal.rank` vectors are found, another random vector looks for what the space has missed,
    such as the second eigenvector of a double eigenvalue. The search ends if it finds nothing.

    Args:
        hvp: products with the matrix.
        known: what the first vector has besides a random part, ``[B, F]``: the gradient, or zeros.
        goal: when to stop.
        seed: of the random vectors.
    """
    features = tf.shape(known)[1]
    start = bounds.random_start(known, seed)

    def step(j: tf.Tensor, state: _State) -> tuple[tf.Tensor, _State]:
        krylov = state.krylov
        q = tf.where(state.active[:, None], state.vector, tf.zeros_like(state.vector))
        product = hvp(q)
        norm = tf.maximum(krylov.norm, batch.safe_norm(product))
        basis = tf.concat([krylov.basis, q[:, None]], 1)
        inner = tf.reduce_sum(q * product, 1)
        rest = _orthogonal(product, basis)
        rest_length = batch.safe_norm(rest)
        coupling = tf.where(j + 1 < features, rest_length, tf.zeros_like(rest_length))
        diagonal = tf.concat([krylov.diagonal, inner[:, None]], 1)

        values, _ = eigh(tf.cast(_tridiagonal(diagonal, krylov.couplings), tf.float64))
        log_couplings = state.log_couplings + bounds.log_coupling(coupling)
        ends = bounds.bound_ends(values, log_couplings, start.log_share)
        ends = _narrowed(state, ends)

        limit = goal.absolute_coupling + max(goal.relative_coupling, goal.rounding) * norm
        has_rank = tf.greater_equal(j + 1, goal.rank)
        is_resolved = _is_resolved(ends, norm, goal)
        is_closed = is_resolved & (coupling <= limit) & ~has_rank
        # A random unit vector has the share 1 / sqrt(F) of each eigenvector.
        seen = tf.sqrt(tf.cast(features, rest.dtype)) * batch.safe_norm(
            tf.stack([inner, rest_length], 1)
        )
        found_nothing = state.is_random & (seen <= _ALL_DIRECTIONS * limit)
        active = state.active & ~found_nothing & ~(is_resolved & has_rank)

        direction = tf.where(is_closed[:, None], _random(known, seed, j), rest)
        vector = batch.unit_vectors(_orthogonal(batch.unit_vectors(direction), basis))
        kept_coupling = tf.where(active & ~is_closed, coupling, tf.zeros_like(coupling))
        extended = Krylov(
            basis,
            diagonal,
            tf.concat([krylov.couplings, kept_coupling[:, None]], 1),
            norm,
            ends,
            krylov.num_hvps + tf.cast(state.active, tf.int32),
        )
        was_closed = state.was_closed | is_closed
        return j + 1, _State(extended, vector, log_couplings, is_closed, was_closed, active)

    first = _first_state(known, start)
    max_hvps = tf.minimum(features, goal.max_hvps)
    _, last = tf.while_loop(
        lambda j, state: (j < max_hvps) & tf.reduce_any(state.active),
        step,
        (0, first),
        shape_invariants=(tf.TensorShape([]), _shapes(first)),
        parallel_iterations=1,
    )
    return _with_rounding(last.krylov, goal.rounding)


def _first_state(known: tf.Tensor, start: bounds.Start) -> _State:
    zero = tf.zeros_like(known[:, 0])
    infinity = tf.fill(tf.shape(zero), tf.constant(float("inf"), tf.float64))
    empty = Krylov(
        basis=known[:, None][:, :0],
        diagonal=zero[:, None][:, :0],
        couplings=zero[:, None][:, :0],
        norm=zero,
        ends=SpectrumEnds(-infinity, infinity, infinity, -infinity),
        num_hvps=tf.zeros_like(zero, tf.int32),
    )
    no = tf.zeros_like(zero, tf.bool)
    return _State(empty, start.vectors, tf.zeros_like(infinity), no, no, ~no)


def _shapes(state: _State) -> _State:
    """Give the shapes of a state, with any number of basis vectors."""
    shapes = tf.nest.map_structure(lambda x: tf.TensorShape([None, *x.shape[1:]]), state)
    krylov = shapes.krylov._replace(
        basis=tf.TensorShape([None, None, state.krylov.basis.shape[2]]),
        diagonal=tf.TensorShape([None, None]),
        couplings=tf.TensorShape([None, None]),
    )
    return shapes._replace(krylov=krylov)


def _narrowed(state: _State, ends: SpectrumEnds) -> SpectrumEnds:
    """Give the best ends known so far; after a space was closed, the bounds no longer improve.

    No bound follows from another random vector.
    """
    before = state.krylov.ends
    improves = ~state.was_closed
    largest = tf.maximum(before.max_eigenvalue, ends.max_eigenvalue)
    smallest = tf.minimum(before.min_eigenvalue, ends.min_eigenvalue)
    above = tf.where(
        improves,
        tf.minimum(before.max_eigenvalue_bound, ends.max_eigenvalue_bound),
        before.max_eigenvalue_bound,
    )
    below = tf.where(
        improves,
        tf.maximum(before.min_eigenvalue_bound, ends.min_eigenvalue_bound),
        before.min_eigenvalue_bound,
    )
    narrowed = SpectrumEnds(
        largest, tf.maximum(above, largest), smallest, tf.minimum(below, smallest)
    )
    return batch.where(state.active, narrowed, before)


def _is_resolved(ends: SpectrumEnds, norm: tf.Tensor, goal: Goal) -> tf.Tensor:
    """Tell where both ends are as close to their bounds as the goal demands, or rounding allows."""
    norm = tf.cast(norm, tf.float64)
    rounding = goal.rounding * norm
    gap_above = goal.max_eigenvalue_gap * tf.abs(ends.max_eigenvalue) + rounding
    gap_below = goal.min_eigenvalue_gap * norm + rounding
    return (ends.max_eigenvalue_bound - ends.max_eigenvalue <= gap_above) & (
        ends.min_eigenvalue - ends.min_eigenvalue_bound <= gap_below
    )


def _with_rounding(krylov: Krylov, rounding: float) -> Krylov:
    """Widen the bounds by the rounding of products, and cast the ends to the vectors' type."""
    ends = tf.nest.map_structure(lambda end: tf.cast(end, krylov.norm.dtype), krylov.ends)
    error = rounding * krylov.norm
    widened = ends._replace(
        max_eigenvalue_bound=ends.max_eigenvalue_bound + error,
        min_eigenvalue_bound=ends.min_eigenvalue_bound - error,
    )
    return krylov._replace(ends=widened)


def _random(like: tf.Tensor, seed: tf.Tensor, j: tf.Tensor) -> tf.Tensor:
    """Draw one vector for all examples ``[B, F]``, so that no example depends on its batch."""
    drawn = tf.random.stateless_normal(
        tf.shape(like)[1:], tf.random.fold_in(seed, j), dtype=like.dtype
    )
    return tf.zeros_like(like) + drawn


def _tridiagonal(diagonal: tf.Tensor, couplings: tf.Tensor) -> tf.Tensor:
    """Give symmetric matrices ``[B, K, K]`` of diagonals ``[B, K]`` and elements beside them."""
    inner = couplings[:, : tf.shape(diagonal)[1] - 1]
    above = tf.pad(tf.linalg.diag(inner), [[0, 0], [0, 1], [1, 0]])
    return tf.linalg.diag(diagonal) + above + tf.linalg.matrix_transpose(above)


def _orthogonal(w: tf.Tensor, basis: tf.Tensor) -> tf.Tensor:
    """Subtract the part of w in the span of orthonormal rows; twice, because of rounding."""
    for _ in range(2):
        inner = tf.linalg.matvec(basis, w)
        w -= tf.linalg.matvec(basis, inner, transpose_a=True)
    return w
