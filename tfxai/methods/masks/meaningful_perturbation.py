"""Meaningful perturbation (Fong and Vedaldi 2017): a mask optimised by Adam."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfxai import scores
from tfxai.core import checks
from tfxai.core.layout import checked_sizes
from tfxai.core.named_inputs import for_each_input
from tfxai.core.types import Result, Score, Tensors
from tfxai.estimation.estimate import connected
from tfxai.explaining.builder import builder
from tfxai.explaining.method import Method
from tfxai.methods.masks.blending import blend, noise_of_input
from tfxai.methods.masks.mask_cells import cells_of_inputs, joined, split
from tfxai.methods.masks.mask_method import method_of_masks
from tfxai.methods.masks.mask_results import UNMOVED, mask_result, mask_warnings
from tfxai.methods.masks.masked_inputs import (
    Examples,
    MaskMethod,
    ScoreParts,
    masked_inputs,
)
from tfxai.methods.masks.regulariser import Regulariser
from tfxai.models.scored_models import differentiable

BETA_TV = 3
"""The power of the differences in TV(M)."""
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
"""Adam's constants, as in PyTorch."""


class AdamState(NamedTuple):
    """The masks and what Adam remembers of their gradients, each ``[N, K]``."""

    masks: tf.Tensor
    first_moment: tf.Tensor
    """The running mean of the gradient."""
    second_moment: tf.Tensor
    """The running mean of the squared gradient."""


@builder
def meaningful_perturbation(
    model: keras.Model,
    *,
    resolution: Any = None,
    lambda1: float = 0.01,
    lambda2: float = 0.2,
    iterations: int = 500,
    learning_rate: float = 0.1,
    noise: float = 0.2,
    inputs: Any = None,
    per_channel: bool = False,
    groups: Any = None,
    baseline: Any = "blur",
    bounds: tuple[Any, Any] | None = None,
    data_format: str | None = None,
    score: Score = scores.probability,
) -> Method:
    """Explain by the part of an input without which its class is lost, found by Adam.

    min_M f_c(I up(M) + I' (1 - up(M)) + n) + lambda1 mean|1 - M| + lambda2 TV(M),  M in [0, 1]

    TV(M) = mean|M_i+1,j - M_ij|^3 + mean|M_i,j+1 - M_ij|^3, up is bilinear upsampling, and n is
    noise. `igos` optimises such a mask along integrated gradients; here the gradient is ordinary.

    Args:
        model: a Keras model of images, sequences, volumes, tables, or several of these, as in
            `occlusion`; f_c is the score of the target.
        resolution: cells of the mask, as in `igos`.
        lambda1: price of what is deleted of each input.
        lambda2: price of differences between neighbouring cells.
        iterations: the number of Adam's steps.
        learning_rate: Adam's learning rate.
        noise: standard deviation of n, which is drawn anew for each step, in units of the standard
            deviation of the example.
        inputs: as in `igos`.
        per_channel: as in `igos`.
        groups: as in `igos`.
        baseline: I', as in `igos`.
        bounds: the smallest and the largest value of an input, for a baseline by name.
        data_format: where the channels of the images are, as in `rise`.
        score: f_c, (outputs, targets) -> ``[B]``; the prices are made for a probability, by default
            the target's softmax or sigmoid.

    Returns:
        An Explainer with attributions 1 - up(M) in [0, 1], ``[B, H, W, 1]`` for images and of the
        other shapes and structures of `occlusion`. The record's `mask` is M, as that of `igos`; its
        diagnostics are the ``objective`` without noise and its term ``deletion``, f_c.

    Raises:
        TypeError, ValueError: for the reasons of `igos`.

    Reference:
        Fong and Vedaldi 2017, sections 4.1 to 4.3, with the constants of the PyTorch code that
        Qi et al. 2020 compare with. After each step the mask is clipped to [0, 1]. The baseline of
        that code is a median blur, and its noise is on one channel (docs/methods.md, Meaningful
        perturbation).

    Example:
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3)])
        >>> model.add(keras.layers.GlobalAveragePooling2D())
        >>> explainer = meaningful_perturbation(model, resolution=4, iterations=5)
        >>> explainer(keras.ops.ones((1, 8, 8, 3)), 0).shape
        TensorShape([1, 8, 8, 1])
    """
    checks.model(model)
    cells_given = for_each_input(partial(checked_sizes, "resolution"), resolution)
    checks.positive_integer("iterations", iterations)
    checks.real("learning_rate", learning_rate, above=0)
    checks.real("noise", noise, least=0)
    checks.real("lambda1", lambda1, least=0)
    checks.real("lambda2", lambda2, least=0)
    masked = masked_inputs(
        model,
        inputs,
        per_channel=per_channel,
        groups=groups,
        baseline=baseline,
        bounds=bounds,
        data_format=data_format,
    )

    def build(rows: int, score: ScoreParts, inputs: Tensors) -> MaskMethod:
        del rows
        cells = cells_of_inputs(masked, cells_given, inputs)

        def attribute(examples: Examples, targets: tf.Tensor, seed: tf.Tensor) -> Result:
            each = tf.ones([len(cells)], examples.inputs[0].dtype)
            regulariser = Regulariser(cells, lambda1 * each, [lambda2] * len(cells), BETA_TV)

            def step(i: tf.Tensor, state: AdamState) -> tuple[tf.Tensor, AdamState]:
                masks = split(state.masks, cells)
                points = blend(examples, masks, cells)
                if noise:
                    step_seed = tf.random.fold_in(seed, i)
                    points = [
                        p + noise_of_input(examples.inputs, place, noise, step_seed)
                        for place, p in enumerate(points)
                    ]
                scores = score(points, examples.others, targets)
                # Each input by itself, so that one on which the score has no slope is found.
                slopes = connected(tf.gradients(scores, masks), examples.inputs)
                (of_price,) = tf.gradients(regulariser(state.masks), [state.masks])
                gradient = joined(slopes) + of_price
                return i + 1, _adam_step(state, gradient, i + 1, learning_rate)

            count = sum(c.size for c in cells)
            ones = tf.ones([tf.shape(targets)[0], count], each.dtype)
            start = AdamState(ones, tf.zeros_like(ones), tf.zeros_like(ones))
            _, state = tf.while_loop(
                lambda i, state: i < iterations, step, (0, start), parallel_iterations=1
            )
            deletion = score(
                blend(examples, split(state.masks, cells), cells), examples.others, targets
            )
            diagnostics = {"objective": deletion + regulariser(state.masks), "deletion": deletion}
            return mask_result(state.masks, cells, diagnostics)

        return attribute

    scored_model = differentiable(model, score)
    return method_of_masks(build, masked, scored_model, score)._replace(
        random=noise > 0, if_constant=UNMOVED, warn=mask_warnings(score)
    )


def _adam_step(state: AdamState, gradient: tf.Tensor, t: tf.Tensor, rate: float) -> AdamState:
    """Take the t-th step of Adam, t = 1, 2 ..., and clip the masks to [0, 1].

    Source: Kingma and Ba 2015, algorithm 1.
    """
    time = tf.cast(t, gradient.dtype)
    first = BETA_1 * state.first_moment + (1 - BETA_1) * gradient
    second = BETA_2 * state.second_moment + (1 - BETA_2) * gradient**2
    step = (first / (1 - BETA_1**time)) / (tf.sqrt(second / (1 - BETA_2**time)) + EPSILON)
    return AdamState(tf.clip_by_value(state.masks - rate * step, 0, 1), first, second)
