"""Deletion and insertion: the score while pixels go or come, the most important first.

RISE (Petsiuk, Das and Saenko 2018, section 3.3) and paper 004, section 4; METHODS 5.5 and 5.6.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tfxai.core.types import Score
from tfxai.metrics.curves import Curve, Curves, Rule, drawn


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
        model: images ``[N, H, W, C]`` -> outputs ``[N, classes]``.
        images: ``[B, H, W, C]``.
        heatmaps: one channel, ``[B, h, w, 1]`` or ``[B, h, w]``. At the images' resolution single
            pixels go; below it the cells of a mask, which is drawn larger with soft edges, as
            in I-GOS.
        targets: class indices, ``[B]`` or one for all.
        substrate: what is left where a pixel has gone: a number, an image, "blur", "mean" ... as
            in `tfxai.baselines.baseline`; an array of the images' shape, one for each image; or a
            function that gives it of the images, such as `tfxai.baselines.rise_blur`.
        step: pixels (or cells) at a time; None takes a fiftieth of them.
        score: (outputs, targets) -> ``[N]``; None takes the outputs at the targets as they
            stand. For a model that ends in logits, `tfxai.scores.probability`.
        batch_size: images that the model is given at once.
        bounds: for a substrate by name, as in `tfxai.baselines.baseline`.
        data_format: the order of `images` and `heatmaps`, "channels_last" or "channels_first";
            None for what a Keras model says.

    Returns:
        A `Curve`.

    Raises:
        ValueError: shapes that do not fit, or values that are not finite.

    Reference:
        METHODS 5.5 and 5.6. Pixels of equal value go in the order of rows (a stable sort), and
        both ends of the curve count, where the published codes leave out one or add to it.

    Example:
        >>> image, model = np.array([[[[1.0], [2.0]], [[3.0], [4.0]]]]), lambda x: x.sum((1, 2))
        >>> curve = deletion(model, image, image, 0, step=1)
        >>> curve.scores, curve.auc
        (array([[10.,  6.,  3.,  1.,  0.]]), array([3.75]))
    """
    rule = Rule(substrate, step, score, batch_size, bounds, data_format)
    return drawn(["deletion"], rule, model, images, heatmaps, targets)[0]


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

    Args:
        model: as in `deletion`.
        images: as in `deletion`.
        heatmaps: as in `deletion`.
        targets: as in `deletion`.
        substrate: what the image starts as. RISE inserts into a slightly blurred image,
            `tfxai.baselines.rise_blur`, I-GOS into a heavily blurred one, "blur".
        step: as in `deletion`.
        score: as in `deletion`.
        batch_size: as in `deletion`.
        bounds: as in `deletion`.
        data_format: as in `deletion`.

    Returns:
        A `Curve`.

    Raises:
        ValueError: as `deletion`.

    Reference:
        As `deletion`.

    Example:
        >>> image, model = np.array([[[[1.0], [2.0]], [[3.0], [4.0]]]]), lambda x: x.sum((1, 2))
        >>> insertion(model, image, image, 0, step=1).scores
        array([[ 0.,  4.,  7.,  9., 10.]])
    """
    rule = Rule(substrate, step, score, batch_size, bounds, data_format)
    return drawn(["insertion"], rule, model, images, heatmaps, targets)[0]


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
    """Give both curves.

    Args:
        model: as in `deletion`.
        images: as in `deletion`.
        heatmaps: as in `deletion`.
        targets: as in `deletion`.
        substrate: of both.
        step: as in `deletion`.
        score: as in `deletion`.
        batch_size: as in `deletion`.
        bounds: as in `deletion`.
        data_format: as in `deletion`.

    Returns:
        `Curves`.

    Raises:
        ValueError: as `deletion`.

    Example:
        >>> image, model = np.array([[[[1.0], [2.0]], [[3.0], [4.0]]]]), lambda x: x.sum((1, 2))
        >>> deletion_and_insertion(model, image, image, 0, step=1).difference
        array([2.5])
    """
    rule = Rule(substrate, step, score, batch_size, bounds, data_format)
    names = ("deletion", "insertion")
    return Curves(*drawn(names, rule, model, images, heatmaps, targets))
