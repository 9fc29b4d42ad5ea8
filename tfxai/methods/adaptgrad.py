"""AdaptGrad (paper 001, METHODS 2): noise that stays within the inputs' bounds."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfxai import aggregators, baselines, checks, kernels, samplers
from tfxai.baselines import Baseline
from tfxai.explainer import Explainer
from tfxai.kernels import Density, Kernel
from tfxai.methods.sampled import over_noisy_inputs
from tfxai.samplers import Scale
from tfxai.sampling import budget
from tfxai.types import Tensors

SLACK = 1e-5
"""Share of the bounds' distance that rounding may carry an input beyond them."""


class InherentNoise(NamedTuple):
    """How much of the noise on each feature falls outside the bounds; arrays like the inputs."""

    analytic: Tensors
    """The probability of it."""
    sampled: Tensors
    """The share of the samples."""


@keras.saving.register_keras_serializable("tfxai")
def adaptgrad(
    of: keras.Model,
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
) -> Explainer:
    """Explain by the mean of another explanation over noise that fits between the bounds.

    M(x) = 1/N sum_k G(x + sigma * t_k),  sigma_i = m_i / (sqrt(2) erfinv(c)),
    m_i = min(|x_i - x_min|, |x_i - x_max|)

    Args:
        of: a Keras model, whose gradient is smoothed, or any explainer.
        bounds: (x_min, x_max), the smallest and the largest possible input after preprocessing:
            numbers or arrays per channel; for a model with several inputs also structures like
            theirs. Features on a bound get no noise.
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
        An Explainer with attributions like those of `of`. It reports as `smoothgrad`.

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
        >>> adaptgrad(model, bounds=(0, 1), samples=4)(tf.constant([[0.3, 1.0]])).numpy()
        array([[2., 3.]], dtype=float32)
    """
    effort = budget(samples, tolerance, max_samples, resolution)
    low, high = _ends(bounds)
    sampler = samplers.noise(kernel, _scale(low, high, confidence, kernel, printed_eq13))
    check = partial(_check_inside, low=low, high=high)
    options = {
        **effort._asdict(),
        "bounds": bounds,
        "confidence": confidence,
        "kernel": kernel,
        "printed_eq13": printed_eq13,
        "with_clean": with_clean,
    }
    if with_clean:
        sampler, effort = samplers.with_clean(sampler), effort._replace(samples=samples + 1)
    mean = aggregators.mean()
    return over_noisy_inputs(of, sampler, mean, effort, adaptgrad, options, check=check)


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
        >>> adaptive_epsilon(np.array([[0.3, 0.9, 1.0]]), bounds=(0, 1)).numpy().round(5)
        array([[0.15306, 0.05102, 0.     ]])
    """
    low, high = _ends(bounds)
    inputs = tf.nest.map_structure(_floating, inputs)
    _check_inside(inputs, low, high)
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
        epsilon: scale of the noise: a number, or an array that broadcasts to the inputs, such as
            `adaptive_epsilon` gives.
        bounds: (x_min, x_max), as in `adaptgrad`.
        kernel: the noise; it needs a ``cdf``.
        samples: how many draws to count, at least 1.
        seed: of the draws.

    Returns:
        The probability, and the share among the draws, both like the inputs and in [0, 1].

    Raises:
        TypeError, ValueError: an option out of range, or inputs outside the bounds.

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
    low, high = _ends(bounds)
    inputs = tf.nest.map_structure(_floating, inputs)
    _check_inside(inputs, low, high)
    ends = low(inputs), high(inputs)
    scales = baselines.baseline(epsilon)(inputs)
    sampler = samplers.noise(kernel, lambda x: tf.nest.map_structure(lambda e: e[0], scales))
    analytic = tf.nest.map_structure(
        lambda x, e, a, b: _outside_mass(kernel, x, e[0], a[0], b[0]), inputs, scales, *ends
    )
    counted = tf.nest.map_structure(tf.zeros_like, inputs)
    first = checks.seed(seed)
    for k in range(samples):
        drawn = sampler(inputs, tf.constant(k), tf.random.fold_in(first, k)).point
        counted = tf.nest.map_structure(
            lambda c, x, a, b: c + tf.cast((x < a[0]) | (x > b[0]), c.dtype), counted, drawn, *ends
        )
    return InherentNoise(
        tf.nest.map_structure(lambda x: x.numpy(), analytic),
        tf.nest.map_structure(lambda c: (c / samples).numpy(), counted),
    )


def _ends(bounds: tuple[Any, Any]) -> tuple[Baseline, Baseline]:
    """Give the bounds as functions of the inputs, and raise if they are reversed."""
    if not isinstance(bounds, tuple | list) or len(bounds) != 2:
        raise TypeError(f"bounds={bounds!r}: expected a pair (smallest, largest)")
    low, high = (baselines.arrays(end) for end in bounds)
    wide = max(len(low), len(high))
    pairs = zip(low * (wide // len(low)), high * (wide // len(high)), strict=True)
    if not all((a < b).all() for a, b in pairs):
        raise ValueError(f"bounds={bounds!r}: expected the smallest input before the largest")
    return baselines.baseline(bounds[0]), baselines.baseline(bounds[1])


def _scale(
    low: Baseline, high: Baseline, confidence: float, kernel: Density, printed_eq13: bool
) -> Scale:
    """Give sigma_i = m_i / Phi^-1((1 + q) / 2), q = c or, as printed, (1 + c) / 2."""
    kernels.check("kernel", kernel)
    checks.real("confidence", confidence, above=0, below=1)
    q = (1 + confidence) / 2 if printed_eq13 else confidence
    return samplers.adaptive(low, high, kernels.half_width(kernel, q))


def _check_inside(inputs: Tensors, low: Baseline, high: Baseline) -> None:
    """Raise a ValueError if values lie outside the bounds by more than rounding."""
    tf.nest.map_structure(_check_one, inputs, low(inputs), high(inputs))


def _check_one(x: tf.Tensor, low: tf.Tensor, high: tf.Tensor) -> None:
    slack = SLACK * (high[0] - low[0])
    outside = np.asarray((x < low[0] - slack) | (x > high[0] + slack))
    if outside.any():
        raise ValueError(
            f"bounds: {outside.mean():.1%} of the inputs' values lie outside of them, the smallest "
            f"is {np.min(x):.6g}, the largest {np.max(x):.6g}. Give the bounds after preprocessing."
        )


def _outside_mass(
    kernel: Kernel, x: tf.Tensor, epsilon: tf.Tensor, low: tf.Tensor, high: tf.Tensor
) -> tf.Tensor:
    noisy = epsilon > 0
    scale = tf.where(noisy, epsilon, tf.ones_like(epsilon))
    inside = kernel.cdf((high - x) / scale) - kernel.cdf((low - x) / scale)
    return tf.where(noisy, 1 - inside, tf.zeros_like(x))


def _floating(x: Any) -> tf.Tensor:
    x = tf.convert_to_tensor(x)
    return x if x.dtype.is_floating else tf.cast(x, tf.float32)
