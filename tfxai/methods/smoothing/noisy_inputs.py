"""What the methods that put noise on the inputs have in common."""

from __future__ import annotations

from collections.abc import Callable

from tfxai import kernels
from tfxai.core import checks
from tfxai.core.types import Aggregator, Attribution, Sampler, Tensors
from tfxai.estimation import samplers
from tfxai.estimation.accuracy import ARRAYS_PER_EXAMPLE, Budget, sampled
from tfxai.estimation.estimate import over_inputs
from tfxai.estimation.samplers import DEFAULT_NOISE_LEVEL, Scale
from tfxai.explaining.method import Method, missed_tolerance
from tfxai.kernels import Density


def over_noisy_inputs(
    inner: Method,
    sampler: Sampler,
    aggregator: Aggregator,
    budget: Budget,
    *,
    antithetic: bool = False,
    check: Callable[[Tensors], None] | None = None,
) -> Method:
    """Aggregate the maps of a method over the points of a sampler.

    Args:
        inner: the method whose maps are aggregated.
        sampler: draws the points.
        aggregator: the statistic.
        budget: how many samples to take.
        antithetic: whether the samples are pairs x + t and x - t; the budget counts both.
        check: raises a ValueError for inputs that cannot be explained; None for the check of
            `inner`.
    """
    points_per_sample = 2 if antithetic else 1

    def build(rows: int) -> Attribution:
        evaluate = over_inputs(
            inner.build(rows), sampler, antithetic=antithetic, select=inner.selected
        )
        # A method that makes many rows of a point cuts them itself, best two full chunks together.
        points_at_once = max(1, min(rows, 2 * rows // inner.rows_per_example))
        return sampled(
            evaluate,
            aggregator,
            budget,
            # `estimate.over_inputs` gives a random method one sample at a time.
            rows=1 if inner.random else max(1, points_at_once // points_per_sample),
            points_per_sample=points_per_sample,
            like=inner.like,
            order=inner.order_of_maps,
        )

    return inner._replace(
        build=build,
        random=True,
        arrays_per_example=inner.arrays_per_example + ARRAYS_PER_EXAMPLE,
        # The examples of a chunk share each draw of the noise, which is most of the cost above
        # that of the maps: one chunk holds one sample of each. The 2 halves the two chunks that
        # the runner would take.
        rows_per_example=2 * inner.rows_per_example * points_per_sample,
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
    """Give eps from `noise_level`, `epsilon` or `r`, whichever is given.

    Raises:
        TypeError, ValueError: an option out of range, or more than one of the three.
    """
    kernels.check("kernel", kernel)
    checks.real("noise_level", noise_level, least=0)
    checks.real("confidence", confidence, above=0, below=1)
    options = {"epsilon": epsilon, "r": r}
    if noise_level != DEFAULT_NOISE_LEVEL:
        options["noise_level"] = noise_level
    given_options = [f"{name}={value}" for name, value in options.items() if value is not None]
    if len(given_options) > 1:
        raise ValueError(f"{' and '.join(given_options)}: give one of them")
    if epsilon is not None:
        return samplers.absolute(checks.real("epsilon", epsilon, least=0))
    if r is not None:
        return samplers.absolute(kernels.epsilon(kernel, r, confidence))
    return samplers.relative(noise_level)
