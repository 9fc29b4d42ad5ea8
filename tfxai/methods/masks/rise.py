"""RISE (Petsiuk, Das and Saenko 2018): the mean of random masks, weighted by the score."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfxai import scores
from tfxai.core import checks
from tfxai.core.axes import Order
from tfxai.core.layout import Layout, Sizes, checked_sizes
from tfxai.core.named_inputs import for_each_input
from tfxai.core.types import Score, Tensors
from tfxai.estimation import aggregators
from tfxai.estimation.accuracy import ARRAYS_PER_EXAMPLE, budget, sampled
from tfxai.estimation.estimate import Evaluate
from tfxai.explaining.builder import builder
from tfxai.explaining.method import Method, missed_tolerance
from tfxai.methods.masks.blending import scores_under_masks, weighted_masks
from tfxai.methods.masks.mask_method import method_of_masks
from tfxai.methods.masks.masked_inputs import (
    Examples,
    MaskMethod,
    ScoreParts,
    masked_inputs,
)
from tfxai.methods.masks.random_masks import PROBABILITY, DrawMasks, given_masks, random_masks
from tfxai.models.scored_models import scored


@builder
def rise(
    model: keras.Model,
    *,
    masks: Any = 4000,
    grid: Any = None,
    probability: float | None = None,
    inputs: Any = None,
    per_channel: bool = False,
    groups: Any = None,
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
        model: a Keras model of images, sequences, volumes, tables, or several of these, as in
            `occlusion`.
        masks: N, the number of random masks; or the masks themselves, ``[N, H, W]``, ``[N, T]``,
            ``[N, D, H, W]`` or ``[N, F]`` (with the channels, ``[N, ..., C]``, if `per_channel`);
            for several inputs a dict by name.
        grid: cells of the coarse mask, one number for all axes or a tuple with one for each. It is
            enlarged and shifted at random. None takes 7, as published; for tables, whose features
            have no neighbours, each feature is a cell. For several inputs that differ, a dict by
            name.
        probability: p, the probability that a cell lets the input through. None takes .5, as
            published, or the mean of the masks that are given.
        inputs: the name of the input that is masked, or a list of names, while the others stay;
            None masks all inputs, each by masks of its own.
        per_channel: whether each channel has a mask of its own.
        groups: what is masked together instead of the cells of a grid, as in `occlusion`.
        baseline: x', as in `igos`; 0 is the mean colour of images that are normalised to mean 0. It
            is one of what is masked, in the structure of the maps.
        score: the function (outputs, targets) -> ``[B]`` that gives the score to explain.
        tolerance: the largest error of the map's picture, `pooled_error` in the record. An image
            that reaches it needs no more of the N masks.
        resolution: cells of this picture for each side; only the maps of images are pooled.
        bounds: the smallest and the largest value of an input, for a baseline by name.
        data_format: where the channels of the images are, "channels_last" or "channels_first",
            whose maps are ``[B, 1, H, W]``. None reads it from the first operation of the model
            that tells rows and columns from channels.

    Returns:
        An Explainer with attributions in units of the score, ``[B, H, W, 1]`` for images and of the
        other shapes and structures of `occlusion`: the attribution of a position estimates the
        expected score given that the position is visible. The record has their
        ``standard_error``, the ``map_error`` and ``pooled_error``, ``samples`` (the number of
        masks) and ``dropped``.

    Raises:
        TypeError, ValueError: an option has the wrong type or is out of range, the masks have
            another size than the inputs, or the model has no such input.

    Reference:
        Petsiuk et al. 2018, equation 6. A grid of s cells a side is enlarged to
        (s + 1) ceil(H / s) pixels, mirrored at its borders, and cut at a random offset. What is no
        image is ours (docs/methods.md, RISE).

    Example:
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3)])
        >>> model.add(keras.layers.GlobalAveragePooling2D())
        >>> rise(model, masks=20, grid=3)(keras.ops.ones((1, 8, 8, 3)), 0).shape
        TensorShape([1, 8, 8, 1])
    """
    checks.model(model)
    cells = for_each_input(partial(checked_sizes, "grid"), grid)
    given = None if isinstance(masks, int | np.integer) else for_each_input(_check_masks, masks)
    if given is None:
        count = checks.positive_integer("masks", masks)
        checks.real("probability", _or(probability, PROBABILITY), above=0, below=1)
    else:
        count = _one_count(given)
        checks.real("probability", _or(probability, PROBABILITY), above=0)
    # Without a tolerance one mask is enough; an error takes two.
    checks.positive_integer("masks", count, least=1 if tolerance is None else 2)
    mask_budget = budget(count, tolerance, max(count, 2), resolution)
    masked = masked_inputs(
        model,
        inputs,
        per_channel=per_channel,
        groups=groups,
        baseline=baseline,
        bounds=bounds,
        data_format=data_format,
    )

    def draw_of(layout: Layout, size: Sizes, own: np.ndarray | None) -> tuple[DrawMasks, float]:
        """Give the function that draws an input's masks, and p."""
        if own is None:
            p = _or(probability, PROBABILITY)
            return random_masks(layout, size, p), p
        return given_masks(own, layout), _or(probability, float(own.mean()))

    def build(rows: int, score: ScoreParts, inputs: Tensors) -> MaskMethod:
        layouts = masked.layouts(inputs)
        sizes, own = masked.for_each("grid", cells, inputs), masked.for_each("masks", given, inputs)
        for name, m in zip(masked.masked_names(inputs), own, strict=True):
            if given is not None and m is None:
                raise ValueError(f"masks: expected masks of the input {name!r}, too")
        draws = [draw_of(*parts) for parts in zip(layouts, sizes, own, strict=True)]

        def maps_like(examples: Examples) -> list[tf.Tensor]:
            return [layout.zeros_for(x) for x, layout in zip(examples.inputs, layouts, strict=True)]

        return sampled(
            _weighted_masks(draws, score),
            aggregators.mean(),
            mask_budget,
            rows=rows,
            like=maps_like,
            order=lambda examples: Order((-1,) * len(layouts)),  # their channels are last
        )

    return method_of_masks(build, masked, scored(model, score), score)._replace(
        random=given is None,
        arrays_per_example=ARRAYS_PER_EXAMPLE,
        warn=missed_tolerance(mask_budget.tolerance),
    )


