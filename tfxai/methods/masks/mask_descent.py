"""The iterations of I-GOS, for all images of a batch, each at its own pace (METHODS 5.2, 5.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from tfxai.core import batch
from tfxai.methods.masks.line_search import Found, Search, backtrack
from tfxai.methods.masks.masks import Regulariser, proximal
from tfxai.methods.masks.total_gradient import Blended, Deletion

ARMIJO = 1e-4
"""beta of the revised Armijo condition."""
BETA_TV = 2
ADAPTIONS = ((2.0, 1e-3, 10.0), (1.25, 1e-2, 5.0))
"""(a, b, c): in iteration int(T / a), lambda1 becomes lambda1 / c where f_c has moved by <= b."""


class Settings(NamedTuple):
    """How masks are optimised; the fields are `tfxai.igos`'s options."""

    lambda1: float
    lambda2: float
    steps: Sequence[float]
    """alpha, descending; the last is taken whatever it leads to, if there is no tolerance."""
    iterations: int
    averaged: bool
    proximal: bool
    adapt_lambda1: bool
    tolerance: float | None
    patience: int


class State(NamedTuple):
    """One row for each image."""

    masks: tf.Tensor
    """``[N, h, w]``."""
    score: tf.Tensor
    """What the search decreases, without the regulariser, ``[N]``."""
    gradient: tf.Tensor
    """Mean of those since the mask last moved, ``[N, h, w]``."""
    failures: tf.Tensor
    """How many, ``[N]``."""
    lambda1: tf.Tensor
    """``[N]``."""
    objectives: tf.Tensor
    """Before and after each iteration, ``[N, T, 2]``; NaN after the last."""
    step_sizes: tf.Tensor
    """alpha, ``[N, T]``; 0 where a mask has stayed as it was, NaN after its last iteration."""
    trials: tf.Tensor
    """Forward passes that the line search needs, ``[N]``."""


def optimised(
    deletion: Deletion,
    settings: Settings,
    examples: Blended,
    resolution: tuple[int, int],
    seed: tf.Tensor,
) -> State:
    """Optimise a mask for each image, from M = 1 on."""
    count, dtype = tf.shape(examples.targets)[0], examples.images.dtype
    ones = tf.ones([count, *resolution], dtype)
    whole = deletion.score(ones, examples)
    unknown = tf.fill([count, settings.iterations], tf.constant(float("nan"), dtype))
    start = State(
        masks=ones,
        score=whole,
        gradient=tf.zeros_like(ones),
        failures=tf.zeros([count], dtype),
        lambda1=tf.fill([count], tf.constant(settings.lambda1, dtype)),
        objectives=tf.stack([unknown, unknown], 2),
        step_sizes=unknown,
        trials=tf.zeros([count], tf.int32),
    )

    def advance(i: tf.Tensor, active: tf.Tensor, state: State) -> tuple:
        part, images, first = batch.take((state, examples, whole), active)
        if settings.adapt_lambda1:
            part = part._replace(lambda1=_adapted(part, first, i, settings.iterations))
        after = _iterated(deletion, settings, part, images, i, tf.random.fold_in(seed, i))
        state = batch.put(state, active, after)
        going = after.failures < settings.patience
        if settings.adapt_lambda1:
            going |= i < int(settings.iterations / ADAPTIONS[-1][0])
        return i + 1, tf.boolean_mask(active, going), state

    *_, state = tf.while_loop(
        lambda i, active, state: (i < settings.iterations) & (tf.size(active) > 0),
        advance,
        (0, tf.range(count), start),
        shape_invariants=(
            *(tf.TensorShape([]), tf.TensorShape([None])),
            tf.nest.map_structure(lambda x: x.shape, start),
        ),
        parallel_iterations=1,
    )
    return state


class _Point(NamedTuple):
    """Where a line search begins, one row for each image."""

    masks: tf.Tensor
    """M, ``[N, h, w]``."""
    lambda1: tf.Tensor
    """``[N]``."""
    gradient: tf.Tensor
    """That of f_c, ``[N, h, w]``."""
    total: tf.Tensor
    """The total gradient TG, with that of the regulariser, ``[N, h, w]``."""
    objective: tf.Tensor
    """F(M), ``[N]``."""


