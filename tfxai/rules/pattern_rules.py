"""PatternNet and PatternAttribution (Kindermans et al. 2018): patterns in place of weights.

The paper treats kernels. Other linear steps follow from the definition of a pattern,
a = cov(x, y) / var(y) with w . a = 1: a sum of two branches is a neuron with the weights (1, 1) and
has a pattern like any other neuron; a factor s of a single input has the pattern 1 / s
(docs/methods.md, PatternNet and PatternAttribution). Extended, normalisations by data hold their
statistics, attention its weights, and what else is not piecewise linear has its ordinary gradient,
as all that has no pattern.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfxai.rules.linear import is_linear, summed_like, vjp_input, weights
from tfxai.rules.rule import Replacement, Rule
from tfxai.rules.smooth import fixed_or_ordinary, gated, is_product_of_matrices, title
from tfxai.rules.steps import Step


def pattern_net(patterns: Mapping[str, Any], *, extend: bool = False) -> Rule:
    """Pass cotangents back through the pattern a in place of the weights W.

    Reference:
        Kindermans et al. 2018, section 4.
    """
    return Rule(
        "pattern_net",
        lambda step: _replace(step, patterns, attribution=False),
        extend=_extend if extend else None,
        fitted=True,
    )


def pattern_attribution(patterns: Mapping[str, Any], *, extend: bool = False) -> Rule:
    """Pass cotangents back through W' ⊙ a, with the weights W' that the model has at the time.

    Reference:
        Kindermans et al. 2018, section 4.
    """
    return Rule(
        "pattern_attribution",
        lambda step: _replace(step, patterns, attribution=True),
        extend=_extend if extend else None,
        fitted=True,
    )


def _replace(step: Step, patterns: Mapping[str, Any], *, attribution: bool) -> Replacement | None:
    if is_linear(step):
        return Replacement(
            "pattern times weights" if attribution else "pattern for weights",
            lambda g: _linear(step, patterns, g, attribution=attribution),
        )
    if step.first.type in ("Mul", "RealDiv", "Neg") and len(step.data) == 1:
        return Replacement(
            "factor's pattern", lambda g: [_factor(step, g, attribution=attribution)]
        )
    return None


def _extend(step: Step) -> Replacement | None:
    """Hold the weights of an attention, which are no signal; the signal is in what they weigh."""
    weighed = gated(step) if is_product_of_matrices(step) else None
    if weighed is None:
        return fixed_or_ordinary(step)

    def to_weighed(cotangent: tf.Tensor) -> list[tf.Tensor | None]:
        return [g if i == weighed else None for i, g in enumerate(step.gradient([cotangent]))]

    return Replacement(f"{title(step)}: passed to what attention weighs", to_weighed, extended=True)


def _linear(
    step: Step, patterns: Mapping[str, Any], cotangent: tf.Tensor, *, attribution: bool
) -> list[tf.Tensor]:
    if step.name not in patterns:
        raise ValueError(
            f"patterns: there is none for {step.name!r}; they were fitted on another model, or "
            "on this one before it was changed: call tfxai.fit_patterns(model, data) again"
        )
    w = weights(step)
    a = tf.reshape(tf.cast(patterns[step.name], w.dtype), w.shape)
    return vjp_input(step, cotangent, w * a if attribution else a)


def _factor(step: Step, cotangent: tf.Tensor, *, attribution: bool) -> tf.Tensor:
    """Pass a cotangent back through y = s x: by s a = 1 for attribution, else by a = 1 / s."""
    (x,) = step.inputs
    if not attribution:
        (slope,) = step.gradient([tf.ones_like(step.outputs[0])])
        return tf.math.divide_no_nan(summed_like(x, cotangent), slope)
    return summed_like(x, cotangent)
