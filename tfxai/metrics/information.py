"""Information level: how soon the class comes back as the important pixels do (METHODS 6.4).

Performance information curves, PIC (Kapishnikov et al. 2019, section 4), as used by paper 001.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from PIL import Image

from tfxai import scores
from tfxai.core import checks
from tfxai.core.axes import Order
from tfxai.metrics.curves import Curve, curve_of, unless_constant
from tfxai.metrics.scoring import checked_images, checked_maps, score_function

THRESHOLDS = (0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.13, 0.21, 0.34, 0.5, 0.75)
"""Shares of the pixels that are shown."""
LEVELS = np.linspace(0, 1, 1001)
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
    """Give the score against the information in the image, as important pixels sharpen a blur.

    The image is blurred by interpolating between a few random pixels. The most important pixels
    are then put back. Information is the size of the picture as a lossless WebP file; it and the
    score are relative, from 0 for the blurred image to 1 for the whole one.

    Args:
        model: images ``[N, H, W, 1 | 3]`` -> probabilities ``[N, classes]``, or a Keras classifier.
        images: ``[B, H, W, 1 | 3]`` between `bounds`.
        attributions: ``[B, H, W, C]`` or ``[B, H, W, 1]``; summed over channels with their signs.
        targets: class indices, ``[B]`` or one for all.
        bounds: what black and white are in `images`, scalars or per channel.
        kind: "softmax" scores by the target's probability (SIC), "accuracy" by whether it is the
            predicted class (AIC).
        thresholds: shares of the pixels to put back, ascending.
        masks: random sets of pixels for each image; the curve is the median of theirs.
        share: of the pixels that a random set has, the corners besides.
        least: images that score less have no curve, as those that blurring does not hurt.
        seed: of the random pixels.
        batch_size: images that the model is given at once.
        data_format: as in `deletion`.

    Returns:
        A `Curve`; its `fractions` are levels of information. Images without a curve are NaN. The
        papers' figure for many images is the area under the median of their curves,
        `median_auc`.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, or a model with one output.

    Reference:
        METHODS 2.4 and 6.4. Paper 001's code scores by the largest probability, whatever the
        class; here it is the target's.

    Example:
        >>> image = np.random.default_rng(0).random((1, 16, 16, 1))
        >>> model = lambda x: np.stack([x.std((1, 2, 3)) > 0.2] * 2, -1) * [0.9, 0.1]
        >>> curve = information_level(model, image, image, 0, bounds=(0, 1))
        >>> curve.scores.shape, bool(0 < curve.auc[0] < 1)
        ((1, 1001), True)
    """
    given = checked_images(images)
    scored, order = _score(model, checks.one_of("kind", kind, KINDS), given, data_format)
    images, predict = order.to_channels_last(given), order.channels_last_model(scored)
    if images.shape[-1] not in (1, 3):
        raise ValueError(f"images has {images.shape[-1]} channels: expected 1 or 3")
    maps = checked_maps("attributions", attributions, images, order).sum(-1)
    chosen = checks.targets(targets, len(images), None, None)
    size = checks.positive_integer("batch_size", batch_size)
    sets = checks.positive_integer("masks", masks)
    pixels = _to_pixels(images, bounds)
    random = np.random.default_rng(seed)
    shown = [_random_pixels(random, pixels.shape[1:3], share) for _ in range(sets)]

    def one(i: int) -> np.ndarray:
        curves = []
        for mask in shown:
            views = _views(pixels[i], maps[i], mask, thresholds)
            parts = _from_pixels(views.pixels, bounds, images.dtype)
            rows = [parts[k : k + size] for k in range(0, len(parts), size)]
            values = [predict(r, np.full(len(r), chosen[i], np.int32)) for r in rows]
            curves.append(_curve(views.bytes, np.concatenate(values), least))
        return np.median(curves, axis=0)

    rows = np.stack([one(i) for i in range(len(images))])
    return curve_of(LEVELS, unless_constant(rows, maps), f"information, {kind}")


def median_auc(curve: Curve) -> float:
    """Give the area under the pointwise median of an information level's curves.

    Args:
        curve: of `information_level`.

    Returns:
        The area, or NaN if no image has a curve.

    Example:
        >>> rows = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.5, 1.0], [np.nan] * 3])
        >>> median_auc(curve_of(np.array([0.0, 0.5, 1.0]), rows, "softmax"))
        0.5
    """
    rows = curve.scores[~np.isnan(curve.auc)]
    if not len(rows):
        return float("nan")
    return float(curve_of(curve.fractions, np.median(rows, 0)[None], curve.name).auc[0])


class _Views(NamedTuple):
    """The whole image, the blurred one, and those between, with their sizes as files."""

    pixels: np.ndarray
    bytes: np.ndarray


def _views(
    pixels: np.ndarray, importance: np.ndarray, mask: np.ndarray, thresholds: Sequence[float]
) -> _Views:
    cuts = np.quantile(importance, 1 - np.asarray(thresholds))
    between = [_interpolated(pixels, mask | (importance >= cut)) for cut in cuts]
    views = np.stack([pixels, _interpolated(pixels, mask), *between])
    return _Views(views, np.array([_file_size(v) for v in views], np.float64))


def _curve(size: np.ndarray, score: np.ndarray, least: float) -> np.ndarray:
    """Give the relative score at `LEVELS` of information, of the views' file sizes and scores."""
    (whole, blurred), (top, bottom) = size[:2], score[:2]
    if top < least or bottom >= top or blurred >= whole:
        return np.full(len(LEVELS), np.nan)
    x = np.clip((size[2:] - blurred) / (whole - blurred), 0, 1)
    y = np.maximum.accumulate(np.clip((score[2:] - bottom) / (top - bottom), 0, 1))
    points = sorted([(0.0, 0.0), *zip(x, y, strict=True), (1.0, 1.0)])
    return np.interp(LEVELS, *np.transpose(points))


