"""What the methods that cover parts of an image share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfxai.baselines import Baseline
from tfxai.core import checks
from tfxai.core.axes import Order
from tfxai.core.types import Attribution, Result, ScoredModel, Tensors
from tfxai.explaining.explanation import Explanation
from tfxai.methods.masks import masks
from tfxai.methods.masks.total_gradient import Blended
from tfxai.models.model_info import ModelInspector

RESOLUTION = 28
"""Cells of a mask, for both sides, where the image has so many pixels."""
LEAST_PROBABILITY = 0.01
"""Below it, masks fail (paper 004, section 5)."""
UNMOVED = (
    "no change of them lowers the probability by more than it costs; lower lambda1 and lambda2"
)
"""What to try where a map is zero."""


def channels_last(
    build: Callable[[int, Order], Attribution], inspector: ModelInspector
) -> Callable[[int], Attribution]:
    """Give a method of images ``[B, H, W, C]`` for those of a model, in whatever order.

    Args:
        build: rows, and the order of the model's inputs -> the attribution.
        inspector: of the model.

    Returns:
        Rows -> the attribution, whose maps and masks are in the order of the model's inputs.
    """

    def built(rows: int) -> Attribution:
        def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
            order = inspector.order(inputs)
            result = build(rows, order)(order.to_channels_last(inputs), targets, seed)
            diagnostics = {
                name: order.from_channels_last(value) if value.shape.rank == 4 else value
                for name, value in result.diagnostics.items()
            }
            return Result(order.from_channels_last(result.attributions), diagnostics)

        return attribute

    return built


def resolution_of(value: Any, name: str = "resolution") -> tuple[int, int]:
    """Give a number, or a pair (for rows, for columns), as a pair.

    Raises:
        TypeError, ValueError: neither, or less than 1.
    """
    pair = value if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2:
        raise ValueError(f"{name}={value!r}: expected a number or a pair (rows, columns)")
    rows, columns = (checks.positive_integer(name, n) for n in pair)
    return rows, columns


def one_image(inputs: Tensors) -> tf.Tensor:
    """Give the images ``[B, H, W, C]`` of a model with this one input.

    Raises:
        ValueError: several inputs, no images, or images of an unknown size.
    """
    flat = tf.nest.flatten(inputs)
    if len(flat) > 1:
        raise ValueError(f"a mask covers one input, but the model has {len(flat)}")
    if flat[0].shape.rank != 4:
        raise ValueError(
            f"a mask needs images of a known size [B, H, W, C], and inputs {flat[0].shape} are "
            "none: explain them by gradients, e.g. with tfxai.integrated_gradients"
        )
    if None in flat[0].shape[1:]:
        raise ValueError(
            f"a mask needs images of a known size [B, H, W, C], got {flat[0].shape}; put "
            "keras.Input((height, width, channels)) in front of the model"
        )
    return flat[0]


def blended(inputs: Tensors, targets: tf.Tensor, baseline: Baseline) -> Blended:
    """Give images and their baseline images.

    Raises:
        ValueError: no images; a baseline of several.
    """
    images = one_image(inputs)
    return Blended(images, one_reference(baseline, images), targets)


def cells_of(images: tf.Tensor, resolution: tuple[int, int] | None) -> tuple[int, int]:
    """Give the cells of a mask for images ``[B, H, W, C]``: None takes what of 28 x 28 fits.

    Raises:
        ValueError: a resolution beyond the images'.
    """
    size = tuple(images.shape[1:3])
    if resolution is None:
        return min(RESOLUTION, size[0]), min(RESOLUTION, size[1])
    if any(cells > pixels for cells, pixels in zip(resolution, size, strict=True)):
        raise ValueError(
            f"resolution={resolution}: the images have {size} pixels; pass resolution="
            f"{min(size)} or less"
        )
    return resolution


def one_reference(baseline: Baseline, images: tf.Tensor) -> tf.Tensor:
    """Give the baseline image of each image, ``[B, H, W, C]``.

    Raises:
        ValueError: the baseline is several.
    """
    references = baseline(images)
    if references.shape[0] != 1:
        raise ValueError(
            f"baseline is a batch of {references.shape[0]} references; pass one image, or a "
            "function images -> references for one of its own for each image"
        )
    return tf.broadcast_to(references[0], tf.shape(images))


def scores_under(
    forward: ScoredModel,
    images: tf.Tensor,
    references: tf.Tensor,
    targets: tf.Tensor,
    masks: tf.Tensor,
) -> tf.Tensor:
    """Score each image ``[B, H, W, C]`` under each of the masks ``[K, H, W]``: ``[K, B]``."""
    shown = masks[:, None, :, :, None]
    points = tf.reshape(references + shown * (images - references), [-1, *images.shape[1:]])
    scores = forward(points, tf.tile(targets, tf.shape(masks)[:1]))
    return tf.reshape(scores, [tf.shape(masks)[0], tf.shape(images)[0]])


def flat(masks: tf.Tensor) -> tf.Tensor:
    """Give masks ``[K, H, W]`` as rows ``[K, H W]``."""
    return tf.reshape(masks, [-1, masks.shape[1] * masks.shape[2]])


def result_of(mask: tf.Tensor, images: tf.Tensor, diagnostics: dict[str, tf.Tensor]) -> Result:
    """Give masks ``[B, h, w]`` as heatmaps 1 - up(M), and themselves among the diagnostics."""
    return Result(1 - masks.large(mask, images), {**diagnostics, "mask": mask[..., None]})


def one_map(inputs: Tensors) -> tf.Tensor:
    """Give an array of the shape of a map of images ``[B, H, W, C]``."""
    return tf.zeros_like(one_image(inputs)[..., :1])


def maps_of(inspector: ModelInspector) -> Callable[[Tensors], tf.Tensor]:
    """Give inputs -> an array of the maps' shape, in the order of the model's inputs."""

    def like(inputs: Tensors) -> tf.Tensor:
        order = inspector.order(inputs)
        return order.from_channels_last(one_map(order.to_channels_last(inputs)))

    return like


def unmoved(record: Explanation) -> list[str]:
    """Say which predictions are too weak to lose, and which masks have not moved."""
    messages = []
    weak = np.flatnonzero(record.scores < LEAST_PROBABILITY)
    if weak.size:
        messages.append(
            f"examples {_few(weak)} have the target with a probability below {LEAST_PROBABILITY}: "
            "there is too little to delete for a mask to show what matters"
        )
    still = np.flatnonzero((record.mask > 1 - 1e-3).all((1, 2, 3)))
    still = np.setdiff1d(still, weak)
    if still.size:
        messages.append(f"the masks of examples {_few(still)} have hardly moved from 1: {UNMOVED}")
    return messages


def _few(indices: np.ndarray) -> str:
    return ", ".join(map(str, indices[:10])) + (", ..." if len(indices) > 10 else "")
