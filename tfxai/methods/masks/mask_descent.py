"""The iterations of I-GOS, for all examples of a batch, each at its own pace.

Source: Qi et al. 2020 (total gradient, revised Armijo line search; docs/methods.md, I-GOS).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from tfxai.core import batch
from tfxai.methods.masks.line_search import LineSearch, SearchResult, backtrack
from tfxai.methods.masks.masked_inputs import Examples
from tfxai.methods.masks.masked_model import MaskedModel
from tfxai.methods.masks.regulariser import Regulariser, proximal

ARMIJO = 1e-4
"""beta of the revised Armijo condition."""
BETA_TV = 2
"""The power of the differences in TV(M)."""


class Lambda1Cut(NamedTuple):
    """Divide lambda1 at iteration int(T / part) where f_c has moved by at most `change`."""

    part: float
    change: float
    divisor: float


LAMBDA1_CUTS = (Lambda1Cut(2.0, 1e-3, 10.0), Lambda1Cut(1.25, 1e-2, 5.0))
"""An undocumented part of the authors' code, the later cut last (docs/methods.md, I-GOS)."""


class Settings(NamedTuple):
    """How masks are optimised; the fields are options of `tfxai.igos`."""

    lambda1: Sequence[float]
    """For each of I masked inputs."""
    lambda2: Sequence[float]
    steps: Sequence[float]
    """The steps alpha that a line search tries, descending. If there is no tolerance, the last one
    is taken whatever it leads to."""
    iterations: int
    """T."""
    averaged: bool
    """Whether the line search decreases the mean of f_c over the path, not f_c of the mask."""
    proximal: bool
    """Whether the descent is "proximal", not "gradient"."""
    adapt_lambda1: bool
    tolerance: float | None
    patience: int


class State(NamedTuple):
    """The state of the optimisation, one row for each of N examples."""

    masks: tf.Tensor
    """``[N, K]``, the cells of all masked inputs."""
    score: tf.Tensor
    """What the line search decreases, without the regulariser, ``[N]``."""
    gradient: tf.Tensor
    """The mean of the gradients of f_c since the mask last moved, ``[N, K]``."""
    failures: tf.Tensor
    """The number of these gradients, each of a search that accepted no step, ``[N]``."""
    lambda1: tf.Tensor
    """``[N, I]``."""
    objectives: tf.Tensor
    """F before and after each iteration, ``[N, T, 2]``; NaN after a mask's last iteration."""
    step_sizes: tf.Tensor
    """alpha, ``[N, T]``; 0 where a mask stays as it is, NaN after its last iteration."""
    trials: tf.Tensor
    """The forward passes that the line searches needed, ``[N]``."""


def optimise_masks(
    model: MaskedModel,
    settings: Settings,
    examples: Examples,
    targets: tf.Tensor,
    seed: tf.Tensor,
) -> State:
    """Optimise a mask for each example, from M = 1 on.

    Args:
        model: the masked model, whose score is to be lowered.
        settings: how the masks are optimised.
        examples: N examples and their references.
        targets: ``[N]``.
        seed: the noise is drawn from it, ``[2]``.
    """
    count, dtype = tf.shape(targets)[0], examples.inputs[0].dtype
    ones = tf.ones([count, sum(c.size for c in model.cells)], dtype)
    full_score = model.score(ones, examples, targets)
    unknown = tf.fill([count, settings.iterations], tf.constant(float("nan"), dtype))
    start = State(
        masks=ones,
        score=full_score,
        gradient=tf.zeros_like(ones),
        failures=tf.zeros([count], dtype),
        lambda1=tf.repeat(tf.constant([settings.lambda1], dtype), count, axis=0),
        objectives=tf.stack([unknown, unknown], 2),
        step_sizes=unknown,
        trials=tf.zeros([count], tf.int32),
    )

    def advance(i: tf.Tensor, active: tf.Tensor, state: State) -> tuple:
        before, explained, full = batch.take((state, (examples, targets), full_score), active)
        if settings.adapt_lambda1:
            before = before._replace(lambda1=_cut_lambda1(before, full, i, settings.iterations))
        after = _iterate(model, settings, before, explained, i, tf.random.fold_in(seed, i))
        continues = after.failures < settings.patience
        if settings.adapt_lambda1:
            continues |= i < int(settings.iterations / LAMBDA1_CUTS[-1].part)
        return i + 1, tf.boolean_mask(active, continues), batch.put(state, active, after)

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


class _SearchStart(NamedTuple):
    """Where a line search begins, one row for each example."""

    masks: tf.Tensor
    """M, ``[N, K]``."""
    lambda1: tf.Tensor
    """``[N, I]``."""
    score_gradient: tf.Tensor
    """The gradient of f_c, averaged over the path, ``[N, K]``."""
    total_gradient: tf.Tensor
    """TG, the sum of `score_gradient` and the gradient of the regulariser, ``[N, K]``."""
    objective: tf.Tensor
    """F(M), ``[N]``."""


