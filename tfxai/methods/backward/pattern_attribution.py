"""PatternNet, PatternAttribution (Kindermans et al. 2018) and Pattern-Guided IG (paper 000)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from tfxai import scores
from tfxai.baselines import baseline as as_baseline
from tfxai.core import checks
from tfxai.core.map_checks import path_warnings
from tfxai.core.types import Attribution, Score, Tensors
from tfxai.explaining.builder import builder
from tfxai.explaining.method import Method
from tfxai.methods.gradients.integrated_gradients import averaged_over_references, fixed_integral
from tfxai.models.model_info import ModelInspector
from tfxai.quadrature import right_riemann
from tfxai.rules import pattern_rules as rules
from tfxai.rules.backward import Rule, gradient_under, report
from tfxai.rules.neurons import check_patterns
from tfxai.rules.patterns import Patterns, PatternWeights

DEAD = (
    "on the way to the class no active neuron has a pattern; those that the data never made active "
    "have none (print(patterns) counts them): fit patterns on examples of every class"
)
"""What to try where a map is zero."""


@builder
def pattern_net(
    model: keras.Model,
    patterns: Patterns,
    *,
    start: str = "output",
    score: Score = scores.logit,
    passthrough: Sequence[str] = (),
) -> Method:
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
    return _gradient_under(rules.pattern_net, model, patterns, start, score, passthrough)


@builder
def pattern_attribution(
    model: keras.Model,
    patterns: Patterns,
    *,
    start: str = "output",
    score: Score = scores.logit,
    passthrough: Sequence[str] = (),
) -> Method:
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
    return _gradient_under(rules.pattern_attribution, model, patterns, start, score, passthrough)


@builder
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
) -> Method:
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
    guided = _gradient_under(rules.pattern_attribution, model, patterns, start, score, passthrough)
    named = guided.inspector.as_declared("baseline", baseline)
    reference = as_baseline(named, bounds, order=guided.inspector.order)

    def build(rows: int) -> Attribution:
        def from_one(x0: Tensors) -> Attribution:
            return fixed_integral(guided.build(rows), x0, *right_riemann(steps), rows=rows)

        return averaged_over_references(from_one, reference)

    return guided._replace(
        build=build,
        arrays_per_example=10,
        rows_per_example=steps,
        warn=lambda r: path_warnings(r.attributions, r.diagnostics, tolerance=None, complete=False),
    )


def _gradient_under(
    make_rule: Callable[[Mapping[str, Any]], Rule],
    model: keras.Model,
    patterns: Patterns,
    start: str,
    score: Score,
    passthrough: Sequence[str],
) -> Method:
    """Give the method that takes the gradient under a rule of patterns."""
    inspector = ModelInspector(checks.model(model))
    checks.one_of("start", start, ("one", "output"))
    names = checks.names("passthrough", passthrough)
    weights = PatternWeights(check_patterns(patterns, model, names))

    def rule() -> Rule:
        return make_rule(weights.tensors())

    attribution = gradient_under(rule, model, score, start=start, passthrough=names)
    return Method(
        inspector,
        lambda rows: attribution,
        score,
        learnt=weights,
        report=lambda specs: report(rule(), model, score, specs, names),
        if_constant=DEAD,
    )
