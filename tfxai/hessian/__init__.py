"""The input Hessian of the cross-entropy: products with it, its largest eigenvalue, its factor.

With p = softmax of the logits and W = d logits / d x, a piecewise-linear net has
H = W (diag p - p p^T) W^T (METHODS 4.2): positive semidefinite, of a rank below the number of
classes. Second derivatives are never compiled by XLA, which misroutes them through max pooling.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfxai.core import batch, checks
from tfxai.core.types import Classifier, Tensors
from tfxai.hessian import factors, products, top
from tfxai.hessian.classes import by_classes
from tfxai.hessian.examples import Examples
from tfxai.hessian.lanczos import Goal, lanczos
from tfxai.hessian.top import Eigenvalue

MODES = ("reverse", "forward", "gauss_newton")
KINDS = ("auto", "classes", "krylov")


class Factor(NamedTuple):
    """H ~ sum_j eigenvalues_j u_j u_j^T, and how far from it."""

    eigenvalues: np.ndarray
    """The largest first, ``[B, R]``; 0 where an example has fewer."""
    eigenvectors: Tensors
    """Of the inputs' structure, ``[B, R, ...]``; 0 where the eigenvalue is."""
    error: np.ndarray
    """Bound of the spectral norm of H less its factor, with probability .99, ``[B]``."""
    passes: np.ndarray
    """How many vectors were sent through the network, ``[B]``."""
    kind: str
    """"classes" or "krylov"."""


def product(
    model: keras.Model, inputs: Tensors, vectors: Tensors, targets: Any, *, mode: str = "reverse"
) -> Tensors:
    """Multiply the input Hessian of the cross-entropy with vectors.

    Args:
        model: a Keras classifier; its softmax or sigmoid head is bypassed. A one-unit head is
            one of two classes.
        inputs: ``[B, ...]``, all at once in memory.
        vectors: of the inputs' shapes; or ``[K, B, ...]`` for K vectors each, which costs less
            than K calls.
        targets: a class for all, or ``[B]``.
        mode: "reverse" over reverse, the fastest on CPUs for nets of any kind; "forward" over
            reverse; "gauss_newton", W (diag p - p p^T) W^T, for piecewise-linear nets.

    Returns:
        H v, like `vectors`, numpy arrays.

    Raises:
        TypeError, ValueError: inputs, vectors or targets that do not fit the model.
        ValueError: `mode` is unknown, or "gauss_newton" of a net that is not piecewise linear.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, use_bias=False)])
        >>> _ = model.layers[0].kernel.assign([[1.0, -1.0], [0.0, 0.0]])
        >>> product(model, np.zeros((1, 2)), np.ones((1, 2)), 0).round(4) + 0.0
        array([[1., 0.]], dtype=float32)
    """
    checks.one_of("mode", mode, MODES)
    given = Examples(model, inputs, targets)
    flat = [np.asarray(v) for v in tf.nest.flatten(given.as_declared("vectors", vectors))]
    one = [v.shape for v in flat] == [x.shape for x in tf.nest.flatten(given.inputs)]
    if not one and [v.shape[1:] for v in flat] != [x.shape for x in tf.nest.flatten(given.inputs)]:
        raise ValueError(
            f"vectors have the shapes {[list(v.shape) for v in flat]}: expected those of the "
            f"inputs, {[list(x.shape) for x in tf.nest.flatten(given.inputs)]}, or these behind "
            "an axis more"
        )
    several = [tf.cast(v[None] if one else v, given.dtype) for v in flat]

    def multiply(inputs: Tensors, targets: tf.Tensor, several: list[tf.Tensor]) -> tf.Tensor:
        by = _products(given.classifier, inputs, targets, mode)
        return tf.map_fn(
            lambda parts: by(batch.rows(parts)),
            several,
            fn_output_signature=tf.TensorSpec([None, None], given.dtype),
        )

    rows = given.run(multiply, several)
    found = [given.structured(r) for r in rows]
    if one:
        return found[0]
    return tf.nest.map_structure(lambda *parts: np.stack(parts), *found)


