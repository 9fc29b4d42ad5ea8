"""Information level: how soon the class comes back as the important pixels of an image do.

Performance information curves, PIC (Kapishnikov et al. 2019, section 4), as Zhou et al. 2024a
(AdaptGrad) use them in Table 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from tfxai import scores
from tfxai.core import checks
from tfxai.core.layout import layout_of
from tfxai.metrics.curves import Curve, curve_from_scores, nan_where_constant
from tfxai.metrics.partial_images import (
    file_size,
    from_pixels,
    interpolated,
    random_pixels,
    to_pixels,
)
from tfxai.metrics.scored_inputs import ScoredInputs, scored_inputs
from tfxai.metrics.scoring import ScoreFunction
from tfxai.metrics.units import with_channels

THRESHOLDS = (0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.13, 0.21, 0.34, 0.5, 0.75)
"""Shares of the pixels that are put back."""
LEVELS = np.linspace(0, 1, 1001)
"""The levels of information at which curves are given."""
KINDS = ("softmax", "accuracy")


def information_level(
    model: Callable,
    images: np.ndarray,
    attributions: np.ndarray,
    targets: Any,
    *,
    bounds: tuple[Any, Any],
    kind: str = "softmax",
    thresholds: Sequence[float] = THRESHOLDS,
    masks: int = 1,
    share: float = 0.01,
    least: float = 0.8,
    seed: int = 0,
    batch_size: int = 32,
    data_format: str | None = None,
) -> Curve:
    """Give the score against the information in a blurred image, as important pixels come back.

    An image is blurred by interpolating between a few random pixels. Then its most important
    pixels are put back. Information is the size of the image as a lossless WebP file. Information
    and score are relative: 0 for the blurred image and 1 for the whole one.

    Args:
        model: maps images ``[N, H, W, 1 | 3]`` to probabilities ``[N, classes]``; or a Keras
            classifier.
        images: ``[B, H, W, 1 | 3]`` between `bounds`.
        attributions: ``[B, H, W, C]`` or ``[B, H, W, 1]``; summed over channels with their signs.
        targets: class indices, ``[B]`` or one for all.
        bounds: the values of black and white in `images`, scalars or one for each channel.
        kind: "softmax" scores an image by the probability of the target (SIC), "accuracy" by
            whether the target is the predicted class (AIC).
        thresholds: shares of the pixels that are put back, ascending.
        masks: how many random sets of pixels are drawn; a curve is the median over the sets.
        share: the share of the pixels that a random set has, in addition to the corners.
        least: an image with a lower score has no curve; nor has one that blurring does not hurt.
        seed: draws the random pixels.
        batch_size: how many images the model is given at once.
        data_format: as in `deletion`.

    Returns:
        A `Curve`; its `fractions` are levels of information, and images without a curve are NaN.
        The papers' figure for many images is the area under the median of their curves,
        `median_auc`.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, or a model with one output.

    Reference:
        Kapishnikov et al. 2019, section 4; Zhou et al. 2024a, Table 2, whose code scores by the
        largest probability, whatever its class; here it is that of the target (docs/methods.md,
        Information level).

    Example:
        >>> image = np.random.default_rng(0).random((1, 16, 16, 1))
        >>> model = lambda x: np.stack([x.std((1, 2, 3)) > 0.2] * 2, -1) * [0.9, 0.1]
        >>> curve = information_level(model, image, image, 0, bounds=(0, 1))
        >>> curve.scores.shape, bool(0 < curve.auc[0] < 1)
        ((1, 1001), True)
    """
    checks.one_of("kind", kind, KINDS)
    scored = _scored(model, images, attributions, targets, kind, data_format)
    (whole,), (label,) = scored.inputs, scored.labels
    if whole.shape[-1] not in (1, 3):
        raise ValueError(f"images has {whole.shape[-1]} channels: expected 1 or 3")
    maps = with_channels(label, scored.maps[0], whole, layout_of(whole)).sum(-1)
    size = checks.positive_integer("batch_size", batch_size)
    pixels = to_pixels(whole, bounds)
    random = np.random.default_rng(seed)
    known = [
        random_pixels(random, pixels.shape[1:3], share)
        for _ in range(checks.positive_integer("masks", masks))
    ]

    def median_curve(i: int) -> np.ndarray:
        curves = []
        for mask in known:
            views = _views(pixels[i], maps[i], mask, thresholds)
            inputs = from_pixels(views.pixels, bounds, whole.dtype)
            parts = [inputs[k : k + size] for k in range(0, len(inputs), size)]
            values = [scored.score([part], np.full(len(part), i)) for part in parts]
            curves.append(_curve(views.bytes, np.concatenate(values), least))
        return np.median(curves, axis=0)

    rows = np.stack([median_curve(i) for i in range(len(pixels))])
    return curve_from_scores(LEVELS, nan_where_constant(rows, maps), f"information, {kind}")


def median_auc(curve: Curve) -> float:
    """Give the area under the pointwise median of the curves of an information level.

    Args:
        curve: what `information_level` gives.

    Returns:
        The area, or NaN if no image has a curve.

    Example:
        >>> rows = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.5, 1.0], [np.nan] * 3])
        >>> median_auc(curve_from_scores(np.array([0.0, 0.5, 1.0]), rows, "softmax"))
        0.5
    """
    rows = curve.scores[~np.isnan(curve.auc)]
    if not len(rows):
        return float("nan")
    return float(curve_from_scores(curve.fractions, np.median(rows, 0)[None], curve.name).auc[0])


def _scored(
    model: Callable, images: Any, maps: Any, targets: Any, kind: str, data_format: str | None
) -> ScoredInputs:
    """Give images with their score: the target's probability, or 1 where it is predicted."""
    score = scores.probability if isinstance(model, keras.Model) else None
    scored = scored_inputs(model, images, maps, targets, score, data_format)
    shapes = [list(x.shape) for x in scored.given.flat]
    if len(shapes) != 1 or scored.inputs[0].ndim != 4:
        raise ValueError(
            f"images has shape {', '.join(map(str, shapes))}: the information level is that of a "
            "file of an image, [B, H, W, C]; metrics of all inputs are deletion and insertion"
        )
    return scored if kind == "softmax" else scored._replace(function=_correctness(model))


