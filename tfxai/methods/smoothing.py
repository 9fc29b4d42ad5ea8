"""SmoothGrad (Smilkov et al. 2017), its square, and VarGrad (Adebayo et al. 2018)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfxai import aggregators, batch, checks, kernels, samplers
from tfxai.estimate import estimate
from tfxai.explainer import Explainer, as_explainer
from tfxai.kernels import Kernel
from tfxai.methods.gradient import gradient, maps_only, without_numbers
from tfxai.runner import Method
from tfxai.types import Aggregator, Attribution, Measured, Measurement, Sampler, Tensors


@keras.saving.register_keras_serializable("tfxai")
def smoothgrad(
    of: keras.Model,
    *,
    samples: int = 50,
    noise_level: float = 0.15,
    kernel: Kernel = kernels.gaussian,
) -> Explainer:
    """Explain by the mean of another explanation over noisy copies of the input.

    M(x) = 1/N sum_k G(x + epsilon t_k),  epsilon = noise_level (max x - min x)

    Args:
        of: a Keras model, whose gradient is smoothed, or any explainer.
        samples: N.
        noise_level: noise over the range of the example; 0 gives `of` itself.
        kernel: the distribution of t.

    Returns:
        An Explainer with attributions like those of `of`. `explain` reports ``standard_error``
        of each attribution and ``map_error``, its L2 norm relative to the map's. At 50 samples
        that is often about 1 for single pixels; a coarser picture has converged long before.

    Raises:
        TypeError, ValueError: an option of the wrong type or out of range.

    Reference:
        Smilkov et al. 2017, section 3; sigma is relative to each image's range (METHODS 1.7).
        The examples of a batch share the draws, so that a map depends on its input and seed alone.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
        >>> _ = model.layers[0].kernel.assign([[2.0], [3.0]])
        >>> smoothgrad(model, samples=4)(tf.constant([[1.0, 2.0]]), seed=7).numpy()
        array([[2., 3.]], dtype=float32)
    """
    sampler = _noise(samples, noise_level, kernel)
    options = {"samples": samples, "noise_level": noise_level, "kernel": kernel}
    base = as_explainer(of, gradient)

    def build(rows: int) -> Measurement:
        return with_standard_error(*_inner(base, rows), sampler, samples)

    return _smoothed(of, base, build, smoothgrad, options)


@keras.saving.register_keras_serializable("tfxai")
def smoothgrad_squared(
    of: keras.Model,
    *,
    samples: int = 50,
    noise_level: float = 0.15,
    kernel: Kernel = kernels.gaussian,
) -> Explainer:
    """Explain by the mean square of another explanation over noisy copies of the input.

    Args, Raises: as `smoothgrad`.

    Returns:
        An Explainer with attributions that are never negative.

    Reference:
        Hooker et al. 2019, section 3: E[g^2].

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
        >>> _ = model.layers[0].kernel.assign([[2.0], [-3.0]])
        >>> smoothgrad_squared(model, samples=4)(tf.constant([[1.0, 2.0]])).numpy()
        array([[4., 9.]], dtype=float32)
    """
    sampler = _noise(samples, noise_level, kernel)
    options = {"samples": samples, "noise_level": noise_level, "kernel": kernel}
    base = as_explainer(of, gradient)

    def build(rows: int) -> Measurement:
        return with_standard_error(*_inner(base, rows), sampler, samples, square=True)

    return _smoothed(of, base, build, smoothgrad_squared, options)


@keras.saving.register_keras_serializable("tfxai")
def vargrad(
    of: keras.Model,
    *,
    samples: int = 50,
    noise_level: float = 0.15,
    kernel: Kernel = kernels.gaussian,
) -> Explainer:
    """Explain by the variance of another explanation over noisy copies of the input.

    Args, Raises: as `smoothgrad`.

    Returns:
        An Explainer with attributions that are never negative; zero for a linear model.

    Reference:
        Adebayo et al. 2018: E[g^2] - E[g]^2, biased (1/n, METHODS 1.7), by Welford's recurrence.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
        >>> vargrad(model, samples=4)(tf.constant([[1.0, 2.0]])).numpy()
        array([[0., 0.]], dtype=float32)
    """
    sampler = _noise(samples, noise_level, kernel)
    options = {"samples": samples, "noise_level": noise_level, "kernel": kernel}
    base = as_explainer(of, gradient)

    def build(rows: int) -> Measurement:
        attribution, chunk = _inner(base, rows)
        variance = aggregators.variance()
        return without_numbers(estimate(attribution, sampler, samples, variance, rows=chunk))

    return _smoothed(of, base, build, vargrad, options)


def with_standard_error(
    attribution: Attribution, rows: int, sampler: Sampler, samples: int, *, square: bool = False
) -> Measurement:
    """Average an attribution over samples, and report the standard error of the mean.

    The numbers are ``standard_error``, like the map, and ``map_error`` ``[B]``, the ratio of
    their L2 norms; both NaN for one sample.
    """
    moments: Aggregator = aggregators.mean_with_error()
    moments = aggregators.squared(moments) if square else moments
    mean = estimate(attribution, sampler, samples, moments, rows=rows)

    def measure(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Measured:
        result = mean(inputs, targets, seed)
        maps = keras.tree.map_structure_up_to(inputs, lambda r: r.mean, result)
        error = keras.tree.map_structure_up_to(inputs, lambda r: r.standard_error, result)
        relative = batch.ratio(batch.norm(error), batch.norm(maps))
        return Measured(maps, {"standard_error": error, "map_error": relative})

    return measure


def _smoothed(
    of: keras.Model,
    base: Explainer,
    build: Callable[[int], Measurement],
    builder: Callable[..., Explainer],
    options: dict[str, Any],
) -> Explainer:
    method = Method(
        build,
        base.method.score,
        random=True,
        copies=base.method.copies + 6,
        evaluations=base.method.evaluations * options["samples"],
    )
    return Explainer(of, method, builder=builder, options=options)


def _inner(base: Explainer, rows: int) -> tuple[Attribution, int]:
    """Give what is smoothed, and how many rows of it one chunk may hold (see `estimate`)."""
    chunk = 1 if base.method.random else max(1, 2 * rows // base.method.evaluations)
    return maps_only(base.method.build(rows)), chunk


def _noise(samples: int, noise_level: float, kernel: Kernel) -> Sampler:
    checks.positive_integer("samples", samples)
    checks.real("noise_level", noise_level, least=0)
    if not callable(getattr(kernel, "inverse_cdf", None)):
        raise TypeError(
            f"kernel={kernel!r}: expected a tfxai.kernels.Kernel, such as kernels.gaussian"
        )
    return samplers.noise(kernel, noise_level)
