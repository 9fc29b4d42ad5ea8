"""CAFO and CASO (paper 003): the small change of the input that raises the loss most.

    D* = argmax g . D + 1/2 D^T H D - lambda1 |D|_1 - lambda2 |D|_2^2     (METHODS 4.1)

g and H are gradient and Hessian of the cross-entropy with respect to the input. CAFO has no H.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from tfxai.core import checks
from tfxai.core.tracing import traced
from tfxai.core.types import Attribution, Result, Tensors
from tfxai.explaining.builder import builder
from tfxai.explaining.method import Method
from tfxai.hessian import products
from tfxai.methods.second_order import proximal
from tfxai.methods.second_order.curvature import (
    LEAST_STEPS,
    STEPS,
    factored,
    lambda2_of,
    through_network,
)
from tfxai.methods.second_order.group_features import (
    check_options,
    lambda1_of,
    loss_of,
    method_of,
    result_of,
)
from tfxai.methods.second_order.proximal import Problem
from tfxai.methods.second_order.refinement import Problems, Solver
from tfxai.methods.second_order.sparsity import HALVINGS
from tfxai.methods.smoothing.noisy_inputs import NOISE_LEVEL
from tfxai.models.model_info import ModelInspector
from tfxai.models.preprocessing import preprocessed

MARGIN = 10.0
HESSIANS = ("auto", "classes", "krylov", "products")
_ALONE = 16
"""Rows that an example is counted as: of a large network few are explained together, since all
wait for the one that takes most iterations."""
_ARRAYS = 10
"""Of an example's size that the solver keeps for each lambda1."""


@builder
def cafo(
    model: keras.Model,
    *,
    lambda1: float | str = "auto",
    lambda2: float | None = None,
    samples: int = 1,
    noise_level: float = NOISE_LEVEL,
    preprocess: keras.layers.Layer | Callable | None = None,
) -> Method:
    """Explain by the group of features whose change raises the loss most, to first order.

    D* = argmax g . D - lambda1 |D|_1 - lambda2 |D|_2^2 = sign(g) max(|g| - lambda1, 0) / 2 lambda2

    Args:
        model: a Keras classifier, whose softmax or sigmoid head is bypassed. A one-unit head is
            one of two classes.
        lambda1: how sparse the map is, in units of g: loss per unit of input. "auto" is the
            paper's sweep: the smallest of 1e-5, 1e-4, ... that makes at least .75 of the pixels
            zero, or else a value between. Often .99 of them are zero then; "bisect" finds the
            smallest value that makes .75 of them zero.
        lambda2: a scale of the map and nothing else; the default is 10 (METHODS 4.1).
        samples: above 1, g is the mean over as many noisy inputs; the paper takes 50.
        noise_level: standard deviation of this noise / (max x - min x) of each example.
        preprocess: a layer or function of tensors in front of the model. The paper's lambda1
            means inputs in [0, 1], with the normalisation done inside.

    Returns:
        An Explainer with signed attributions of the inputs' shape: a positive one says that
        raising the feature raises the loss, which speaks against the class. The paper shows their
        size, summed over channels. `explain` reports ``lambda1``, ``lambda2``, ``sparsity`` (the
        share of zero pixels) and ``objective``, all ``[B]``.

    Raises:
        TypeError, ValueError: an option of the wrong type or out of range; on its use, where the
            gradient is zero or not finite.

    Reference:
        Singla et al. 2019 (paper 003), section 3, and METHODS 4.2 for the closed form. Noisy
        samples keep the clean image's label (METHODS 4.6).

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, use_bias=False)])
        >>> _ = model.layers[0].kernel.assign([[1.0, -1.0], [0.1, -0.1]])
        >>> cafo(model, lambda1=0.5)(tf.zeros([1, 2]), 0).numpy().round(4) + 0.0
        array([[-0.025,  0.   ]], dtype=float32)
    """
    check_options(lambda1, lambda2, samples, noise_level)
    model = preprocessed(checks.model(model), preprocess)
    inspector = ModelInspector(model)
    scale = MARGIN if lambda2 is None else float(lambda2)

    def build(rows: int) -> Attribution:
        loss = loss_of(model, samples, noise_level, rows)

        def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
            order = inspector.order(inputs)
            linear = loss.gradient(products.linearize(loss.classifier, inputs, targets), seed)
            weight = tf.fill([tf.shape(linear)[0], 1], tf.constant(scale, linear.dtype))

            def solve(values: tf.Tensor) -> tf.Tensor:
                return proximal.first_order(linear[:, None], values, weight)

            chosen = lambda1_of(lambda1, solve, linear, inputs, order)
            delta = solve(chosen)
            none = tf.zeros_like(weight)
            problem = Problem(linear[:, None], chosen, weight, none, none)
            value = proximal.objective(problem, delta, tf.zeros_like(delta))
            return result_of(inputs, order, delta, problem, value, {})

        return attribute

    return method_of(inspector, build, samples, arrays_per_example=HALVINGS * 4, rows_per_sample=1)


