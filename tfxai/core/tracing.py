"""Functions of tensors as graphs that are traced once, or run on parts of a batch."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from tfxai.core.types import Tensors


def traced(function: Callable) -> Any:
    """Trace a function once, and run its graph at each call, for any batch size."""
    return tf.function(function, autograph=False, reduce_retracing=True)


def traced_by_size(function: Callable) -> Callable:
    """Trace a function of (inputs, ...) once for each size of the inputs, for any batch size.

    `traced` leaves open what differs between two calls, such as the length of a sequence.
    """
    by_size: dict[tuple, Callable] = {}

    def call(inputs: Tensors, *others: Any) -> Any:
        size = tuple(tuple(x.shape[1:]) for x in tf.nest.flatten(inputs))
        return by_size.setdefault(size, traced(function))(inputs, *others)

    return call


@contextmanager
def garbage_uncollected() -> Iterator[None]:
    """Let Python not look for garbage while graphs are traced.

    Tracing makes many objects and leaves few behind, but each search goes through all objects of
    TensorFlow and Keras: with ResNet50 that is an eighth of the time to the first gradient.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def in_batches(function: Callable, size: int) -> Callable:
    """Evaluate a function of (inputs, targets, ...) on at most `size` examples at a time.

    Every tensor that the function returns is joined again along the batch axis. What comes after
    the targets, such as a seed, is the same for all examples.
    """

    def batched(inputs: Tensors, targets: tf.Tensor, *shared: tf.Tensor) -> Any:
        specs = any_batch_specs((inputs, targets))
        shared_specs = [tf.TensorSpec(s.shape, s.dtype) for s in shared]
        graph = traced(function).get_concrete_function(*specs, *shared_specs)
        total = tf.shape(targets)[0]
        outputs = tf.nest.flatten(graph.structured_outputs)
        collected = [
            tf.TensorArray(
                o.dtype, 0, dynamic_size=True, infer_shape=False, element_shape=[None, *o.shape[1:]]
            )
            for o in outputs
        ]

        def step(start: tf.Tensor, collected: list) -> tuple[tf.Tensor, list]:
            part = tf.nest.map_structure(lambda x: x[start : start + size], (inputs, targets))
            values = tf.nest.flatten(graph(*part, *shared))
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
        return tf.nest.pack_sequence_as(graph.structured_outputs, joined)

    return batched


def in_slices(function: Callable, size: int) -> Callable:
    """Evaluate a function as `in_batches` does, of tensors that have values."""

    def sliced(inputs: Tensors, targets: tf.Tensor, *shared: tf.Tensor) -> Any:
        total = len(targets)
        if total <= size:
            return function(inputs, targets, *shared)
        results = []
        for start in range(0, total, size):
            cut = slice(start, start + size)
            part = tf.nest.map_structure(lambda x, cut=cut: x[cut], (inputs, targets))
            results.append(function(*part, *shared))
        return tf.nest.map_structure(lambda *parts: tf.concat(parts, 0), *results)

    return sliced


def any_batch_specs(tensors: Tensors) -> Tensors:
    """Give the TensorSpecs of tensors, with the batch axis left open."""
    return tf.nest.map_structure(lambda x: tf.TensorSpec([None, *x.shape[1:]], x.dtype), tensors)
