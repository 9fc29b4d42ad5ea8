"""The backtracking line search of I-GOS, for many masks at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from tfxai.core import batch

TOGETHER = 4
"""Trials that fill a forward pass; few masks try several steps at once."""

Path = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""Steps alpha ``[N]`` and which masks' ``[N]`` -> where they lead, ``[N, h, w]``."""
Score = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""Masks ``[N, h, w]`` and whose they are ``[N]`` -> f_c, ``[N]``, never negative."""


class Search(NamedTuple):
    """What there is to decrease."""

    path: Path
    score: Score
    regulariser: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    """Masks and whose -> g, ``[N]``."""
    bound: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
    """Masks, steps and whose -> the most that F = f_c + g may be there, ``[N]``."""


class Found(NamedTuple):
    """The first step of each search whose objective is within the bound."""

    masks: tf.Tensor
    """``[A, h, w]``; as they were where there is no such step."""
    score: tf.Tensor
    """f_c there, ``[A]``."""
    step: tf.Tensor
    """alpha, ``[A]``; 0 where there is none."""
    trials: tf.Tensor
    """Steps that g did not reject, up to the one that was found, int32 ``[A]``."""


def backtrack(search: Search, start: Found, steps: Sequence[float]) -> Found:
    """Try steps from the longest on until the objective is within its bound.

    As f_c is not negative, g alone rejects many a step without a forward pass. Otherwise all
    that is evaluated at once has no influence on what is found.

    Args:
        search: path, objective and bound.
        start: what to give where no step is found.
        steps: alphas, descending.
    """
    lengths = tf.constant(steps, start.masks.dtype)

    def wave(first: tf.Tensor, searching: tf.Tensor, found: Found) -> tuple:
        width = tf.minimum(tf.maximum(TOGETHER // tf.size(searching), 1), len(steps) - first)
        which = tf.repeat(searching, width)
        tried = tf.tile(lengths[first : first + width], [tf.size(searching)])
        masks = search.path(tried, which)
        g = search.regulariser(masks, which)
        bound = search.bound(masks, tried, which)
        possible = g <= bound
        rows = tf.where(possible)[:, 0]
        scores = tf.tensor_scatter_nd_update(
            tf.fill(tf.shape(g), tf.constant(float("inf"), g.dtype)),
            rows[:, None],
            tf.cond(
                tf.size(rows) > 0,
                lambda: search.score(*batch.take((masks, which), rows)),
                lambda: tf.zeros([0], g.dtype),
            ),
        )
        within = tf.reshape(scores + g <= bound, [-1, width])
        longest = tf.argmax(within, 1, tf.int32)
        accepted = tf.reduce_any(within, 1)
        chosen = longest + tf.range(tf.size(searching)) * width
        tests = tf.cast(tf.reshape(possible, [-1, width]), tf.int32)
        upto = tf.range(width) <= tf.where(accepted, longest, width)[:, None]
        spent = tf.reduce_sum(tests * tf.cast(upto, tf.int32), 1)
        before = batch.take(found, searching)
        there, score, step = batch.take((masks, scores, tried), chosen)
        after = Found(there, score, step, before.trials + spent)
        kept = batch.where(accepted, after, before._replace(trials=after.trials))
        found = batch.put(found, searching, kept)
        return first + width, tf.boolean_mask(searching, ~accepted), found

    everyone = tf.range(tf.shape(start.masks)[0])
    *_, found = tf.while_loop(
        lambda first, searching, found: (first < len(steps)) & (tf.size(searching) > 0),
        wave,
        (0, everyone, start),
        shape_invariants=(
            tf.TensorShape([]),
            tf.TensorShape([None]),
            tf.nest.map_structure(lambda x: x.shape, start),
        ),
        parallel_iterations=1,
    )
    return found
