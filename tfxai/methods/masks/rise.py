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
from tfxai.methods.masks.blending import scores_under_masks, weighted_masks
from tfxai.methods.masks.image_inputs import (
    in_model_order,
    one_channel,
    one_channel_like,
    rows_and_columns,
    single_image_input,
    single_reference,
)
from tfxai.models.model_info import ModelInspector
from tfxai.models.scored_models import scored

PROBABILITY = 0.5
"""The published probability that a cell of a mask lets the image through."""
DrawMasks = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
"""Images ``[B, H, W, C]``, the masks' numbers ``[K]``, a seed ``[2]`` -> masks ``[K, H, W]``."""


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
    """Explain by the mean of random masks, weighted by the scores of the images that they mask.

    S = 1 / (N p) sum_i f_c(x m_i + x' (1 - m_i)) m_i,  E m_i = p

    Args:
        model: a Keras model of images.
        masks: N, the number of random masks; or the masks themselves, ``[N, H, W]``.
        grid: cells of the coarse mask, for both sides or (rows, columns). It is enlarged and
            shifted at random.
        probability: p, the probability that a cell lets the image through. None takes .5, as
            published, or the mean of the masks that are given.
        baseline: x', as in `igos`; 0 is the mean colour of images that are normalised to mean 0.
        score: the function (outputs, targets) -> ``[B]`` that gives the score to explain.
        tolerance: the largest error of the map's picture, `pooled_error` in the record. An image
            that reaches it needs no more of the N masks.
        resolution: cells of this picture for each side.
        bounds: the smallest and the largest value of an input, for a baseline by name.
        data_format: where the channels of the images are, "channels_last" or "channels_first",
            whose maps are ``[B, 1, H, W]``. None reads it from the first operation of the model
            that tells rows and columns from channels.

    Returns:
        An Explainer with attributions ``[B, H, W, 1]`` in units of the score: the attribution of a
        pixel estimates the expected score given that the pixel is visible. The record has their
        ``standard_error``, the ``map_error`` and ``pooled_error``, ``samples`` (the number of
        masks) and ``dropped``.

    Raises:
        TypeError, ValueError: an option has the wrong type or is out of range, or the masks have
            another size than the images.

    Reference:
        Petsiuk et al. 2018, equation 6. A grid of s cells a side is enlarged to
        (s + 1) ceil(H / s) pixels, mirrored at its borders, and cut at a random offset
        (docs/methods.md, RISE).

    Example:
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3)])
        >>> model.add(keras.layers.GlobalAveragePooling2D())
        >>> rise(model, masks=20, grid=3)(keras.ops.ones((1, 8, 8, 3)), 0).shape
        TensorShape([1, 8, 8, 1])
    """
    checks.model(model)
    cells = rows_and_columns(grid, "grid")
    given = None if isinstance(masks, int | np.integer) else _check_masks(masks)
    count = checks.positive_integer("masks", masks) if given is None else len(given)
    mask_budget = budget(count, tolerance, count, resolution)
    inspector = ModelInspector(model, data_format)
    references_of = baseline_of(baseline, bounds, order=inspector.order)
    scored_model = scored(model, score)
    if given is None:
        p = PROBABILITY if probability is None else probability
        checks.real("probability", p, above=0, below=1)
        draw = random_masks(cells, p)
    else:
        p = float(given.mean()) if probability is None else probability
        checks.real("probability", p, above=0)
        draw = given_masks(given)

    def build(rows: int, order: Order) -> Attribution:
        weighted_mean = sampled(
            _weighted_masks(draw, order.channels_last_model(scored_model), p),
            aggregators.mean(),
            mask_budget,
            rows=rows,
            like=lambda inputs: one_channel(inputs[0]),
            order=lambda inputs: Order((-1,)),  # whatever the order of the model's inputs is
        )

        def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
            images = single_image_input(inputs)
            references = single_reference(order.channels_last_baseline(references_of), images)
            return weighted_mean((images, references), targets, seed)

        return attribute

    return Method(
        inspector,
        in_model_order(build, inspector),
        score,
        random=given is None,
        arrays_per_example=ARRAYS_PER_EXAMPLE,
        like=one_channel_like(inspector),
        warn=missed_tolerance(mask_budget.tolerance),
    )


def _weighted_masks(draw: DrawMasks, forward: ScoredModel, probability: float) -> Evaluate:
    """Give the function that evaluates f_c(x m + x' (1 - m)) m / p for masks m, at (x, x')."""

    def evaluate(
        inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor, ks: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        images, references = inputs
        masks = draw(images, ks, seed)
        mask_scores = scores_under_masks(forward, images, references, targets, masks)
        weights = tf.ones(tf.shape(ks), mask_scores.dtype)
        return weighted_masks(mask_scores, masks) / probability, weights

    return evaluate


def random_masks(cells: tuple[int, int], probability: float) -> DrawMasks:
    """Give the function that draws grids of zeros and ones, enlarges and shifts them."""

    def draw(images: tf.Tensor, ks: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        size = images.shape[1:3]
        cell_sizes = [-(-pixels // n) for pixels, n in zip(size, cells, strict=True)]
        rows, columns = (
            tf.constant(half_pixel((n + 1) * cell_size, n), images.dtype)
            for n, cell_size in zip(cells, cell_sizes, strict=True)
        )

        def draw_one(k: tf.Tensor) -> tf.Tensor:
            grid_seed, *offset_seeds = split_seed(tf.random.fold_in(seed, k), 3)
            grid = tf.random.stateless_uniform(cells, grid_seed) < probability
            top, left = (
                tf.random.stateless_uniform([], offset_seed, 0, cell_size, tf.int32)
                for offset_seed, cell_size in zip(offset_seeds, cell_sizes, strict=True)
            )
            cut_rows = rows[top : top + size[0]]
            cut_columns = columns[left : left + size[1]]
            return cut_rows @ tf.cast(grid, images.dtype) @ tf.transpose(cut_columns)

        return tf.map_fn(draw_one, ks, fn_output_signature=tf.TensorSpec(size, images.dtype))

    return draw


def given_masks(masks: np.ndarray) -> DrawMasks:
    """Give the function that takes masks from the array ``[N, H, W]`` by their numbers."""
    with tf.init_scope():  # A graph refers to this tensor instead of holding a copy of it.
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


def _check_masks(masks: Any) -> np.ndarray:
    """Give masks as an array, or raise a ValueError if they are not finite, ``[N, H, W]``."""
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