def top_eigenvalue(
    model: keras.Model,
    inputs: Tensors,
    targets: Any,
    *,
    tolerance: float = 1e-3,
    max_iterations: int = 100,
    seed: int = 0,
) -> Eigenvalue:
    """Find the largest eigenvalue of each example's Hessian, and bound it, by Lanczos.

    Args:
        model: as in `product`.
        inputs: as in `product`.
        targets: as in `product`.
        tolerance: where to stop: how far the value may be below its bound, relative to the value.
            In general it is far closer to the eigenvalue.
        max_iterations: the most products, where the bound may be further away. As many vectors are
            kept.
        seed: of the vector to begin with.

    Returns:
        An `Eigenvalue`, of numpy arrays: ``value``, which is at most the largest eigenvalue;
        ``bound``, which is at least the largest one, with probability .9999 and with allowance for
        the rounding of products; ``vector``, ``residual`` and ``iterations``. The residual alone
        says that some eigenvalue is near.

    Raises:
        TypeError, ValueError: as in `product`; a tolerance or number out of range.

    Reference:
        van Dorsselaer, Hochstenbach and van der Vorst 2001, "Computing probabilistic bounds for
        extreme eigenvalues of symmetric matrices with the Lanczos method". Paper 003 takes ten
        power iterations (METHODS 4.3), which can end far below.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, use_bias=False)])
        >>> _ = model.layers[0].kernel.assign([[1.0, -1.0], [0.0, 0.0]])
        >>> top_eigenvalue(model, np.zeros((1, 2)), 0).value.round(4)
        array([1.], dtype=float32)
    """
    checks.real("tolerance", tolerance, above=0)
    checks.positive_integer("max_iterations", max_iterations)
    given = Examples(model, inputs, targets)
    seed = checks.seed(seed)

    def search(inputs: Tensors, targets: tf.Tensor) -> Eigenvalue:
        at = products.local(given.classifier, inputs, targets)
        return top.top_eigenvalue(
            products.finite(products.exact(at)),
            batch.rows(inputs),
            seed,
            tolerance=tolerance,
            max_iterations=max_iterations,
            rounding=at.rounding,
        )

    found = given.run(search)
    numbers = tf.nest.map_structure(lambda part: part.numpy(), found)
    return numbers._replace(vector=given.structured(found.vector))


def factor(
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
) -> Factor:
    """Find the eigenvalues and eigenvectors of each example's Hessian.

    Args:
        model: as in `product`.
        inputs: as in `product`.
        targets: as in `product`.
        kind: "classes": exact for piecewise-linear nets, a gradient for each class; "krylov":
            Lanczos from the gradient on, for any net, a product for each eigenvector. "auto" is
            the one that costs less: by classes where they are at most 16.
        mass: of "classes": the likeliest are kept until they have this share of
            sum_k p_k (1 - p_k); 1 keeps all.
        rank: the most eigenvectors.
        tolerance: of "krylov": where to stop, relative to the largest eigenvalue in size.
        rows: of "classes": how many gradients are computed at once.
        seed: of the random vectors that check the result.

    Returns:
        A `Factor`.

    Raises:
        TypeError, ValueError: as in `product`; a number out of range.
        ValueError: "classes" of a net that is not piecewise linear.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, use_bias=False)])
        >>> _ = model.layers[0].kernel.assign([[1.0, -1.0], [0.0, 0.0]])
        >>> factor(model, np.zeros((1, 2)), 0).eigenvalues.round(4) + 0.0
        array([[1., 0.]], dtype=float32)
    """
    checks.one_of("kind", kind, KINDS)
    checks.real("mass", mass, above=0)
    if mass > 1:
        raise ValueError(f"mass={mass}: expected at most 1")
    checks.positive_integer("rank", rank)
    checks.real("tolerance", tolerance, above=0)
    checks.positive_integer("rows", rows)
    given = Examples(model, inputs, targets)
    seed = checks.seed(seed)
    found_kind = kind

    def find(inputs: Tensors, targets: tf.Tensor) -> Any:
        nonlocal found_kind
        at = products.local(given.classifier, inputs, targets)
        by = products.finite(products.exact(at))
        if kind == "auto":
            found_kind = factors.cheaper(at)
        if found_kind == "classes":
            found, _ = by_classes(given.classifier, at, mass=mass, rank=rank, rows=rows)
        else:
            goal = Goal(rank, tolerance, rank=rank, relative=tolerance, rounding=at.rounding)
            found = lanczos(by, products.gradient(at), goal, seed).factor(rank)
        return found, factors.error_bound(by, found, seed)

    found, error = given.run(find)
    roots = tf.sqrt(tf.abs(found.eigenvalues))[:, :, None]
    return Factor(
        found.eigenvalues.numpy(),
        given.structured(tf.math.divide_no_nan(found.vectors, roots)),
        error.numpy(),
        found.passes.numpy(),
        found_kind,
    )


def _products(
    classifier: Classifier, inputs: Tensors, targets: tf.Tensor, mode: str
) -> products.Product:
    at = products.local(classifier, inputs, targets)
    if mode == "forward":
        return products.forward(classifier, inputs, targets)
    if mode == "reverse":
        return products.reverse(at)
    if at.curved is not None:
        raise ValueError(
            "mode='gauss_newton' is the Hessian of piecewise-linear models alone, and "
            f"{at.curved} is not piecewise linear; take mode='reverse'"
        )
    return products.gauss_newton(at)
