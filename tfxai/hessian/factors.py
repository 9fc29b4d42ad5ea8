"""The input Hessian as a sum of few terms, H ~ sum_j s_j u_j u_j^T: by classes, or by Lanczos."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfxai import batch
from tfxai.hessian.products import Local, Product, pulled_back
from tfxai.types import Classifier

FEW_CLASSES = 16
"""Up to this number, the gradients of all classes cost less than Lanczos' products."""
PROBES = 4
_CHI_SQUARED = 0.2971
"""A chi-squared variable with as many degrees of freedom is above it with probability .99."""
_TOP = 0.05
_ALL_DIRECTIONS = 25
"""How much more than one vector's coupling a random one may show: it sees all that is left."""


class Factor(NamedTuple):
    """Eigenvalues and eigenvectors, the largest eigenvalue first."""

    eigenvalues: tf.Tensor
    """``[B, R]``; 0 where an example has fewer."""
    vectors: tf.Tensor
    """``[B, R, F]``: the eigenvectors times the root of their eigenvalue's size."""
    passes: tf.Tensor
    """How many vectors were sent through the network for each example, ``[B]``."""

    def product(self, vectors: tf.Tensor) -> tf.Tensor:
        """Give H v for vectors ``[B, K, F]``."""
        inner = tf.matmul(vectors, self.vectors, transpose_b=True)
        return tf.matmul(inner * tf.sign(self.eigenvalues)[:, None], self.vectors)

    @property
    def top(self) -> tf.Tensor:
        """The largest eigenvalue, at least 0, ``[B]``."""
        return tf.maximum(tf.reduce_max(self.eigenvalues, 1), 0)

    @property
    def lowest(self) -> tf.Tensor:
        """The smallest eigenvalue, at most 0, ``[B]``."""
        return tf.minimum(tf.reduce_min(self.eigenvalues, 1), 0)


def cheaper(at: Local) -> str:
    """Say which factor of a Hessian costs less, "classes" or "krylov"."""
    few = (at.logits.shape[1] or FEW_CLASSES + 1) <= FEW_CLASSES
    return "classes" if few and at.curved is None else "krylov"


