"""Samplers: where an attribution is evaluated, and with what scale and weight.

The images of a batch share the draws. So an image's map depends on the image and the seed alone,
never on the batch that it came in; other seeds give independent maps.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfxai.baselines import Baseline
from tfxai.core import batch
from tfxai.core.types import Sample, Sampler, Tensors
from tfxai.kernels import Density, quantile

Scale = Callable[[Tensors], Tensors]
"""Inputs ``[B, ...]`` -> eps, broadcast to them: the scale of the noise."""


def line(baseline: Tensors, nodes: np.ndarray, weights: np.ndarray) -> Sampler:
    """Points on the straight path, x' + alpha_k (x - x'), each scaled by x - x'."""

    def sample(inputs: Tensors, k: tf.Tensor, seed: tf.Tensor) -> Sample:
        del seed
        dtype = batch.dtype(inputs)
        alpha = tf.constant(nodes, dtype)[k]
        step = tf.nest.map_structure(tf.subtract, inputs, baseline)
        point = tf.nest.map_structure(lambda b, d: b + alpha * d, baseline, step)
        return Sample(point, step, tf.constant(weights, dtype)[k])

    return sample


def random_line(baseline: Baseline) -> Sampler:
    """Points x' + alpha (x - x'), x' one of the references drawn at random, alpha ~ U(0, 1)."""

    def sample(inputs: Tensors, k: tf.Tensor, seed: tf.Tensor) -> Sample:
        del k
        dtype = batch.dtype(inputs)
        which, where = split(seed)
        references = baseline(inputs)
        count = tf.nest.flatten(references)[0].shape[0]
        index = tf.random.stateless_uniform([], which, 0, count, tf.int32)
        alpha = tf.random.stateless_uniform([], where, dtype=dtype)
        chosen = tf.nest.map_structure(lambda r: r[index], references)
        step = tf.nest.map_structure(tf.subtract, inputs, chosen)
        point = tf.nest.map_structure(lambda b, d: b + alpha * d, chosen, step)
        return Sample(point, step, tf.ones([], dtype))

    return sample


def noise(kernel: Density, scale: Scale, *, proposal: Density | None = None) -> Sampler:
    """Points x + eps t, with t drawn from the kernel.

    With a proposal p, t is drawn from it instead and its value weighted by phi(t) / p(t), the
    product over all features (paper 002, eq. 17).
    """

    def sample(inputs: Tensors, k: tf.Tensor, seed: tf.Tensor) -> Sample:
        del k
        flat = tf.nest.flatten(inputs)
        drawn = [
            draw(proposal or kernel, tf.shape(x)[1:], s, x.dtype)
            for x, s in zip(flat, split(seed, len(flat)), strict=True)
        ]
        noises = tf.nest.pack_sequence_as(inputs, drawn)
        points = tf.nest.map_structure(lambda x, e, t: x + e * t, inputs, scale(inputs), noises)
        one = tf.ones([], batch.dtype(inputs))
        weight = one if proposal is None else _density_ratio(kernel, proposal, drawn)
        scales = tf.nest.map_structure(lambda x: tf.reshape(weight, [1] * x.shape.rank), inputs)
        return Sample(points, scales, one)

    return sample


def with_clean(sampler: Sampler) -> Sampler:
    """Put the inputs themselves before the samples of a sampler."""

    def sample(inputs: Tensors, k: tf.Tensor, seed: tf.Tensor) -> Sample:
        noisy = sampler(inputs, k, seed)
        points = tf.nest.map_structure(lambda x, p: tf.where(k > 0, p, x), inputs, noisy.point)
        return noisy._replace(point=points)

    return sample


def relative(noise_level: float) -> Scale:
    """Give eps = noise_level (max x - min x).

    The range is each example's own, over all its features (METHODS 1.7).
    """
    return lambda inputs: tf.nest.map_structure(lambda x: noise_level * spread(x), inputs)


def absolute(epsilon: float) -> Scale:
    """Give the same eps for all."""
    return lambda inputs: tf.nest.map_structure(lambda x: tf.constant(epsilon, x.dtype), inputs)


def adaptive(low: Baseline, high: Baseline, divisor: float) -> Scale:
    """Give each feature eps_i = min(|x_i - low|, |x_i - high|) / divisor (paper 001)."""

    def scale(inputs: Tensors) -> Tensors:
        ends = [tf.nest.map_structure(lambda r: r[0], end(inputs)) for end in (low, high)]
        return tf.nest.map_structure(
            lambda x, a, b: tf.minimum(tf.abs(x - a), tf.abs(x - b)) / divisor, inputs, *ends
        )

    return scale


def draw(kernel: Density, shape: tf.Tensor, seed: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Draw independently from a kernel, by its inverse cdf; in float32 at least."""
    wide = tf.float32 if dtype.size < 4 else dtype
    u = tf.random.stateless_uniform(shape, seed, dtype=wide)
    return tf.cast(quantile(kernel, u), dtype)


def spread(x: tf.Tensor) -> tf.Tensor:
    """Give each example's range max - min, ``[B, 1, ...]``."""
    axes = list(range(1, x.shape.rank))
    return tf.reduce_max(x, axes, keepdims=True) - tf.reduce_min(x, axes, keepdims=True)


def split(seed: tf.Tensor, count: int = 2) -> list[tf.Tensor]:
    """Give independent seeds."""
    return tf.unstack(tf.random.split(seed, count), count)


def _density_ratio(kernel: Density, proposal: Density, drawn: list[tf.Tensor]) -> tf.Tensor:
    """Give prod_i phi(t_i) / p(t_i), by logarithms."""
    logs = [tf.reduce_sum(tf.math.log(kernel.pdf(t)) - tf.math.log(proposal.pdf(t))) for t in drawn]
    return tf.exp(tf.add_n(logs))
