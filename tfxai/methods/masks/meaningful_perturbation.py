"""The mask of Fong and Vedaldi 2017, by Adam."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfxai import scores
from tfxai.baselines import baseline as baseline_of
from tfxai.core import checks
from tfxai.core.axes import Order
from tfxai.core.types import Result, Tensors
from tfxai.explaining.builder import builder
from tfxai.explaining.method import Method
from tfxai.methods.masks.images import (
    UNMOVED,
    blended,
    cells_of,
    channels_last,
    maps_of,
    resolution_of,
    result_of,
    unmoved,
)
from tfxai.methods.masks.masks import Regulariser, blend, noise_like
from tfxai.models.heads import scored
from tfxai.models.model_info import ModelInspector

BETA_TV = 3
FIRST_DECAY, SECOND_DECAY, TINY = 0.9, 0.999, 1e-8
"""Adam's beta_1, beta_2 and epsilon, as in PyTorch."""


class State(NamedTuple):
    """One row for each image, ``[N, h, w]``."""

    masks: tf.Tensor
    first: tf.Tensor
    """Running mean of the gradient."""
    second: tf.Tensor
    """Running mean of its square."""


@builder
def meaningful_perturbation(
    model: keras.Model,
    *,
    resolution: int | tuple[int, int] | None = None,
    lambda1: float = 0.01,
    lambda2: float = 0.2,
    iterations: int = 500,
    learning_rate: float = 0.1,
    noise: float = 0.2,
    baseline: Any = "blur",
    bounds: tuple[Any, Any] | None = None,
    data_format: str | None = None,
) -> Method:
    """Explain by a mask as in `igos`, found by Adam on the ordinary gradient.

    min_M f_c(I up(M) + I' (1 - up(M)) + n) + lambda1 mean|1 - M| + lambda2 TV(M),  M in [0, 1]

    Args:
        model: a Keras model of images; f_c is the softmax probability of the target.
        resolution: cells of the mask, as in `igos`.
        lambda1: price of what is deleted.
        lambda2: price of differences between neighbouring cells.
        iterations: steps of Adam.
        learning_rate: of Adam.
        noise: standard deviation of what is added at each step, as in `igos`.
        baseline: I', as in `igos`.
        bounds: smallest and largest value of an input, for a baseline by name.
        data_format: as in `rise`.

    Returns:
        An Explainer with attributions 1 - up(M), ``[B, H, W, 1]`` in [0, 1]. The record's `mask`
        is M; its diagnostics are the ``objective`` and its term ``deletion``, f_c, without noise.

    Raises:
        TypeError, ValueError: as `igos`.

    Reference:
        Fong and Vedaldi 2017, sections 4.1 to 4.3, with the constants of METHODS 5.7 (first
        column): TV has beta = 3, Adam's steps are clipped to [0, 1]. That code's baseline is a
        median blur.

    Example:
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3)])
        >>> model.add(keras.layers.GlobalAveragePooling2D())
        >>> explainer = meaningful_perturbation(model, resolution=4, iterations=5)
        >>> explainer(keras.ops.ones((1, 8, 8, 3)), 0).shape
        TensorShape([1, 8, 8, 1])
    """
    checks.model(model)
    cells = None if resolution is None else resolution_of(resolution)
    checks.positive_integer("iterations", iterations)
    checks.real("learning_rate", learning_rate, above=0)
    checks.real("noise", noise, least=0)
    regulariser = Regulariser(
        checks.real("lambda1", lambda1, least=0), checks.real("lambda2", lambda2, least=0), BETA_TV
    )
    inspector = ModelInspector(model, data_format)
    references = baseline_of(baseline, bounds, order=inspector.order)
    of_model = scored(model, scores.probability)

    def attribute(order: Order, inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
        examples = blended(inputs, targets, order.channels_last_baseline(references))
        score = order.channels_last_model(of_model)

        def step(i: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
            points = blend(examples.images, examples.references, state.masks)
            if noise:
                points += noise_like(examples.images, noise, tf.random.fold_in(seed, i))
            objective = score(points, targets) + regulariser(state.masks)
            (gradient,) = tf.gradients(objective, [state.masks])
            return i + 1, _adam(state, gradient, i + 1, learning_rate)

        size = [tf.shape(examples.images)[0], *cells_of(examples.images, cells)]
        ones = tf.ones(size, examples.images.dtype)
        start = State(ones, tf.zeros_like(ones), tf.zeros_like(ones))
        _, state = tf.while_loop(
            lambda i, state: i < iterations, step, (0, start), parallel_iterations=1
        )
        lost = score(blend(examples.images, examples.references, state.masks), targets)
        diagnostics = {"objective": lost + regulariser(state.masks), "deletion": lost}
        return result_of(state.masks, examples.images, diagnostics)

    return Method(
        inspector,
        channels_last(lambda rows, order: partial(attribute, order), inspector),
        scores.probability,
        random=noise > 0,
        arrays_per_example=8,
        like=maps_of(inspector),
        if_constant=UNMOVED,
        warn=unmoved,
    )


def _adam(state: State, gradient: tf.Tensor, t: tf.Tensor, rate: float) -> State:
    """Take the t-th step of Adam (Kingma and Ba 2015, algorithm 1), and clip to [0, 1]."""
    time = tf.cast(t, gradient.dtype)
    first = FIRST_DECAY * state.first + (1 - FIRST_DECAY) * gradient
    second = SECOND_DECAY * state.second + (1 - SECOND_DECAY) * gradient**2
    step = (first / (1 - FIRST_DECAY**time)) / (tf.sqrt(second / (1 - SECOND_DECAY**time)) + TINY)
    return State(tf.clip_by_value(state.masks - rate * step, 0, 1), first, second)
