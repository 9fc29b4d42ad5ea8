"""AdaptGrad (paper 001, METHODS 2): noise that stays within the inputs' bounds."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfxai import baselines, kernels
from tfxai.baselines import Baseline
from tfxai.core import checks
from tfxai.core.types import Tensors
from tfxai.estimation import aggregators, samplers
from tfxai.estimation.accuracy import budget
from tfxai.estimation.samplers import Scale
from tfxai.explaining.builder import builder
from tfxai.explaining.method import Method
from tfxai.kernels import Density, Kernel
from tfxai.methods.gradients.gradient import inner_method
from tfxai.methods.smoothing.bounds import check_inside, ends
from tfxai.methods.smoothing.noisy_inputs import over_noisy_inputs


class InherentNoise(NamedTuple):
    """How much of the noise on each feature falls outside the bounds; arrays like the inputs."""

    analytic: Tensors
    """The probability of it."""
    sampled: Tensors
    """The share of the samples."""


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
) -> Method:
    """Explain by the mean of another explanation over noise that fits between the bounds.

    M(x) = 1/N sum_k G(x + sigma * t_k),  sigma_i = m_i / (sqrt(2) erfinv(c)),
    m_i = min(|x_i - x_min|, |x_i - x_max|)

    Args:
        base: a Keras model, whose gradient is smoothed, or any explainer.
        bounds: (x_min, x_max), the smallest and the largest possible input after preprocessing:
            numbers, or arrays per channel or of one example's shape, the same for all examples;
            for a model with several inputs also structures like theirs. Features on a bound get
            no noise.
        confidence: c, the probability that a feature stays within m_i of its value.
        samples: N.
        kernel: as in `smoothgrad`; m_i / half_width(kernel, c) is its scale.
        printed_eq13: erfinv((1 + c) / 2), as the paper prints; it keeps more within, .975 at
            c = .95.
        with_clean: also aggregate the explanation of x itself, as the authors' code does.
        tolerance: as in `smoothgrad`.
        max_samples: as in `smoothgrad`.
        resolution: as in `smoothgrad`.

    Returns:
        An Explainer with attributions like those of `base`. It reports as `smoothgrad`.

    Raises:
        TypeError, ValueError: an option out of range, reversed bounds, or, when it is called,
            inputs outside the bounds. In a graph inputs are not checked; beyond a bound the noise
            grows again, as the equation has it.

    Reference:
        Paper 001, eq. 11 to 14; METHODS 2.1: the authors' code has q = c, which is also what the
        text says; eq. 13 mixes the two forms of the quantile.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
        >>> _ = model.layers[0].kernel.assign([[2.0], [3.0]])
        >>> adaptgrad(model, bounds=(0, 1), samples=4)(tf.constant([[0.3, 1.0]])).numpy().round(4)
        array([[2., 3.]], dtype=float32)
    """
    effort = budget(samples, tolerance, max_samples, resolution)
    inner = inner_method(base)
    low, high = ends(bounds, inner.inspector.as_declared)
    sampler = samplers.noise(kernel, _scale(low, high, confidence, kernel, printed_eq13))
    check = partial(check_inside, low=low, high=high)
    if with_clean:
        sampler, effort = samplers.with_clean(sampler), effort._replace(samples=samples + 1)
    return over_noisy_inputs(inner, sampler, aggregators.mean(), effort, check=check)


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
        Of the inputs' shape and units, at least 0.

    Reference:
        Paper 001, eq. 12 and 13.

    Example:
        >>> adaptive_epsilon(np.array([[0.3, 0.9, 1.0]]), bounds=(0, 1)).numpy().round(5) + 0.0
        array([[0.15306, 0.05102, 0.     ]])
    """
    low, high = ends(bounds)
    inputs = tf.nest.map_structure(_floating, inputs)
    check_inside(inputs, low, high)
    return _scale(low, high, confidence, kernel, printed_eq13)(inputs)


