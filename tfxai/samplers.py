"""Samplers: where an attribution is evaluated, and with what scale and weight.

The images of a batch share the draws. So an image's map depends on the image and the seed alone,
never on the batch that it came in; other seeds give independent maps.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfxai import batch
from tfxai.baselines import Baseline
from tfxai.kernels import Kernel
from tfxai.types import Sample, Sampler, Tensors


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


def noise(kernel: Kernel, noise_level: float) -> Sampler:
    """Points x + epsilon t, t drawn from the kernel, epsilon = noise_level (max x - min x).

    The range is each example's own, over all its features (METHODS 1.7).
    """

    def sample(inputs: Tensors, k: tf.Tensor, seed: tf.Tensor) -> Sample:
        del k
        flat = tf.nest.flatten(inputs)
        seeds = tf.random.split(seed, len(flat))
        points = [
            x + noise_level * spread(x) * draw(kernel, tf.shape(x)[1:], s, x.dtype)
            for x, s in zip(flat, tf.unstack(seeds, len(flat)), strict=True)
        ]
        ones = tf.nest.map_structure(lambda x: tf.ones([1] * x.shape.rank, x.dtype), inputs)
        return Sample(
            tf.nest.pack_sequence_as(inputs, points), ones, tf.ones([], batch.dtype(inputs))
        )

    return sample


def draw(kernel: Kernel, shape: tf.Tensor, seed: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Draw independently from a kernel, by its inverse cdf at uniforms kept away from 0 and 1."""
    tiny = 2.0**-24
    u = tf.random.stateless_uniform(shape, seed, dtype=dtype)
    return kernel.inverse_cdf(tf.clip_by_value(u, tiny, 1 - tiny))


def spread(x: tf.Tensor) -> tf.Tensor:
    """Give each example's range max - min, ``[B, 1, ...]``."""
    axes = list(range(1, x.shape.rank))
    return tf.reduce_max(x, axes, keepdims=True) - tf.reduce_min(x, axes, keepdims=True)


def split(seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Give two independent seeds."""
    first, second = tf.unstack(tf.random.split(seed, 2))
    return first, second
