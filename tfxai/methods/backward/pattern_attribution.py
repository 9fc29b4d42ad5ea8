"""PatternNet, PatternAttribution (Kindermans et al. 2018) and Pattern-Guided IG (paper 000)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras

from tfxai import scores
from tfxai.baselines import baseline as as_baseline
from tfxai.core import checks
from tfxai.core.baseline_functions import option
from tfxai.core.map_checks import path_warnings
from tfxai.core.types import Attribution, Measurement, Score, Tensors
from tfxai.explaining.explainer import Explainer
from tfxai.explaining.method import Method
from tfxai.methods.gradients.gradient import without_numbers
from tfxai.methods.gradients.integrated_gradients import averaged_over_references, fixed_integral
from tfxai.models.model_info import ModelInspector
from tfxai.quadrature import right_riemann
from tfxai.rules import pattern_rules as rules
from tfxai.rules.backward import Report, Rule, gradient_under, report
from tfxai.rules.neurons import check_patterns
from tfxai.rules.patterns import Patterns, PatternWeights

DEAD = (
    "on the way to the class no active neuron has a pattern; those that the data never made active "
    "have none (print(patterns) counts them): fit patterns on examples of every class"
)
"""What to try where a map is zero."""


@keras.saving.register_keras_serializable("tfxai")
def pattern_net(
    model: keras.Model,
    patterns: Patterns,
    *,
    start: str = "output",
    score: Score = scores.logit,
    passthrough: Sequence[str] = (),
) -> Explainer:
    """Explain by the estimated signal: the score passed back through patterns.

    Every kernel W passes back a in its place; all else has its ordinary gradient.

    Args:
        model: a Keras model of piecewise-linear steps, written in any way.
        patterns: of this model, from `fit_patterns`.
        start: what starts at the output, "output" for the score itself or "one".
        score: what is explained, (outputs, targets) -> ``[B]``.
        passthrough: as it was given to `fit_patterns`.

    Returns:
        An Explainer with attributions of the inputs' shape, in units of the inputs.

    Raises:
        TypeError, ValueError: `patterns` are of another model.

    Reference:
        Kindermans et al. 2018, section 4; METHODS 1.2 and 1.3.

    Example:
        >>> import numpy as np
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="only")])
        >>> _ = model.layers[0].kernel.assign([[1.0], [-1.0]])
        >>> patterns = Patterns({"only": np.array([[1.0], [0.0]])})
        >>> pattern_net(model, patterns)(np.array([[3.0, 1.0]])).numpy().round(4) + 0.0
        array([[2., 0.]], dtype=float32)
    """
    parts = _prepare(rules.pattern_net, model, patterns, start, score, passthrough)
    return _explainer(pattern_net, model, parts)


@keras.saving.register_keras_serializable("tfxai")
def pattern_attribution(
    model: keras.Model,
    patterns: Patterns,
    *,
    start: str = "output",
    score: Score = scores.logit,
    passthrough: Sequence[str] = (),
) -> Explainer:
    """Explain by how much each input's signal contributes: passed back through W ⊙ a.

    Every kernel W passes back W ⊙ a, with w . a = 1, in its place; all else has its ordinary
    gradient.

    Args:
        model: a Keras model of piecewise-linear steps, written in any way.
        patterns: of this model, from `fit_patterns`. The weights W are those of the moment.
        start: what starts at the output, "output" for the score itself or "one".
        score: what is explained, (outputs, targets) -> ``[B]``.
        passthrough: as it was given to `fit_patterns`.

    Returns:
        An Explainer with attributions of the inputs' shape, in units of the score.

    Raises:
        TypeError, ValueError: `patterns` are of another model.

    Reference:
        Kindermans et al. 2018, section 4; METHODS 1.2 and 1.3. Not multiplied by the input. A
        batch normalisation that follows no kernel has its ordinary gradient.

    Example:
        >>> import numpy as np
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="only")])
        >>> _ = model.layers[0].kernel.assign([[2.0], [-2.0]])
        >>> patterns = Patterns({"only": np.array([[0.5], [0.0]])})
        >>> pattern_attribution(model, patterns)(np.array([[3.0, 1.0]])).numpy().round(4) + 0.0
        array([[4., 0.]], dtype=float32)
    """
    parts = _prepare(rules.pattern_attribution, model, patterns, start, score, passthrough)
    return _explainer(pattern_attribution, model, parts)


@keras.saving.register_keras_serializable("tfxai")
def pattern_guided_integrated_gradients(
    model: keras.Model,
    patterns: Patterns,
    *,
    baseline: Any = 0.0,
    steps: int = 25,
    start: str = "one",
    bounds: tuple[Any, Any] | None = None,
    score: Score = scores.logit,
    passthrough: Sequence[str] = (),
) -> Explainer:
    r"""Explain by integrated gradients whose gradient is that of PatternAttribution.

    phi_i = (x_i - x'_i) / m sum_{k=1}^m  d^(p) f(x' + k/m (x - x')) / d x_i

    Args:
        model: a Keras model of piecewise-linear steps, written in any way.
        patterns: of this model, from `fit_patterns`.
        baseline: x', as in `integrated_gradients`.
        steps: m.
        start: what starts at the output at each point, "one" or "output" for the score there.
        bounds: (smallest, largest) input; what the baselines "black" and "white" mean.
        score: what is explained, (outputs, targets) -> ``[B]``.
        passthrough: as it was given to `fit_patterns`.

    Returns:
        An Explainer with attributions of the inputs' shape; they do not sum to the score.
        `explain` reports ``map_error``, the estimated relative L2 error of the sum, and ``steps``.

    Raises:
        TypeError, ValueError: `patterns` are of another model, or an option is out of range.

    Reference:
        Schwarzenberg and Castle 2020, equation 3, at its own points k/m (METHODS 1.4: the
        authors' code leaves out the last). With ``start="one"`` and a linear model it is p times
        integrated gradients, as the paper derives (METHODS 1.3).

    Example:
        >>> import numpy as np
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="only")])
        >>> _ = model.layers[0].kernel.assign([[2.0], [-2.0]])
        >>> patterns = Patterns({"only": np.array([[0.5], [0.0]])})
        >>> explainer = pattern_guided_integrated_gradients(model, patterns)
        >>> explainer(np.array([[3.0, 1.0]])).numpy().round(4) + 0.0
        array([[3., 0.]], dtype=float32)
    """
    checks.positive_integer("steps", steps)
    inspector = ModelInspector(checks.model(model))
    named = inspector.as_declared("baseline", baseline)
    reference = as_baseline(named, bounds, order=inspector.order)
    parts = _prepare(rules.pattern_attribution, model, patterns, start, score, passthrough)

    def build(rows: int) -> Measurement:
        def from_one(x0: Tensors) -> Measurement:
            return fixed_integral(parts.attribution, x0, *right_riemann(steps), rows=rows)

        return averaged_over_references(from_one, reference)

    method = Method(
        build,
        score,
        copies=10,
        evaluations=steps,
        report=parts.report,
        if_constant=DEAD,
        warn=lambda r: path_warnings(r.attributions, r.diagnostics, tolerance=None, complete=False),
        inspector=inspector,
    )
    options = {**parts.options, "baseline": option(baseline), "steps": steps, "bounds": bounds}
    builder = pattern_guided_integrated_gradients
    return Explainer(model, method, builder=builder, options=options, weights=parts.weights)


class _Parts(NamedTuple):
    attribution: Attribution
    weights: PatternWeights
    report: Callable[[Tensors], Report]
    options: dict[str, Any]


def _explainer(builder: Callable[..., Explainer], model: keras.Model, parts: _Parts) -> Explainer:
    def build(rows: int) -> Measurement:
        return without_numbers(parts.attribution)

    method = Method(build, parts.options["score"], report=parts.report, if_constant=DEAD)
    return Explainer(model, method, builder=builder, options=parts.options, weights=parts.weights)


def _prepare(
    make_rule: Callable[[Mapping[str, Any]], Rule],
    model: keras.Model,
    patterns: Patterns,
    start: str,
    score: Score,
    passthrough: Sequence[str],
) -> _Parts:
    checks.model(model)
    checks.one_of("start", start, ("one", "output"))
    names = checks.names("passthrough", passthrough)
    weights = PatternWeights(check_patterns(patterns, model, names))

    def rule() -> Rule:
        return make_rule(weights.tensors())

    attribution = gradient_under(rule, model, score, start=start, passthrough=names)
    options = {"patterns": patterns, "start": start, "score": score, "passthrough": names}

    def rule_report(specs: Tensors) -> Report:
        return report(rule(), model, score, specs, names)

    return _Parts(attribution, weights, rule_report, options)