def _random_pixels(random: np.random.Generator, shape: tuple[int, ...], share: float) -> np.ndarray:
    """Give a mask ``[H, W]`` of a share of the pixels, and the corners."""
    count = int(shape[0] * shape[1] * checks.real("share", share, above=0, below=1))
    mask = np.zeros(shape, bool)
    mask.flat[random.choice(mask.size, count, replace=False)] = True
    mask[np.ix_([0, -1], [0, -1])] = True
    return mask


def _interpolated(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Fill the pixels that are not in the mask, linearly between those that are, and round."""
    # Drawing's triangles are also those that are found fast on a grid, where SciPy's search is
    # slowed down by the many neighbours on one circle. Slow to import, so not before it is needed.
    from matplotlib.tri import Triangulation

    if mask.all():
        return pixels
    row, column = np.nonzero(mask)
    y, x = np.nonzero(~mask)
    triangles = Triangulation(column, row)
    corners = triangles.triangles[np.asarray(triangles.get_trifinder()(x, y))]
    a, b, c = np.moveaxis(np.stack([column, row], -1)[corners], 1, 0)
    point = np.stack([x, y], -1)
    # Areas of whole numbers: the sums are exact, and so is what is rounded.
    areas = np.stack([_area(b, c, point), _area(c, a, point), _area(a, b, point)], 1)
    sums = (areas[..., None] * pixels[mask].astype(np.int64)[corners]).sum(1)
    whole = areas.sum(1)[:, None]
    filled = pixels.copy()
    filled[~mask] = (2 * sums + whole) // (2 * whole)
    return filled


def _area(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Give twice the signed area of triangles with corners ``[N, 2]``."""
    ab, ac = b - a, c - a
    return ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]


def _file_size(pixels: np.ndarray) -> int:
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(
        buffer, "webp", lossless=True, quality=100
    )
    return buffer.tell()


def _to_pixels(images: np.ndarray, bounds: tuple[Any, Any]) -> np.ndarray:
    low, high = (np.asarray(b, np.float64) for b in bounds)
    return np.clip(np.round((images - low) / (high - low) * 255), 0, 255).astype(np.uint8)


def _from_pixels(pixels: np.ndarray, bounds: tuple[Any, Any], dtype: Any) -> np.ndarray:
    low, high = (np.asarray(b, np.float64) for b in bounds)
    return (low + pixels / 255 * (high - low)).astype(dtype)


def _score(
    model: Callable, kind: str, images: np.ndarray, data_format: str | None
) -> tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], Order]:
    score = scores.probability if isinstance(model, keras.Model) else None
    probability, order = score_function(model, score, images, data_format)
    if kind == "softmax":
        return probability, order

    def correct(x: np.ndarray, targets: np.ndarray) -> np.ndarray:
        outputs = np.asarray(model(x))
        if outputs.ndim != 2 or outputs.shape[1] < 2:
            raise ValueError(
                f"kind='accuracy' needs a model of several classes, got outputs of shape "
                f"{list(outputs.shape)}"
            )
        return (outputs.argmax(1) == targets).astype(np.float64)

    return correct, order
