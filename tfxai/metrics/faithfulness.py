"""Whether attributions add up to what the model does: completeness and infidelity."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from string import ascii_lowercase
from typing import Any, NamedTuple

import numpy as np

from tfxai import scores
from tfxai.core.layout import checked_covering
from tfxai.core.types import Score
from tfxai.metrics.random_parts import Parts, random_parts
from tfxai.metrics.rows import correlation, ratio
from tfxai.metrics.scored_inputs import score_perturbed, scored_inputs
from tfxai.metrics.units import layouts, with_channels


def completeness(
    model: Callable,
    inputs: Any,
    attributions: Any,
    targets: Any,
    *,
    baseline: Any = 0.0,
    score: Score | None = scores.logit,
    bounds: tuple[Any, Any] | None = None,
    data_format: str | None = None,
) -> np.ndarray:
    """Give the relative gap between the sum of the attributions and what the score gains.

    The gain is that of the score at the input over the score at the baseline.

    |sum_i s_i - (f(x) - f(x'))| / |f(x) - f(x')|

    Args:
        model: maps inputs ``[N, ...]`` to outputs ``[N, classes]``.
        inputs: ``[B, ...]``; of a model of several inputs a dict by name, or what it takes.
        attributions: ``[B, ...]``; of several inputs a dict by name, whose maps count together,
            while inputs without a map stay.
        targets: class indices, ``[B]`` or one for all.
        baseline: x': one number, an example, a name or a function, as in
            `tfxai.baselines.baseline`; or an array ``[B, ...]``, one baseline for each example. It
            is one of the inputs that have a map.
        score: f; None takes the outputs at the targets as they stand.
        bounds: as in `tfxai.baselines.baseline`.
        data_format: as in `deletion`.

    Returns:
        ``[B]``: 0 for a complete map, 1 for a map that sums to 0; infinite for an incomplete map
        where the score gains nothing.

    Raises:
        TypeError, ValueError: shapes or names that do not fit, or values that are not finite.

    Reference:
        Sundararajan et al. 2017, proposition 1. Completeness is necessary, not sufficient: one
        number says little about a map.

    Example:
        >>> weights = np.array([[2.0], [1.0]])
        >>> model = lambda x: x @ weights
        >>> completeness(model, np.ones((1, 2)), np.array([[2.0, 0.4]]), 0, score=None).round(6)
        array([0.2])
    """
    scored = scored_inputs(model, inputs, attributions, targets, score, data_format)
    rows = [m.reshape(len(m), -1) for m in scored.maps]
    count = len(scored.targets)
    if any(len(row) != count for row in rows):
        shapes = ", ".join(str(list(m.shape)) for m in scored.maps)
        raise ValueError(f"attributions has shape {shapes} for {count} inputs")
    everything = np.arange(count)
    gain = scored.score(scored.inputs, everything)
    gain = gain - scored.score(scored.baselines("baseline", baseline, bounds), everything)
    gap = np.abs(functools.reduce(np.add, [row.sum(1) for row in rows]) - gain)
    return ratio(gap, np.abs(gain), np.where(gap > 0, np.inf, 0.0))


@dataclass(frozen=True)
class Infidelity:
    """How the score changes when parts are removed: as a map predicts it, and as it is."""

    predicted: np.ndarray
    """The change that the map predicts for each part, ``[B, S]``."""
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

        It is NaN where either of them is the same for all parts.
        """
        return correlation(self.predicted, self.change)


def infidelity(
    model: Callable,
    inputs: Any,
    attributions: Any,
    targets: Any,
    *,
    slopes: bool,
    baseline: Any = 0.0,
    samples: int = 100,
    groups: Any = None,
    score: Score | None = scores.logit,
    seed: int = 0,
    batch_size: int = 32,
    bounds: tuple[Any, Any] | None = None,
    data_format: str | None = None,
) -> Infidelity:
    """Compare how a score changes when squares are removed with what the map predicts.

    INFD = E_I [(I . s - (f(x) - f(x - I)))^2],  I = x - x' within a random square, else 0

    Of sequences windows in time are removed, of volumes cubes, of tables random sets of features.

    Args:
        model: maps inputs ``[N, ...]`` to outputs ``[N, classes]``.
        inputs: as in `deletion`; of several inputs something is removed from each that has a map.
        attributions: ``[B, H, W, C]`` or ``[B, H, W, 1]``, and of the other inputs likewise; of
            several inputs a dict by name, as in `deletion`.
        targets: class indices, ``[B]`` or one for all.
        slopes: True for maps that give the change of the score per change of the input, such as
            the gradient; False for maps that give shares of the score, such as integrated
            gradients, and predict the sum of those shares within the square.
        baseline: x', as in `completeness`.
        samples: how many squares are removed, the same for all examples; the side of a square is
            drawn uniformly from one pixel to half the shorter side of the image. Sets have one to
            half of the features.
        groups: as in `deletion`; random sets of groups are removed instead of squares.
        score: as in `completeness`.
        seed: draws the squares.
        batch_size: how many examples the model is given at once.
        bounds: as in `completeness`.
        data_format: as in `deletion`.

    Returns:
        An `Infidelity`; its `error` is the metric.

    Raises:
        TypeError, ValueError: shapes or names that do not fit, or values that are not finite.

    Reference:
        Yeh et al. 2019, definition 2.1, with the removal of squares. What is no image is ours
        (docs/methods.md, Completeness, infidelity and max-sensitivity).

    Example:
        >>> image = np.array([[[[1.0], [2.0]], [[3.0], [4.0]]]])
        >>> model = lambda x: x.sum((1, 2))
        >>> perfect = infidelity(model, image, image, 0, slopes=False, score=None)
        >>> perfect.error.round(6), perfect.correlation.round(6)
        (array([0.]), array([1.]))
    """
    labels = checked_covering(False, groups)
    scored = scored_inputs(model, inputs, attributions, targets, score, data_format)
    baselines = scored.baselines("baseline", baseline, bounds)
    random = np.random.default_rng(seed)
    parts = zip(
        scored.labels,
        scored.maps,
        scored.inputs,
        baselines,
        layouts(scored, labels),
        strict=True,
    )
    removed = [
        _removed(label, maps, x, baseline, random_parts(layout, samples, random), slopes=slopes)
        for label, maps, x, baseline, layout in parts
    ]

    def remove(indices: np.ndarray, part: np.ndarray) -> list[np.ndarray]:
        return [
            np.where(r.none_and_parts[part], r.emptied[indices], x[indices])
            for r, x in zip(removed, scored.inputs, strict=True)
        ]

    stages = np.arange(len(removed[0].none_and_parts))
    values = score_perturbed(scored, remove, stages, batch_size).astype(np.float64)
    predicted = functools.reduce(np.add, [r.predicted for r in removed])
    return Infidelity(predicted, values[:, :1] - values[:, 1:])


class _Removed(NamedTuple):
    """What is removed of one input."""

    none_and_parts: np.ndarray
    """Nothing, and then each part, booleans ``[1 + S, *layout.shape]``."""
    emptied: np.ndarray
    """What the inputs show where they are removed, ``[B, ...]``."""
    predicted: np.ndarray
    """The change that the map predicts for each part, ``[B, S]``."""


def _removed(
    label: str,
    maps: np.ndarray,
    x: np.ndarray,
    baseline: np.ndarray,
    parts: Parts,
    *,
    slopes: bool,
) -> _Removed:
    """Give what is removed of an input.

    Args:
        label: what messages call the map.
        maps: the map, ``[B, ...]``.
        x: the input, its channels last.
        baseline: its baseline, of the same shape.
        parts: the parts that are removed.
        slopes: as in `infidelity`.
    """
    whole = with_channels(label, maps, x, parts.layout)
    difference = x - baseline
    shares = whole * difference if slopes else whole
    masks = parts.masks
    if parts.layout.channels == 1:
        masks = masks[..., 0]
    elif shares.shape[1:] != masks.shape[1:]:
        raise ValueError(
            f"{label} has one channel, and the groups part channels: pass maps of all channels"
        )
    axes = ascii_lowercase[: shares.ndim - 1]
    subscripts = f"B{axes},S{axes[: masks.ndim - 1]}->BS"
    predicted = np.einsum(subscripts, shares.astype(np.float64), masks)
    none = np.zeros_like(parts.masks[:1])
    return _Removed(np.concatenate([none, parts.masks]), x - difference, predicted)