def _iterate(
    model: MaskedModel,
    settings: Settings,
    state: State,
    explained: tuple[Examples, tf.Tensor],
    i: tf.Tensor,
    seed: tf.Tensor,
) -> State:
    """Take one step along the gradient; where a mask stays, average the gradients at this mask."""
    gradient, mean_score = model.gradient(state.masks, *explained, seed)
    gradient = state.gradient + (gradient - state.gradient) / (state.failures + 1)[:, None]
    regulariser = Regulariser(model.cells, state.lambda1, settings.lambda2, BETA_TV)
    score = mean_score if settings.averaged else state.score
    penalty = regulariser(state.masks)
    total_gradient = gradient + tf.gradients(penalty, state.masks)[0]
    start = _SearchStart(state.masks, state.lambda1, gradient, total_gradient, score + penalty)
    zero = tf.zeros_like(score)
    result = backtrack(
        _line_search(model, settings, start, explained, seed),
        SearchResult(state.masks, score, zero, state.trials),
        settings.steps,
    )
    objective = result.score + regulariser(result.masks)
    failures = tf.where(tf.equal(result.step, 0), state.failures + 1, zero)
    is_this_iteration = tf.equal(tf.range(settings.iterations), i)
    before_and_after = tf.stack([start.objective, objective], 1)[:, None]
    return state._replace(
        masks=result.masks,
        score=result.score,
        gradient=tf.where(failures[:, None] > 0, gradient, tf.zeros_like(gradient)),
        failures=failures,
        objectives=tf.where(is_this_iteration[:, None], before_and_after, state.objectives),
        step_sizes=tf.where(is_this_iteration, result.step[:, None], state.step_sizes),
        trials=result.trials,
    )


def _line_search(
    model: MaskedModel,
    settings: Settings,
    start: _SearchStart,
    explained: tuple[Examples, tf.Tensor],
    seed: tf.Tensor,
) -> LineSearch:
    """Give the path, the objective and the bound of one iteration's line search."""
    squared_norm = tf.reduce_sum(start.total_gradient**2, 1)

    def path(alpha: tf.Tensor, owners: tf.Tensor) -> tf.Tensor:
        point = batch.take(start, owners)
        step = alpha[:, None]
        if settings.proximal:
            forward = point.masks - step * point.score_gradient
            masks = proximal(model.cells, forward, alpha, point.lambda1, settings.lambda2)
        else:
            masks = point.masks - step * point.total_gradient
        return tf.clip_by_value(masks, 0, 1)

    def score(masks: tf.Tensor, owners: tf.Tensor) -> tf.Tensor:
        examples, targets = batch.take(explained, owners)
        if settings.averaged:
            return model.mean_score(masks, examples, targets, seed)
        return model.score(masks, examples, targets)

    def regulariser(masks: tf.Tensor, owners: tf.Tensor) -> tf.Tensor:
        lambda1 = tf.gather(start.lambda1, owners)
        return Regulariser(model.cells, lambda1, settings.lambda2, BETA_TV)(masks)

    def bound(masks: tf.Tensor, alpha: tf.Tensor, owners: tf.Tensor) -> tf.Tensor:
        """F(M) - alpha beta |TG|^2; a proximal step has |(M - M') / alpha|^2 for |TG|^2."""
        move = masks - tf.gather(start.masks, owners)
        if settings.proximal:
            decrease = ARMIJO * tf.reduce_sum(move**2, 1) / alpha
        else:
            decrease = alpha * ARMIJO * tf.gather(squared_norm, owners)
        largest = tf.gather(start.objective, owners) - decrease
        if settings.tolerance is None:
            return tf.where(alpha <= settings.steps[-1], largest.dtype.max, largest)
        too_short = tf.reduce_max(tf.abs(move), 1) < settings.tolerance
        return tf.where(too_short, largest.dtype.min, largest)

    return LineSearch(path, score, regulariser, bound)


def _cut_lambda1(state: State, full_score: tf.Tensor, i: tf.Tensor, iterations: int) -> tf.Tensor:
    """Give lambda1 ``[N, I]`` after iteration i's cuts, by how far f_c is from `full_score`."""
    lambda1 = state.lambda1
    for cut in LAMBDA1_CUTS:
        has_hardly_moved = tf.abs(full_score - state.score) <= cut.change
        is_cut = tf.equal(i, int(iterations / cut.part)) & has_hardly_moved
        lambda1 = tf.where(is_cut[:, None], lambda1 / cut.divisor, lambda1)
    return lambda1
