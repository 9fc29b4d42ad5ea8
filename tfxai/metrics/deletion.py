"""Deletion and insertion: the score as pixels go or come, the most important first.

Petsiuk et al. 2018 (RISE), section 3.3; for masks with fewer cells than the image has
pixels, Qi et al. 2020 (I-GOS), section 4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tfxai.core import checks
from tfxai.core.axes import Order
from tfxai.core.interpolation import align_corners
from tfxai.core.types import Score
from tfxai.metrics.arrays import finite, one_array
from tfxai.metrics.curves import (
    Curve,
    Curves,
    curve_from_scores,
    descending_rank,
    nan_where_constant,
)
from tfxai.metrics.scoring import score_perturbed, scored_images

DEFAULT_STEPS = 50
"""How many steps a curve has, about, where `step` is None."""


def deletion(
    model: Callable,
    images: np.ndarray,
    heatmaps: np.ndarray,
    targets: Any,
    *,
    substrate: Any = 0.0,
    step: int | None = None,
    score: Score | None = None,
    batch_size: int = 32,
    bounds: tuple[Any, Any] | None = None,
    data_format: str | None = None,
) -> Curve:
    """Delete pixels, the most important first: the area under the score should be small.

    Args:
        model: maps images ``[N, H, W, C]`` to outputs ``[N, classes]``.
        images: ``[B, H, W, C]``.
        heatmaps: one channel, ``[B, h, w, 1]`` or ``[B, h, w]``. At the resolution of the images
            single pixels are deleted; below it the cells of a mask, which is drawn larger with
            soft edges, as in I-GOS.
        targets: class indices, ``[B]`` or one for all.
        substrate: what is left where a pixel has been deleted: a number, an image, "blur", "mean"
            and so on, as in `tfxai.baselines.baseline`; an array of the images' shape, one for
            each image; or a function from the images to that array, such as
            `tfxai.baselines.rise_blur`.
        step: how many pixels (or cells) are deleted at a time; None takes a fiftieth of them.
        score: maps outputs and targets to scores ``[N]``; None takes the outputs at the targets as
            they stand. For a model that ends in logits, take `tfxai.scores.probability`.
        batch_size: how many images the model is given at once.
        bounds: for a substrate by name, as in `tfxai.baselines.baseline`.
        data_format: the order of the axes of `images` and `heatmaps`, "channels_last" or
            "channels_first"; None takes what a Keras model says.

    Returns:
        A `Curve`.

    Raises:
        ValueError: shapes that do not fit, or values that are not finite.

    Reference:
        Petsiuk et al. 2018, section 3.3. Pixels of equal value go in the order of rows (a
        stable sort), and both ends of the curve count, where the published codes leave out one or
        add to it (docs/methods.md, Deletion and insertion).

    Example:
        >>> image, model = np.array([[[[1.0], [2.0]], [[3.0], [4.0]]]]), lambda x: x.sum((1, 2))
        >>> curve = deletion(model, image, image, 0, step=1)
        >>> curve.scores, curve.auc
        (array([[10.,  6.,  3.,  1.,  0.]]), array([3.75]))
    """
    options = CurveOptions(substrate, step, score, batch_size, bounds, data_format)
    return _curves(["deletion"], model, images, heatmaps, targets, options)[0]


def insertion(
    model: Callable,
    images: np.ndarray,
    heatmaps: np.ndarray,
    targets: Any,
    *,
    substrate: Any = 0.0,
    step: int | None = None,
    score: Score | None = None,
    batch_size: int = 32,
    bounds: tuple[Any, Any] | None = None,
    data_format: str | None = None,
) -> Curve:
    """Insert pixels, the most important first: the area under the score should be large.

    The arguments, the errors and the source are those of `deletion`. The substrate is here the
    image that pixels are inserted into: RISE takes a slightly blurred one,
    `tfxai.baselines.rise_blur`, and I-GOS a heavily blurred one, "blur".

    Returns:
        A `Curve`.

    Example:
        >>> image, model = np.array([[[[1.0], [2.0]], [[3.0], [4.0]]]]), lambda x: x.sum((1, 2))
        >>> insertion(model, image, image, 0, step=1).scores
        array([[ 0.,  4.,  7.,  9., 10.]])
    """
    options = CurveOptions(substrate, step, score, batch_size, bounds, data_format)
    return _curves(["insertion"], model, images, heatmaps, targets, options)[0]


def deletion_and_insertion(
    model: Callable,
    images: np.ndarray,
    heatmaps: np.ndarray,
    targets: Any,
    *,
    substrate: Any = 0.0,
    step: int | None = None,
    score: Score | None = None,
    batch_size: int = 32,
    bounds: tuple[Any, Any] | None = None,
    data_format: str | None = None,
) -> Curves:
    """Give both curves; the model is traced once.

    The arguments, the errors and the source are those of `deletion`. Both curves have the same
    substrate.

    Returns:
        `Curves`.

    Example:
        >>> image, model = np.array([[[[1.0], [2.0]], [[3.0], [4.0]]]]), lambda x: x.sum((1, 2))
        >>> deletion_and_insertion(model, image, image, 0, step=1).difference
        array([2.5])
    """
    options = CurveOptions(substrate, step, score, batch_size, bounds, data_format)
    return Curves(*_curves(["deletion", "insertion"], model, images, heatmaps, targets, options))


class CurveOptions(NamedTuple):
    """The options of `deletion`, which `insertion` shares."""

    substrate: Any
    step: int | None
    score: Score | None
    batch_size: int
    bounds: tuple[Any, Any] | None
    data_format: str | None


def _curves(
    kinds: Sequence[str],
    model: Callable,
    images: Any,
    heatmaps: Any,
    targets: Any,
    options: CurveOptions,
) -> list[Curve]:
    """Compute one curve for each kind, "deletion" or "insertion"."""
    scored = scored_images(model, images, targets, options.score, options.data_format)
    maps = _checked_heatmaps(heatmaps, scored.images, scored.order)
    substrate = scored.baselines("substrate", options.substrate, options.bounds)
    counts = _counts(maps[0].size, options.step)
    rank = descending_rank(maps.reshape(len(maps), -1)).reshape(maps.shape)
    rows, columns = (
        align_corners(scored.images.shape[axis], maps.shape[axis]).astype(scored.images.dtype)
        for axis in (1, 2)
    )

    def curve(kind: str) -> Curve:
        def perturb(indices: np.ndarray, taken: np.ndarray) -> np.ndarray:
            most_important = rank[indices] < taken[:, None, None]
            kept = most_important if kind == "insertion" else ~most_important
            share = np.einsum("Hh,nhw,Ww->nHW", rows, kept, columns, optimize=True)[..., None]
            return substrate[indices] + share * (scored.images[indices] - substrate[indices])

        scores = score_perturbed(scored, perturb, counts, options.batch_size)
        return curve_from_scores(counts / counts[-1], nan_where_constant(scores, maps), kind)

    return [curve(kind) for kind in kinds]


def _counts(cells: int, step: int | None) -> np.ndarray:
    """Give how many cells are deleted or inserted at each point of a curve, from none to all."""
    size = max(1, cells // DEFAULT_STEPS)
    if step is not None:
        size = checks.positive_integer("step", step)
    return np.append(np.arange(0, cells, size), cells)


def _checked_heatmaps(heatmaps: Any, images: np.ndarray, order: Order) -> np.ndarray:
    """Give the heatmaps of images ``[B, H, W, C]`` as ``[B, h, w]``."""
    maps = one_array("heatmaps", heatmaps)
    maps = order.to_channels_last(maps) if maps.ndim == 4 else maps
    if maps.ndim == 4 and maps.shape[-1] != 1:
        raise ValueError(
            f"heatmaps has {maps.shape[-1]} channels: say how to join them, e.g. "
            "np.abs(maps).sum(-1)"
        )
    maps = maps[..., 0] if maps.ndim == 4 else maps
    fits = maps.ndim == 3 and len(maps) == len(images)
    if not fits or any(m > n for m, n in zip(maps.shape[1:], images.shape[1:3], strict=True)):
        raise ValueError(
            f"heatmaps has shape {list(np.shape(heatmaps))}: expected [{len(images)}, h, w, 1], h "
            f"and w at most {list(images.shape[1:3])}, in the order of the images' axes"
        )
    return finite("heatmaps", maps)
