"""I-GOS: a mask optimised along integrated gradients (Qi et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfxai import scores
from tfxai.baselines import Baseline
from tfxai.baselines import baseline as baseline_of
from tfxai.core import checks
from tfxai.core.axes import Order
from tfxai.core.tracing import traced
from tfxai.core.types import Attribution, Result, Score, Tensors
from tfxai.explaining.builder import builder
from tfxai.explaining.method import Method
from tfxai.methods.masks.blending import BlendedExamples
from tfxai.methods.masks.image_inputs import (
    blended_examples,
    in_model_order,
    mask_size,
    one_channel_like,
    rows_and_columns,
)
from tfxai.methods.masks.mask_descent import BETA_TV, Settings, State, optimise_masks
from tfxai.methods.masks.mask_results import UNMOVED, mask_result, mask_warnings
from tfxai.methods.masks.masked_model import MaskedModel
from tfxai.methods.masks.regulariser import Regulariser
from tfxai.models.model_info import ModelInspector
from tfxai.models.scored_models import differentiable

PRESETS = {7: (0.03, 0.06), 14: (0.1, 0.25), 28: (0.1, 1.0), 112: (0.1, 16.0), 224: (0.3, 64.0)}
"""Cells of a mask for each side -> lambda1, lambda2, found by examples/reproduce/igos_parts.py."""
LINE_SEARCHES = ("single", "averaged")
DESCENTS = ("proximal", "gradient")
LONGEST_STEPS = {"gradient": 200.0, "proximal": 400.0}
"""Descent -> alpha_u, the first step that is tried, for a mask of 28 x 28 cells."""
SHORTEST_STEP = 1e-5
"""alpha_l, the step that is taken without a tolerance where the line search accepts no other."""


@builder
def igos(
    model: keras.Model,
    *,
    resolution: int | tuple[int, int] | None = None,
    lambda1: float | None = None,
    lambda2: float | None = None,
    steps: int = 20,
    iterations: int = 15,
    noise: float = 0.2,
    baseline: Any = "blur",
    line_search: str = "single",
    descent: str = "proximal",
    longest_step: float | None = None,
    decay: float = 0.2,
    adapt_lambda1: bool = False,
    tolerance: float | None = 1e-4,
    patience: int = 3,
    bounds: tuple[Any, Any] | None = None,
    data_format: str | None = None,
    score: Score = scores.probability,
) -> Method:
    """Explain by the small, smooth part of an image without which its class is lost.

    min_M F(M) = f_c(I up(M) + I' (1 - up(M))) + lambda1 mean|1 - M| + lambda2 TV(M),  M in [0, 1]

    TV(M) = mean|M_i+1,j - M_ij|^2 + mean|M_i,j+1 - M_ij|^2, and up is bilinear upsampling.

    Args:
        model: a Keras model of images; f_c is the score of the target.
        resolution: cells of the mask, for both sides or (rows, columns); None takes 28, or the
            number of pixels of a side that has fewer.
        lambda1: price of what is deleted; None takes the preset of the resolution.
        lambda2: price of differences between neighbouring cells; None takes the preset of the
            resolution.
        steps: S, the number of points on the path from the baseline image to the masked image.
        iterations: the largest number of steps that a mask takes.
        noise: standard deviation of the noise at each point of the path, in units of the standard
            deviation of the image, which is about 1 for the inputs of the published code. On
            EfficientNet-Lite0, 0 finds lower objectives, and better masks by deletion and
            insertion.
        baseline: I', "blur", "mean", "noise", "black" or "white" (with `bounds`), a number, an
            image, or a function images -> references ``[B, H, W, C]`` that gives each image its
            own (`tfxai.baselines.baseline`).
        line_search: what must decrease, f_c of the masked image ("single", as published) or the
            mean of f_c over the noisy points of the path ("averaged", as in I-GOS++); in both cases
            with the regulariser.
        descent: "gradient" goes along the total gradient, as published; "proximal" goes along the
            gradient of f_c and takes the minimum of the regulariser around each point in closed
            form.
        longest_step: alpha_u, the first step that is tried. None takes 200, as published, for a
            "gradient" descent of 28 x 28 cells, 400 for a "proximal" descent, and steps in
            proportion to the number of cells for other resolutions.
        decay: eta, the factor by which a step that is not accepted is shortened.
        adapt_lambda1: whether to lower lambda1 for images whose f_c has hardly changed, as the
            published code does.
        tolerance: a step must change some cell by at least this much. None takes the shortest step
            where no other is accepted, as published.
        patience: after this many searches in a row that accept no step, a mask is left as it is;
            until then the gradients of these searches are averaged. Without a tolerance it has no
            effect.
        bounds: the smallest and the largest value of an input, for a baseline by name.
        data_format: where the channels of the images are, as in `rise`.
        score: f_c, (outputs, targets) -> ``[B]``; the prices are made for a probability, by default
            the target's softmax or sigmoid.

    Returns:
        An Explainer with attributions 1 - up(M), ``[B, H, W, 1]`` in [0, 1]. The record's `mask`
        is M. Its diagnostics are the ``objective`` F(M) and its term ``deletion``, f_c; ``lambda1``
        and ``lambda2``; the number of ``iterations``, their ``step_sizes`` (0 where a mask stays as
        it is) and the ``objectives`` before and after each; ``fallbacks``, the number of iterations
        that took the shortest step because no other was accepted; and ``trials``, the number of
        forward passes that the line searches needed.

    Raises:
        TypeError, ValueError: an option has the wrong type or is out of range, the mask has more
            cells than the image has pixels, or the baseline has another shape than the image.

    Reference:
        Qi et al. 2020. The noise is added to the blended image, on all channels. The proximal
        descent, the presets of lambda1 and lambda2, and the scaling of the longest step are ours
        (docs/methods.md, I-GOS). Published for 28 x 28 cells is
        ``descent="gradient", lambda1=1, lambda2=20, tolerance=None``.

    Example:
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()])
        >>> model.add(keras.layers.Dense(1, "sigmoid", kernel_initializer="ones"))
        >>> explainer = igos(model, resolution=4, baseline=0.0, lambda2=0.1)
        >>> image = np.linspace(0, 0.06, 64).reshape(1, 8, 8, 1)
        >>> record = explainer.explain(image, verbose=0)
        >>> record.attributions.shape, record.mask.shape
        ((1, 8, 8, 1), (1, 4, 4, 1))
    """
    checks.model(model)
    cells = None if resolution is None else rows_and_columns(resolution)
    checks.positive_integer("steps", steps)
    checks.positive_integer("iterations", iterations)
    checks.real("noise", noise, least=0)
    checks.one_of("line_search", line_search, LINE_SEARCHES)
    checks.one_of("descent", descent, DESCENTS)
    checks.real("decay", decay, above=0, below=1)
    if tolerance is not None:
        checks.real("tolerance", tolerance, above=0)
    if longest_step is not None:
        checks.real("longest_step", longest_step, above=SHORTEST_STEP)
    for name, value in (("lambda1", lambda1), ("lambda2", lambda2)):
        if value is not None:
            checks.real(name, value, least=0)
    checks.positive_integer("patience", patience)

    inspector = ModelInspector(model, data_format)
    references_of = baseline_of(baseline, bounds, order=inspector.order)
    scored_model = traced(differentiable(model, score))

    def settings_for(size: tuple[int, int]) -> Settings:
        preset_lambda1, preset_lambda2 = preset_lambdas(size)
        preset_step = LONGEST_STEPS[descent] * size[0] * size[1] / 28**2
        longest = preset_step if longest_step is None else longest_step
        return Settings(
            lambda1=preset_lambda1 if lambda1 is None else lambda1,
            lambda2=preset_lambda2 if lambda2 is None else lambda2,
            steps=_trial_steps(longest, decay, fallback=tolerance is None),
            iterations=iterations,
            averaged=line_search == "averaged",
            proximal=descent == "proximal",
            adapt_lambda1=adapt_lambda1,
            tolerance=tolerance,
            patience=patience,
        )

    def build(rows: int, order: Order) -> Attribution:
        masked_model = MaskedModel(order.channels_last_model(scored_model), steps, noise, rows)
        channels_last_references = order.channels_last_baseline(references_of)
        return _optimised_mask(masked_model, channels_last_references, cells, settings_for)

    return Method(
        inspector,
        in_model_order(build, inspector),
        score,
        random=noise > 0,
        arrays_per_example=8,
        like=one_channel_like(inspector),
        if_constant=UNMOVED,
        warn=mask_warnings(score),
    )


def preset_lambdas(size: tuple[int, int]) -> tuple[float, float]:
    """Give lambda1 and lambda2 for a mask of `size`, (rows, columns).

    Between the presets they are interpolated linearly in the logarithms of lambda1, lambda2 and the
    side of a square mask of as many cells; beyond the presets they are constant.
    """
    side = np.log(np.sqrt(size[0] * size[1]))
    preset_sides = np.log(sorted(PRESETS))
    log_lambdas = np.log([PRESETS[cells] for cells in sorted(PRESETS)])
    lambda1, lambda2 = (float(np.exp(np.interp(side, preset_sides, x))) for x in log_lambdas.T)
    return lambda1, lambda2


def _optimised_mask(
    model: MaskedModel,
    references_of: Baseline,
    resolution: tuple[int, int] | None,
    settings_for: Callable[[tuple[int, int]], Settings],
) -> Attribution:
    """Give the attribution of images ``[B, H, W, C]`` that optimises a mask for each."""

    def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
        examples = blended_examples(inputs, targets, references_of)
        size = mask_size(examples.images, resolution)
        settings = settings_for(size)
        state = optimise_masks(model, settings, examples, size, seed)
        diagnostics = _diagnostics(model, settings, examples, state)
        return mask_result(state.masks, examples.images, diagnostics)

    return attribute


def _diagnostics(
    model: MaskedModel, settings: Settings, examples: BlendedExamples, state: State
) -> dict[str, tf.Tensor]:
    """Give the diagnostics of an optimisation, all but the mask."""
    deletion = model.score(state.masks, examples)
    penalty = Regulariser(state.lambda1, settings.lambda2, BETA_TV)(state.masks)
    is_iteration = ~tf.math.is_nan(state.step_sizes)
    return {
        "objective": deletion + penalty,
        "deletion": deletion,
        "iterations": _count(is_iteration),
        "fallbacks": _count(is_iteration & (state.step_sizes <= SHORTEST_STEP)),
        "trials": state.trials,
        "step_sizes": state.step_sizes,
        "objectives": state.objectives,
        "lambda1": state.lambda1,
        "lambda2": tf.fill(tf.shape(deletion), tf.constant(settings.lambda2, deletion.dtype)),
    }


def _trial_steps(longest: float, decay: float, *, fallback: bool) -> list[float]:
    """Give the steps alpha_u, eta alpha_u, eta^2 alpha_u ... above alpha_l.

    With `fallback`, alpha_l follows as the last one.
    """
    count = 1 + int(np.log(longest / SHORTEST_STEP) / -np.log(decay))
    steps = [s for k in range(count) if (s := longest * decay**k) > SHORTEST_STEP]
    return [*steps, SHORTEST_STEP] if fallback else steps


def _count(conditions: tf.Tensor) -> tf.Tensor:
    """Count what is true in each row, int32 ``[N]``."""
    return tf.reduce_sum(tf.cast(conditions, tf.int32), 1)
