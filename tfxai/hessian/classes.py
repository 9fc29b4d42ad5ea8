"""The exact factor of a piecewise-linear net's Hessian, from a gradient for each class."""

from __future__ import annotations

import tensorflow as tf

from tfxai.core import batch
from tfxai.core.types import Classifier
from tfxai.hessian.factors import Factor, eigen
from tfxai.hessian.products import Local, pulled_back


def by_classes(
    classifier: Classifier, at: Local, *, mass: float, rank: int, rows: int
) -> tuple[Factor, tf.Tensor]:
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

    Returns:
        The factor, and a bound of the largest eigenvalue of what `rank` leaves out of the classes
        taken, ``[B]``; what it leaves out has no negative ones.

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

    def advance(start: tf.Tensor, vectors: tf.Tensor, left: tf.Tensor) -> tuple:
        vectors = tf.concat([vectors, columns(start)], 1)

        def compressed() -> tuple[tf.Tensor, tf.Tensor]:
            _, fewer, out = _diagonal(vectors, rank)
            return fewer, left + out

        full = tf.shape(vectors)[1] > 2 * rank
        return start + step, *tf.cond(full, compressed, lambda: (vectors, left))

    none = batch.rows(at.inputs)[:, None][:, :0]
    many = tf.TensorShape([None, None, none.shape[2]])
    _, vectors, left = tf.while_loop(
        lambda start, vectors, left: start < most,
        advance,
        (0, none, tf.zeros_like(p[:, 0])),
        shape_invariants=(tf.TensorShape([]), many, tf.TensorShape([None])),
        parallel_iterations=1,
    )
    values, vectors, out = _diagonal(vectors, rank)
    return Factor(values, vectors, kept), left + out


def _classes_with(mass: float, p: tf.Tensor) -> tf.Tensor:
    """Give how many of the classes, by falling p ``[B, C]``, have a share of sum p (1 - p)."""
    if mass == 1:
        return tf.fill(tf.shape(p)[:1], tf.shape(p)[1])
    first, others = p[:, :1], p[:, 1:]
    terms = tf.concat([first * tf.reduce_sum(others, 1, keepdims=True), others * (1 - others)], 1)
    share = tf.cumsum(terms, 1) / tf.reduce_sum(terms, 1, keepdims=True)
    return 1 + tf.reduce_sum(tf.cast(share[:, :-1] < mass, tf.int32), 1)


def _diagonal(vectors: tf.Tensor, rank: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Give the largest eigenvalues of sum_j v_j v_j^T, the scaled eigenvectors, and the next value.

    They come from the small matrix of inner products, C = B^T B.
    """
    values, mixing = eigen(tf.matmul(vectors, vectors, transpose_b=True))
    values = tf.maximum(values, 0)
    following = tf.reduce_max(tf.pad(values[:, rank:], [[0, 0], [0, 1]]), 1)
    largest = tf.matmul(mixing[:, :, :rank], vectors, transpose_a=True)
    return values[:, :rank], largest, following
