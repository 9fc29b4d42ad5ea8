"""A mask method as a `Method`: from the parts of the inputs that are masked to the whole model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from tfxai.baselines import baseline as baseline_of
from tfxai.core import batch
from tfxai.core.types import Attribution, Result, Score, ScoredModel, Tensors
from tfxai.explaining.method import Method
from tfxai.methods.masks.masked_inputs import Examples, MaskedInputs, MaskMethod, ScoreParts

MAPS = ("standard_error", "mask")
"""Diagnostics that are maps or masks: a mask method gives one for each masked input."""


BuildMaskMethod = Callable[[int, ScoreParts, Tensors], MaskMethod]
"""Rows that may be differentiated at once, the score of the parts, inputs -> the mask method."""


def method_of_masks(
    build: BuildMaskMethod, masked: MaskedInputs, scored_model: ScoredModel, score: Score
) -> Method:
    """Give what all mask methods have in common; a builder replaces what it has of its own.

    Args:
        build: makes the mask method.
        masked: which inputs are masked.
        scored_model: the model, joined with the score.
        score: what is explained.
    """
    return Method(
        masked.inspector,
        over_model_inputs(build, masked, scored_model),
        score,
        arrays_per_example=8,
        like=masked.maps_like,
        select=masked.select,
        needs_size=True,
    )


def over_model_inputs(
    build: BuildMaskMethod, masked: MaskedInputs, scored_model: ScoredModel
) -> Callable[[int], Attribution]:
    """Turn a mask method into an attribution of the inputs of a model, their axes in any order.

    Args:
        build: makes the mask method.
        masked: which inputs are masked.
        scored_model: the model, joined with a score.

    Returns:
        A function from the number of rows to the attribution. Its maps and masks have their axes in
        the order of the model's inputs.
    """

    def build_for(rows: int) -> Attribution:
        def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
            order = masked.order(inputs)
            given, others = masked.split(inputs)
            baseline = baseline_of(masked.baseline, masked.bounds, order=lambda _: order)
            references = tf.nest.flatten(baseline(masked.select(inputs)))

            def score(
                parts: Sequence[tf.Tensor], others: Sequence[tf.Tensor], targets: tf.Tensor
            ) -> tf.Tensor:
                tiled = [_repeated(x, tf.shape(targets)[0]) for x in others]
                whole = masked.join(inputs, order.from_channels_last(list(parts)), tiled)
                return scored_model(whole, targets)

            masked_last = order.to_channels_last(given)
            references_last = order.to_channels_last(references)
            shown = [
                _one_reference(r, x) for r, x in zip(references_last, masked_last, strict=True)
            ]
            method = build(rows, score, inputs)
            result = method(Examples(masked_last, shown, others), targets, seed)

            def back(values: list[tf.Tensor]) -> Tensors:
                return masked.packed(inputs, order.from_channels_last(values))

            diagnostics = {
                name: back(value) if name in MAPS else value
                for name, value in result.diagnostics.items()
            }
            return Result(back(result.attributions), diagnostics)

        return attribute

    return build_for


def _repeated(x: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Repeat examples ``[B, ...]`` as often as there are rows for each."""
    times = rows // tf.maximum(tf.shape(x)[0], 1)
    return tf.ensure_shape(batch.tiled(x, times), [None, *x.shape[1:]])


def _one_reference(references: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Give the reference of each example, of the shape of the inputs.

    Raises:
        ValueError: the baseline gives an example several references.
    """
    if references.shape[0] != 1:
        raise ValueError(
            f"baseline is a batch of {references.shape[0]} references; pass one image, or a "
            "function images -> references for one of its own for each image"
        )
    return tf.broadcast_to(references[0], tf.shape(x))
