"""Inputs blended with their references by masks, of which 1 keeps and 0 deletes an element."""

from __future__ import annotations

import math
from collections.abc import Sequence

import tensorflow as tf

from tfxai.core import batch
from tfxai.methods.masks.mask_cells import Cells
from tfxai.methods.masks.masked_inputs import Examples, ScoreParts


def blend(
    examples: Examples, masks: Sequence[tf.Tensor], cells: Sequence[Cells]
) -> list[tf.Tensor]:
    """Give Phi(I, up(M)) = I up(M) + I' (1 - up(M)) of each masked input (Qi et al. 2020).

    Args:
        examples: N examples, I, with their references I'.
        masks: M of each input, as `mask_cells.split` gives them.
        cells: the cells of each input's masks.
    """
    ups = [c.upsample(m) for c, m in zip(cells, masks, strict=True)]
    return [
        x * up + reference * (1 - up)
        for x, reference, up in zip(examples.inputs, examples.references, ups, strict=True)
    ]


def noise_like(x: tf.Tensor, level: float, seed: tf.Tensor) -> tf.Tensor:
    """Give normal noise of `level` times each example's own standard deviation, ``[N, ...]``.

    All examples share one draw, which is scaled for each of them.
    """
    drawn = tf.random.stateless_normal(tf.shape(x)[1:], seed, dtype=x.dtype)
    return level * tf.math.reduce_std(x, range(1, x.shape.rank), keepdims=True) * drawn


def noise_of_input(
    inputs: Sequence[tf.Tensor], place: int, level: float, seed: tf.Tensor
) -> tf.Tensor:
    """Give the noise of one of several inputs, whose draws are independent; see `noise_like`."""
    own_seed = tf.random.fold_in(seed, -place) if place else seed
    return noise_like(inputs[place], level, own_seed)


def scores_under_masks(
    score: ScoreParts, examples: Examples, targets: tf.Tensor, masks: Sequence[tf.Tensor | None]
) -> tf.Tensor:
    """Score each of B examples under each of K masks: ``[K, B]``.

    Where a mask is 0, an input shows its reference.

    Args:
        score: the score of the parts of the examples.
        examples: B examples.
        targets: ``[B]``.
        masks: for each masked input K masks, ``[K, ...]``, which broadcast to an example; None for
            an input that stays whole.
    """
    count = next(tf.shape(m)[0] for m in masks if m is not None)

    def points(x: tf.Tensor, reference: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
        if mask is None:
            return batch.tiled(x, count)
        visible = mask[:, None]
        return tf.reshape(reference + visible * (x - reference), [-1, *x.shape[1:]])

    parts = [
        points(*part) for part in zip(examples.inputs, examples.references, masks, strict=True)
    ]
    scores = score(parts, examples.others, batch.tiled(targets, count))
    return tf.reshape(scores, [count, tf.shape(targets)[0]])


def weighted_masks(weights: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
    """Multiply masks ``[K, ...]`` by their weights for each example ``[K, B]``: ``[K, B, F]``."""
    rows = tf.reshape(masks, [-1, math.prod(masks.shape[1:])])
    return weights[..., None] * rows[:, None]
