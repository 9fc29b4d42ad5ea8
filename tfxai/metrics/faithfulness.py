"""Whether attributions add up to what the model does: completeness and infidelity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfxai import scores
from tfxai.core import checks
from tfxai.core.types import Score
from tfxai.metrics.arrays import baselines_of, finite, one_array
from tfxai.metrics.rows import correlation, ratio
from tfxai.metrics.scoring import score_function, score_perturbed, scored_images


def completeness(
    model: Callable,
    inputs: np.ndarray,
    attributions: np.ndarray,
    targets: Any,
    *,
    baseline: Any = 0.0,
    score: Score | None = scores.logit,
    bounds: tuple[Any, Any] | None = None,
) -> np.ndarray:
    """Give the relative gap between the sum of the attributions and what the score gains.

    The gain is that of the score at the input over the score at the baseline.

    |sum_i s_i - (f(x) - f(x'))| / |f(x) - f(x')|

    Args:
        model: maps inputs ``[N, ...]`` to outputs ``[N, classes]``.
        inputs: ``[B, ...]``.
        attributions: ``[B, ...]``.
        targets: class indices, ``[B]`` or one for all.
        baseline: x': one number, an example, a name or a function, as in
            `tfxai.baselines.baseline`; or an array ``[B, ...]``, one baseline for each input.
        score: f; None takes the outputs at the targets as they stand.
        bounds: as in `tfxai.baselines.baseline`.

    Returns:
        ``[B]``: 0 for a complete map, 1 for a map that sums to 0; infinite for an incomplete map
        where the score gains nothing.

    Raises:
        ValueError: shapes that do not fit, or values that are not finite.

    Reference:
        Sundararajan et al. 2017, proposition 1. Completeness is necessary, not sufficient: one
        number says little about a map.

    Example:
        >>> weights = np.array([[2.0], [1.0]])
        >>> model = lambda x: x @ weights
        >>> completeness(model, np.ones((1, 2)), np.array([[2.0, 0.4]]), 0, score=None).round(6)
        array([0.2])
    """
    inputs = finite("inputs", one_array("inputs", inputs))
    maps = finite("attributions", one_array("attributions", attributions))
    if len(inputs) == 0 or len(maps) != len(inputs):
        raise ValueError(f"attributions has shape {list(maps.shape)} for {len(inputs)} inputs")
    classes = checks.targets(targets, len(inputs), None, None)
    forward, order, explained_of = score_function(model, score, inputs)
    baselines = baselines_of("baseline", baseline, bounds, inputs, order)
    explained = explained_of(inputs, classes)
    gain = forward(inputs, explained) - forward(baselines, explained)
    gap = np.abs(maps.reshape(len(maps), -1).sum(1) - gain)
    return ratio(gap, np.abs(gain), np.where(gap > 0, np.inf, 0.0))


@dataclass(frozen=True)
class Infidelity:
    """How the score changes when squares are removed: as a map predicts it, and as it is."""

    predicted: np.ndarray
    """The change that the map predicts for each square, ``[B, S]``."""
    change: np.ndarray
    """The change of the score, ``[B, S]``."""

    @property
    def error(self) -> np.ndarray:
        """The infidelity, mean (predicted - change)^2, ``[B]``."""
        return ((self.predicted - self.change) ** 2).mean(1)

    @property
    def normalised_error(self) -> np.ndarray:
        """The error of the optimally scaled map, divided by the mean of change^2, ``[B]``.

        It is 0 for a map that predicts every change, and 1 for a map that predicts none.
        """
        products, squares = (self.predicted * self.change).sum(1), (self.predicted**2).sum(1)
        scale = ratio(products, squares, 0)
        error = ((scale[:, None] * self.predicted - self.change) ** 2).sum(1)
        return ratio(error, (self.change**2).sum(1), 0)

    @property
    def correlation(self) -> np.ndarray:
        """Pearson's correlation of prediction and change (Bhatt et al. 2020, equation 1), ``[B]``.

        It is NaN where either of them is the same for all squares.
        """
        return correlation(self.predicted, self.change)


def infidelity(
    model: Callable,
    images: np.ndarray,
    attributions: np.ndarray,
    targets: Any,
    *,
    slopes: bool,
    baseline: Any = 0.0,
    samples: int = 100,
    score: Score | None = scores.logit,
    seed: int = 0,
    batch_size: int = 32,
    bounds: tuple[Any, Any] | None = None,
    data_format: str | None = None,
) -> Infidelity:
    """Compare how a score changes when squares are removed with what the map predicts.

    INFD = E_I [(I . s - (f(x) - f(x - I)))^2],  I = x - x' within a random square, else 0

    Args:
        model: maps images ``[N, H, W, C]`` to outputs ``[N, classes]``.
        images: ``[B, H, W, C]``.
        attributions: ``[B, H, W, C]`` or ``[B, H, W, 1]``.
        targets: class indices, ``[B]`` or one for all.
        slopes: True for maps that give the change of the score per change of the input, such as
            the gradient; False for maps that give shares of the score, such as integrated
            gradients, and predict the sum of those shares within the square.
        baseline: x', as in `completeness`.
        samples: how many squares are removed, the same for all images; the side of a square is
            drawn uniformly from one pixel to half the shorter side of the image.
        score: as in `completeness`.
        seed: draws the squares.
        batch_size: how many images the model is given at once.
        bounds: as in `completeness`.
        data_format: as in `deletion`.

    Returns:
        An `Infidelity`; its `error` is the metric.

    Raises:
        ValueError: shapes that do not fit, or values that are not finite.

    Reference:
        Yeh et al. 2019, definition 2.1, with the removal of squares.

    Example:
        >>> image = np.array([[[[1.0], [2.0]], [[3.0], [4.0]]]])
        >>> model = lambda x: x.sum((1, 2))
        >>> perfect = infidelity(model, image, image, 0, slopes=False, score=None)
        >>> perfect.error.round(6), perfect.correlation.round(6)
        (array([0.]), array([1.]))
    """
    scored = scored_images(model, images, targets, score, data_format)
    maps = scored.maps("attributions", attributions)
    difference = scored.images - scored.baselines("baseline", baseline, bounds)
    emptied = scored.images - difference
    shares = maps * difference if slopes else maps
    squares = random_squares(scored.images.shape[1:3], samples, seed)
    predicted = np.einsum("bhwc,shw->bs", shares.astype(np.float64), squares)
    none_and_squares = np.concatenate([np.zeros_like(squares[:1]), squares])[..., None]

    def remove(indices: np.ndarray, square: np.ndarray) -> np.ndarray:
        return np.where(none_and_squares[square], emptied[indices], scored.images[indices])

    stages = np.arange(len(none_and_squares))
    values = score_perturbed(scored, remove, stages, batch_size).astype(np.float64)
    return Infidelity(predicted, values[:, :1] - values[:, 1:])


def random_squares(shape: tuple[int, int], samples: int, seed: int) -> np.ndarray:
    """Draw masks ``[S, H, W]`` of squares that lie within an image of a shape ``(H, W)``.

    The side of a square is at least one pixel and at most half the shorter side of the image.
    """
    random = np.random.default_rng(seed)
    height, width = shape
    masks = np.zeros((checks.positive_integer("samples", samples), height, width), bool)
    for mask in masks:
        side = random.integers(1, max(1, min(shape) // 2) + 1)
        top, left = random.integers(height - side + 1), random.integers(width - side + 1)
        mask[top : top + side, left : left + side] = True
    return masks
