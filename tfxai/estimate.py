"""`estimate`: the mean (or another statistic) of an attribution over sampled inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfxai.samplers import split
from tfxai.types import Aggregator, Attribution, Sample, Sampler, ScoredModel, Tensors


def gradient_of(scored: ScoredModel) -> Attribution:
    """Give the attribution d score / d inputs; like all that tfxai runs, it needs a graph.

    Raises:
        ValueError: the score does not depend differentiably on one of the inputs.
    """

    def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Tensors:
        del seed
        flat = tf.nest.flatten(inputs)
        # Not a GradientTape: it knows tensors by their Python objects, and that of the logits
        # behind a softmax layer may be gone. Nor would it see an overridden gradient.
        gradients = tf.gradients(scored(inputs, targets), flat)
        for position, (x, g) in enumerate(zip(flat, gradients, strict=True)):
            if g is None:
                raise ValueError(
                    f"The score has no gradient with respect to input {position}, {x.shape}: "
                    "it is cast to integers, looked up in a table, or not used. Explain the part "
                    "of the model behind that step, which takes floating-point inputs."
                )
        return tf.nest.pack_sequence_as(inputs, gradients)

    return traced(attribute)


def traced(function: Callable) -> Any:
    """Trace a function once and use its graph wherever it is called, for any batch size."""
    return tf.function(function, autograph=False, reduce_retracing=True)


def estimate(
    attribution: Attribution, sampler: Sampler, n: int, aggregator: Aggregator, *, rows: int = 1
) -> Attribution:
    """Aggregate scale_k * attribution(point_k) over k = 0..n-1.

    Each sample has a seed of its own, folded from its number, so the result does not depend on
    `rows` but for rounding. An attribution that draws random numbers itself needs ``rows=1``:
    the samples of one chunk share the seed that it gets.

    Args:
        attribution: what is aggregated.
        sampler: gives the points.
        n: number of samples.
        aggregator: the statistic.
        rows: examples evaluated at once; a chunk holds ``max(1, rows // B)`` samples.

    Returns:
        An Attribution; its result is the aggregator's, per input.
    """

    def estimated(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Tensors:
        chunk = tf.clip_by_value(rows // tf.maximum(tf.shape(targets)[0], 1), 1, n)

        def evaluate(ks: tf.Tensor) -> tuple[Tensors, tf.Tensor]:
            samples = tf.map_fn(
                lambda k: sampler(inputs, k, split(tf.random.fold_in(seed, k))[0]),
                ks,
                fn_output_signature=_sample_signature(inputs),
            )
            inner = split(tf.random.fold_in(seed, ks[0]))[1]
            count = tf.shape(ks)[0]
            values = attribution(
                tf.nest.map_structure(_fold, samples.point), tf.tile(targets, [count]), inner
            )
            values = tf.nest.map_structure(
                lambda v, s: _unfold(v, count) * s, values, samples.scale
            )
            return values, samples.weight

        def step(start: tf.Tensor, states: Any) -> tuple[tf.Tensor, Any]:
            stop = tf.minimum(start + chunk, n)
            values, weights = evaluate(tf.range(start, stop))
            flat = tf.nest.flatten(values)

            def update(j: tf.Tensor, states: Any) -> tuple[tf.Tensor, Any]:
                new = [
                    aggregator.update(state, v[j], tf.cast(weights[j], v.dtype))
                    for state, v in zip(states, flat, strict=True)
                ]
                return j + 1, new

            _, states = tf.while_loop(
                lambda j, states: j < stop - start, update, (0, states), parallel_iterations=1
            )
            return stop, states

        states = [aggregator.init(x) for x in tf.nest.flatten(inputs)]
        _, states = tf.while_loop(
            lambda start, states: start < n, step, (0, states), parallel_iterations=1
        )
        return tf.nest.pack_sequence_as(inputs, [aggregator.result(s) for s in states])

    return estimated


def in_batches(function: Callable, size: int) -> Callable:
    """Evaluate a function of (inputs, targets, seed) on at most `size` examples at a time.

    Works on attributions and measurements alike: every tensor that the function returns is
    joined again along the batch axis.
    """

    def batched(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Any:
        specs = tf.nest.map_structure(
            lambda x: tf.TensorSpec([None, *x.shape[1:]], x.dtype), (inputs, targets)
        )
        once = traced(function).get_concrete_function(*specs, tf.TensorSpec([2], seed.dtype))
        total = tf.shape(targets)[0]
        outputs = tf.nest.flatten(once.structured_outputs)
        collected = [
            tf.TensorArray(
                o.dtype, 0, dynamic_size=True, infer_shape=False, element_shape=[None, *o.shape[1:]]
            )
            for o in outputs
        ]

        def step(start: tf.Tensor, collected: list) -> tuple[tf.Tensor, list]:
            part = tf.nest.map_structure(lambda x: x[start : start + size], (inputs, targets))
            values = tf.nest.flatten(once(*part, seed))
            index = collected[0].size()
            return start + size, [c.write(index, v) for c, v in zip(collected, values, strict=True)]

        _, collected = tf.while_loop(
            lambda start, collected: (start < total) | tf.equal(start, 0),
            step,
            (0, collected),
            parallel_iterations=1,
        )
        joined = [
            tf.ensure_shape(c.concat(), o.shape) for c, o in zip(collected, outputs, strict=True)
        ]
        return tf.nest.pack_sequence_as(once.structured_outputs, joined)

    return batched


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