def by_classes(classifier: Classifier, at: Local, *, mass: float, rank: int, rows: int) -> Factor:
    """Factor the Hessian of a piecewise-linear net: H = B B^T with B = W L (METHODS 4.2).

    Column k of L = diag(sqrt p) - p sqrt(p)^T is sqrt(p_k) (e_k - p), so that of B is the gradient
    of the logits against it. The trace of A = L L^T is the sum of p_k (1 - p_k): classes are taken
    by falling p until they have the share `mass` of it.

    Args:
        classifier: gives the logits.
        at: the classifier around the examples.
        mass: share of A's trace that is kept, up to 1 for all classes.
        rank: how many eigenvectors to keep.
        rows: how many gradients may be computed at once.

    Raises:
        ValueError: an operation of the net is not piecewise linear.
    """
    if at.curved is not None:
        raise ValueError(
            f"The factor by classes holds for piecewise-linear models; {at.curved} is not. Let "
            "Lanczos factor the Hessian ('krylov')."
        )
    p = tf.nn.softmax(at.logits)
    order = tf.argsort(p, direction="DESCENDING")
    kept = _classes_with(mass, tf.gather(p, order, axis=1, batch_dims=1))
    most = tf.reduce_max(kept)
    count = tf.shape(p)[0]
    step = tf.clip_by_value(rows // tf.maximum(count, 1), 1, tf.shape(p)[1])

    def columns(start: tf.Tensor) -> tf.Tensor:
        """Give some columns of B of each example, ``[B, step, F]``; 0 beyond those kept."""
        number = tf.range(start, start + step)
        chosen = tf.gather(order, tf.minimum(number, tf.shape(p)[1] - 1), axis=1)
        wide = tf.tile(p[:, None], [1, step, 1])
        is_chosen = tf.one_hot(chosen, tf.shape(p)[1], True, False, dtype=tf.bool)
        others = tf.where(is_chosen, tf.zeros_like(wide), wide)
        cotangents = tf.where(is_chosen, tf.reduce_sum(others, 2, keepdims=True), -wide)
        roots = tf.sqrt(tf.gather(p, chosen, axis=1, batch_dims=1))
        roots = tf.where(number < kept[:, None], roots, tf.zeros_like(roots))
        cotangents *= roots[:, :, None]
        copies = tf.nest.map_structure(lambda x: tf.repeat(x, step, 0), at.inputs)
        logits, _ = classifier(copies, tf.repeat(at.targets, step))
        flat = tf.reshape(cotangents, [count * step, -1])
        found = pulled_back(logits, tf.nest.flatten(copies), flat)
        return tf.reshape(found, [count, step, -1])

    def advance(start: tf.Tensor, vectors: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        vectors = tf.concat([vectors, columns(start)], 1)
        full = tf.shape(vectors)[1] > 2 * rank
        return start + step, tf.cond(full, lambda: _diagonal(vectors, rank)[1], lambda: vectors)

    none = batch.rows(at.inputs)[:, None][:, :0]
    _, vectors = tf.while_loop(
        lambda start, vectors: start < most,
        advance,
        (0, none),
        shape_invariants=(tf.TensorShape([]), tf.TensorShape([None, None, none.shape[2]])),
        parallel_iterations=1,
    )
    return Factor(*_diagonal(vectors, rank), kept)


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
    known = tf.range(rank)

    def random(j: tf.Tensor) -> tf.Tensor:
        """Give one vector for all examples, so that none depends on its batch."""
        drawn = tf.random.stateless_normal(
            [features], tf.random.fold_in(seed, j), dtype=start.dtype
        )
        return tf.zeros_like(start) + drawn

    def step(
        j: tf.Tensor,
        q: tf.Tensor,
        basis: tf.Tensor,
        t: tf.Tensor,
        size: tf.Tensor,
        fresh: tf.Tensor,
        on: tf.Tensor,
    ) -> tuple:
        q = tf.where(on[:, None], q, tf.zeros_like(q))
        basis = tf.where((known == j)[None, :, None], q[:, None], basis)
        w = product(q)
        size = tf.maximum(size, tf.norm(w, axis=1))
        limit = absolute + relative * size
        diagonal = tf.reduce_sum(q * w, 1)
        w = _orthogonal(w, basis)
        coupling = tf.norm(w, axis=1)
        row, column = known[:, None] == j, known[None, :] == j
        t += tf.where(row & column, diagonal[:, None, None], 0)
        of_top = coupling * _share_of_top(t, j)
        invariant = (coupling <= limit) & (of_top <= _TOP * tf.minimum(limit, size))
        # A random unit vector has the share 1 / sqrt(F) of each eigenvector.
        seen = tf.sqrt(tf.cast(features, w.dtype) * (coupling**2 + diagonal**2))
        on_next = on & ~(fresh & (seen <= _ALL_DIRECTIONS * limit)) & tf.math.is_finite(coupling)
        other = _orthogonal(random(j), basis)
        following = tf.where(invariant[:, None], other, w)
        q_next = tf.math.divide_no_nan(following, tf.norm(following, axis=1, keepdims=True))
        off = tf.where(invariant, tf.zeros_like(coupling), coupling)
        beside = (row & (known[None, :] == j + 1)) | ((known[:, None] == j + 1) & column)
        t += tf.where(beside & on_next[:, None, None], off[:, None, None], 0)
        return j + 1, q_next, basis, t, size, invariant, on_next

    begin = tf.math.divide_no_nan(start, tf.norm(start, axis=1, keepdims=True))
    nothing = tf.zeros([count, rank, features], start.dtype)
    nothing = tf.ensure_shape(nothing, [None, rank, start.shape[1]])
    state = (
        *(0, begin, nothing, tf.zeros([count, rank, rank], start.dtype)),
        *(tf.zeros([count], start.dtype), tf.zeros([count], tf.bool), tf.ones([count], tf.bool)),
    )
    j, _, basis, t, *_ = tf.while_loop(
        lambda j, q, basis, t, size, fresh, on: (j < rank) & tf.reduce_any(on),
        step,
        state,
        parallel_iterations=1,
    )
    basis, t = basis[:, :j], t[:, :j, :j]
    used = tf.reduce_sum(tf.cast(tf.norm(basis, axis=2) > 0, tf.int32), 1)
    values, mixing = tf.linalg.eigh(tf.cast(t, tf.float64))
    values, mixing = tf.cast(values, t.dtype), tf.cast(mixing, t.dtype)
    vectors = tf.matmul(mixing, basis, transpose_a=True) * tf.sqrt(tf.abs(values))[:, :, None]
    largest = tf.argsort(values, direction="DESCENDING")
    vectors = tf.gather(vectors, largest, axis=1, batch_dims=1)
    return Factor(tf.gather(values, largest, axis=1, batch_dims=1), vectors, used)


def error_bound(product: Product, factor: Factor, seed: tf.Tensor) -> tf.Tensor:
    """Bound the spectral norm of H less its factor, with probability .99, ``[B]``.

    For a Gaussian vector w and E = H - factor, |E w|^2 is at least the square of E's largest
    eigenvalue times a chi-squared variable. So a sum over few vectors bounds it.
    """
    shape = tf.shape(factor.vectors)

    def squared(k: tf.Tensor) -> tf.Tensor:
        drawn = tf.random.stateless_normal(
            shape[2:], tf.random.fold_in(seed, k), dtype=factor.vectors.dtype
        )
        w = tf.tile(drawn[None], [shape[0], 1])
        return tf.reduce_sum((product(w) - factor.product(w[:, None])[:, 0]) ** 2, 1)

    _, total = tf.while_loop(
        lambda k, total: k < PROBES,
        lambda k, total: (k + 1, total + squared(k)),
        (0, tf.zeros(shape[:1], factor.vectors.dtype)),
        parallel_iterations=1,
    )
    return tf.sqrt(total / _CHI_SQUARED)


def _classes_with(mass: float, p: tf.Tensor) -> tf.Tensor:
    """Give how many of the classes, by falling p ``[B, C]``, have a share of sum p (1 - p)."""
    if mass == 1:
        return tf.fill(tf.shape(p)[:1], tf.shape(p)[1])
    first, others = p[:, :1], p[:, 1:]
    terms = tf.concat([first * tf.reduce_sum(others, 1, keepdims=True), others * (1 - others)], 1)
    share = tf.cumsum(terms, 1) / tf.reduce_sum(terms, 1, keepdims=True)
    return 1 + tf.reduce_sum(tf.cast(share[:, :-1] < mass, tf.int32), 1)


def _diagonal(vectors: tf.Tensor, rank: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Give the largest eigenvalues of sum_j v_j v_j^T and the scaled eigenvectors.

    They come from the small matrix of inner products, C = B^T B.
    """
    inner = tf.matmul(vectors, vectors, transpose_b=True)
    values, mixing = tf.linalg.eigh(tf.cast(inner, tf.float64))
    values = tf.cast(tf.maximum(values[:, ::-1][:, :rank], 0), vectors.dtype)
    mixing = tf.cast(mixing[:, :, ::-1][:, :, :rank], vectors.dtype)
    return values, tf.matmul(mixing, vectors, transpose_a=True)


def _share_of_top(t: tf.Tensor, j: tf.Tensor) -> tf.Tensor:
    """Give how much the j-th basis vector has of the largest eigenvector, ``[B]``."""
    _, mixing = tf.linalg.eigh(tf.cast(t, tf.float64))
    return tf.cast(tf.abs(mixing[:, j, -1]), t.dtype)


def _orthogonal(w: tf.Tensor, basis: tf.Tensor) -> tf.Tensor:
    """Take away what is in the span of orthonormal rows; twice, for rounding."""
    for _ in range(2):
        inner = tf.linalg.matvec(basis, w)
        w -= tf.linalg.matvec(basis, inner, transpose_a=True)
    return w
