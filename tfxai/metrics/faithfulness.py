"""Whether attributions add up to what the model does: completeness and infidelity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfxai import scores
from tfxai.core import checks
from tfxai.core.types import Score
from tfxai.metrics.curves import scored_points
from tfxai.metrics.scoring import (
    checked_images,
    checked_maps,
    finite,
    one_array,
    references_of,
    score_function,
)


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
    """Give how far the attributions are from summing to what the score gained over a baseline.

    |sum_i s_i - (f(x) - f(x'))| / |f(x) - f(x')|

    Args:
        model: inputs ``[N, ...]`` -> outputs ``[N, classes]``.
        inputs: ``[B, ...]``.
        attributions: ``[B, ...]``.
        targets: class indices, ``[B]`` or one for all.
        baseline: x', one number, an example, a name or a function, as in
            `tfxai.baselines.baseline`; or an array ``[B, ...]``, one for each input.
        score: f; None takes the outputs at the targets as they stand.
        bounds: as in `tfxai.baselines.baseline`.

    Returns:
        ``[B]``, 0 for a complete map, 1 for one that sums to 0.

    Raises:
        ValueError: shapes that do not fit, or values that are not finite.

    Reference:
        Sundararajan et al. 2017, proposition 1. It is necessary, not sufficient: one number says
        little of a map.

    Example:
        >>> weights = np.array([[2.0], [1.0]])
        >>> model = lambda x: x @ weights
        >>> completeness(model, np.ones((1, 2)), np.array([[2.0, 0.4]]), 0, score=None).round(6)
        array([0.2])
    """
    points = finite("inputs", one_array("inputs", inputs))
    maps = finite("attributions", one_array("attributions", attributions))
    if len(points) == 0 or len(maps) != len(points):
        raise ValueError(f"attributions has shape {list(maps.shape)} for {len(points)} inputs")
    chosen = checks.targets(targets, len(points), None, None)
    forward, order = score_function(model, score, points)
    references = references_of("baseline", baseline, bounds, points, order)
    change = forward(points, chosen) - forward(references, chosen)
    gap = np.abs(maps.reshape(len(maps), -1).sum(1) - change)
    size = np.abs(change)
    limit = np.where(gap > 0, np.inf, 0.0)
    return np.divide(gap, size, out=limit, where=size > 0)


@dataclass(frozen=True)
class Infidelity:
    """What a map predicts of squares that are removed, and what happens, ``[B, S]`` each."""

    predicted: np.ndarray
    change: np.ndarray

    @property
    def error(self) -> np.ndarray:
        """The infidelity, mean (predicted - change)^2, ``[B]``."""
        return ((self.predicted - self.change) ** 2).mean(1)

    @property
    def normalised_error(self) -> np.ndarray:
        """The error of the map times the best number, over the mean of change^2, ``[B]``.

        0 is a map that predicts all, 1 one that predicts nothing.
        """
        products, squares = (self.predicted * self.change).sum(1), (self.predicted**2).sum(1)
        scale = np.divide(products, squares, out=np.zeros_like(products), where=squares > 0)
        error = ((scale[:, None] * self.predicted - self.change) ** 2).sum(1)
        size = (self.change**2).sum(1)
        return np.divide(error, size, out=np.zeros_like(error), where=size > 0)

    @property
    def correlation(self) -> np.ndarray:
        """Pearson's, ``[B]``; NaN where nothing changes (Bhatt et al. 2020, equation 1)."""
        p, c = (v - v.mean(1, keepdims=True) for v in (self.predicted, self.change))
        sizes = np.sqrt((p**2).sum(1) * (c**2).sum(1))
        return np.divide((p * c).sum(1), sizes, out=np.full(len(p), np.nan), where=sizes > 0)


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
    """Compare the change that a map predicts, when squares of the image are removed, with what is.

    INFD = E_I [(I . s - (f(x) - f(x - I)))^2],  I = x - x' within a random square, else 0

    Args:
        model: images ``[N, H, W, C]`` -> outputs ``[N, classes]``.
        images: ``[B, H, W, C]``.
        attributions: ``[B, H, W, C]`` or ``[B, H, W, 1]``.
        targets: class indices, ``[B]`` or one for all.
        slopes: True for maps that are the change of the score per change of the input, such as
            the gradient; False for those that are shares of the score, such as integrated
            gradients, whose prediction is their sum within the square.
        baseline: x', as in `completeness`.
        samples: squares, the same for all images; their sides are uniform from one pixel to half
            the image's shorter side.
        score: as in `completeness`.
        seed: of the squares.
        batch_size: images that the model is given at once.
        bounds: as in `completeness`.
        data_format: as in `deletion`.

    Returns:
        An `Infidelity`; its `error` is the metric.

    Raises:
        ValueError: shapes that do not fit, or values that are not finite.

    Reference:
        Yeh et al. 2019, definition 2.1, with square removal.

    Example:
        >>> image = np.array([[[[1.0], [2.0]], [[3.0], [4.0]]]])
        >>> found = infidelity(lambda x: x.sum((1, 2)), image, image, 0, slopes=False, score=None)
        >>> found.error.round(6), found.correlation.round(6)
        (array([0.]), array([1.]))
    """
    given = checked_images(images)
    scored, order = score_function(model, score, given, data_format)
    images = order.to_channels_last(given)
    maps = checked_maps("attributions", attributions, images, order)
    chosen = checks.targets(targets, len(images), None, None)
    forward = order.channels_last_model(scored)
    difference = images - order.to_channels_last(
        references_of("baseline", baseline, bounds, given, order)
    )
    shares = maps * difference if slopes else maps
    squares = random_squares(images.shape[1:3], samples, seed)
    predicted = np.einsum("bhwc,shw->bs", shares.astype(np.float64), squares)

    size = checks.positive_integer("batch_size", batch_size)
    with_none = np.concatenate([np.zeros_like(squares[:1]), squares])[..., None]

    def removed(which: np.ndarray, number: np.ndarray) -> np.ndarray:
        return np.where(with_none[number], (images - difference)[which], images[which])

    found = scored_points(removed, np.arange(len(with_none)), forward, chosen, size)
    found = found.astype(np.float64)
    return Infidelity(predicted, found[:, :1] - found[:, 1:])


def random_squares(shape: tuple[int, int], samples: int, seed: int) -> np.ndarray:
    """Draw masks ``[S, H, W]`` of squares within the image, of one pixel to half its side."""
    random = np.random.default_rng(seed)
    height, width = shape
    masks = np.zeros((checks.positive_integer("samples", samples), height, width), bool)
    for mask in masks:
        side = random.integers(1, max(1, min(shape) // 2) + 1)
        top, left = random.integers(height - side + 1), random.integers(width - side + 1)
        mask[top : top + side, left : left + side] = True
    return masks
