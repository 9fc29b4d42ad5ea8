"""Attributions from several references, and how much of the score's change they explain."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tfxai.baselines import Baseline
from tfxai.core import batch
from tfxai.core.types import Attribution, Result, ScoredModel, Tensors


def averaged_over_references(
    integral_from: Callable[[Tensors], Attribution],
    references_of: Baseline,
    scored_model: ScoredModel | None = None,
    *,
    select: Callable[[Tensors], Tensors] = lambda values: values,
) -> Attribution:
    """Average the attributions from each reference.

    Args:
        integral_from: a reference -> the attribution from it, which reports ``map_error`` and
            ``steps``.
        references_of: inputs -> references ``[R, B | 1, ...]``.
        scored_model: if the attributions should sum to f(x) - f(x'), the model f, for the
            diagnostic ``completeness_gap``.
        select: values in the structure of the inputs -> those of the inputs that have maps.
    """

    def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
        def from_reference(reference: Tensors) -> tuple[Tensors, tf.Tensor, tf.Tensor, tf.Tensor]:
            maps, diagnostics = integral_from(reference)(inputs, targets, seed)
            error = diagnostics["map_error"] * batch.norm(maps)
            change = tf.zeros_like(error)
            if scored_model is not None:
                change = _score_change(scored_model, inputs, reference, targets)
            return maps, error, diagnostics["steps"], change

        references = references_of(inputs)
        count = tf.nest.flatten(references)[0].shape[0]
        if count == 1:
            single_reference = tf.nest.map_structure(lambda r: r[0], references)
            maps, error, steps, change = from_reference(single_reference)
        else:
            maps_spec = tf.nest.map_structure(
                lambda x: tf.TensorSpec(x.shape, x.dtype), select(inputs)
            )
            numbers_spec = tf.TensorSpec([None], batch.dtype(inputs))
            steps_spec = tf.TensorSpec([None], tf.int32)
            all_maps, errors, all_steps, changes = tf.map_fn(
                from_reference,
                references,
                fn_output_signature=(maps_spec, numbers_spec, steps_spec, numbers_spec),
                parallel_iterations=1,
            )
            maps = tf.nest.map_structure(lambda m: tf.reduce_mean(m, 0), all_maps)
            error = tf.norm(errors, axis=0) / count
            steps, change = tf.reduce_sum(all_steps, 0), tf.reduce_mean(changes, 0)
        diagnostics = {"map_error": batch.relative_error(error, batch.norm(maps)), "steps": steps}
        if scored_model is not None:
            gap = tf.abs(batch.feature_sum(maps) - change)
            diagnostics["completeness_gap"] = batch.relative_error(gap, tf.abs(change))
        return Result(maps, diagnostics)

    return attribute


def _score_change(
    scored_model: ScoredModel, inputs: Tensors, reference: Tensors, targets: tf.Tensor
) -> tf.Tensor:
    """Give f(x) - f(x'), ``[B]``."""
    inputs_and_references = tf.nest.map_structure(
        lambda x, r: tf.concat([x, tf.zeros_like(x) + r], 0), inputs, reference
    )
    both_scores = scored_model(inputs_and_references, batch.tiled(targets, 2))
    at_input, at_reference = tf.split(both_scores, 2)
    return at_input - at_reference
