"""Noise on a model's weights (NoiseGrad): which weights get noise, and how it is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from tfxai.estimation.estimate import Perturb
from tfxai.estimation.samplers import draw, split_seed
from tfxai.kernels import Density
from tfxai.models import keras_graph, named_layers

BIAS_NAMES = ("bias", "beta")
"""Keras's names of the weights that layers add."""


def select_weights(
    model: keras.Model, *, biases: bool, statistics: bool, exclude: Sequence[str]
) -> list[keras.Variable]:
    """Choose the weights that get noise.

    Args:
        model: any Keras model.
        biases: whether biases, and the beta of normalisations, get noise.
        statistics: whether moving means and variances get noise.
        exclude: names of layers whose weights get no noise, nor the weights of layers within.

    Raises:
        ValueError: a layer does not exist, or no weights are left.
    """
    excluded = {id(v) for name in exclude for v in named_layers.layer_variables(model, name)}
    selected_weights = [
        variable
        for variable, statistic in keras_graph.parameters(model)
        if id(variable) not in excluded
        and (statistics or not statistic)
        and (biases or variable.name not in BIAS_NAMES)
    ]
    if not selected_weights:
        raise ValueError(
            f"{model.name} has no floating-point weights to perturb (exclude={list(exclude)}); "
            "weights that a layer makes without add_weight are not seen"
        )
    return selected_weights


def noisy_weights(
    choose_variables: Callable[[], Sequence[keras.Variable]],
    kernel: Density,
    epsilon: float,
    *,
    multiply: bool,
) -> Perturb:
    """Give a function from seeds to noisy weights, with t drawn from the kernel.

    Args:
        choose_variables: gives the weights that get noise. It is called when the noise is drawn,
            since a subclassed model has no weights before its first call.
        kernel: the density of t.
        epsilon: eps, at least 0.
        multiply: True for theta (1 + eps t), False for theta + eps t.
    """

    def noisy_weight(theta: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        t = epsilon * draw(kernel, theta.shape, seed, theta.dtype)
        return theta * (1 + t) if multiply else theta + t

    def perturb(seed: tf.Tensor) -> list[tuple[keras.Variable, tf.Tensor]]:
        variables = choose_variables()
        seeds = split_seed(seed, len(variables))
        return [
            (variable, noisy_weight(tf.convert_to_tensor(variable.value), variable_seed))
            for variable, variable_seed in zip(variables, seeds, strict=True)
        ]

    return perturb
