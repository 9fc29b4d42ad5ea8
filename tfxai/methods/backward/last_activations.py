"""The last activations with positions before a score, and which of them the score depends on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfxai.core.tracing import traced
from tfxai.core.types import Tensors
from tfxai.methods.backward.placed_activations import Places
from tfxai.models.positions import SHAPE_READING, tensors_behind
from tfxai.models.token_grids import Grid
from tfxai.rules.steps import steps_between

REARRANGING_OR_POOLING = {
    "Reshape", "Transpose", "ExpandDims", "Squeeze", "Identity", "Cast", "Pad", "PadV2",
    "ReverseV2",
    "MaxPool", "AvgPool", "MaxPool3D", "AvgPool3D", "Mean", "Sum", "Max", "While", "StatelessWhile",
}  # fmt: skip
"""Operations whose outputs do not count as activations: they rearrange or pool activations, or run
loops, whose results are collected afterwards."""
SIZE_OF_OPEN_AXES = 16
"""The size of the random example's axes of open size, which the other inputs may have."""
COLLECTING = {"TensorListStack"}
"""Operations that give the results of a loop as one tensor."""


def activations_between(places: Places, outputs: Tensors, score: tf.Tensor) -> list[tf.Tensor]:
    """Give the activations with positions between an input and the score, the last one first.

    Args:
        places: where activations lie in the input.
        outputs: the outputs that the score reads.
        score: ``[B]``, in the graph of the input.
    """
    image = places.image
    floating = [o for o in tf.nest.flatten(outputs) if o.dtype.is_floating]
    gradients = tf.gradients(score, floating)
    scored = [o for o, g in zip(floating, gradients, strict=True) if g is not None]
    steps = steps_between([image, *_floats_from_integers(image)], scored)
    found = [s.outputs[0] for s in reversed(steps) if _is_activation(s.first)]
    return [x for x in found if places.can_map(x)]


def first_reached(
    candidates: Callable[[Tensors, tf.Tensor], tuple[tf.Tensor, list[tf.Tensor], Places]],
    inputs: Tensors,
) -> int | None:
    """Give the number of the first activation on whose places the score depends.

    Where a class token alone is read, the score depends on none of the other tokens behind the last
    attention. That shows for an input of random numbers, which is evaluated here.

    Args:
        candidates: inputs, targets -> scores, activations and their places.
        inputs: symbolic inputs.
    """
    with tf.init_scope():
        example = tf.nest.map_structure(_random_example, inputs)

        def reached(inputs: Tensors) -> tf.Tensor:
            score, activations, places = candidates(inputs, tf.zeros([1], tf.int32))
            gradients = tf.gradients(score, activations)
            return tf.stack(
                [
                    _is_reached(g, places.grid(a))
                    for a, g in zip(activations, gradients, strict=True)
                ]
            )

        is_reached = np.asarray(traced(reached)(example))
    return int(is_reached.argmax()) if is_reached.any() else None


def _is_reached(gradient: Any, grid: Grid | None) -> tf.Tensor:
    if gradient is None:
        return tf.constant(False)
    return tf.reduce_any(tf.not_equal(gradient if grid is None else grid.arrange(gradient), 0))


def _random_example(x: tf.Tensor) -> tf.Tensor:
    shape = [SIZE_OF_OPEN_AXES if n is None else n for n in x.shape[1:]]
    values = np.abs(np.random.default_rng(0).normal(size=(1, *shape)))
    return tf.cast(values, x.dtype)


def _is_activation(operation: tf.Operation) -> bool:
    """Whether the output of an operation is an activation whose first axis is the batch.

    The first axis of what a loop over time collects is the time; the transpose that follows puts
    the batch first.
    """
    if operation.type == "Transpose":
        return operation.inputs[0].op.type in COLLECTING
    return operation.type not in REARRANGING_OR_POOLING and not operation.type.startswith(
        "TensorList"
    )


def _floats_from_integers(image: tf.Tensor) -> list[tf.Tensor]:
    """Give the floating-point tensors that are computed from integers which depend on the image.

    Gradients do not flow through integers, such as those of pixels or tokens, but they reach these
    tensors.
    """
    behind = tensors_behind(image)
    floats = []
    for operation in image.graph.get_operations():
        if operation.type not in SHAPE_READING and any(
            t.dtype.is_integer and t.ref() in behind for t in operation.inputs
        ):
            floats += [t for t in operation.outputs if t.dtype.is_floating]
    return floats
