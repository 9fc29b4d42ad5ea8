"""RISE (Petsiuk, Das and Saenko 2018): the mean of random masks, weighted by the score."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfxai import scores
from tfxai.baselines import baseline as baseline_of
from tfxai.core import checks
from tfxai.core.axes import Order
from tfxai.core.interpolation import half_pixel
from tfxai.core.types import Attribution, Result, Score, ScoredModel, Tensors
from tfxai.estimation import aggregators
from tfxai.estimation.accuracy import ARRAYS_PER_EXAMPLE, budget, sampled
from tfxai.estimation.estimate import Evaluate
from tfxai.estimation.samplers import split_seed
from tfxai.explaining.builder import builder
from tfxai.explaining.method import Method, missed_tolerance
from tfxai.methods.masks.images import (
    channels_last,
    flat,
    maps_of,
    one_image,
    one_map,
    one_reference,
    resolution_of,
    scores_under,
)
from tfxai.models.heads import scored
from tfxai.models.model_info import ModelInspector

PROBABILITY = 0.5
Draw = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
"""Images ``[B, H, W, C]``, numbers of masks ``[K]``, seed -> masks ``[K, H, W]``."""


@builder
def rise(
    model: keras.Model,
    *,
    masks: int | np.ndarray = 4000,
    grid: int | tuple[int, int] = 7,
    probability: float | None = None,
    baseline: Any = 0.0,
    score: Score = scores.probability,
    tolerance: float | None = None,
    resolution: int = 28,
    bounds: tuple[Any, Any] | None = None,
    data_format: str | None = None,
) -> Method:
    """Explain by how the score of a randomly masked image depends on what the mask lets through.

    S = 1 / (N p) sum_i f_c(x m_i + x' (1 - m_i)) m_i,  E m_i = p

    Args:
        model: a Keras model of images.
        masks: N, their number; or the masks themselves, ``[N, H, W]``.
        grid: cells of the coarse mask, for both sides or (rows, columns), that is drawn larger
            and shifted at random.
        probability: p, that a cell lets the image through; None takes .5, as published, and the
            mean of masks of your own.
        baseline: x', as in `igos`; 0 is the mean colour of images that are normalised to mean 0.
        score: what is explained, (outputs, targets) -> ``[B]``.
        tolerance: of the picture's error, `pooled_error` in the record; an image that reaches it
            needs no more of the N masks.
        resolution: of the picture.
        bounds: smallest and largest value of an input, for a baseline by name.
        data_format: where the channels of the images are, "channels_last" or "channels_first",
            whose maps are ``[B, 1, H, W]``; None for where the first operation of the model that
            tells rows and columns from channels has them.

    Returns:
        An Explainer with attributions ``[B, H, W, 1]`` in units of the score: for one pixel the
        expected score given that the pixel shows. The record has their standard error, the
        ``map_error`` and ``pooled_error``, ``samples`` (masks) and ``dropped``.

    Raises:
        TypeError, ValueError: an option of the wrong type or out of range, or masks of another
            size than the images.

    Reference:
        Petsiuk, Das and Saenko 2018, equation 6, and METHODS 5.6: a grid is drawn at (s + 1)
        ceil(H / s) pixels, mirrored at its borders, and cut at a random offset.

    Example:
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3)])
        >>> model.add(keras.layers.GlobalAveragePooling2D())
        >>> rise(model, masks=20, grid=3)(keras.ops.ones((1, 8, 8, 3)), 0).shape
        TensorShape([1, 8, 8, 1])
    """
    checks.model(model)
    cells = resolution_of(grid, "grid")
    own = None if isinstance(masks, int | np.integer) else _checked(masks)
    count = checks.positive_integer("masks", masks) if own is None else len(own)
    effort = budget(count, tolerance, count, resolution)
    inspector = ModelInspector(model, data_format)
    references = baseline_of(baseline, bounds, order=inspector.order)
    forward = scored(model, score)
    if own is None:
        visible = PROBABILITY if probability is None else probability
        checks.real("probability", visible, above=0, below=1)
        draw = random_masks(cells, visible)
    else:
        visible = float(own.mean()) if probability is None else probability
        checks.real("probability", visible, above=0)
        draw = given_masks(own)

    def build(rows: int, order: Order) -> Attribution:
        evaluate = _weighted_masks(draw, order.channels_last_model(forward), visible)
        mean = sampled(
            evaluate,
            aggregators.mean(),
            effort,
            rows=rows,
            like=lambda inputs: one_map(inputs[0]),
            order=lambda inputs: Order((-1,)),  # whatever that of the model's inputs is
        )

        def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
            images = one_image(inputs)
            hidden = one_reference(order.channels_last_baseline(references), images)
            return mean((images, hidden), targets, seed)

        return attribute

    return Method(
        inspector,
        channels_last(build, inspector),
        score,
        random=own is None,
        arrays_per_example=ARRAYS_PER_EXAMPLE,
        like=maps_of(inspector),
        warn=missed_tolerance(effort.tolerance),
    )


def _weighted_masks(draw: Draw, forward: ScoredModel, visible: float) -> Evaluate:
    """Give what evaluates f_c(x m + x' (1 - m)) m / p for masks m, at inputs (x, x')."""

    def evaluate(
        inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor, ks: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        images, hidden = inputs
        drawn = draw(images, ks, seed)
        scores_of_masks = scores_under(forward, images, hidden, targets, drawn)
        weights = tf.ones(tf.shape(ks), scores_of_masks.dtype)
        return scores_of_masks[..., None] * flat(drawn)[:, None] / visible, weights

    return evaluate


def random_masks(cells: tuple[int, int], probability: float) -> Draw:
    """Draw grids of zeros and ones, enlarge and shift them."""

    def draw(images: tf.Tensor, ks: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        size = images.shape[1:3]
        steps = [-(-pixels // n) for pixels, n in zip(size, cells, strict=True)]
        rows, columns = (
            tf.constant(half_pixel((n + 1) * step, n), images.dtype)
            for n, step in zip(cells, steps, strict=True)
        )

        def one_mask(k: tf.Tensor) -> tf.Tensor:
            coarse, *shifts = split_seed(tf.random.fold_in(seed, k), 3)
            shown = tf.random.stateless_uniform(cells, coarse) < probability
            top, left = (
                tf.random.stateless_uniform([], shift, 0, step, tf.int32)
                for shift, step in zip(shifts, steps, strict=True)
            )
            up = rows[top : top + size[0]]
            across = columns[left : left + size[1]]
            return up @ tf.cast(shown, images.dtype) @ tf.transpose(across)

        return tf.map_fn(one_mask, ks, fn_output_signature=tf.TensorSpec(size, images.dtype))

    return draw


def given_masks(masks: np.ndarray) -> Draw:
    """Take masks ``[N, H, W]`` in their order."""
    with tf.init_scope():  # what a graph captures is not copied into it
        all_masks = tf.constant(masks)

    def draw(images: tf.Tensor, ks: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        del seed
        if masks.shape[1:] != tuple(images.shape[1:3]):
            raise ValueError(
                f"masks has shape {list(masks.shape)}: expected [N, {images.shape[1]}, "
                f"{images.shape[2]}], like the images"
            )
        return tf.cast(tf.gather(all_masks, ks), images.dtype)

    return draw


def _checked(masks: Any) -> np.ndarray:
    array = np.asarray(masks)
    if array.ndim != 3 or array.size == 0 or array.dtype.kind not in "fiub":
        raise ValueError(
            f"masks={masks!r}: expected how many, or an array [N, H, W] of numbers"
            if array.ndim == 0
            else f"masks has shape {list(array.shape)}: expected [N, H, W], numbers"
        )
    if not np.isfinite(array).all() or array.mean() <= 0:
        raise ValueError("masks: expected finite numbers that let some of the image through")
    return array
