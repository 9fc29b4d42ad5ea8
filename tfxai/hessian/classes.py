"""The exact factor of a piecewise-linear network's Hessian, from a gradient for each class."""

from __future__ import annotations

import tensorflow as tf

from tfxai.core import batch
from tfxai.core.types import Classifier
from tfxai.hessian.factors import LowRankFactor, eigh
from tfxai.hessian.products import Linearization, vjp


def factor_by_classes(
    classifier: Classifier, at: Linearization, *, mass: float, rank: int, rows: int
) -> tuple[LowRankFactor, tf.Tensor]:
    """Factor the Hessian of a piecewise-linear network: H = B B^T with B = W L.

    Column k of L = diag(sqrt p) - p sqrt(p)^T is sqrt(p_k) (e_k - p), so column k of B is the
    gradient of the logits along it. The trace of A = L L^T is the sum of p_k (1 - p_k). Classes are
    taken in the order of falling p until they have the share `mass` of this trace.

    Args:
        classifier: gives the logits.
        at: the classifier around the examples.
        mass: the share of A's trace that is kept, up to 1 for all classes.
        rank: how many eigenvectors to keep.
        rows: how many gradients may be computed at once.

    Returns:
        The factor, and a bound ``[B]`` of the largest eigenvalue of what is left out, by `rank`, of
        the classes that were taken. The part that is left out has no negative eigenvalues.

    Raises:
        ValueError: an operation of the network is not piecewise linear.

    Reference:
        Singla et al. 2019, section 3.1, with another root of A (docs/methods.md, The input
        Hessian).
    """
    if at.curved_operation is not None:
        raise ValueError(
            "The factor by classes holds for piecewise-linear models; "
            f"{at.curved_operation} is not. Let Lanczos factor the Hessian ('krylov')."
        )
    p = tf.nn.softmax(at.logits)
    by_probability = tf.argsort(p, direction="DESCENDING")
    kept = _classes_with(mass, tf.gather(p, by_probability, axis=1, batch_dims=1))
    most = tf.reduce_max(kept)
    count = tf.shape(p)[0]
    step = tf.clip_by_value(rows // tf.maximum(count, 1), 1, tf.shape(p)[1])

    def columns(start: tf.Tensor) -> tf.Tensor:
        """Give some columns of B of each example, ``[B, step, F]``; 0 beyond those kept."""
        number = tf.range(start, start + step)
        classes = tf.gather(by_probability, tf.minimum(number, tf.shape(p)[1] - 1), axis=1)
        repeated_p = tf.tile(p[:, None], [1, step, 1])
        is_class = tf.one_hot(classes, tf.shape(p)[1], True, False, dtype=tf.bool)
        others = tf.where(is_class, tf.zeros_like(repeated_p), repeated_p)
        cotangents = tf.where(is_class, tf.reduce_sum(others, 2, keepdims=True), -repeated_p)
        roots = tf.sqrt(tf.gather(p, classes, axis=1, batch_dims=1))
        roots = tf.where(number < kept[:, None], roots, tf.zeros_like(roots))
        cotangents *= roots[:, :, None]
        copies = tf.nest.map_structure(lambda x: tf.repeat(x, step, 0), at.inputs)
        logits, _ = classifier(copies, tf.repeat(at.targets, step, 0))
        flat = tf.reshape(cotangents, [count * step, -1])
        gradients = vjp(logits, tf.nest.flatten(copies), flat)
        return tf.reshape(gradients, [count, step, -1])

    def advance(start: tf.Tensor, vectors: tf.Tensor, left_out: tf.Tensor) -> tuple:
        vectors = tf.concat([vectors, columns(start)], 1)

        def compressed() -> tuple[tf.Tensor, tf.Tensor]:
            _, fewer, following = _leading(vectors, rank)
            return fewer, left_out + following

        full = tf.shape(vectors)[1] > 2 * rank
        return start + step, *tf.cond(full, compressed, lambda: (vectors, left_out))

    no_vectors = batch.rows(at.inputs)[:, None][:, :0]
    any_number = tf.TensorShape([None, None, no_vectors.shape[2]])
    _, vectors, left_out = tf.while_loop(
        lambda start, vectors, left_out: start < most,
        advance,
        (0, no_vectors, tf.zeros_like(p[:, 0])),
        shape_invariants=(tf.TensorShape([]), any_number, tf.TensorShape([None])),
        parallel_iterations=1,
    )
    values, vectors, following = _leading(vectors, rank)
    return LowRankFactor(values, vectors, kept), left_out + following


def _classes_with(mass: float, p: tf.Tensor) -> tf.Tensor:
    """Give how many classes, by falling p ``[B, C]``, have the share `mass` of sum p (1 - p)."""
    if mass == 1:
        return tf.fill(tf.shape(p)[:1], tf.shape(p)[1])
    first, others = p[:, :1], p[:, 1:]
    terms = tf.concat([first * tf.reduce_sum(others, 1, keepdims=True), others * (1 - others)], 1)
    share = tf.cumsum(terms, 1) / tf.reduce_sum(terms, 1, keepdims=True)
    return 1 + tf.reduce_sum(tf.cast(share[:, :-1] < mass, tf.int32), 1)


def _leading(vectors: tf.Tensor, rank: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Give the leading eigenvalues of sum_j v_j v_j^T, their scaled eigenvectors, and the next one.

    They come from the small matrix of inner products, C = B^T B.

    Returns:
        Eigenvalues ``[B, R]``, the largest first; eigenvectors times their roots ``[B, R, F]``; and
        the largest eigenvalue that is left out ``[B]``.
    """
    values, mixing = eigh(tf.matmul(vectors, vectors, transpose_b=True))
    values = tf.maximum(values, 0)
    following = tf.reduce_max(tf.pad(values[:, rank:], [[0, 0], [0, 1]]), 1)
    leading = tf.matmul(mixing[:, :, :rank], vectors, transpose_a=True)
    return values[:, :rank], leading, following