@builder
def caso(
    model: keras.Model,
    *,
    lambda1: float | str = "auto",
    lambda2: float | None = None,
    samples: int = 1,
    noise_level: float = NOISE_LEVEL,
    preprocess: keras.layers.Layer | Callable | None = None,
    margin: float = MARGIN,
    hessian: str = "auto",
    rank: int = 32,
    backtracking: bool = False,
    tolerance: float = 1e-4,
    max_iterations: int = 1000,
) -> Method:
    """Explain by the group of features whose change raises the loss most, to second order.

    D* = argmax g . D + 1/2 D^T H D - lambda1 |D|_1 - lambda2 |D|_2^2

    Args:
        model: as in `cafo`.
        lambda1: as in `cafo`.
        lambda2: in the paper's convention (its code minimises lambda' / 2 |D|^2 with lambda' =
            2 lambda2); above half of L's bound, where L is the largest eigenvalue of H. The
            default is half of the bound + `margin`.
        samples: above 1, g and H are means over as many noisy inputs; the paper takes 50.
        noise_level: as in `cafo`.
        preprocess: as in `cafo`.
        margin: of the default lambda2, the paper's c1.
        hessian: how H is had. "classes": its exact factor, for piecewise-linear models without
            noise, a gradient for each class; "krylov": Lanczos from the gradient on, for any
            model, a pass for each of up to `rank` vectors, or of 32 if L needs them; "auto": the
            cheaper one. With a factor,
            iterations do not pass through the network, but for the correction of what it leaves
            out. "products": all of them do, for each lambda1; it needs the least memory.
        rank: the most eigenvectors of the factor.
        backtracking: search each step's length as published, from .1 down; slower.
        tolerance: bound of the map's relative L2 error that the iterations stop at.
        max_iterations: of the solver.

    Returns:
        An Explainer with attributions as those of `cafo`. `explain` reports as `cafo`, and for
        each example ``max_eigenvalue``, L as it was found; ``max_eigenvalue_bound``, which L is at
        most, and without which no lambda2 is known to be large enough; ``residual``, a bound of
        the map's relative L2 error, rounding included, from a last pass through the network; and
        ``iterations`` of the solver. Bounds hold with probability .9999, by classes always.

    Raises:
        TypeError, ValueError: as `cafo`; on its use, `lambda2` that is not above half of L's
            bound, a `margin` that vanishes beside L, or "classes" where they do not fit.

    Reference:
        Singla et al. 2019 (paper 003), section 3 and appendix A; METHODS 4. With lambda1 = 0 it is
        the closed form. Otherwise FISTA with the momentum of strongly concave problems and steps
        of 1 / 2 lambda2, to a tolerance: the published ten iterations leave errors of up to a
        third where L is large, METHODS 4.4. In place of ten power iterations L has a bound, from
        Lanczos with a random part in its first vector (van Dorsselaer, Hochstenbach and van der
        Vorst 2001); within .001 of L, unless the eigenvalues next to it are many.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, use_bias=False)])
        >>> _ = model.layers[0].kernel.assign([[1.0, -1.0], [0.1, -0.1]])
        >>> caso(model, lambda1=0.5, lambda2=10.5)(tf.zeros([1, 2]), 0).numpy().round(4) + 0.0
        array([[-0.025,  0.   ]], dtype=float32)
    """
    check_options(lambda1, lambda2, samples, noise_level)
    checks.real("margin", margin, above=0)
    checks.one_of("hessian", hessian, HESSIANS)
    checks.positive_integer("rank", rank)
    checks.real("tolerance", tolerance, above=0)
    checks.positive_integer("max_iterations", max_iterations)
    if hessian == "classes" and samples > 1:
        raise ValueError(
            f"hessian='classes' and samples={samples}: a mean Hessian has no factor by classes; "
            "take 'krylov'"
        )
    model = preprocessed(checks.model(model), preprocess)
    inspector = ModelInspector(model)
    solver = Solver(tolerance, max_iterations, backtracking, linear=lambda1 == 0)

    def build(rows: int) -> Attribution:
        loss = loss_of(model, samples, noise_level, rows)

        def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
            order = inspector.order(inputs)
            at = products.linearize(loss.classifier, inputs, targets)
            linear = loss.gradient(at, seed)
            network = traced(loss.hessian(at, seed))
            given = (loss, at, network, linear)
            if hessian == "products":
                curvature = through_network(*given, seed)
            else:
                curvature = factored(*given, kind=hessian, rank=rank, margin=margin)
            weight = lambda2_of(curvature.bound[:, None], lambda2, margin)
            problems = Problems(linear, weight, curvature, solver)
            chosen = lambda1_of(lambda1, problems.deltas, linear, inputs, order)
            problem, solution = problems.problem(chosen), problems.solution(chosen)
            best = problems.judged(problem, solution, network)
            residual = proximal.stated(problem, best.delta, best.residual, at.rounding)
            diagnostics = {
                "max_eigenvalue": curvature.top,
                "max_eigenvalue_bound": curvature.bound,
                "residual": residual[:, 0],
                "iterations": solution.iterations[:, 0],
            }
            value = proximal.objective(problem, best.delta, best.along)
            return result_of(inputs, order, best.delta, problem, value, diagnostics)

        return attribute

    vectors = STEPS if hessian == "products" else 2 * max(rank, LEAST_STEPS)
    return method_of(
        inspector,
        build,
        samples,
        arrays_per_example=_ARRAYS * HALVINGS + vectors,
        rows_per_sample=HALVINGS if hessian == "products" else _ALONE,
        solves=True,
    )
