"""CAFO and CASO (Singla et al. 2019): the small change of the input that raises the loss most.

    D* = argmax g . D + 1/2 D^T H D - lambda1 |D|_1 - lambda2 |D|_2^2        (section 3)

g and H are the gradient and the Hessian of the cross-entropy with respect to the input. CAFO leaves
out the term with H.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from tfxai import scores
from tfxai.core import batch, checks
from tfxai.core.axes import Order
from tfxai.core.map_checks import solver_warnings
from tfxai.core.types import Attribution, Result, Score, Tensors
from tfxai.estimation.samplers import DEFAULT_NOISE_LEVEL
from tfxai.explaining.builder import builder
from tfxai.explaining.method import Method
from tfxai.methods.second_order.concave_problem import Problem, cafo_closed_form, objective
from tfxai.methods.second_order.curvature import (
    MAX_HVPS,
    MIN_HVPS,
    choose_lambda2,
    find_curvature,
)
from tfxai.methods.second_order.loss import build_loss
from tfxai.methods.second_order.solver import Limits, Solver
from tfxai.methods.second_order.sparsity import HALVINGS, SEARCHES, choose_lambda1, sparsity
from tfxai.models import scored_models
from tfxai.models.model_info import ModelInspector
from tfxai.models.preprocessing import preprocessed

MARGIN = 10.0
"""lambda2 of CAFO, and what CASO adds to the bound of L / 2: c1 of Singla et al. 2019."""
HESSIANS = ("auto", "classes", "krylov", "products")
_ROWS_WITH_FACTOR = 16
"""How many rows an example counts as where H has a factor, so that few examples of a large network
are explained together: all of them wait for the one that takes most iterations."""
_ARRAYS_PER_LAMBDA1 = 10
"""How many arrays of an example's size the solver keeps for each lambda1."""
_IF_CONSTANT = "lambda1 leaves nothing of them; lower it, or let lambda1='bisect' choose"


@builder
def cafo(
    model: keras.Model,
    *,
    lambda1: float | str = "auto",
    lambda2: float | None = None,
    samples: int = 1,
    noise_level: float = DEFAULT_NOISE_LEVEL,
    preprocess: keras.layers.Layer | Callable | None = None,
    score: Score = scores.cross_entropy,
) -> Method:
    """Explain by the group of features whose change raises the loss most, to first order.

    D* = argmax g . D - lambda1 |D|_1 - lambda2 |D|_2^2 = sign(g) max(|g| - lambda1, 0) / 2 lambda2

    Args:
        model: a Keras classifier, whose softmax or sigmoid head is bypassed. A one-unit head is
            one of two classes.
        lambda1: how sparse the map is, in units of g (loss per unit of input). "auto" is the
            paper's sweep: it takes the smallest of 1e-5, 1e-4, ... that makes at least .75 of the
            pixels zero, or a value between two of them if none does. This often makes .99 of the
            pixels zero. "bisect" finds the smallest value that makes .75 of the pixels zero.
        lambda2: scales the map and changes nothing else; the default is 10.
        samples: above 1, g is the mean over this number of noisy inputs; the paper takes 50.
        noise_level: standard deviation of this noise / (max x - min x) of each example.
        preprocess: a layer or a function of tensors in front of the model. The paper's lambda1
            means inputs in [0, 1] that are normalised inside.
        score: the cross-entropy; of a model with other outputs that of one row of classes, such as
            ``output("label", cross_entropy)`` or ``position(-1, cross_entropy)``.

    Returns:
        An Explainer with signed attributions of the inputs' shape. A positive attribution says
        that raising the feature raises the loss, which speaks against the class. The paper shows
        sizes, summed over channels. `explain` reports ``lambda1``, ``lambda2``, ``sparsity`` (the
        share of zero pixels) and ``objective``, each ``[B]``.

    Raises:
        TypeError, ValueError: an option of the wrong type or out of range; on its use, where the
            gradient is zero or not finite.

    Reference:
        Singla et al. 2019, section 3; the closed form is that of appendix A.5. Noisy inputs keep
        the class of the clean input (docs/methods.md, CAFO and CASO).

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, use_bias=False)])
        >>> _ = model.layers[0].kernel.assign([[1.0, -1.0], [0.1, -0.1]])
        >>> cafo(model, lambda1=0.5)(tf.zeros([1, 2]), 0).numpy().round(4) + 0.0
        array([[-0.025,  0.   ]], dtype=float32)
    """
    _check_options(lambda1, lambda2, samples, noise_level)
    scored_models.checked_loss(score)
    model = preprocessed(checks.model(model), preprocess)
    inspector = ModelInspector(model)

    def build(rows: int) -> Attribution:
        loss = build_loss(model, score, samples, noise_level, rows)

        def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
            order = inspector.order(inputs)
            gradient = loss.gradient(loss.linearize(inputs, targets), seed)
            linear = gradient[:, None]
            lambda2_value = tf.constant(MARGIN if lambda2 is None else lambda2, gradient.dtype)
            lambda2s = tf.fill([tf.shape(gradient)[0], 1], lambda2_value)

            def solve(lambda1s: tf.Tensor) -> tf.Tensor:
                return cafo_closed_form(linear, lambda1s, lambda2s)

            lambda1s = choose_lambda1(lambda1, solve, gradient, inputs, order)
            delta = solve(lambda1s)
            no_curvature = tf.zeros_like(lambda2s)
            problem = Problem(linear, lambda1s, lambda2s, no_curvature, no_curvature)
            return _result(inputs, order, problem, delta, tf.zeros_like(delta), {})

        return attribute

    return Method(
        inspector,
        build,
        score,
        random=samples > 1,
        arrays_per_example=4 * HALVINGS,
        rows_per_example=samples,
        if_constant=_IF_CONSTANT,
        slopes=True,
    )


