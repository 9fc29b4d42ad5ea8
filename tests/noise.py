"""The random numbers that methods draw from a seed, drawn again."""

import numpy as np
import tensorflow as tf

from tfxai.estimation import samplers


def seeds_of(seed, k):
    """The seeds of the k-th sample and of what is explained of it."""
    return samplers.split_seed(tf.random.fold_in(tf.constant([seed, 0]), k))


def noise_of(sampler, x, count, seed):
    """The noise that a sampler adds to x, as `estimate` seeds it."""
    seeds = [seeds_of(seed, k)[0] for k in range(count)]
    draws = [sampler(tf.constant(x), tf.constant(k), s) for k, s in enumerate(seeds)]
    return np.array([d.point - x for d in draws])
