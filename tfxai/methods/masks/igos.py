"""I-GOS: a mask optimised along integrated gradients (Qi et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from tfxai import scores
from tfxai.core import checks
from tfxai.core.layout import checked_sizes
from tfxai.core.named_inputs import for_each_input
from tfxai.core.tracing import traced
from tfxai.core.types import Result, Score, Tensors
from tfxai.explaining.builder import builder
from tfxai.explaining.method import Method
from tfxai.methods.masks import igos_settings
from tfxai.methods.masks.igos_settings import SHORTEST_STEP
from tfxai.methods.masks.mask_cells import Cells, cells_of_inputs
from tfxai.methods.masks.mask_descent import BETA_TV, Settings, State, optimise_masks
from tfxai.methods.masks.mask_method import method_of_masks
from tfxai.methods.masks.mask_results import UNMOVED, mask_result, mask_warnings
from tfxai.methods.masks.masked_inputs import (
    Examples,
    MaskMethod,
    ScoreParts,
    masked_inputs,
)
from tfxai.methods.masks.masked_model import MaskedModel
from tfxai.methods.masks.regulariser import Regulariser
from tfxai.models.scored_models import differentiable

LINE_SEARCHES = ("single", "averaged")
DESCENTS = ("proximal", "gradient")


@builder
def igos(
    model: keras.Model,
    *,
    resolution: Any = None,
    lambda1: Any = None,
    lambda2: Any = None,
    steps: int = 20,
    iterations: int = 15,
    noise: float = 0.2,
    inputs: Any = None,
    per_channel: bool = False,
    groups: Any = None,
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
    """Explain by the small, smooth part of an input without which its class is lost.

    min_M F(M) = f_c(I up(M) + I' (1 - up(M))) + lambda1 mean|1 - M| + lambda2 TV(M),  M in [0, 1]

    TV(M) = mean|M_i+1,j - M_ij|^2 + mean|M_i,j+1 - M_ij|^2, and up is bilinear upsampling. The
    masks of several inputs are optimised together, each with its own price.

    Args:
        model: a Keras model of images, sequences, volumes, tables, or several of these, as in
            `occlusion`; f_c is the score of the target.
        resolution: cells of the mask, one number for all axes or a tuple with one for each, such as
            (rows, columns); None takes 28, or the number of positions of an axis that has fewer.
            The features of a table are its cells. For several inputs that differ, a dict by name.
        lambda1: price of what is deleted; None takes the preset of the resolution. For several
            inputs that differ, a dict by name.
        lambda2: price of differences between neighbouring cells, given like `lambda1`; tables and
            groups have no neighbours.
        steps: S, the number of points on the path from the baseline to the masked input.
        iterations: the largest number of steps that a mask takes.
        noise: standard deviation of the noise at each point of the path, in units of the standard
            deviation of the example, which is about 1 for the inputs of the published code. On
            EfficientNet-Lite0, 0 finds lower objectives, and better masks by deletion and
            insertion.
        inputs: the name of the input that is masked, or a list of names, while the others stay;
            None masks all inputs.
        per_channel: whether each channel has a mask of its own.
        groups: what is masked together instead of the cells of a grid, as in `occlusion`.
        baseline: I', "blur", "mean", "noise", "black" or "white" (with `bounds`), a number, an
            example, or a function images -> references ``[B, H, W, C]`` that gives each example its
            own (`tfxai.baselines.baseline`). Tables have no blur: pass numbers.
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
        adapt_lambda1: whether to lower lambda1 for examples whose f_c has hardly changed, as the
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
        An Explainer with attributions 1 - up(M) in [0, 1], ``[B, H, W, 1]`` for images and of the
        other shapes and structures of `occlusion`. The record's `mask` is M, ``[B, h, w, 1]`` for
        images. Its diagnostics are the ``objective`` F(M) and its term ``deletion``, f_c;
        ``lambda1`` and ``lambda2``, of several inputs ``[B, I]``; the number of ``iterations``,
        their ``step_sizes`` (0 where a mask stays as it is) and the ``objectives`` before and after
        each; ``fallbacks``, the number of iterations that took the shortest step because no other
        was accepted; and ``trials``, the number of forward passes that the line searches needed.

    Raises:
        TypeError, ValueError: an option has the wrong type or is out of range, the mask has more
            cells than the input has positions, the baseline has another shape than the input, or
            the model has no such input.

    Reference:
        Qi et al. 2020. The noise is added to the blended image, on all channels. The proximal
        descent, the presets of lambda1 and lambda2, the scaling of the longest step, and what is no
        image are ours (docs/methods.md, I-GOS). Published for 28 x 28 cells is
        ``descent="gradient", lambda1=1, lambda2=20, tolerance=None``.

    Example:
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()])
        >>> model.add(keras.layers.Dense(1, "sigmoid", kernel_initializer="ones"))
        >>> explainer = igos(model, resolution=4, baseline=0.0, lambda2=0.1)
        >>> image = keras.ops.reshape(keras.ops.linspace(0.0, 0.06, 64), (1, 8, 8, 1))
        >>> record = explainer.explain(image, verbose=0)
        >>> record.attributions.shape, record.mask.shape
        ((1, 8, 8, 1), (1, 4, 4, 1))
    """
    checks.model(model)
    cells_given = for_each_input(partial(checked_sizes, "resolution"), resolution)
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
    price1, price2 = (
        for_each_input(partial(_checked_price, name), value)
        for name, value in (("lambda1", lambda1), ("lambda2", lambda2))
    )
    checks.positive_integer("patience", patience)
    masked = masked_inputs(
        model,
        inputs,
        per_channel=per_channel,
        groups=groups,
        baseline=baseline,
        bounds=bounds,
        data_format=data_format,
    )

    def settings_for(cells: list[Cells], inputs: Tensors) -> Settings:
        first, second = igos_settings.prices(
            cells,
            masked.for_each("lambda1", price1, inputs),
            masked.for_each("lambda2", price2, inputs),
        )
        longest = longest_step or igos_settings.longest_of(cells, descent)
        return Settings(
            lambda1=first,
            lambda2=second,
            steps=igos_settings.trial_steps(longest, decay, fallback=tolerance is None),
            iterations=iterations,
            averaged=line_search == "averaged",
            proximal=descent == "proximal",
            adapt_lambda1=adapt_lambda1,
            tolerance=tolerance,
            patience=patience,
        )

    def build(rows: int, score: ScoreParts, inputs: Tensors) -> MaskMethod:
        cells = cells_of_inputs(masked, cells_given, inputs)
        settings = settings_for(cells, inputs)
        masked_model = MaskedModel(score, cells, steps, noise, rows)

        def attribute(examples: Examples, targets: tf.Tensor, seed: tf.Tensor) -> Result:
            state = optimise_masks(masked_model, settings, examples, targets, seed)
            deletion = masked_model.score(state.masks, examples, targets)
            diagnostics = _diagnostics(cells, settings, deletion, state)
            return mask_result(state.masks, cells, diagnostics)

        return attribute

    scored_model = traced(differentiable(model, score))
    return method_of_masks(build, masked, scored_model, score)._replace(
        random=noise > 0, if_constant=UNMOVED, warn=mask_warnings(score)
    )


def _checked_price(name: str, value: float | None) -> float | None:
    return None if value is None else checks.real(name, value, least=0)


def _diagnostics(
    cells: Sequence[Cells], settings: Settings, deletion: tf.Tensor, state: State
) -> dict[str, tf.Tensor]:
    """Give the diagnostics of an optimisation, all but the mask."""
    penalty = Regulariser(cells, state.lambda1, settings.lambda2, BETA_TV)(state.masks)
    is_iteration = ~tf.math.is_nan(state.step_sizes)
    lambda2 = tf.repeat(tf.constant([settings.lambda2], deletion.dtype), tf.size(deletion), axis=0)
    return {
        "objective": deletion + penalty,
        "deletion": deletion,
        "iterations": _count(is_iteration),
        "fallbacks": _count(is_iteration & (state.step_sizes <= SHORTEST_STEP)),
        "trials": state.trials,
        "step_sizes": state.step_sizes,
        "objectives": state.objectives,
        "lambda1": _of_one_input(state.lambda1),
        "lambda2": _of_one_input(lambda2),
    }


def _of_one_input(prices: tf.Tensor) -> tf.Tensor:
    """Give the prices ``[N, I]`` of I inputs as ``[N]`` where there is one."""
    return prices[:, 0] if prices.shape[1] == 1 else prices


def _count(conditions: tf.Tensor) -> tf.Tensor:
    """Count what is true in each row, int32 ``[N]``."""
    return tf.reduce_sum(tf.cast(conditions, tf.int32), 1)