def inherent_noise(
    inputs: Tensors,
    epsilon: Tensors,
    *,
    bounds: tuple[Any, Any],
    kernel: Kernel = kernels.gaussian,
    samples: int = 50,
    seed: int = 0,
) -> InherentNoise:
    """Give how much of a smoothing's noise falls outside the bounds of the inputs.

    A(x_i) = 1 - [Phi((x_max - x_i) / eps) - Phi((x_min - x_i) / eps)]

    Args:
        inputs: ``[B, ...]`` between the bounds.
        epsilon: scale of the noise, at least 0: a number, or an array that broadcasts to the
            inputs, each example with its own, such as `adaptive_epsilon` gives; for several
            inputs also a structure like theirs.
        bounds: (x_min, x_max), as in `adaptgrad`.
        kernel: the noise; it needs a ``cdf``.
        samples: how many draws to count, at least 1.
        seed: of the draws.

    Returns:
        The probability, and the share among the draws, both like the inputs and in [0, 1].

    Raises:
        TypeError, ValueError: an option out of range, an epsilon that does not broadcast to the
            inputs, or inputs outside the bounds.

    Reference:
        Paper 001, eq. 10; its mean over the features is what the paper's Fig. 3 shows.

    Example:
        >>> noise = inherent_noise(np.array([[0.5, 1.0]]), 0.2, bounds=(0, 1))
        >>> noise.analytic.round(4)
        array([[0.0124, 0.5   ]])
    """
    kernels.check("kernel", kernel)
    if not callable(getattr(kernel, "cdf", None)):
        raise TypeError(f"kernel={kernel!r} has no cdf, which the analytic share needs")
    checks.positive_integer("samples", samples)
    low, high = ends(bounds)
    inputs = tf.nest.map_structure(_floating, inputs)
    check_inside(inputs, low, high)
    lowest, highest = low(inputs), high(inputs)
    scales = _scales(epsilon, inputs)
    sampler = samplers.noise(kernel, lambda x: scales)
    analytic = tf.nest.map_structure(
        partial(_outside_mass, kernel), inputs, scales, lowest, highest
    )
    counted = tf.nest.map_structure(tf.zeros_like, inputs)
    first = checks.seed(seed)
    for k in range(samples):
        drawn = sampler(inputs, tf.constant(k), tf.random.fold_in(first, k)).point
        counted = tf.nest.map_structure(
            lambda c, x, a, b: c + tf.cast((x < a[0]) | (x > b[0]), c.dtype),
            *(counted, drawn, lowest, highest),
        )
    return InherentNoise(
        tf.nest.map_structure(lambda x: x.numpy(), analytic),
        tf.nest.map_structure(lambda c: (c / samples).numpy(), counted),
    )


def _scales(epsilon: Any, inputs: Tensors) -> Tensors:
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


def _scale(
    low: Baseline, high: Baseline, confidence: float, kernel: Density, printed_eq13: bool
) -> Scale:
    """Give sigma_i = m_i / Phi^-1((1 + q) / 2), q = c or, as printed, (1 + c) / 2."""
    kernels.check("kernel", kernel)
    checks.real("confidence", confidence, above=0, below=1)
    q = (1 + confidence) / 2 if printed_eq13 else confidence
    return samplers.adaptive(low, high, kernels.half_width(kernel, q))


def _outside_mass(
    kernel: Kernel, x: tf.Tensor, epsilon: tf.Tensor, low: tf.Tensor, high: tf.Tensor
) -> tf.Tensor:
    noisy = epsilon > 0
    scale = tf.where(noisy, epsilon, tf.ones_like(epsilon))
    inside = kernel.cdf((high[0] - x) / scale) - kernel.cdf((low[0] - x) / scale)
    return tf.where(noisy, 1 - inside, tf.zeros_like(x))


def _floating(x: Any) -> tf.Tensor:
    x = tf.convert_to_tensor(x)
    return x if x.dtype.is_floating else tf.cast(x, tf.float32)
