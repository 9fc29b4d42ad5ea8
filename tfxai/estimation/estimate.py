"""`estimate`: the mean (or another statistic) of an attribution over sampled inputs or weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfxai.core import batch
from tfxai.core.tracing import traced
from tfxai.core.types import (
    Aggregator,
    Attribution,
    Result,
    Sample,
    Sampler,
    ScoredModel,
    Tensors,
)
from tfxai.estimation.samplers import split
from tfxai.models import keras_graph

Evaluate = Callable[[Tensors, tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
"""Inputs, targets, seed, samples' numbers ``[K]`` -> values ``[K, B, F]``, weights ``[K]``."""
Perturb = Callable[[tf.Tensor], list[tuple[keras.Variable, tf.Tensor]]]
"""A seed -> variables of a model and what they read as."""


def gradient_of(scored: ScoredModel) -> Attribution:
    """Give the attribution d score / d inputs; like all that tfxai runs, it needs a graph.

    Raises:
        ValueError: the score does not depend differentiably on one of the inputs.
    """

    def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
        del seed
        flat = tf.nest.flatten(inputs)
        # Not a GradientTape: it knows tensors by their Python objects, and that of the logits
        # behind a softmax layer may be gone. Nor would it see an overridden gradient.
        gradients = connected(tf.gradients(scored(inputs, targets), flat), flat)
        return Result(tf.nest.pack_sequence_as(inputs, gradients), {})

    return traced(attribute)


