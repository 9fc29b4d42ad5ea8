"""Noise on a model's weights (NoiseGrad): which of them, and how it is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from tfxai.estimation.estimate import Perturb
from tfxai.estimation.samplers import draw, split
from tfxai.kernels import Density
from tfxai.models import keras_graph, named_layers

ADDED = ("bias", "beta")
"""What Keras calls the weights that are added."""


def selected(
    model: keras.Model, *, biases: bool, statistics: bool, exclude: Sequence[str]
) -> list[keras.Variable]:
    """Choose the weights that get noise.

    Args:
        model: any Keras model.
        biases: whether the weights that are added do (the beta of a normalisation is one).
        statistics: whether moving means and variances do.
        exclude: names of layers whose weights do not, with all that is inside them.

    Raises:
        ValueError: a layer that does not exist, or no weights are left.
    """
    kept = {id(v) for name in exclude for v in named_layers.layer_variables(model, name)}
    chosen = [
        variable
        for variable, statistic in keras_graph.parameters(model)
        if id(variable) not in kept
        and (statistics or not statistic)
        and (biases or variable.name not in ADDED)
    ]
    if not chosen:
        raise ValueError(
            f"{model.name} has no floating-point weights to perturb (exclude={list(exclude)}); "
            "weights that a layer makes without add_weight are not seen"
        )
    return chosen


def noisy(
    chosen: Callable[[], Sequence[keras.Variable]],
    kernel: Density,
    epsilon: float,
    *,
    multiply: bool,
) -> Perturb:
    """Give theta (1 + eps t), or theta + eps t, for a seed; t is drawn from the kernel.

    The variables are chosen when it is used: a subclassed model has none before it is called.
    """

    def noisy_weight(theta: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        t = epsilon * draw(kernel, theta.shape, seed, theta.dtype)
        return theta * (1 + t) if multiply else theta + t

    def perturb(seed: tf.Tensor) -> list[tuple[keras.Variable, tf.Tensor]]:
        variables = chosen()
        seeds = split(seed, len(variables))
        return [
            (v, noisy_weight(tf.convert_to_tensor(v.value), s))
            for v, s in zip(variables, seeds, strict=True)
        ]

    return perturb
