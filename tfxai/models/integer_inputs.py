"""Integer inputs, such as uint8 pixels, that a model casts to floating point before it uses them.

Such a model is traced as a function of the numbers behind the cast. For integers it gives what the
model gives, and it has gradients, which end at a cast to integers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf

from tfxai.core.tracing import traced
from tfxai.core.types import Tensors
from tfxai.models import keras_graph
from tfxai.models.positions import SHAPE_READING

_MOVING = {
    "Identity", "Reshape", "Transpose", "ExpandDims", "Squeeze", "Slice", "StridedSlice",
    "ReverseV2", "ConcatV2", "Pad", "Cast",
}  # fmt: skip
"""Operations that give the same numbers for integers as for floating-point numbers."""


@contextmanager
def behind_the_cast(model: keras.Model, inputs: Tensors) -> Iterator[None]:
    """Let a model take numbers in place of integers in the context, if it casts them anyway.

    Args:
        model: any Keras model.
        inputs: tensors or TensorSpecs like those of the call in the context.
    """
    if not _casts_integers_only(model, inputs):
        yield
        return
    with keras_graph.without_casts_to_integers(model):
        yield


def _casts_integers_only(model: keras.Model, inputs: Tensors) -> bool:
    """Whether floating-point inputs are cast to integers, and all of these back, unchanged."""
    given = tf.nest.flatten(inputs)
    declared = tf.nest.flatten(keras_graph.declared_inputs(model))
    pairs = zip(declared, given, strict=False)
    if not any(
        isinstance(d, tf.TensorSpec) and d.dtype.is_integer and x.dtype.is_floating
        for d, x in pairs
    ):
        return False
    specs = tf.nest.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype), inputs)

    def call(*flat: tf.Tensor) -> Tensors:
        return model(tf.nest.pack_sequence_as(specs, flat), training=False)

    with tf.init_scope():
        graph = traced(call).get_concrete_function(*tf.nest.flatten(specs)).graph
    reached = {x.ref() for x in graph.inputs[: len(given)]}
    was_cast = False
    for operation in graph.get_operations():
        read = [t for t in operation.inputs if t.ref() in reached]
        if not read or operation.type in SHAPE_READING:
            continue
        if operation.type not in _MOVING and any(t.dtype.is_integer for t in read):
            return False
        is_cast = operation.type == "Cast" and read[0].dtype.is_integer
        if is_cast and operation.outputs[0].dtype.is_floating:
            was_cast = True
            continue
        if is_cast and not operation.outputs[0].dtype.is_integer:
            return False  # booleans
        if any(t.dtype.is_integer for t in operation.outputs):
            reached.update(t.ref() for t in operation.outputs)
    return was_cast
