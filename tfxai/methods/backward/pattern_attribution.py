"""PatternNet, PatternAttribution and pattern-guided integrated gradients.

Sources: Kindermans et al. 2018 for the first two, Schwarzenberg and Castle 2020 for the third.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from tfxai import scores
from tfxai.baselines import baseline as as_baseline
from tfxai.core import checks
from tfxai.core.map_checks import path_warnings
from tfxai.core.types import Attribution, Score, Tensors
from tfxai.estimation.fixed_path import fixed_integral
from tfxai.estimation.references import averaged_over_references
from tfxai.explaining.builder import builder
from tfxai.explaining.explanation import Explanation
from tfxai.explaining.method import Method
from tfxai.models.model_info import ModelInspector
from tfxai.quadrature import right_riemann
from tfxai.rules import pattern_rules as rules
from tfxai.rules.backward import gradient_under
from tfxai.rules.extensions import Extensions
from tfxai.rules.neurons import check_patterns
from tfxai.rules.patterns import Patterns, PatternWeights
from tfxai.rules.report import report
from tfxai.rules.rule import Rule

NO_PATTERN = (
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
    extend: bool = True,
) -> Method:
    """Explain by the estimated signal: the score, passed back through patterns.

    In the backward pass the pattern a takes the place of every kernel W. All other steps have their
    ordinary gradient.

    Args:
        model: a Keras model, written in any way.
        patterns: the patterns of this model, from `fit_patterns`.
        start: what the backward pass starts with, "output" for the score itself, "one" for 1.
        score: the function (outputs, targets) -> ``[B]`` that gives the score to explain.
        passthrough: the same value that `fit_patterns` was given.
        extend: the same value that `fit_patterns` was given.

    Returns:
        An Explainer with attributions of the inputs' shape, in units of the inputs.

    Raises:
        TypeError, ValueError: `patterns` belong to another model.

    Reference:
        Kindermans et al. 2018, section 4 (docs/methods.md, PatternNet and PatternAttribution).

    Example:
        >>> import numpy as np
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="only")])
        >>> _ = model.layers[0].kernel.assign([[1.0], [-1.0]])
        >>> patterns = Patterns({"only": np.array([[1.0], [0.0]])})
        >>> pattern_net(model, patterns)(np.array([[3.0, 1.0]])).numpy().round(4) + 0.0
        array([[2., 0.]], dtype=float32)
    """
    return _pattern_method(rules.pattern_net, model, patterns, start, score, passthrough, extend)


@builder
def pattern_attribution(
    model: keras.Model,
    patterns: Patterns,
    *,
    start: str = "output",
    score: Score = scores.logit,
    passthrough: Sequence[str] = (),
    extend: bool = True,
) -> Method:
    """Explain by the contribution of each input's signal: the score, passed back through W ⊙ a.

    In the backward pass W ⊙ a takes the place of every kernel W, where w . a = 1 for the weights w
    and the pattern a of each neuron. All other steps have their ordinary gradient.

    Args:
        model: a Keras model, written in any way.
        patterns: the patterns of this model, from `fit_patterns`. The weights W are read from the
            model at each call.
        start: what the backward pass starts with, "output" for the score itself, "one" for 1.
        score: the function (outputs, targets) -> ``[B]`` that gives the score to explain.
        passthrough: the same value that `fit_patterns` was given.
        extend: the same value that `fit_patterns` was given.

    Returns:
        An Explainer with attributions of the inputs' shape, in units of the score.

    Raises:
        TypeError, ValueError: `patterns` belong to another model.

    Reference:
        Kindermans et al. 2018, section 4. The result is not multiplied by the input. A batch
        normalisation that follows no kernel has its ordinary gradient. What the backward pass
        starts with differs between the sources (docs/methods.md, PatternNet and
        PatternAttribution).

    Example:
        >>> import numpy as np
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="only")])
        >>> _ = model.layers[0].kernel.assign([[2.0], [-2.0]])
        >>> patterns = Patterns({"only": np.array([[0.5], [0.0]])})
        >>> pattern_attribution(model, patterns)(np.array([[3.0, 1.0]])).numpy().round(4) + 0.0
        array([[4., 0.]], dtype=float32)
    """
    return _pattern_method(
        rules.pattern_attribution, model, patterns, start, score, passthrough, extend
    )


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
    extend: bool = True,
) -> Method:
    r"""Explain by integrated gradients, with PatternAttribution in place of the gradient.

    phi_i = (x_i - x'_i) / m sum_{k=1}^m  d^(p) f(x' + k/m (x - x')) / d x_i

    d^(p) f is the backward pass of PatternAttribution.

    Args:
        model: a Keras model, written in any way.
        patterns: the patterns of this model, from `fit_patterns`.
        baseline: x', as in `integrated_gradients`.
        steps: m, the number of points on the path.
        start: what the backward pass starts with at each point of the path, "one" for 1, "output"
            for the score at this point.
        bounds: the smallest and the largest value of an input, for the baselines "black" and
            "white".
        score: the function (outputs, targets) -> ``[B]`` that gives the score to explain.
        passthrough: the same value that `fit_patterns` was given.
        extend: the same value that `fit_patterns` was given.

    Returns:
        An Explainer with attributions of the inputs' shape; they do not sum to the score.
        `explain` reports ``map_error``, the estimated relative L2 error of the sum as an
        approximation of the integral, and ``steps``.

    Raises:
        TypeError, ValueError: `patterns` belong to another model, or an option is out of range.

    Reference:
        Schwarzenberg and Castle 2020, equation 4, at the paper's points k/m; the authors' code
        leaves out the last point (docs/methods.md, Pattern-guided integrated gradients). With
        ``start="one"`` and a linear model the result is the pattern times integrated gradients, as
        the paper derives.

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
    inner = _pattern_method(
        rules.pattern_attribution, model, patterns, start, score, passthrough, extend
    )
    declared = inner.inspector.as_declared("baseline", baseline)
    references = as_baseline(declared, bounds, order=inner.inspector.order)

    def build(rows: int) -> Attribution:
        def integral_from(reference: Tensors) -> Attribution:
            return fixed_integral(inner.build(rows), reference, *right_riemann(steps), rows=rows)

        return averaged_over_references(integral_from, references)

    return inner._replace(
        build=build,
        arrays_per_example=10,
        rows_per_example=steps,
        warn=_path_warnings,
    )


def _path_warnings(record: Explanation) -> list[str]:
    """Warn of maps whose integral is not accurate; they need not sum to the score."""
    return path_warnings(record.attributions, record.diagnostics, tolerance=None, complete=False)


def _pattern_method(
    make_rule: Callable[..., Rule],
    model: keras.Model,
    patterns: Patterns,
    start: str,
    score: Score,
    passthrough: Sequence[str],
    extend: bool,
) -> Method:
    """Give the method that takes the gradient under a rule for patterns."""
    inspector = ModelInspector(checks.model(model))
    checks.one_of("start", start, ("one", "output"))
    names = checks.names("passthrough", passthrough)
    checks.one_of("extend", extend, (True, False))
    weights = PatternWeights(check_patterns(patterns, model, names, extend=extend))
    extensions = Extensions()

    def rule() -> Rule:
        return make_rule(weights.tensors(), extend=extend)

    attribution = gradient_under(
        rule, model, score, start=start, passthrough=names, extensions=extensions
    )
    return Method(
        inspector,
        lambda rows: attribution,
        score,
        learnt=weights,
        report=lambda specs: report(rule(), model, score, specs, names),
        extensions=extensions,
        if_constant=NO_PATTERN,
    )
