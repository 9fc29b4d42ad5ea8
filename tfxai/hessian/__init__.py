"""The input Hessian of the cross-entropy: products with vectors, eigenvalues, eigenvectors.

With p the softmax of the logits and W = d logits / d x, a piecewise-linear network has
H = W (diag p - p p^T) W^T (Singla et al. 2019, section 3.1): positive semidefinite, of a rank below
the number of classes. Second derivatives are never compiled by XLA, which misroutes them through
max pooling (docs/methods.md, The input Hessian).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfxai.core import batch, checks
from tfxai.core.types import Classifier, Tensors
from tfxai.hessian import factors, largest, products
from tfxai.hessian.classes import factor_by_classes
from tfxai.hessian.examples import Examples
from tfxai.hessian.lanczos import Goal, lanczos
from tfxai.hessian.largest import MaxEigenvalue

MODES = ("reverse", "forward", "gauss_newton")
KINDS = ("auto", "classes", "krylov")


class Eigendecomposition(NamedTuple):
    """H ~ sum_j eigenvalues_j u_j u_j^T for each example, and a bound of the difference."""

    eigenvalues: np.ndarray
    """``[B, R]``, the largest first; 0 where an example has fewer."""
    eigenvectors: Tensors
    """u_j of unit length, in the inputs' structure, ``[B, R, ...]``; 0 where the eigenvalue is."""
    error_bound: np.ndarray
    """A bound of the spectral norm of the difference, with probability .99, ``[B]``."""
    num_hvps: np.ndarray
    """How many Hessian-vector products, or gradients of classes, each example took, ``[B]``."""
    kind: str
    """How they were found, "classes" or "krylov"."""


def hvp(
    model: keras.Model, inputs: Tensors, vectors: Tensors, targets: Any, *, mode: str = "reverse"
) -> Tensors:
    """Multiply the input Hessian of the cross-entropy with vectors: Hessian-vector products.

    Args:
        model: a Keras classifier; its softmax or sigmoid head is bypassed. A head of one unit is
            a classifier of two classes.
        inputs: ``[B, ...]``, all at once in memory.
        vectors: one vector for each example, of the inputs' shapes; or K vectors for each,
            ``[K, B, ...]``, which costs less than K calls.
        targets: one class for all examples, or ``[B]``.
        mode: "reverse" over reverse, the fastest on CPUs for networks of any kind; "forward" over
            reverse; or "gauss_newton", W (diag p - p p^T) W^T v, for piecewise-linear networks.

    Returns:
        H v, numpy arrays of the structure and shapes of `vectors`.

    Raises:
        TypeError, ValueError: the inputs, vectors or targets do not fit the model.
        ValueError: `mode` is unknown, or "gauss_newton" for a network that is not piecewise linear.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, use_bias=False)])
        >>> _ = model.layers[0].kernel.assign([[1.0, -1.0], [0.0, 0.0]])
        >>> hvp(model, np.zeros((1, 2)), np.ones((1, 2)), 0).round(4) + 0.0
        array([[1., 0.]], dtype=float32)
    """
    checks.one_of("mode", mode, MODES)
    examples = Examples(model, inputs, targets)
    flat = [np.asarray(v) for v in tf.nest.flatten(examples.as_declared("vectors", vectors))]
    shapes = [x.shape for x in tf.nest.flatten(examples.inputs)]
    is_single = [v.shape for v in flat] == shapes
    if not is_single and [v.shape[1:] for v in flat] != shapes:
        raise ValueError(
            f"vectors have the shapes {[list(v.shape) for v in flat]}: expected those of the "
            f"inputs, {[list(shape) for shape in shapes]}, or these behind an axis more"
        )
    several = [tf.cast(v[None] if is_single else v, examples.dtype) for v in flat]

    def multiply(inputs: Tensors, targets: tf.Tensor, several: list[tf.Tensor]) -> tf.Tensor:
        product = _hvp(examples.classifier, inputs, targets, mode)
        return tf.map_fn(
            lambda parts: product(batch.rows(parts)),
            several,
            fn_output_signature=tf.TensorSpec([None, None], examples.dtype),
        )

    arrays = [examples.structured(rows) for rows in examples.run(multiply, several)]
    if is_single:
        return arrays[0]
    return tf.nest.map_structure(lambda *parts: np.stack(parts), *arrays)