@builder
def caso(
    model: keras.Model,
    *,
    lambda1: float | str = "auto",
    lambda2: float | None = None,
    samples: int = 1,
    noise_level: float = DEFAULT_NOISE_LEVEL,
    preprocess: keras.layers.Layer | Callable | None = None,
    margin: float = MARGIN,
    hessian: str = "auto",
    rank: int = 32,
    backtracking: bool = False,
    tolerance: float = 1e-4,
    max_iterations: int = 1000,
    score: Score = scores.cross_entropy,
) -> Method:
    """Explain by the group of features whose change raises the loss most, to second order.

    D* = argmax g . D + 1/2 D^T H D - lambda1 |D|_1 - lambda2 |D|_2^2

    Args:
        model: as in `cafo`.
        lambda1: as in `cafo`.
        lambda2: must be above half the bound of L, the largest eigenvalue of H. The default is
            half the bound + `margin`. Its meaning is the paper's; the paper's code minimises
            lambda' / 2 |D|^2 with lambda' = 2 lambda2.
        samples: above 1, g and H are means over this number of noisy inputs; the paper takes 50.
        noise_level: as in `cafo`.
        preprocess: as in `cafo`.
        margin: of the default lambda2; the paper's c1.
        hessian: how products with H are computed. "classes" takes the exact factor of H, for
            piecewise-linear models without noise, at the cost of one gradient for each class.
            "krylov" takes a factor by Lanczos from the gradient on, for any model, at the cost of
            up to `rank` products with H, or up to 32 if bounding L needs more than `rank`. "auto"
            takes the cheaper of the two. With a factor, no iteration passes through the network;
            only the final correction does, for what the factor leaves out. "products" has no
            factor: every iteration passes through the network, for each lambda1. It needs the
            least memory.
        rank: the most eigenvectors of the factor.
        backtracking: search each step's length from .1 down, as in the paper's code; slower.
        tolerance: the bound of the map's relative L2 error at which the iterations stop.
        max_iterations: of the solver.
        score: as in `cafo`.

    Returns:
        An Explainer with attributions like those of `cafo`. `explain` reports what `cafo` reports,
        and for each example ``max_eigenvalue``, the value found for L; ``max_eigenvalue_bound``,
        an upper bound of L, without which no lambda2 is known to be large enough; ``residual``, a
        bound of the map's relative L2 error, rounding included, from a last pass through the
        network; and the solver's ``iterations``. The bounds hold with probability .9999; those by
        classes always hold.

    Raises:
        TypeError, ValueError: as in `cafo`; on its use, a `lambda2` that is not above half the
            bound of L, a `margin` that vanishes beside L, or "classes" for a model that is not
            piecewise linear.

    Reference:
        Singla et al. 2019, section 3 and appendix A. For lambda1 = 0 and H by a factor, the map is
        the closed form. Otherwise it is found by FISTA with the momentum of strongly concave
        problems and steps of 1 / (2 lambda2 - l), where l is a lower bound of H's eigenvalues, to
        a tolerance. The ten iterations of the paper's code leave an error of .37 where L is 1e3
        (docs/methods.md, CAFO and CASO). For L the paper's code takes ten power iterations; here
        Lanczos with a random part in its first vector bounds L (van Dorsselaer, Hochstenbach and
        van der Vorst 2001), to a thousandth of L unless many eigenvalues are close to L.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, use_bias=False)])
        >>> _ = model.layers[0].kernel.assign([[1.0, -1.0], [0.1, -0.1]])
        >>> caso(model, lambda1=0.5, lambda2=10.5)(tf.zeros([1, 2]), 0).numpy().round(4) + 0.0
        array([[-0.025,  0.   ]], dtype=float32)
    """
    _check_options(lambda1, lambda2, samples, noise_level)
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
    scored_models.checked_loss(score)
    model = preprocessed(checks.model(model), preprocess)
    inspector = ModelInspector(model)
    limits = Limits(tolerance, max_iterations, backtracking, closed_form=lambda1 == 0)

    def build(rows: int) -> Attribution:
        loss = build_loss(model, score, samples, noise_level, rows)

        def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
            order = inspector.order(inputs)
            expansion = loss.expand(inputs, targets, seed)
            curvature = find_curvature(expansion, kind=hessian, rank=rank, margin=margin)
            lambda2s = choose_lambda2(curvature.top_bound, lambda2, margin)
            solver = Solver(expansion.gradient, lambda2s, curvature, limits)
            lambda1s = choose_lambda1(lambda1, solver.deltas, expansion.gradient, inputs, order)
            rounding = expansion.linearization.rounding
            optimum = solver.optimum(lambda1s, expansion.hvp, rounding)
            diagnostics = {
                "max_eigenvalue": curvature.top,
                "max_eigenvalue_bound": curvature.top_bound,
                "residual": optimum.residual[:, 0],
                "iterations": optimum.iterations[:, 0],
            }
            return _result(
                inputs, order, optimum.problem, optimum.delta, optimum.hessian_delta, diagnostics
            )

        return attribute

    has_factor = hessian != "products"
    vectors = 2 * max(rank, MIN_HVPS) if has_factor else MAX_HVPS
    return Method(
        inspector,
        build,
        score,
        random=samples > 1,
        arrays_per_example=_ARRAYS_PER_LAMBDA1 * HALVINGS + vectors,
        rows_per_example=samples * (_ROWS_WITH_FACTOR if has_factor else HALVINGS),
        if_constant=_IF_CONSTANT,
        slopes=True,
        warn=lambda record: solver_warnings(record.diagnostics),
    )


def _check_options(
    lambda1: float | str, lambda2: float | None, samples: int, noise_level: float
) -> None:
    """Check the options that CAFO and CASO share."""
    if not isinstance(lambda1, str):
        checks.real("lambda1", lambda1, least=0)
    elif lambda1 not in SEARCHES:
        raise ValueError(f"lambda1={lambda1!r}: expected a number, 'auto' or 'bisect'")
    if lambda2 is not None:
        checks.real("lambda2", lambda2, above=0)
    checks.positive_integer("samples", samples)
    checks.real("noise_level", noise_level, least=0)


def _result(
    inputs: Tensors,
    order: Order,
    problem: Problem,
    delta: tf.Tensor,
    hessian_delta: tf.Tensor,
    diagnostics: dict[str, tf.Tensor],
) -> Result:
    """Give the maps D ``[B, 1, F]``, what CAFO and CASO both report, and a method's diagnostics."""
    shared = {
        "lambda1": problem.lambda1[:, 0],
        "lambda2": problem.lambda2[:, 0],
        "sparsity": sparsity(delta, inputs, order)[:, 0],
        "objective": objective(problem, delta, hessian_delta)[:, 0],
    }
    return Result(batch.from_rows(delta[:, 0], inputs), {**shared, **diagnostics})
