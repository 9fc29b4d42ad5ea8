"""I-GOS: a mask optimised along integrated gradients (paper 004)."""

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
from tfxai.core.types import Attribution, Result, Tensors
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
from tfxai.methods.masks.mask_descent import BETA_TV, Settings, State, optimised
from tfxai.methods.masks.masks import Regulariser
from tfxai.methods.masks.total_gradient import Blended, Deletion
from tfxai.models.heads import scored
from tfxai.models.model_info import ModelInspector

PRESETS = {7: (0.03, 0.06), 14: (0.1, 0.25), 28: (0.1, 1.0), 112: (0.1, 16.0), 224: (0.3, 64.0)}
"""Resolution -> lambda1, lambda2; the search is in examples/reproduce/igos_parts.py."""
LINE_SEARCHES = ("single", "averaged")
DESCENTS = ("proximal", "gradient")
LONGEST = {"gradient": 200.0, "proximal": 400.0}
"""alpha_u, for 28 x 28 cells."""
SHORTEST = 1e-5
"""alpha_l."""


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
) -> Method:
    """Explain by the small, smooth part of an image without which its class is lost.

    min_M f_c(I up(M) + I' (1 - up(M))) + lambda1 mean|1 - M| + lambda2 TV(M),  M in [0, 1]

    Args:
        model: a Keras model of images; f_c is the softmax probability of the target.
        resolution: cells of the mask, for both sides or (rows, columns); None takes 28, or a
            side's pixels where these are fewer.
        lambda1: price of what is deleted; None takes the preset of the resolution.
        lambda2: price of differences between neighbouring cells; None as for `lambda1`.
        steps: S, points of the path from the baseline image to the masked one.
        iterations: the most steps that a mask takes.
        noise: standard deviation of what is added to each point, in units of that of the image,
            which is about 1 in the published code's inputs. On EfficientNet-Lite0, 0 finds lower
            objectives, and better masks by deletion and insertion.
        baseline: I', "blur", "mean", "noise", "black" or "white" (with `bounds`), a number, an
            image, or a function images -> references ``[B, H, W, C]`` that gives each image its
            own (`tfxai.baselines.baseline`).
        line_search: what must decrease, f_c of the masked image ("single", as published) or the
            mean over the path and its noise ("averaged", as in I-GOS++).
        descent: "gradient" goes along the total gradient, as published; "proximal" along that of
            f_c, with the regulariser's minimum around each point taken in closed form.
        longest_step: alpha_u, the first that is tried; None takes 200, as published, for a
            "gradient" descent of 28 x 28 cells, 400 for a "proximal" one, and in proportion for
            more or fewer cells.
        decay: eta, by which a step that fails is shortened.
        adapt_lambda1: lower lambda1 for an image whose f_c has not changed, as the published code
            does.
        tolerance: the least that a step must move some cell; None takes the shortest step where
            no other is found, as published.
        patience: searches in a row that may find no step before a mask is left as it is; the
            gradients of such are averaged. Without a tolerance it plays no role.
        bounds: smallest and largest value of an input, for a baseline by name.
        data_format: as in `rise`.

    Returns:
        An Explainer with attributions 1 - up(M), ``[B, H, W, 1]`` in [0, 1]. The record's `mask`
        is M; its diagnostics have the ``objective`` and its term ``deletion``, f_c; ``lambda1`` and
        ``lambda2``; ``iterations``, their ``step_sizes`` (0 where a mask stays as it is) and
        ``objectives`` before and after each, ``fallbacks`` (iterations whose line search finds no
        step) and ``trials`` (forward passes of the line search).

    Raises:
        TypeError, ValueError: an option of the wrong type or out of range; a resolution beyond
            the image's; a baseline of another shape.

    Reference:
        Qi, Khorram and Li 2020, as in METHODS 5.1 to 5.4: TV has beta = 2, n_s is added to the
        blended image, on all channels. The proximal descent, the presets and the scaled longest
        step are ours; ``descent="gradient", lambda1=1, lambda2=20, tolerance=None`` is what they
        published for 28 x 28 cells.

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
    cells = None if resolution is None else resolution_of(resolution)
    checks.positive_integer("steps", steps)
    checks.positive_integer("iterations", iterations)
    checks.real("noise", noise, least=0)
    checks.one_of("line_search", line_search, LINE_SEARCHES)
    checks.one_of("descent", descent, DESCENTS)
    checks.real("decay", decay, above=0, below=1)
    if tolerance is not None:
        checks.real("tolerance", tolerance, above=0)
    if longest_step is not None:
        checks.real("longest_step", longest_step, above=SHORTEST)
    for name, value in (("lambda1", lambda1), ("lambda2", lambda2)):
        if value is not None:
            checks.real(name, value, least=0)
    checks.positive_integer("patience", patience)

    inspector = ModelInspector(model, data_format)
    references = baseline_of(baseline, bounds, order=inspector.order)
    score = traced(scored(model, scores.probability))

    def settings_for(size: tuple[int, int]) -> Settings:
        usual_lambda1, usual_lambda2 = preset(size)
        usual_step = LONGEST[descent] * size[0] * size[1] / 28**2
        longest = usual_step if longest_step is None else longest_step
        return Settings(
            lambda1=usual_lambda1 if lambda1 is None else lambda1,
            lambda2=usual_lambda2 if lambda2 is None else lambda2,
            steps=_steps(longest, decay, fallback=tolerance is None),
            iterations=iterations,
            averaged=line_search == "averaged",
            proximal=descent == "proximal",
            adapt_lambda1=adapt_lambda1,
            tolerance=tolerance,
            patience=patience,
        )

    def build(rows: int, order: Order) -> Attribution:
        deletion = Deletion(order.channels_last_model(score), steps, noise, rows)
        return _optimising(deletion, order.channels_last_baseline(references), cells, settings_for)

    return Method(
        inspector,
        channels_last(build, inspector),
        scores.probability,
        random=noise > 0,
        arrays_per_example=8,
        like=maps_of(inspector),
        if_constant=UNMOVED,
        warn=unmoved,
    )


def _optimising(
    deletion: Deletion,
    references: Baseline,
    resolution: tuple[int, int] | None,
    settings_for: Callable[[tuple[int, int]], Settings],
) -> Attribution:
    """Give the attribution of images ``[B, H, W, C]`` that optimises a mask for each."""

    def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
        examples = blended(inputs, targets, references)
        size = cells_of(examples.images, resolution)
        settings = settings_for(size)
        state = optimised(deletion, settings, examples, size, seed)
        diagnostics = _diagnostics(deletion, settings, examples, state)
        return result_of(state.masks, examples.images, diagnostics)

    return attribute


def _diagnostics(
    deletion: Deletion, settings: Settings, examples: Blended, state: State
) -> dict[str, tf.Tensor]:
    """Give what the record of an optimisation has beside the maps and the mask."""
    lost = deletion.score(state.masks, examples)
    price = Regulariser(state.lambda1, settings.lambda2, BETA_TV)(state.masks)
    taken = ~tf.math.is_nan(state.step_sizes)
    return {
        "objective": lost + price,
        "deletion": lost,
        "iterations": _count(taken),
        "fallbacks": _count(taken & (state.step_sizes <= SHORTEST)),
        "trials": state.trials,
        "step_sizes": state.step_sizes,
        "objectives": state.objectives,
        "lambda1": state.lambda1,
        "lambda2": tf.fill(tf.shape(lost), tf.constant(settings.lambda2, lost.dtype)),
    }


def preset(size: tuple[int, int]) -> tuple[float, float]:
    """Give lambda1 and lambda2, between the presets by the logarithms of all three."""
    side = np.log(np.sqrt(size[0] * size[1]))
    known = np.log(sorted(PRESETS))
    lambdas = np.log([PRESETS[cells] for cells in sorted(PRESETS)])
    lambda1, lambda2 = (float(np.exp(np.interp(side, known, column))) for column in lambdas.T)
    return lambda1, lambda2


def _steps(longest: float, decay: float, *, fallback: bool) -> list[float]:
    """Give alpha_u, eta alpha_u ... down to alpha_l, which is for want of another."""
    count = 1 + int(np.log(longest / SHORTEST) / -np.log(decay))
    steps = [s for k in range(count) if (s := longest * decay**k) > SHORTEST]
    return [*steps, SHORTEST] if fallback else steps


def _count(which: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(which, tf.int32), 1)