def _correctness(model: Callable) -> ScoreFunction:
    """Give a score that is 1 where a model predicts the target, and 0 where it does not."""

    def correct(x: np.ndarray, targets: np.ndarray) -> np.ndarray:
        outputs = np.asarray(model(x))
        if outputs.ndim != 2 or outputs.shape[1] < 2:
            raise ValueError(
                f"kind='accuracy' needs a model of several classes, got outputs of shape "
                f"{list(outputs.shape)}"
            )
        return (outputs.argmax(1) == targets).astype(np.float64)

    return correct


class _Views(NamedTuple):
    """The whole image, the blurred one, and those with a share of the pixels put back."""

    pixels: np.ndarray
    """``[2 + thresholds, H, W, C]``."""
    bytes: np.ndarray
    """The size of each view as a file, ``[2 + thresholds]``."""


def _views(
    pixels: np.ndarray, importance: np.ndarray, mask: np.ndarray, thresholds: Sequence[float]
) -> _Views:
    cuts = np.quantile(importance, 1 - np.asarray(thresholds))
    between = [interpolated(pixels, mask | (importance >= cut)) for cut in cuts]
    views = np.stack([pixels, interpolated(pixels, mask), *between])
    return _Views(views, np.array([file_size(v) for v in views], np.float64))


def _curve(sizes: np.ndarray, values: np.ndarray, least: float) -> np.ndarray:
    """Give the relative score at each of `LEVELS`, from the file sizes and scores of views."""
    (whole, blurred), (top, bottom) = sizes[:2], values[:2]
    if top < least or bottom >= top or blurred >= whole:
        return np.full(len(LEVELS), np.nan)
    x = np.clip((sizes[2:] - blurred) / (whole - blurred), 0, 1)
    y = np.maximum.accumulate(np.clip((values[2:] - bottom) / (top - bottom), 0, 1))
    points = sorted([(0.0, 0.0), *zip(x, y, strict=True), (1.0, 1.0)])
    return np.interp(LEVELS, *np.transpose(points))