def connected(gradients: Sequence[tf.Tensor | None], flat: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Give gradients of a score back, or raise a ValueError if there is none for an input."""
    for position, (x, g) in enumerate(zip(flat, gradients, strict=True)):
        if g is None:
            raise ValueError(
                f"The score has no gradient with respect to input {position}, {x.shape}: "
                "it is cast to integers, looked up in a table, or not used. Explain the part "
                "of the model behind that step, which takes floating-point inputs."
            )
    return list(gradients)


class Until(NamedTuple):
    """When an example needs no more samples."""

    counts: Sequence[int]
    """Numbers of samples after which to look, ascending."""
    enough: Callable[[Any, Tensors], tf.Tensor]
    """What the aggregator gives so far, and inputs like its own -> ``[A]`` of booleans."""


def estimate(
    evaluate: Evaluate,
    n: int,
    aggregator: Aggregator,
    *,
    rows: int = 1,
    like: Callable[[Tensors], Tensors] = lambda inputs: inputs,
    until: Until | None = None,
) -> Callable[[Tensors, tf.Tensor, tf.Tensor], Any]:
    """Aggregate the samples 0..n-1.

    Args:
        evaluate: gives the values of some samples, as `over_inputs` and `over_weights` make it.
        n: number of samples.
        aggregator: the statistic.
        rows: examples evaluated at once; a chunk holds ``max(1, rows // B)`` samples. The result
            does not depend on it, but for rounding.
        like: inputs -> arrays of the values' shapes.
        until: ends an example before it has n samples.

    Returns:
        A function of (inputs, targets, seed); it gives what the aggregator does, of `batch.rows`.
    """

    def advanced(
        inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor, start: Any, stop: Any, states: Any
    ) -> Any:
        chunk = tf.clip_by_value(rows // tf.maximum(tf.shape(targets)[0], 1), 1, n)

        def step(start: tf.Tensor, states: Any) -> tuple[tf.Tensor, Any]:
            end = tf.minimum(start + chunk, stop)
            values, weights = evaluate(inputs, targets, seed, tf.range(start, end))

            def update(j: tf.Tensor, states: Any) -> tuple[tf.Tensor, Any]:
                return j + 1, aggregator.update(states, values[j], weights[j])

            _, states = tf.while_loop(
                lambda j, states: j < end - start, update, (0, states), parallel_iterations=1
            )
            return end, states

        _, states = tf.while_loop(
            lambda start, states: start < stop, step, (start, states), parallel_iterations=1
        )
        return states

    def estimated(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Any:
        states = aggregator.init(batch.rows(like(inputs)))
        if until is None:
            states = advanced(inputs, targets, seed, 0, n, states)
            return aggregator.result(states)
        stops = tf.constant([*(c for c in until.counts if c < n), n])

        def wave(i: tf.Tensor, start: tf.Tensor, active: tf.Tensor, states: Any) -> Any:
            part, chosen, mine = batch.take((inputs, targets, states), active)
            mine = advanced(part, chosen, seed, start, stops[i], mine)
            states = batch.put(states, active, mine)
            enough = until.enough(aggregator.result(mine), part)
            return i + 1, stops[i], tf.boolean_mask(active, ~enough), states

        *_, states = tf.while_loop(
            lambda i, start, active, states: (tf.size(active) > 0) & (start < n),
            wave,
            (0, 0, tf.range(tf.shape(targets)[0]), states),
            shape_invariants=(
                *(tf.TensorShape([]), tf.TensorShape([]), tf.TensorShape([None])),
                tf.nest.map_structure(lambda s: s.shape, states),
            ),
            parallel_iterations=1,
        )
        return aggregator.result(states)

    return estimated


def over_inputs(
    attribution: Attribution, sampler: Sampler, *, antithetic: bool = False
) -> Evaluate:
    """Evaluate scale_k * attribution(point_k).

    Each sample has a seed of its own, folded from its number. An attribution that draws random
    numbers itself needs chunks of one sample (``rows=1``): those of a chunk share the seed that
    it gets.

    Antithetic samples are means over two points, x + t and x - t.
    """

    def evaluate(
        inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor, ks: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        samples = tf.map_fn(
            lambda k: sampler(inputs, k, split(tf.random.fold_in(seed, k))[0]),
            ks,
            fn_output_signature=_sample_signature(inputs),
        )
        points = samples.point
        if antithetic:
            points = tf.nest.map_structure(
                lambda p, x: _fold(tf.stack([p, 2 * x - p], 1)), points, inputs
            )
        count = tf.shape(tf.nest.flatten(points)[0])[0]
        inner = split(tf.random.fold_in(seed, ks[0]))[1]
        folded = tf.nest.map_structure(_fold, points)
        values = attribution(folded, tf.tile(targets, [count]), inner).attributions
        values = tf.nest.map_structure(lambda v: _unfold(v, count), values)
        if antithetic:
            values = tf.nest.map_structure(lambda v: (v[::2] + v[1::2]) / 2, values)
        scaled = tf.nest.map_structure(lambda v, s: _fold(v * s), values, samples.scale)
        return _unfold(batch.rows(scaled), tf.size(ks)), samples.weight

    return evaluate


def over_weights(attribution: Attribution, perturb: Perturb) -> Evaluate:
    """Evaluate an attribution of the model with other weights, drawn once for all examples.

    The model is not assigned to: while the attribution is traced, its variables read as tensors.
    Chunks have one sample (``rows=1``).
    """

    def evaluate(
        inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor, ks: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        drawn, inner = split(tf.random.fold_in(seed, ks[0]))
        # Rules look at the graph that their inputs are in.
        here = tf.nest.map_structure(tf.identity, inputs)
        # Functions traced elsewhere have read the variables: they are traced anew, as part of this.
        with keras_graph.inlined(), keras.StatelessScope(state_mapping=perturb(drawn)):
            result = attribution(here, targets, inner)
        values = batch.rows(result.attributions)
        return values[None], tf.ones([1], values.dtype)

    return evaluate


def _sample_signature(inputs: Tensors) -> Sample:
    flat = tf.nest.flatten(inputs)
    points = tf.nest.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype), inputs)
    scales = tf.nest.map_structure(lambda x: tf.TensorSpec([None] * x.shape.rank, x.dtype), inputs)
    return Sample(points, scales, tf.TensorSpec([], flat[0].dtype))


def _fold(x: tf.Tensor) -> tf.Tensor:
    """Give ``[K, B, ...]`` as ``[K B, ...]``."""
    return tf.ensure_shape(
        tf.reshape(x, tf.concat([[-1], tf.shape(x)[2:]], 0)), [None, *x.shape[2:]]
    )


def _unfold(x: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Give ``[K B, ...]`` as ``[K, B, ...]``."""
    return tf.reshape(x, tf.concat([[count, tf.shape(x)[0] // count], tf.shape(x)[1:]], 0))