def _iterated(
    deletion: Deletion,
    settings: Settings,
    state: State,
    examples: Blended,
    i: tf.Tensor,
    seed: tf.Tensor,
) -> State:
    """Take one step along the total gradient, or along the mean of all at a mask that stays."""
    gradient, mean_score = deletion.gradient(state.masks, examples, seed)
    gradient = state.gradient + (gradient - state.gradient) / (state.failures + 1)[:, None, None]
    regulariser = Regulariser(state.lambda1, settings.lambda2, BETA_TV)
    score = mean_score if settings.averaged else state.score
    price = regulariser(state.masks)
    total = gradient + tf.gradients(price, state.masks)[0]
    start = _Point(state.masks, state.lambda1, gradient, total, score + price)
    zero = tf.zeros_like(score)
    found = backtrack(
        _search(deletion, settings, start, examples, seed),
        Found(state.masks, score, zero, state.trials),
        settings.steps,
    )
    objective = found.score + regulariser(found.masks)
    failures = tf.where(tf.equal(found.step, 0), state.failures + 1, zero)
    here = tf.equal(tf.range(settings.iterations), i)
    both = tf.stack([start.objective, objective], 1)[:, None]
    return state._replace(
        masks=found.masks,
        score=found.score,
        gradient=tf.where(failures[:, None, None] > 0, gradient, tf.zeros_like(gradient)),
        failures=failures,
        objectives=tf.where(here[:, None], both, state.objectives),
        step_sizes=tf.where(here, found.step[:, None], state.step_sizes),
        trials=found.trials,
    )


def _search(
    deletion: Deletion, settings: Settings, start: _Point, examples: Blended, seed: tf.Tensor
) -> Search:
    """Give what the line search of one iteration looks at."""
    squared = tf.reduce_sum(start.total**2, (1, 2))

    def path(alpha: tf.Tensor, which: tf.Tensor) -> tf.Tensor:
        point = batch.take(start, which)
        step = alpha[:, None, None]
        if settings.proximal:
            ahead = point.masks - step * point.gradient
            there = proximal(ahead, alpha, point.lambda1, settings.lambda2)
        else:
            there = point.masks - step * point.total
        return tf.clip_by_value(there, 0, 1)

    def score(masks: tf.Tensor, which: tf.Tensor) -> tf.Tensor:
        images = batch.take(examples, which)
        if settings.averaged:
            return deletion.mean_score(masks, images, seed)
        return deletion.score(masks, images)

    def price(masks: tf.Tensor, which: tf.Tensor) -> tf.Tensor:
        return Regulariser(tf.gather(start.lambda1, which), settings.lambda2, BETA_TV)(masks)

    def bound(masks: tf.Tensor, alpha: tf.Tensor, which: tf.Tensor) -> tf.Tensor:
        """F(M) - alpha beta |TG|^2; the proximal step has |(M - M') / alpha|^2 in its place."""
        move = masks - tf.gather(start.masks, which)
        if settings.proximal:
            decrease = ARMIJO * tf.reduce_sum(move**2, (1, 2)) / alpha
        else:
            decrease = alpha * ARMIJO * tf.gather(squared, which)
        most = tf.gather(start.objective, which) - decrease
        if settings.tolerance is None:
            return tf.where(alpha <= settings.steps[-1], most.dtype.max, most)
        too_short = tf.reduce_max(tf.abs(move), (1, 2)) < settings.tolerance
        return tf.where(too_short, most.dtype.min, most)

    return Search(path, score, price, bound)


def _adapted(state: State, whole: tf.Tensor, i: tf.Tensor, iterations: int) -> tf.Tensor:
    """Lower lambda1 where f_c has hardly moved (METHODS 5.3)."""
    lambda1 = state.lambda1
    for share, change, divisor in ADAPTIONS:
        lower = tf.equal(i, int(iterations / share)) & (tf.abs(whole - state.score) <= change)
        lambda1 = tf.where(lower, lambda1 / divisor, lambda1)
    return lambda1