def max_eigenvalue(
    model: keras.Model,
    inputs: Tensors,
    targets: Any,
    *,
    tolerance: float = 1e-3,
    max_iterations: int = 100,
    seed: int = 0,
) -> MaxEigenvalue:
    """Find the largest eigenvalue of each example's Hessian by Lanczos, with an upper bound of it.

    Args:
        model: as in `hvp`.
        inputs: as in `hvp`.
        targets: as in `hvp`.
        tolerance: where to stop: how far the value may be below its bound, relative to the value.
            In general it is far closer to the eigenvalue.
        max_iterations: the most products. With fewer than are needed, the bound is farther away. As
            many vectors are kept in memory.
        seed: of the vector with which Lanczos begins.

    Returns:
        A `MaxEigenvalue` of numpy arrays: ``value``, which is at most the largest eigenvalue;
        ``bound``, which is at least the largest eigenvalue, with probability .9999 and with
        allowance for the rounding of products; ``vector``, ``residual`` and ``num_hvps``. The
        residual alone tells only that some eigenvalue is near.

    Raises:
        TypeError, ValueError: as in `hvp`, or a tolerance or number is out of range.

    Reference:
        van Dorsselaer, Hochstenbach and van der Vorst 2001, "Computing probabilistic bounds for
        extreme eigenvalues of symmetric matrices with the Lanczos method". The code of Singla et
        al. 2019 takes ten power iterations, which can end far below (docs/methods.md, The input
        Hessian).

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, use_bias=False)])
        >>> _ = model.layers[0].kernel.assign([[1.0, -1.0], [0.0, 0.0]])
        >>> max_eigenvalue(model, np.zeros((1, 2)), 0).value.round(4)
        array([1.], dtype=float32)
    """
    checks.real("tolerance", tolerance, above=0)
    checks.positive_integer("max_iterations", max_iterations)
    examples = Examples(model, inputs, targets)
    seed = checks.seed(seed)

    def search(inputs: Tensors, targets: tf.Tensor) -> MaxEigenvalue:
        at = products.linearize(examples.classifier, inputs, targets)
        return largest.max_eigenvalue(
            products.finite(products.exact(at)),
            batch.rows(inputs),
            seed,
            tolerance=tolerance,
            max_iterations=max_iterations,
            rounding=at.rounding,
        )

    result = examples.run(search)
    arrays = tf.nest.map_structure(lambda part: part.numpy(), result)
    return arrays._replace(vector=examples.structured(result.vector))


def eigendecomposition(
    model: keras.Model,
    inputs: Tensors,
    targets: Any,
    *,
    kind: str = "auto",
    mass: float = 0.9999,
    rank: int = 64,
    tolerance: float = 1e-3,
    rows: int = 8,
    seed: int = 0,
) -> Eigendecomposition:
    """Find the leading eigenvalues and eigenvectors of each example's Hessian.

    Args:
        model: as in `hvp`.
        inputs: as in `hvp`.
        targets: as in `hvp`.
        kind: "classes": exact for piecewise-linear networks, at the cost of a gradient for each
            class; "krylov": Lanczos from the gradient on, for any network, at the cost of a
            product for each eigenvector; "auto": the one that costs less, which is "classes" for
            piecewise-linear networks of at most 16 classes.
        mass: for "classes": the likeliest classes are kept until they have this share of
            sum_k p_k (1 - p_k); 1 keeps all classes.
        rank: the most eigenvectors.
        tolerance: for "krylov": where to stop, relative to the largest absolute eigenvalue.
        rows: for "classes": how many gradients are computed at once.
        seed: of the random vectors that bound the error.

    Returns:
        An `Eigendecomposition` of numpy arrays.

    Raises:
        TypeError, ValueError: as in `hvp`, or a number is out of range.
        ValueError: "classes" for a network that is not piecewise linear.

    Reference:
        Singla et al. 2019, section 3.1 (docs/methods.md, The input Hessian).

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, use_bias=False)])
        >>> _ = model.layers[0].kernel.assign([[1.0, -1.0], [0.0, 0.0]])
        >>> eigendecomposition(model, np.zeros((1, 2)), 0).eigenvalues.round(4) + 0.0
        array([[1., 0.]], dtype=float32)
    """
    checks.one_of("kind", kind, KINDS)
    checks.real("mass", mass, above=0)
    if mass > 1:
        raise ValueError(f"mass={mass}: expected at most 1")
    checks.positive_integer("rank", rank)
    checks.real("tolerance", tolerance, above=0)
    checks.positive_integer("rows", rows)
    examples = Examples(model, inputs, targets)
    seed = checks.seed(seed)
    chosen_kind = kind

    def decompose(inputs: Tensors, targets: tf.Tensor) -> Any:
        nonlocal chosen_kind
        at = products.linearize(examples.classifier, inputs, targets)
        product = products.finite(products.exact(at))
        if kind == "auto":
            chosen_kind = factors.cheaper_kind(at)
        if chosen_kind == "classes":
            factor, _ = factor_by_classes(examples.classifier, at, mass=mass, rank=rank, rows=rows)
        else:
            goal = Goal(
                rank, tolerance, rank=rank, relative_coupling=tolerance, rounding=at.rounding
            )
            factor = lanczos(product, products.gradient(at), goal, seed).low_rank_factor(rank)
        return factor, factors.error_bound(product, factor, seed)

    factor, error_bound = examples.run(decompose)
    roots = tf.sqrt(tf.abs(factor.eigenvalues))[:, :, None]
    return Eigendecomposition(
        factor.eigenvalues.numpy(),
        examples.structured(tf.math.divide_no_nan(factor.vectors, roots)),
        error_bound.numpy(),
        factor.num_hvps.numpy(),
        chosen_kind,
    )


def _hvp(classifier: Classifier, inputs: Tensors, targets: tf.Tensor, mode: str) -> products.HVP:
    at = products.linearize(classifier, inputs, targets)
    if mode == "forward":
        return products.forward(classifier, inputs, targets)
    if mode == "reverse":
        return products.reverse(at)
    if at.curved_operation is not None:
        raise ValueError(
            "mode='gauss_newton' is the Hessian of piecewise-linear models alone, and "
            f"{at.curved_operation} is not piecewise linear; take mode='reverse'"
        )
    return products.gauss_newton(at)
