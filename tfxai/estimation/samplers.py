"""Samplers: they choose the points at which an attribution is evaluated, and their weights.

The examples of a batch share the draws. The map of an example therefore depends on the example and
the seed alone, never on the batch around it; other seeds give independent maps.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tfxai.baselines import Baseline
from tfxai.core import batch
from tfxai.core.types import Sample, Sampler, Tensors
from tfxai.kernels import Density, quantile

DEFAULT_NOISE_LEVEL = 0.15
"""The usual scale of the noise, as a share of an example's range (`relative`)."""
Scale = Callable[[Tensors], Tensors]
"""Inputs ``[B, ...]`` -> eps, the scale of the noise, which broadcasts to the inputs."""


def random_line(baseline: Baseline) -> Sampler:
    """Give points x' + alpha (x - x'), each with the scale x - x'.

    For each point x' is drawn from the references of `baseline`, and alpha from U(0, 1).
    """

    def sample(inputs: Tensors, k: tf.Tensor, seed: tf.Tensor) -> Sample:
        del k
        dtype = batch.dtype(inputs)
        reference_seed, alpha_seed = split_seed(seed)
        references = baseline(inputs)
        count = tf.nest.flatten(references)[0].shape[0]
        index = tf.random.stateless_uniform([], reference_seed, 0, count, tf.int32)
        alpha = tf.random.stateless_uniform([], alpha_seed, dtype=dtype)
        reference = tf.nest.map_structure(lambda r: r[index], references)
        step = tf.nest.map_structure(tf.subtract, inputs, reference)
        point = tf.nest.map_structure(lambda b, d: b + alpha * d, reference, step)
        return Sample(point, step, tf.ones([], dtype))

    return sample


def noise(kernel: Density, scale: Scale, *, proposal: Density | None = None) -> Sampler:
    """Give points x + eps t, with t drawn from the kernel phi.

    With a proposal p, t is drawn from p, and the attribution at the point is scaled by
    phi(t) / p(t), a product over all features (Zhou et al. 2024b, smoothing kernels, equation 17).
    """

    def sample(inputs: Tensors, k: tf.Tensor, seed: tf.Tensor) -> Sample:
        del k
        flat = tf.nest.flatten(inputs)
        drawn = [
            draw(proposal or kernel, tf.shape(x)[1:], s, x.dtype)
            for x, s in zip(flat, split_seed(seed, len(flat)), strict=True)
        ]
        noises = tf.nest.pack_sequence_as(inputs, drawn)
        points = tf.nest.map_structure(lambda x, e, t: x + e * t, inputs, scale(inputs), noises)
        weight = tf.ones([], batch.dtype(inputs))
        ratio = weight if proposal is None else _density_ratio(kernel, proposal, drawn)
        scales = tf.nest.map_structure(lambda x: tf.reshape(ratio, [1] * x.shape.rank), inputs)
        return Sample(points, scales, weight)

    return sample


def with_clean(sampler: Sampler) -> Sampler:
    """Make the inputs themselves the first sample of a sampler."""

    def sample(inputs: Tensors, k: tf.Tensor, seed: tf.Tensor) -> Sample:
        noisy = sampler(inputs, k, seed)
        points = tf.nest.map_structure(lambda x, p: tf.where(k > 0, p, x), inputs, noisy.point)
        return noisy._replace(point=points)

    return sample


def relative(noise_level: float) -> Scale:
    """Give each example eps = noise_level (max x - min x), over all its features.

    Smilkov et al. 2017, section 3.
    """
    return lambda inputs: tf.nest.map_structure(lambda x: noise_level * spread(x), inputs)


def absolute(epsilon: float) -> Scale:
    """Give all features of all examples the same eps."""
    return lambda inputs: tf.nest.map_structure(lambda x: tf.constant(epsilon, x.dtype), inputs)


def adaptive(low: Baseline, high: Baseline, divisor: float) -> Scale:
    """Give each feature eps_i = min(|x_i - low|, |x_i - high|) / divisor.

    Zhou et al. 2024a (AdaptGrad), equation 13.
    """

    def scale(inputs: Tensors) -> Tensors:
        low_and_high = [
            tf.nest.map_structure(lambda r: r[0], bound(inputs)) for bound in (low, high)
        ]
        return tf.nest.map_structure(
            lambda x, a, b: tf.minimum(tf.abs(x - a), tf.abs(x - b)) / divisor,
            inputs,
            *low_and_high,
        )

    return scale


def draw(kernel: Density, shape: tf.Tensor, seed: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Draw independent values from a kernel by its inverse cdf, computed in float32 at least."""
    draw_dtype = tf.float32 if dtype.size < 4 else dtype
    u = tf.random.stateless_uniform(shape, seed, dtype=draw_dtype)
    return tf.cast(quantile(kernel, u), dtype)


def spread(x: tf.Tensor) -> tf.Tensor:
    """Give the range max - min of each example, ``[B, 1, ...]``."""
    axes = list(range(1, x.shape.rank))
    return tf.reduce_max(x, axes, keepdims=True) - tf.reduce_min(x, axes, keepdims=True)


def split_seed(seed: tf.Tensor, count: int = 2) -> list[tf.Tensor]:
    """Give `count` independent seeds ``[2]`` by a seed ``[2]``."""
    return tf.unstack(tf.random.split(seed, count), count)


def _density_ratio(kernel: Density, proposal: Density, drawn: list[tf.Tensor]) -> tf.Tensor:
    """Give prod_i phi(t_i) / p(t_i), a scalar, computed by logarithms."""
    logs = [tf.reduce_sum(tf.math.log(kernel.pdf(t)) - tf.math.log(proposal.pdf(t))) for t in drawn]
    return tf.exp(tf.add_n(logs))
