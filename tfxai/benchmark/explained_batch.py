"""What a metric of the benchmark looks at: a batch of images, explained by one method.

All images and maps have their channels last here, whatever the order of the model's inputs is.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np

from tfxai.benchmark.predictor import Predictor
from tfxai.core.map_checks import is_constant
from tfxai.explaining.explainer import Explainer
from tfxai.metrics.explain import Explain

Builder = Callable[[keras.Model], Explainer]
"""Builds a method's explainer for a model."""
GRADIENT_LIKE = {
    "gradient",
    "smoothgrad",
    "adaptgrad",
    "noisegrad",
    "fusiongrad",
    "guided_backprop",
    "deconvnet",
    "pattern_net",
}
"""Methods whose maps give the change of the score per change of the input, as the gradient does.

The maps of all other methods give shares of the score.
"""


class ExplainedBatch(NamedTuple):
    """A batch of images, one method's attributions of it, and the model that they explain."""

    model: keras.Model
    predictor: Predictor
    inputs: np.ndarray
    """``[B, H, W, C]``."""
    targets: np.ndarray
    """The classes that are explained, int32 ``[B]``."""
    regions: np.ndarray | None
    """Masks ``[B, H, W]`` of where the classes are."""
    bounds: tuple[Any, Any] | None
    """The values of black and white in the inputs."""
    attributions: np.ndarray
    """The attributions as the method gives them, ``[B, H, W, C | 1]``."""
    heatmaps: np.ndarray
    """The attributions summed over channels, ``[B, H, W]``."""
    sign: str
    """What is summed: "signed" for the attributions, "absolute" for their absolute values."""
    constant: np.ndarray
    """Whether a heatmap is constant, booleans ``[B]``."""
    slopes: bool
    """Whether the attributions give the change of the score per change of the input."""
    explain: Explain
    """The method on the model."""
    explain_on: Callable[[keras.Model], Explain]
    """The method on another model."""
    seed: int


def explain_batch(
    explainer: Explainer,
    predictor: Predictor,
    inputs: np.ndarray,
    targets: np.ndarray,
    *,
    regions: np.ndarray | None,
    bounds: tuple[Any, Any] | None,
    sign: str,
    seed: int,
    explain_on: Callable[[keras.Model], Explain],
) -> ExplainedBatch:
    """Explain a batch.

    Args:
        explainer: the method on the model.
        predictor: the functions of the model.
        inputs: images in the order of the model's inputs.
        targets: the classes to explain, int32 ``[B]``.
        regions: as in `ExplainedBatch`.
        bounds: as in `ExplainedBatch`.
        sign: as in `ExplainedBatch`.
        seed: for methods and metrics that draw random numbers.
        explain_on: gives the method on another model, for inputs in the order of that model.
    """
    order = predictor.order

    def channels_last(explain: Explain) -> Explain:
        return lambda x, targets: order.to_channels_last(
            np.asarray(explain(order.from_channels_last(x), targets))
        )

    explain = channels_last(explain_quietly(explainer, seed))
    images = order.to_channels_last(inputs)
    attributions = explain(images, targets)
    heatmaps = sum_over_channels(attributions, sign)
    return ExplainedBatch(
        explainer.model,
        predictor,
        images,
        targets,
        regions,
        bounds,
        attributions,
        heatmaps,
        sign,
        is_constant(heatmaps),
        has_slopes(explainer.settings),
        explain,
        lambda model: channels_last(explain_on(model)),
        seed,
    )


def explain_quietly(explainer: Explainer, seed: int) -> Explain:
    """Give a method that explains in bounded memory, without warnings about single maps."""

    def explain(inputs: np.ndarray, targets: Any) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return explainer.explain(inputs, targets, verbose=0, seed=seed).attributions

    return explain


def explain_heatmaps(explain: Explain, sign: str) -> Explain:
    """Give a method whose maps are summed over channels, ``[B, H, W]``.

    So the authors' code of Zhou et al. 2024a (AdaptGrad) compares maps (docs/methods.md,
    The benchmark).
    """
    return lambda inputs, targets: sum_over_channels(np.asarray(explain(inputs, targets)), sign)


def sum_over_channels(maps: np.ndarray, sign: str) -> np.ndarray:
    """Sum attributions ``[B, H, W, C]`` over channels: their values, or their absolute values."""
    return (np.abs(maps) if sign == "absolute" else maps).sum(-1)


def has_slopes(settings: dict[str, Any]) -> bool:
    """Tell from the settings of an explainer whether its method is one of `GRADIENT_LIKE`.

    Where explainers build on others, the innermost one decides.
    """
    while "base" in settings:
        settings = settings["base"]
    return settings["method"] in GRADIENT_LIKE
