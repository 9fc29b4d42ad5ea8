"""AdaptGrad (Zhou et al. 2024a): noise that stays within the bounds of the inputs."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfxai import baselines, kernels, scores
from tfxai.baselines import Baseline
from tfxai.core import checks
from tfxai.core.types import Score, Tensors
from tfxai.estimation import aggregators, samplers
from tfxai.estimation.accuracy import budget
from tfxai.estimation.samplers import Scale
from tfxai.explaining.builder import builder
from tfxai.explaining.method import Method
from tfxai.kernels import Density, Kernel
from tfxai.methods.gradients.gradient import inner_method
from tfxai.methods.smoothing.bounds import check_inside, lower_and_upper
from tfxai.methods.smoothing.noisy_inputs import over_noisy_inputs


class InherentNoise(NamedTuple):
    """How much of the noise on each feature falls outside the bounds; arrays like the inputs."""

    analytic: Tensors
    """The probability that the noise falls outside the bounds."""
    sampled: Tensors
    """The share of the samples that fall outside the bounds."""


@builder
def adaptgrad(
    base: keras.Model,
    *,
    bounds: tuple[Any, Any],
    confidence: float = 0.95,
    samples: int = 50,
    kernel: Density = kernels.gaussian,
    printed_eq13: bool = False,
    with_clean: bool = False,
    tolerance: float | None = None,
    max_samples: int = 1000,
    resolution: int = 28,
    score: Score = scores.logit,
) -> Method:
    """Explain by the mean of another explanation over noise that fits between the bounds.

    M(x) = 1/N sum_k G(x + sigma * t_k),  sigma_i = m_i / (sqrt(2) erfinv(c)),
    m_i = min(|x_i - x_min|, |x_i - x_max|)

    Args:
        base: a Keras model, whose gradient is smoothed, or any explainer.
        bounds: (x_min, x_max), the smallest and the largest possible input after preprocessing:
            numbers, or arrays per channel or of one example's shape, the same for all examples;
            for a model with several inputs also arrays in the structure of the inputs. Features
            on a bound get no noise.
        confidence: c, the probability that a feature stays within m_i of its value.
        samples: N, the number of noisy copies of each example.
        kernel: as in `smoothgrad`; its scale is m_i / half_width(kernel, c).
        printed_eq13: take erfinv((1 + c) / 2) in place of erfinv(c), as the paper's equation 13
            is printed. More of the noise then stays within m_i: .975 of it at c = .95.
        with_clean: also aggregate the explanation of x itself, as the authors' code does.
        tolerance: as in `smoothgrad`.
        max_samples: as in `smoothgrad`.
        resolution: as in `smoothgrad`.
        score: what is explained of a model, (outputs, targets) -> ``[B]``; an explainer has its
            own.

    Returns:
        An Explainer with attributions of the same shape and units as those of `base`, and the
        diagnostics of `smoothgrad`.

    Raises:
        TypeError, ValueError: an option out of range, reversed bounds, or, when the explainer is
            called, inputs outside the bounds. Inputs within a graph are not checked; by the
            equation, their noise grows again beyond a bound.

    Reference:
        Zhou et al. 2024a (AdaptGrad), equation 13, with erfinv(c) as in the paper's text and the
        authors' code; the printed equation mixes two forms of the quantile (docs/methods.md,
        AdaptGrad).

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
        >>> _ = model.layers[0].kernel.assign([[2.0], [3.0]])
        >>> adaptgrad(model, bounds=(0, 1), samples=4)(tf.constant([[0.3, 1.0]])).numpy().round(4)
        array([[2., 3.]], dtype=float32)
    """
    sampling_budget = budget(samples, tolerance, max_samples, resolution)
    inner = inner_method(base, score)
    low, high = lower_and_upper(bounds, inner.inspector.as_declared)
    sampler = samplers.noise(kernel, _adaptive_scale(low, high, confidence, kernel, printed_eq13))
    check = partial(check_inside, low=low, high=high)
    if with_clean:
        sampler = samplers.with_clean(sampler)
        sampling_budget = sampling_budget._replace(samples=samples + 1)
    return over_noisy_inputs(inner, sampler, aggregators.mean(), sampling_budget, check=check)


def adaptive_epsilon(
    inputs: Tensors,
    *,
    bounds: tuple[Any, Any],
    confidence: float = 0.95,
    kernel: Density = kernels.gaussian,
    printed_eq13: bool = False,
) -> Tensors:
    """Give the scale of `adaptgrad`'s noise on each feature.

    Args:
        inputs: ``[B, ...]`` between the bounds.
        bounds: as in `adaptgrad`.
        confidence: as in `adaptgrad`.
        kernel: as in `adaptgrad`.
        printed_eq13: as in `adaptgrad`.

    Returns:
        Tensors of the inputs' shape and in their units, at least 0.

    Raises:
        TypeError, ValueError: an option out of range, or inputs outside the bounds.

    Reference:
        Zhou et al. 2024a (AdaptGrad), equation 13 (docs/methods.md, AdaptGrad).

    Example:
        >>> adaptive_epsilon(np.array([[0.3, 0.9, 1.0]]), bounds=(0, 1)).numpy().round(5) + 0.0
        array([[0.15306, 0.05102, 0.     ]])
    """
    low, high = lower_and_upper(bounds)
    inputs = tf.nest.map_structure(_floating, inputs)
    check_inside(inputs, low, high)
    return _adaptive_scale(low, high, confidence, kernel, printed_eq13)(inputs)


def inherent_noise(
    inputs: Tensors,
    epsilon: Tensors,
    *,
    bounds: tuple[Any, Any],
    kernel: Kernel = kernels.gaussian,
    samples: int = 50,
    seed: int = 0,
) -> InherentNoise:
    """Give how much of the noise on the inputs falls outside their bounds.

    A(x_i) = 1 - [Phi((x_max - x_i) / eps) - Phi((x_min - x_i) / eps)]

    Args:
        inputs: ``[B, ...]`` between the bounds.
        epsilon: eps, the scale of the noise, at least 0: a number, or an array that broadcasts to
            the inputs, such as the one that `adaptive_epsilon` gives; for several inputs also
            arrays in the structure of the inputs.
        bounds: (x_min, x_max), as in `adaptgrad`.
        kernel: the density of the noise; it needs a ``cdf``, Phi.
        samples: how many draws to count, at least 1.
        seed: an integer, the seed of the draws.

    Returns:
        The probability, and the share among the draws, both like the inputs and in [0, 1].

    Raises:
        TypeError, ValueError: an option out of range, an epsilon that does not broadcast to the
            inputs, or inputs outside the bounds.

    Reference:
        Zhou et al. 2024a (AdaptGrad), equation 10; their Fig. 3 shows its mean over the features.

    Example:
        >>> noise = inherent_noise(np.array([[0.5, 1.0]]), 0.2, bounds=(0, 1))
        >>> noise.analytic.round(4)
        array([[0.0124, 0.5   ]])
    """
    kernels.check("kernel", kernel)
    if not callable(getattr(kernel, "cdf", None)):
        raise TypeError(f"kernel={kernel!r} has no cdf, which the analytic share needs")
    checks.positive_integer("samples", samples)
    low, high = lower_and_upper(bounds)
    inputs = tf.nest.map_structure(_floating, inputs)
    check_inside(inputs, low, high)
    lower, upper = low(inputs), high(inputs)
    scales = _scales_of_features(epsilon, inputs)
    sampler = samplers.noise(kernel, lambda x: scales)
    analytic = tf.nest.map_structure(partial(_outside_mass, kernel), inputs, scales, lower, upper)
    outside_count = tf.nest.map_structure(tf.zeros_like, inputs)
    base_seed = checks.seed(seed)
    for k in range(samples):
        points = sampler(inputs, tf.constant(k), tf.random.fold_in(base_seed, k)).point
        outside_count = tf.nest.map_structure(
            lambda count, x, a, b: count + tf.cast((x < a[0]) | (x > b[0]), count.dtype),
            *(outside_count, points, lower, upper),
        )
    return InherentNoise(
        tf.nest.map_structure(lambda x: x.numpy(), analytic),
        tf.nest.map_structure(lambda count: (count / samples).numpy(), outside_count),
    )


def _scales_of_features(epsilon: Any, inputs: Tensors) -> Tensors:
    """Give the scale of the noise on each feature of each example, shaped like the inputs."""
    parts, flat = baselines.arrays(epsilon), tf.nest.flatten(inputs)
    if len(parts) not in (1, len(flat)):
        raise ValueError(f"epsilon has {len(parts)} arrays for {len(flat)} inputs")
    scales = []
    for part, x in zip(parts * (len(flat) // len(parts)), flat, strict=True):
        if part.dtype.kind not in "fiu" or not (np.isfinite(part) & (part >= 0)).all():
            raise ValueError(f"epsilon={part}: expected finite numbers of at least 0")
        try:
            scales.append(tf.cast(tf.constant(np.broadcast_to(part, x.shape)), x.dtype))
        except ValueError as error:
            raise ValueError(
                f"epsilon has shape {list(part.shape)}, which does not broadcast to the inputs' "
                f"{list(x.shape)}"
            ) from error
    return tf.nest.pack_sequence_as(inputs, scales)


def _adaptive_scale(
    low: Baseline, high: Baseline, confidence: float, kernel: Density, printed_eq13: bool
) -> Scale:
    """Give sigma_i = m_i / Phi^-1((1 + q) / 2) with q = c, or as printed q = (1 + c) / 2."""
    kernels.check("kernel", kernel)
    checks.real("confidence", confidence, above=0, below=1)
    q = (1 + confidence) / 2 if printed_eq13 else confidence
    return samplers.adaptive(low, high, kernels.half_width(kernel, q))


def _outside_mass(
    kernel: Kernel, x: tf.Tensor, epsilon: tf.Tensor, low: tf.Tensor, high: tf.Tensor
) -> tf.Tensor:
    """Give A(x_i), the kernel's mass outside the bounds; 0 where there is no noise."""
    has_noise = epsilon > 0
    scale = tf.where(has_noise, epsilon, tf.ones_like(epsilon))
    inside = kernel.cdf((high[0] - x) / scale) - kernel.cdf((low[0] - x) / scale)
    return tf.where(has_noise, 1 - inside, tf.zeros_like(x))


def _floating(x: Any) -> tf.Tensor:
    x = tf.convert_to_tensor(x)
    return x if x.dtype.is_floating else tf.cast(x, tf.float32)
