"""Integrated gradients (Sundararajan et al. 2017)."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras

from tfxai import scores
from tfxai.baselines import baseline as as_baseline
from tfxai.core import checks
from tfxai.core.map_checks import path_warnings
from tfxai.core.types import Attribution, Score, Tensors
from tfxai.estimation.adaptive_path import adaptive_integral
from tfxai.estimation.fixed_path import fixed_integral
from tfxai.estimation.references import averaged_over_references
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
        >>> integrated_gradients(model)(keras.ops.array([[1.0, 2.0]])).numpy().round(4)
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
