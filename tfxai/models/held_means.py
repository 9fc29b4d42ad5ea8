"""The means that `tf.nn.moments` holds constant, which second derivatives must see.

It computes the variance as mean((x - m)^2) with the mean m behind a `tf.stop_gradient`. The
gradient is right, since sum(x - m) = 0, but the derivative of that gradient is not: it lacks what m
adds. Layer and group normalisations of Keras use it.
"""

from __future__ import annotations

from collections.abc import Iterable

import tensorflow as tf


def is_held_mean(operation: tf.Operation) -> bool:
    """Whether an operation holds m = mean(x) constant within (x - m)^2, and nowhere else."""
    if operation.type != "StopGradient" or operation.inputs[0].op.type != "Mean":
        return False
    x, readers = operation.inputs[0].op.inputs[0], operation.outputs[0].consumers()
    return bool(readers) and all(
        reader.type == "SquaredDifference" and x.ref() in {t.ref() for t in reader.inputs}
        for reader in readers
    )


def check_no_held_means(operations: Iterable[tf.Operation]) -> None:
    """Raise a ValueError where second derivatives of these operations would be wrong."""
    held = next(filter(is_held_mean, operations), None)
    if held is not None:
        raise ValueError(
            f"second derivatives of this model would be wrong: {held.name!r} holds the mean of a "
            "normalisation constant, and cannot be replaced beside loops, functions with gradients "
            "of their own, or noisy weights; take tfxai.cafo, which needs no second derivative, or "
            "unroll recurrent layers by unroll=True"
        )
