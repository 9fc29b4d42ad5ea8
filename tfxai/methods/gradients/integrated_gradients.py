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
from tfxai.estimation import aggregators
from tfxai.estimation.adaptive_path import adaptive_integral
from tfxai.estimation.estimate import along_line, estimate
from tfxai.explaining.builder import builder
from tfxai.explaining.explainer import Explainer
from tfxai.explaining.explanation import Explanation
from tfxai.explaining.method import Method
from tfxai.methods.gradients.gradient import inner_method
from tfxai.models.scored_models import scored
from tfxai.quadrature import Quadrature, trapezoid

GRADIENTS_AT_ONCE = 8
"""How many gradients of one example the adaptive rule typically computes together."""
STEPS_IN_MEMORY = 128
"""Memory is planned for so many steps at most; the few examples that need more steps use more."""


@builder
def integrated_gradients(
    model: keras.Model,
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
        model: a Keras model with one output; or an explainer, which takes the gradient's place.
        baseline: x': a number, an array of one example's shape, "black", "white" or "blur"; a
            batch of references ``[R, ...]``, which all examples share and over which the
            attributions are averaged; or a function that computes references from the inputs,
            one for each example ``[B, ...]`` or several ``[R, B, ...]``
            (`tfxai.baselines.baseline`).
        steps: how many gradients each example gets for each reference, at least 1. The adaptive
            rule takes fewer where its estimated error is 0.
        quadrature: "adaptive" puts the gradients where the path is rough
            (`tfxai.estimation.adaptive_path`); or a rule of `tfxai.quadrature`, such as
            ``quadrature.gauss_legendre``.
        tolerance: instead of `steps`: refine each example until the estimated relative L2 error
            of its map is at most this number.
        max_steps: the most steps that `tolerance` may take.
        bounds: (smallest, largest) input after preprocessing, numbers or arrays per channel; they
            define "black" and "white".
        score: what is explained, (outputs, targets) -> ``[B]``; an explainer has its own.

    Returns:
        An Explainer with attributions of the inputs' shape, in units of the score. If `model` is
        a model, they sum to f(x) - f(x') up to the error of the quadrature. `explain` reports
        ``map_error``, an estimate of the relative L2 error of the map, which few maps exceed but
        which is no bound, since it knows only the gradients at the nodes; ``completeness_gap``,
        \|sum phi - (f(x) - f(x'))\| relative to \|f(x) - f(x')\|; and ``steps``. The gap can be
        small although the error of the map is large. `explain` warns of a map error above .3 (or
        `tolerance`), and of a gap above .5 that is not large by chance.

    Raises:
        TypeError, ValueError: an option of the wrong type or out of range.

    Reference:
        Sundararajan, Taly and Yan 2017, equation 1; the Riemann sum of their equation 3 is
        ``quadrature.right_riemann``. ``integrated_gradients(smoothgrad(model))`` is S-IG, and with
        `adaptgrad` A-IG, of Zhou et al. 2024a (AdaptGrad), Table 2: the noise fits each point of
        the path. The authors' code adds one more gradient at x (docs/methods.md, Integrated
        gradients).

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
        >>> _ = model.layers[0].kernel.assign([[2.0], [3.0]])
        >>> integrated_gradients(model)(tf.constant([[1.0, 2.0]])).numpy().round(4)
        array([[2., 6.]], dtype=float32)
    """
    inner = inner_method(model, score)
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
    node_limit = steps if tolerance is None else max_steps
    rule = quadrature if callable(quadrature) else trapezoid if node_limit < 3 else None
    declared_baseline = inner.inspector.as_declared("baseline", baseline)
    references_of = as_baseline(declared_baseline, bounds, order=inner.inspector.order)
    scored_model = scored(inner.model, inner.score)

    def build(rows: int) -> Attribution:
        attribution = inner.build(rows)
        points_at_once = 1 if inner.random else max(1, rows // inner.rows_per_example)

        def integral_from(reference: Tensors) -> Attribution:
            if rule is not None:
                nodes, weights = rule(node_limit)
                return fixed_integral(
                    attribution,
                    reference,
                    nodes,
                    weights,
                    rows=points_at_once,
                    select=inner.selected,
                )
            return adaptive_integral(
                attribution,
                reference,
                tolerance=tolerance or 0.0,
                max_steps=node_limit,
                rows=points_at_once,
                select=inner.selected,
            )

        return averaged_over_references(
            integral_from, references_of, scored_model, select=inner.selected
        )

    if rule is not None:
        arrays, gradients_at_once = 6, node_limit
    else:
        arrays, gradients_at_once = 2 * min(node_limit, STEPS_IN_MEMORY), GRADIENTS_AT_ONCE
    complete = not isinstance(model, Explainer)
    return inner._replace(
        build=build,
        arrays_per_example=inner.arrays_per_example + arrays,
        rows_per_example=inner.rows_per_example * gradients_at_once,
        like=inner.select,
        slopes=False,
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
    select: Callable[[Tensors], Tensors] = lambda values: values,
) -> Attribution:
    """Integrate (x - x') * attribution along the straight path from x' to x by a fixed rule.

    The diagnostic ``map_error`` is the estimate of `tfxai.estimation.bridges` for these nodes, or
    NaN for one node. The estimate misses a peak before the first node, such as normalisation
    layers make near zero.

    Args:
        attribution: what is integrated.
        baseline: x', broadcast to the inputs.
        nodes: positions on the path in [0, 1], ``[n]``.
        weights: their weights, ``[n]``.
        rows: points evaluated at once.
        select: values in the structure of the inputs -> those of the inputs that have maps.
    """
    order = np.argsort(nodes)
    evaluate = along_line(attribution, baseline, nodes[order], weights[order], select=select)
    statistic = aggregators.path_mean(nodes[order])
    integral = estimate(evaluate, len(nodes), statistic, rows=rows, like=select)

    def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
        path = integral(inputs, targets, seed)
        error = tf.sqrt(path.squared_error)
        if len(nodes) == 1:
            map_error = tf.fill(tf.shape(error), tf.constant(np.nan, error.dtype))
        else:
            map_error = batch.relative_error(error, batch.norm(path.mean))
        diagnostics = {"map_error": map_error, "steps": tf.fill(tf.shape(targets)[:1], len(nodes))}
        return Result(batch.from_rows(path.mean, select(inputs)), diagnostics)

    return attribute


def averaged_over_references(
    integral_from: Callable[[Tensors], Attribution],
    references_of: Baseline,
    scored_model: ScoredModel | None = None,
    *,
    select: Callable[[Tensors], Tensors] = lambda values: values,
) -> Attribution:
    """Average the attributions from each reference.

    Args:
        integral_from: a reference -> the attribution from it, which reports ``map_error`` and
            ``steps``.
        references_of: inputs -> references ``[R, B | 1, ...]``.
        scored_model: if the attributions should sum to f(x) - f(x'), the model f, for the
            diagnostic ``completeness_gap``.
        select: values in the structure of the inputs -> those of the inputs that have maps.
    """

    def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
        def from_reference(reference: Tensors) -> tuple[Tensors, tf.Tensor, tf.Tensor, tf.Tensor]:
            maps, diagnostics = integral_from(reference)(inputs, targets, seed)
            error = diagnostics["map_error"] * batch.norm(maps)
            change = tf.zeros_like(error)
            if scored_model is not None:
                change = _score_change(scored_model, inputs, reference, targets)
            return maps, error, diagnostics["steps"], change

        references = references_of(inputs)
        count = tf.nest.flatten(references)[0].shape[0]
        if count == 1:
            single_reference = tf.nest.map_structure(lambda r: r[0], references)
            maps, error, steps, change = from_reference(single_reference)
        else:
            maps_spec = tf.nest.map_structure(
                lambda x: tf.TensorSpec(x.shape, x.dtype), select(inputs)
            )
            numbers_spec = tf.TensorSpec([None], batch.dtype(inputs))
            steps_spec = tf.TensorSpec([None], tf.int32)
            all_maps, errors, all_steps, changes = tf.map_fn(
                from_reference,
                references,
                fn_output_signature=(maps_spec, numbers_spec, steps_spec, numbers_spec),
                parallel_iterations=1,
            )
            maps = tf.nest.map_structure(lambda m: tf.reduce_mean(m, 0), all_maps)
            error = tf.norm(errors, axis=0) / count
            steps, change = tf.reduce_sum(all_steps, 0), tf.reduce_mean(changes, 0)
        diagnostics = {"map_error": batch.relative_error(error, batch.norm(maps)), "steps": steps}
        if scored_model is not None:
            gap = tf.abs(batch.feature_sum(maps) - change)
            diagnostics["completeness_gap"] = batch.relative_error(gap, tf.abs(change))
        return Result(maps, diagnostics)

    return attribute


def _score_change(
    scored_model: ScoredModel, inputs: Tensors, reference: Tensors, targets: tf.Tensor
) -> tf.Tensor:
    """Give f(x) - f(x'), ``[B]``."""
    inputs_and_references = tf.nest.map_structure(
        lambda x, r: tf.concat([x, tf.zeros_like(x) + r], 0), inputs, reference
    )
    both_scores = scored_model(inputs_and_references, batch.tiled(targets, 2))
    at_input, at_reference = tf.split(both_scores, 2)
    return at_input - at_reference
