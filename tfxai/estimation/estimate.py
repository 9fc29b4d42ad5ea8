"""`estimate`: a statistic, such as the mean, of an attribution over sampled inputs or weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfxai.core import batch
from tfxai.core.types import (
    Aggregator,
    Attribution,
    Result,
    Sample,
    Sampler,
    Score,
    Tensors,
)
from tfxai.estimation.samplers import split_seed
from tfxai.models import keras_graph
from tfxai.models.held_inputs import HoldingModel
from tfxai.models.scored_models import differentiable
from tfxai.models.shared_graphs import shared_function
from tfxai.scores import of_classes

Evaluate = Callable[[Tensors, tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
"""Inputs, targets, seed, numbers of samples ``[K]`` -> values ``[K, B, F]``, weights ``[K]``."""
Perturb = Callable[[tf.Tensor], list[tuple[keras.Variable, tf.Tensor]]]
"""A seed -> pairs of a model's variable and the tensor that is read in its place."""


def gradient_of(model: keras.Model, score: Score) -> Attribution:
    """Give the attribution d score / d inputs; its graph is kept with the model.

    Raises:
        ValueError: the score does not depend differentiably on one of the inputs.
    """
    scored_model = differentiable(model, score)

    def gradients(inputs: Tensors, targets: tf.Tensor) -> Tensors:
        flat = tf.nest.flatten(inputs)
        # A GradientTape would not do: it knows tensors by their Python objects, and the object of
        # the logits behind a softmax layer may be gone. Nor would it see an overridden gradient.
        differentiated = connected(tf.gradients(scored_model(inputs, targets), flat), flat)
        return tf.nest.pack_sequence_as(inputs, differentiated)

    # A score of the user's may refer to something that changes; held inputs do.
    is_fixed = getattr(score, "__module__", "") == of_classes.__name__
    is_fixed = is_fixed and not isinstance(model, HoldingModel)
    function = shared_function(model, ("gradient", score) if is_fixed else None, gradients)
    return lambda inputs, targets, seed: Result(function(inputs, targets), {})


