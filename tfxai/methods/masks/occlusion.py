"""Occlusion (Zeiler and Fergus 2014): how much the score drops when a patch is covered."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfxai import scores
from tfxai.core import checks
from tfxai.core.layout import Layout, Sizes, along_positions, checked_sizes
from tfxai.core.named_inputs import for_each_input
from tfxai.core.types import Result, Score, Tensors
from tfxai.estimation import aggregators
from tfxai.estimation.estimate import Evaluate, estimate
from tfxai.explaining.builder import builder
from tfxai.explaining.method import Method
from tfxai.methods.masks.blending import scores_under_masks, weighted_masks
from tfxai.methods.masks.mask_method import method_of_masks
from tfxai.methods.masks.masked_inputs import (
    Examples,
    MaskMethod,
    ScoreParts,
    masked_inputs,
)
from tfxai.models.scored_models import scored

GROUPS_ARE_PATCHES = "with patch or stride: the groups are the patches; leave those out"


@builder
def occlusion(
    model: keras.Model,
    *,
    patch: Any = None,
    stride: Any = None,
    inputs: Any = None,
    per_channel: bool = False,
    groups: Any = None,
    baseline: Any = 0.0,
    score: Score = scores.logit,
    bounds: tuple[Any, Any] | None = None,
    data_format: str | None = None,
) -> Method:
    """Explain by how much the score drops, on average, when a patch over a position is covered.

    The mean is taken over all patches that contain the position.

    Args:
        model: a Keras model of images ``[B, H, W, C]``, sequences ``[B, T, C]``, volumes
            ``[B, D, H, W, C]``, tables ``[B, F]``, or several of these. Where an input may have any
            size, that of the call counts.
        patch: the size of a patch in positions (pixels, steps in time), one for all axes or a tuple
            with one for each; None takes a seventh of the input, and single features of tables. For
            several inputs that differ, a dict by name.
        stride: the number of positions from one patch to the next, given like `patch`; None takes
            half a patch. The last patch ends with the input, so that every position is covered.
        inputs: the name of the input that is covered, or a list of names, while the others stay;
            None covers all inputs, one after the other.
        per_channel: whether a patch covers single channels instead of all channels together.
        groups: what is covered together instead of patches: an array of integers, the number of the
            group of each feature of a table ``[F]``, of each position, such as ``[H, W]`` or
            ``[T]``, or of each element of an example, such as ``[T, C]``; for several inputs a dict
            by name.
        baseline: what a covered position shows, as in `igos`; it is one of what is covered, in the
            structure of the maps.
        score: the function (outputs, targets) -> ``[B]`` that gives the score to explain.
        bounds: the smallest and the largest value of an input, for a baseline by name.
        data_format: where the channels of the inputs are, as in `rise`.

    Returns:
        An Explainer with attributions in units of the score: ``[B, H, W, 1]``, ``[B, T, 1]`` or
        ``[B, D, H, W, 1]``, with C channels where single ones are covered, and ``[B, F]`` for
        tables. They are negative where the score rises. The map of a single covered input is one
        array, those of all inputs have the inputs' structure, and those of some are a dict by name.

    Raises:
        TypeError, ValueError: an option has the wrong type or is out of range, a patch is larger
            than the input, a stride is longer than a patch, or the model has no such input.

    Reference:
        Zeiler and Fergus 2014, section 4.2. The mean over all patches that contain a pixel is taken
        from Captum, whose `feature_mask` the groups are. What is no image is ours (docs/methods.md,
        Occlusion).

    Example:
        >>> model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten()])
        >>> model.add(keras.layers.Dense(1, kernel_initializer="ones"))
        >>> maps = occlusion(model, patch=2)(keras.ops.ones((1, 4, 4, 1)))
        >>> maps[0, 0, :, 0].numpy().round(3)
        array([4., 4., 4., 4.], dtype=float32)

        A table of which the first two features, such as a one-hot code, are one:

        >>> table = keras.Sequential([keras.Input((3,))])
        >>> table.add(keras.layers.Dense(1, kernel_initializer="ones"))
        >>> occlusion(table, groups=[0, 0, 1])(np.array([[1.0, 2.0, 5.0]])).numpy().round(3)
        array([[3., 3., 5.]], dtype=float32)
    """
    checks.model(model)
    patch_sizes = for_each_input(partial(checked_sizes, "patch"), patch)
    stride_sizes = for_each_input(partial(checked_sizes, "stride"), stride)
    if groups is not None and not isinstance(groups, dict) and (patch, stride) != (None, None):
        raise ValueError(f"groups {GROUPS_ARE_PATCHES}")
    masked = masked_inputs(
        model,
        inputs,
        per_channel=per_channel,
        groups=groups,
        baseline=baseline,
        bounds=bounds,
        data_format=data_format,
    )

    def build(rows: int, score: ScoreParts, inputs: Tensors) -> MaskMethod:
        layouts = masked.layouts(inputs)
        lengths = masked.for_each("patch", patch_sizes, inputs)
        strides = masked.for_each("stride", stride_sizes, inputs)
        for name, layout, *sizes in zip(
            masked.masked_names(inputs), layouts, lengths, strides, strict=True
        ):
            if layout.groups is not None and sizes != [None, None]:
                raise ValueError(f"groups of {name!r} {GROUPS_ARE_PATCHES}")
        covered = [patches(*sizes) for sizes in zip(layouts, lengths, strides, strict=True)]
        shapes = [layout.shape for layout in layouts]

        def attribute(examples: Examples, targets: tf.Tensor, seed: tf.Tensor) -> Result:
            full_score = score(examples.inputs, examples.others, targets)

            def drops_of(place: int) -> tf.Tensor:
                mean_drop = estimate(
                    _score_drops(score, covered[place], shapes, place),
                    int(np.prod([len(c) for c in covered[place]])),
                    aggregators.mean(),
                    rows=rows,
                    like=lambda given: layouts[place].zeros_for(given[0].inputs[place]),
                )
                drops = mean_drop((examples, full_score), targets, seed).value
                # The mean over all patches counts those without the position as 0.
                shares = functools.reduce(np.multiply.outer, [c.mean(0) for c in covered[place]])
                values = drops / shares.reshape(-1)
                return tf.reshape(values, [tf.shape(targets)[0], *shapes[place]])

            return Result([drops_of(place) for place in range(len(shapes))], {})

        return attribute

    return method_of_masks(build, masked, scored(model, score), score)


def _score_drops(
    score: ScoreParts,
    covered_by: Sequence[np.ndarray],
    shapes: Sequence[tuple[int, ...]],
    place: int,
) -> Evaluate:
    """Give the function that evaluates the drop of the score at each element of the k-th patch.

    At all other elements its values are 0. Its inputs are the examples and their scores.

    Args:
        score: the score of the parts of the examples.
        covered_by: what the patches cover along each axis, as `patches` gives it.
        shapes: the shapes of the masks of all inputs.
        place: the place of the covered input.
    """

    def evaluate(
        inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor, ks: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        del seed
        examples, full_score = inputs
        dtype = examples.inputs[place].dtype
        covered = tf.cast(_covered(covered_by, shapes[place], ks), dtype)
        masks: list[tf.Tensor | None] = [None] * len(shapes)
        masks[place] = 1 - covered
        drop = full_score - scores_under_masks(score, examples, targets, masks)
        return weighted_masks(drop, covered), tf.ones_like(drop[:, 0])

    return evaluate


def _covered(covered_by: Sequence[np.ndarray], shape: tuple[int, ...], ks: tf.Tensor) -> tf.Tensor:
    """Tell which elements the patches of the numbers `ks` cover, booleans ``[K, *shape]``."""
    axes = len(covered_by)
    parts, rest = [], ks
    for axis in reversed(range(axes)):
        intervals = covered_by[axis]
        along = tf.gather(intervals, rest % len(intervals))
        sizes = [intervals.shape[1] if a == axis else 1 for a in range(axes)]
        parts.append(tf.reshape(along, [-1, *sizes]))
        rest //= len(intervals)
    return tf.reshape(functools.reduce(tf.logical_and, parts), [-1, *shape])


def patches(layout: Layout, patch: Sizes, stride: Sizes) -> list[np.ndarray]:
    """Give what the patches cover along each axis of a mask, booleans ``[N, n]`` each.

    There are as many patches as combinations of an interval along each axis. Groups are patches
    along one axis, that of all elements of a mask.

    Args:
        layout: the layout of the masks.
        patch: the size of a patch along each axis; None for a seventh, and for single features of
            tables.
        stride: the number of positions from one patch to the next; None for half a patch.

    Raises:
        ValueError: a patch is larger than the input, or a stride is longer than a patch.
    """
    if layout.groups is not None:
        flat = layout.groups.reshape(-1)
        return [np.arange(flat.max() + 1)[:, None] == flat]
    size = layout.positions
    default = tuple(max(1, round(n / 7)) if layout.has_neighbours else 1 for n in size)
    lengths = default if patch is None else along_positions("patch", patch, layout)
    halves = tuple(max(1, p // 2) for p in lengths)
    strides = halves if stride is None else along_positions("stride", stride, layout)
    if any(p > n for p, n in zip(lengths, size, strict=True)):
        raise ValueError(f"patch={lengths}: the inputs have {size} positions")
    if any(s > p for s, p in zip(strides, lengths, strict=True)):
        raise ValueError(
            f"stride={strides}: longer than the patch {lengths}, it would leave positions uncovered"
        )
    along = [_intervals(*numbers) for numbers in zip(size, lengths, strides, strict=True)]
    return along if layout.channels is None else [*along, np.eye(layout.channels, dtype=bool)]


def _intervals(pixels: int, length: int, stride: int) -> np.ndarray:
    """Give the pixels of each interval along one axis as booleans, ``[N, pixels]``."""
    last_start = pixels - length
    starts = np.unique([*range(0, last_start, stride), last_start])[:, None]
    positions = np.arange(pixels)
    return (positions >= starts) & (positions < starts + length)
