"""Integrated gradients (Sundararajan et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfxai import scores
from tfxai.baselines import Baseline
from tfxai.baselines import baseline as as_baseline
from tfxai.core import batch, checks
from tfxai.core.map_checks import path_warnings
from tfxai.core.types import Attribution, Result, Score, ScoredModel, Tensors
from tfxai.estimation import aggregators, samplers
from tfxai.estimation.adaptive_path import adaptive_integral
from tfxai.estimation.estimate import estimate, over_inputs
from tfxai.explaining.builder import builder
from tfxai.explaining.explainer import Explainer
from tfxai.explaining.explanation import Explanation
from tfxai.explaining.method import Method
from tfxai.methods.gradients.gradient import inner_method
from tfxai.models.heads import scored
from tfxai.quadrature import Quadrature, trapezoid

WAVE = 8
"""Gradients that the adaptive rule takes of an example at once, in the middle of its work."""
USUAL_STEPS = 128
"""What few examples go beyond: memory is planned for so many, and grows for those that do."""


@builder
def integrated_gradients(
    base: keras.Model,
    *,
    baseline: Any = 0.0,
    steps: int = 64,
    quadrature: Quadrature | str = "adaptive",
    tolerance: float | None = None,
    max_steps: int = 512,
    bounds: tuple[Any, Any] | None = None,
    score: Score = scores.logit,
) -> Method:
    r"""Explain by (x - x') times the mean gradient on the path from the baseline x' to x.

    phi_i = (x_i - x'_i) \int_0^1 d f(x' + alpha (x - x')) / d x_i  d alpha

    Args:
        base: a Keras model with one output; or an explainer, which takes the gradient's place.
        baseline: x': a number, an array of one example's shape, "black", "white" or "blur"; a
            batch of references ``[R, ...]``, which all examples share and over which the
            attributions are averaged; or a function inputs -> references, one ``[B, ...]`` or
            several ``[R, B, ...]`` of its own for each example (`tfxai.baselines.baseline`).
        steps: gradients for each example (and reference), at least 1; fewer where they are all
            the same.
        quadrature: "adaptive" puts them where the path is rough
            (`tfxai.estimation.adaptive_path`); or a rule of `tfxai.quadrature`, such as
            ``quadrature.gauss_legendre``.
        tolerance: instead of `steps`: refine each example until the estimated relative L2 error
            of its map is not above this number.
        max_steps: where `tolerance` gives up.
        bounds: (smallest, largest) input after preprocessing, scalars or per channel; what
            "black" and "white" mean.
        score: what is explained, (outputs, targets) -> ``[B]``; an explainer has its own.

    Returns:
        An Explainer with attributions of the inputs' shape, in units of the score; those of a
        model sum to f(x) - f(x') but for the quadrature's error. `explain` reports ``map_error``,
        the estimated relative L2 error of the map, which few maps exceed but which is no bound
        (it knows the gradient at the nodes alone); ``completeness_gap``,
        \|sum phi - (f(x) - f(x'))\| relative to \|f(x) - f(x')\|; and ``steps``. The gap can be
        small on a map whose error is not. `explain` warns of a map error above .3 (or
        `tolerance`), and of a gap above .5 that is not large by chance.

    Raises:
        TypeError, ValueError: an option of the wrong type or out of range.

    Reference:
        Sundararajan, Taly and Yan 2017, equation 1; the Riemann sum of their equation 3 is
        ``quadrature.right_riemann``. Of `smoothgrad` or `adaptgrad` it is paper 001's S-IG and
        A-IG, whose noise fits each point of the path (METHODS 2.3), without the authors' extra
        gradient at x.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
        >>> _ = model.layers[0].kernel.assign([[2.0], [3.0]])
        >>> integrated_gradients(model)(tf.constant([[1.0, 2.0]])).numpy().round(4)
        array([[2., 6.]], dtype=float32)
    """
    inner = inner_method(base, score)
    checks.positive_integer("steps", steps)
    checks.positive_integer("max_steps", max_steps, least=2)
    if tolerance is not None:
        checks.real("tolerance", tolerance, above=0)
    if quadrature != "adaptive" and not callable(quadrature):
        raise ValueError(
            f"quadrature={quadrature!r}: expected 'adaptive' or a rule, e.g. "
            "tfxai.quadrature.gauss_legendre"
        )
    if tolerance is not None and quadrature != "adaptive":
        raise ValueError("tolerance needs quadrature='adaptive': the rules have fixed steps")
    most = steps if tolerance is None else max_steps
    rule = quadrature if callable(quadrature) else trapezoid if most < 3 else None
    named = inner.inspector.as_declared("baseline", baseline)
    reference = as_baseline(named, bounds, order=inner.inspector.order)
    scored_model = scored(inner.model, inner.score)

    def build(rows: int) -> Attribution:
        attribution = inner.build(rows)
        rows = 1 if inner.random else max(1, rows // inner.rows_per_example)

        def from_one(x0: Tensors) -> Attribution:
            if rule is not None:
                return fixed_integral(attribution, x0, *rule(most), rows=rows)
            return adaptive_integral(
                attribution, x0, tolerance=tolerance or 0.0, max_steps=most, rows=rows
            )

        return averaged_over_references(from_one, reference, scored_model)

    kept, at_once = (6, most) if rule else (2 * min(most, USUAL_STEPS), WAVE)
    complete = not isinstance(base, Explainer)
    return inner._replace(
        build=build,
        arrays_per_example=inner.arrays_per_example + kept,
        rows_per_example=inner.rows_per_example * at_once,
        like=None,
        if_constant="is the input its own baseline, or the score the same all the way from it?",
        warn=None if inner.random else partial(_warn, tolerance, complete),
    )


def _warn(tolerance: float | None, complete: bool, record: Explanation) -> list[str]:
    maps, diagnostics = record.attributions, record.diagnostics
    return path_warnings(maps, diagnostics, tolerance=tolerance, complete=complete)


def fixed_integral(
    attribution: Attribution,
    baseline: Tensors,
    nodes: np.ndarray,
    weights: np.ndarray,
    *,
    rows: int,
) -> Attribution:
    """Integrate (x - x') * attribution along the path by a fixed rule.

    The diagnostic ``map_error`` is the estimate of `tfxai.estimation.bridges` for these nodes, NaN
    for one node. It knows nothing of a peak in front of the first node, as normalisation layers
    make at zero.
    """
    order = np.argsort(nodes)
    sampler = samplers.line(baseline, nodes[order], weights[order])
    evaluate = over_inputs(attribution, sampler)
    integral = estimate(evaluate, len(nodes), aggregators.path_mean(nodes[order]), rows=rows)

    def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
        path = integral(inputs, targets, seed)
        error = tf.sqrt(path.squared_error)
        unknown = tf.fill(tf.shape(error), tf.constant(np.nan, error.dtype))
        diagnostics = {
            "map_error": unknown
            if len(nodes) == 1
            else batch.relative_error(error, batch.norm(path.mean)),
            "steps": tf.fill(tf.shape(targets), len(nodes)),
        }
        return Result(batch.from_rows(path.mean, inputs), diagnostics)

    return attribute


def averaged_over_references(
    from_one: Callable[[Tensors], Attribution],
    reference: Baseline,
    scored_model: ScoredModel | None = None,
) -> Attribution:
    """Average the attributions from each reference.

    With `scored_model`, for methods that sum to f(x) - f(x'), report the completeness gap too.
    """

    def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
        def from_reference(x0: Tensors) -> tuple[Tensors, tf.Tensor, tf.Tensor, tf.Tensor]:
            maps, diagnostics = from_one(x0)(inputs, targets, seed)
            error = diagnostics["map_error"] * batch.norm(maps)
            change = tf.zeros_like(error)
            if scored_model is not None:
                ends = tf.nest.map_structure(
                    lambda x, b: tf.concat([x, tf.zeros_like(x) + b], 0), inputs, x0
                )
                at_input, at_reference = tf.split(scored_model(ends, tf.tile(targets, [2])), 2)
                change = at_input - at_reference
            return maps, error, diagnostics["steps"], change

        references = reference(inputs)
        count = tf.nest.flatten(references)[0].shape[0]
        if count == 1:
            only = tf.nest.map_structure(lambda r: r[0], references)
            maps, error, steps, change = from_reference(only)
        else:
            like = tf.nest.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype), inputs)
            number = tf.TensorSpec([None], batch.dtype(inputs))
            steps_like = tf.TensorSpec([None], tf.int32)
            each = tf.map_fn(
                from_reference,
                references,
                fn_output_signature=(like, number, steps_like, number),
                parallel_iterations=1,
            )
            maps = tf.nest.map_structure(lambda m: tf.reduce_mean(m, 0), each[0])
            error = tf.norm(each[1], axis=0) / count
            steps, change = tf.reduce_sum(each[2], 0), tf.reduce_mean(each[3], 0)
        diagnostics = {"map_error": batch.relative_error(error, batch.norm(maps)), "steps": steps}
        if scored_model is not None:
            gap = tf.abs(batch.feature_sum(maps) - change)
            diagnostics["completeness_gap"] = batch.relative_error(gap, tf.abs(change))
        return Result(maps, diagnostics)

    return attribute
