"""The backtracking line search of I-GOS (Qi et al. 2020), for many masks at once.

A trial is one step length for one of the masks. Trials are taken from the longest step on, until
the objective F = f_c + g is at most the bound of the revised Armijo condition.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from tfxai.core import batch

TRIALS_PER_PASS = 4
"""How many trials fill a forward pass: where fewer masks are searched, several steps of each are
tried at once."""


class LineSearch(NamedTuple):
    """What is searched, as functions of trials; `owners` are the numbers of the trials' masks."""

    path: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    """Steps alpha ``[T]``, owners ``[T]`` -> the masks they lead to, ``[T, K]``."""
    score: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    """Masks ``[T, K]``, owners ``[T]`` -> f_c ``[T]``, never negative."""
    regulariser: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    """Masks ``[T, K]``, owners ``[T]`` -> g ``[T]``."""
    bound: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
    """Masks ``[T, K]``, steps ``[T]``, owners ``[T]`` -> the largest F to accept, ``[T]``."""


class SearchResult(NamedTuple):
    """Where the first accepted step of each mask leads."""

    masks: tf.Tensor
    """``[N, K]``; the start where no step is accepted."""
    score: tf.Tensor
    """What `LineSearch.score` gives for `masks`, ``[N]``."""
    step: tf.Tensor
    """alpha, ``[N]``; 0 where no step is accepted."""
    trials: tf.Tensor
    """How many trials needed f_c, up to the accepted one, int32 ``[N]``."""


class _Trials(NamedTuple):
    """W steps tried for each of A masks: T = A W trials, ordered by mask and then by step."""

    steps: tf.Tensor
    """alpha, ``[T]``."""
    masks: tf.Tensor
    """``[T, K]``."""
    score: tf.Tensor
    """f_c, ``[T]``; infinite where it is not needed."""
    possible: tf.Tensor
    """Whether g alone is within the bound, ``[T]``."""
    accepted: tf.Tensor
    """Whether F is within the bound, ``[T]``."""


def backtrack(search: LineSearch, start: SearchResult, steps: Sequence[float]) -> SearchResult:
    """Try steps from the longest on until the objective is within its bound.

    Since f_c is not negative, g alone rejects many trials without a forward pass. How many steps
    are tried at once does not change the result.

    Args:
        search: path, objective and bound.
        start: the result for masks of which no step is accepted; new trials are added to its own.
        steps: the steps alpha, descending.
    """
    lengths = tf.constant(steps, start.masks.dtype)

    def try_next_steps(first: tf.Tensor, searching: tf.Tensor, result: SearchResult) -> tuple:
        width = tf.minimum(tf.maximum(TRIALS_PER_PASS // tf.size(searching), 1), len(steps) - first)
        trials = _evaluate(search, lengths[first : first + width], searching)
        within_bound = tf.reshape(trials.accepted, [-1, width])
        is_accepted = tf.reduce_any(within_bound, 1)
        longest = tf.argmax(within_bound, 1, tf.int32)  # the first of the steps that are accepted
        last_trial = tf.where(is_accepted, longest, width)
        is_needed = tf.range(width) <= last_trial[:, None]
        possible = tf.cast(tf.reshape(trials.possible, [-1, width]), tf.int32)
        num_trials = tf.reduce_sum(possible * tf.cast(is_needed, tf.int32), 1)

        before = batch.take(result, searching)
        chosen = longest + tf.range(tf.size(searching)) * width
        masks, score, step = batch.take((trials.masks, trials.score, trials.steps), chosen)
        unchanged = before._replace(trials=before.trials + num_trials)
        changed = SearchResult(masks, score, step, unchanged.trials)
        after = batch.where(is_accepted, changed, unchanged)
        result = batch.put(result, searching, after)
        return first + width, tf.boolean_mask(searching, ~is_accepted), result

    *_, result = tf.while_loop(
        lambda first, searching, result: (first < len(steps)) & (tf.size(searching) > 0),
        try_next_steps,
        (0, tf.range(tf.shape(start.masks)[0]), start),
        shape_invariants=(
            tf.TensorShape([]),
            tf.TensorShape([None]),
            tf.nest.map_structure(lambda x: x.shape, start),
        ),
        parallel_iterations=1,
    )
    return result


def _evaluate(search: LineSearch, steps: tf.Tensor, searching: tf.Tensor) -> _Trials:
    """Try each of the steps ``[W]`` for each of the masks with the numbers `searching`, ``[A]``."""
    owners = tf.repeat(searching, tf.size(steps))
    tiled_steps = tf.tile(steps, [tf.size(searching)])
    masks = search.path(tiled_steps, owners)
    g = search.regulariser(masks, owners)
    bound = search.bound(masks, tiled_steps, owners)
    possible = g <= bound
    possible_trials = tf.where(possible)[:, 0]
    score = tf.tensor_scatter_nd_update(
        tf.fill(tf.shape(g), tf.constant(float("inf"), g.dtype)),
        possible_trials[:, None],
        tf.cond(
            tf.size(possible_trials) > 0,
            lambda: search.score(*batch.take((masks, owners), possible_trials)),
            lambda: tf.zeros([0], g.dtype),
        ),
    )
    return _Trials(tiled_steps, masks, score, possible, score + g <= bound)