def _weighted_masks(draws: list[tuple[DrawMasks, float]], score: ScoreParts) -> Evaluate:
    """Give the function that evaluates f_c(x m + x' (1 - m)) m / p for masks m, of examples.

    Args:
        draws: for each masked input what draws its masks, and p.
        score: f_c.
    """

    def evaluate(
        inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor, ks: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        dtype = inputs.inputs[0].dtype
        masks = [
            draw(ks, tf.random.fold_in(seed, -place) if place else seed, dtype)
            for place, (draw, _) in enumerate(draws)
        ]
        mask_scores = scores_under_masks(score, inputs, targets, masks)
        weights = tf.ones(tf.shape(ks), mask_scores.dtype)
        values = [
            weighted_masks(mask_scores, m) / p for m, (_, p) in zip(masks, draws, strict=True)
        ]
        return values[0] if len(values) == 1 else tf.concat(values, -1), weights

    return evaluate


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _one_count(masks: Any) -> int:
    """Give the number N of masks, which is that of each input."""
    counts = {len(m) for m in (masks.values() if isinstance(masks, dict) else [masks])}
    if len(counts) != 1:
        raise ValueError(f"masks: {sorted(counts)} masks for different inputs; pass as many each")
    return counts.pop()


def _check_masks(masks: Any) -> np.ndarray:
    """Give masks as an array, or raise a ValueError if they are not finite, ``[N, ...]``."""
    array = np.asarray(masks)
    if array.ndim < 2 or array.size == 0 or array.dtype.kind not in "fiub":
        raise ValueError(
            f"masks={masks!r}: expected how many, or an array [N, ...] of numbers"
            if array.ndim == 0
            else f"masks has shape {list(array.shape)}: expected [N, ...], numbers"
        )
    if not np.isfinite(array).all() or array.mean() <= 0:
        raise ValueError("masks: expected finite numbers that let some of the input through")
    return array