def connected(gradients: Sequence[tf.Tensor | None], flat: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Give the gradients of a score, or raise a ValueError if an input has none."""
    for position, (x, g) in enumerate(zip(flat, gradients, strict=True)):
        if g is None:
            raise ValueError(
                f"The score has no gradient with respect to input {position}, {x.shape}: "
                "it is cast to integers, looked up in a table, or not used. Token ids are "
                "explained by text = tfxai.embedded(model) and "
                "text.explained_by(tfxai.gradient(text.head)); otherwise explain the part of the "
                "model behind that step, which takes floating-point inputs (tfxai.split)."
            )
    return list(gradients)


class StoppingRule(NamedTuple):
    """When an example needs no more samples."""

    counts: Sequence[int]
    """Numbers of samples after which the rule is applied, ascending."""
    is_done: Callable[[Any, Tensors], tf.Tensor]
    """The aggregator's result for A examples so far, and their inputs -> booleans ``[A]``."""


def estimate(
    evaluate: Evaluate,
    n: int,
    aggregator: Aggregator,
    *,
    rows: int = 1,
    like: Callable[[Tensors], Tensors] = lambda inputs: inputs,
    stopping: StoppingRule | None = None,
) -> Callable[[Tensors, tf.Tensor, tf.Tensor], Any]:
    """Aggregate the samples 0..n-1.

    Args:
        evaluate: gives the values of a chunk of samples; made by `over_inputs`, `along_line` or
            `over_weights`.
        n: number of samples.
        aggregator: the statistic, of values in the form of `batch.rows`, ``[B, F]``.
        rows: how many rows (samples times examples) to evaluate at once; a chunk holds
            ``max(1, rows // B)`` samples. Apart from rounding, the result does not depend on it.
        like: inputs -> arrays of the values' shapes.
        stopping: says which examples need less than n samples; None if all get n.

    Returns:
        A function (inputs, targets, seed) -> the aggregator's result.
    """

    def add_samples(
        inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor, start: Any, stop: Any, states: Any
    ) -> Any:
        chunk = tf.clip_by_value(rows // tf.maximum(tf.shape(targets)[0], 1), 1, n)

        def add_chunk(start: tf.Tensor, states: Any) -> tuple[tf.Tensor, Any]:
            end = tf.minimum(start + chunk, stop)
            values, weights = evaluate(inputs, targets, seed, tf.range(start, end))

            def add_sample(j: tf.Tensor, states: Any) -> tuple[tf.Tensor, Any]:
                return j + 1, aggregator.update(states, values[j], weights[j])

            _, states = tf.while_loop(
                lambda j, states: j < end - start, add_sample, (0, states), parallel_iterations=1
            )
            return end, states

        _, states = tf.while_loop(
            lambda start, states: start < stop, add_chunk, (start, states), parallel_iterations=1
        )
        return states

    def estimated(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Any:
        states = aggregator.init(batch.rows(like(inputs)))
        if stopping is None:
            states = add_samples(inputs, targets, seed, 0, n, states)
            return aggregator.result(states)
        stops = tf.constant([*(c for c in stopping.counts if c < n), n])

        def advance(i: tf.Tensor, start: tf.Tensor, active: tf.Tensor, states: Any) -> Any:
            active_inputs, active_targets, active_states = batch.take(
                (inputs, targets, states), active
            )
            active_states = add_samples(
                active_inputs, active_targets, seed, start, stops[i], active_states
            )
            states = batch.put(states, active, active_states)
            is_done = stopping.is_done(aggregator.result(active_states), active_inputs)
            return i + 1, stops[i], tf.boolean_mask(active, ~is_done), states

        *_, states = tf.while_loop(
            lambda i, start, active, states: (tf.size(active) > 0) & (start < n),
            advance,
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
    attribution: Attribution,
    sampler: Sampler,
    *,
    antithetic: bool = False,
    select: Callable[[Tensors], Tensors] = lambda values: values,
) -> Evaluate:
    """Evaluate scale_k * attribution(point_k) at the points of a sampler.

    The seed of each sample is folded from the sample's number. An attribution that draws random
    numbers itself needs chunks of one sample (``rows=1``), since it gets one seed for each chunk.

    Args:
        attribution: what is evaluated.
        sampler: chooses the points.
        antithetic: whether each sample is the mean over two points, x + t and x - t.
        select: values in the structure of the inputs -> those of the inputs that have maps.
    """

    def evaluate(
        inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor, ks: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        samples = tf.map_fn(
            lambda k: sampler(inputs, k, split_seed(tf.random.fold_in(seed, k))[0]),
            ks,
            fn_output_signature=_sample_signature(inputs),
        )
        points = samples.point
        if antithetic:
            points = tf.nest.map_structure(
                lambda p, x: batch.fold(tf.stack([p, 2 * x - p], 1)), points, inputs
            )
        count = tf.shape(tf.nest.flatten(points)[0])[0]
        inner_seed = split_seed(tf.random.fold_in(seed, ks[0]))[1]
        folded = tf.nest.map_structure(batch.fold, points)
        values = attribution(folded, batch.tiled(targets, count), inner_seed).attributions
        values = tf.nest.map_structure(lambda v: batch.unfold(v, count), values)
        if antithetic:
            values = tf.nest.map_structure(lambda v: (v[::2] + v[1::2]) / 2, values)
        scaled = tf.nest.map_structure(
            lambda v, s: batch.fold(v * s), values, select(samples.scale)
        )
        return batch.unfold(batch.rows(scaled), tf.size(ks)), samples.weight

    return evaluate


def over_weights(attribution: Attribution, perturb: Perturb) -> Evaluate:
    """Evaluate an attribution of the model under other weights.

    The weights are drawn once for all examples, so that each chunk has one sample (``rows=1``).
    The model's variables are never assigned to: while the attribution is traced, tensors are read
    in their place.
    """

    def evaluate(
        inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor, ks: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        weights_seed, inner_seed = split_seed(tf.random.fold_in(seed, ks[0]))
        # Rules read the graph of their inputs; the identity puts the inputs into this graph.
        graph_inputs = tf.nest.map_structure(tf.identity, inputs)
        # Functions that were traced before have read the variables: they are traced here again.
        with keras_graph.inlined(), keras.StatelessScope(state_mapping=perturb(weights_seed)):
            result = attribution(graph_inputs, targets, inner_seed)
        values = batch.rows(result.attributions)
        return values[None], tf.ones([1], values.dtype)

    return evaluate


def _sample_signature(inputs: Tensors) -> Sample:
    """Give the TensorSpecs of a sampler's `Sample`."""
    flat = tf.nest.flatten(inputs)
    points = tf.nest.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype), inputs)
    scales = tf.nest.map_structure(lambda x: tf.TensorSpec([None] * x.shape.rank, x.dtype), inputs)
    return Sample(points, scales, tf.TensorSpec([], flat[0].dtype))
