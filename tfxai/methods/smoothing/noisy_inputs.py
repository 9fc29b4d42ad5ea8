"""What the methods with noise on the inputs share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from tfxai import kernels
from tfxai.core import checks
from tfxai.core.types import Aggregator, Measurement, Sampler, Tensors
from tfxai.estimation import samplers
from tfxai.estimation.accuracy import Budget, sampled
from tfxai.estimation.estimate import over_inputs
from tfxai.estimation.samplers import Scale
from tfxai.explaining.explainer import Explainer, as_explainer
from tfxai.explaining.method import missed_tolerance
from tfxai.kernels import Density
from tfxai.methods.gradients.gradient import gradient, maps_only
from tfxai.models.model_info import ModelInspector

NOISE_LEVEL = 0.15
KEPT = 10
"""Arrays of an example's size that the statistics keep."""


def over_noisy_inputs(
    of: keras.Model,
    sampler: Sampler,
    aggregator: Aggregator,
    budget: Budget,
    builder: Callable[..., Explainer],
    options: dict[str, Any],
    *,
    antithetic: bool = False,
    check: Callable[[Tensors], None] | None = None,
) -> Explainer:
    """Aggregate an explainer (of a model: its gradient) at the points of a sampler."""
    base = as_explainer(of, gradient)
    each = 2 if antithetic else 1
    inspector = base.method.inspector or ModelInspector(base.model)
    together = 1 if base.method.random else budget.samples  # see `estimate.over_inputs`

    def build(rows: int) -> Measurement:
        evaluate = over_inputs(maps_only(base.method.build(rows)), sampler, antithetic=antithetic)
        chunk = 1 if base.method.random else max(1, 2 * rows // base.method.evaluations // each)
        return sampled(
            evaluate,
            aggregator,
            budget,
            rows=chunk,
            each=each,
            like=base.method.like,
            order=inspector.order,
        )

    method = base.method._replace(
        build=build,
        random=True,
        copies=base.method.copies + KEPT,
        evaluations=base.method.evaluations * together,
        check=check or base.method.check,
        warn=missed_tolerance(budget.tolerance),
        inspector=inspector,
    )
    return Explainer(of, method, builder=builder, options=options)


def noise_scale(
    kernel: Density,
    noise_level: float,
    epsilon: float | None,
    r: float | None,
    confidence: float,
) -> Scale:
    """Give eps by one of the three ways to say it.

    Raises:
        TypeError, ValueError: out of range, or said in two ways.
    """
    kernels.check("kernel", kernel)
    checks.real("noise_level", noise_level, least=0)
    checks.real("confidence", confidence, above=0, below=1)
    given = {"epsilon": epsilon, "r": r}
    if noise_level != NOISE_LEVEL:
        given["noise_level"] = noise_level
    said = [f"{name}={value}" for name, value in given.items() if value is not None]
    if len(said) > 1:
        raise ValueError(f"{' and '.join(said)}: give one of them")
    if epsilon is not None:
        return samplers.absolute(checks.real("epsilon", epsilon, least=0))
    if r is not None:
        return samplers.absolute(kernels.epsilon(kernel, r, confidence))
    return samplers.relative(noise_level)
