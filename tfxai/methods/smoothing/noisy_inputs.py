"""What the methods with noise on the inputs share."""

from __future__ import annotations

from collections.abc import Callable

from tfxai import kernels
from tfxai.core import checks
from tfxai.core.types import Aggregator, Attribution, Sampler, Tensors
from tfxai.estimation import samplers
from tfxai.estimation.accuracy import Budget, sampled
from tfxai.estimation.estimate import over_inputs
from tfxai.estimation.samplers import Scale
from tfxai.explaining.method import Method, missed_tolerance
from tfxai.kernels import Density

NOISE_LEVEL = 0.15
KEPT = 10
"""Arrays of an example's size that the statistics keep."""


def over_noisy_inputs(
    inner: Method,
    sampler: Sampler,
    aggregator: Aggregator,
    budget: Budget,
    *,
    antithetic: bool = False,
    check: Callable[[Tensors], None] | None = None,
) -> Method:
    """Aggregate a method's maps at the points of a sampler."""
    each = 2 if antithetic else 1
    together = 1 if inner.random else budget.samples  # see `estimate.over_inputs`

    def build(rows: int) -> Attribution:
        evaluate = over_inputs(inner.build(rows), sampler, antithetic=antithetic)
        chunk = 1 if inner.random else max(1, 2 * rows // inner.rows_per_example // each)
        return sampled(
            evaluate,
            aggregator,
            budget,
            rows=chunk,
            each=each,
            like=inner.like,
            order=inner.inspector.order,
        )

    return inner._replace(
        build=build,
        random=True,
        arrays_per_example=inner.arrays_per_example + KEPT,
        rows_per_example=inner.rows_per_example * together,
        check=check or inner.check,
        warn=missed_tolerance(budget.tolerance),
    )


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
