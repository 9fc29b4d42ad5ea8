"""Linear steps as neurons: their weights, and products with weights or with values in their place.

The neurons of a kernel have the effective weights W' = W s: the factors s that follow the kernel
are folded into it. A sum of n summands has one neuron for each channel, whose weights are 1 (or -1
for a subtracted summand): ``[n, C]``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfxai.rules.affine import REARRANGING, Folded, KernelForm
from tfxai.rules.steps import Step, gradients, is_sum, rerun
from tfxai.rules.weight_gradients import weight_gradients


def is_linear(step: Step) -> bool:
    """Whether a step has neurons: it is a kernel, or a sum of several inputs."""
    return step.form is not None or is_sum(step)


def weights(step: Step) -> tf.Tensor:
    """Give the effective weights of a kernel, or the signs of a sum's summands."""
    if is_sum(step):
        signs = [-1 if step.first.type == "Sub" and i == 1 else 1 for i in step.data]
        return tf.constant(np.outer(signs, np.ones(_channels(step))), step.outputs[0].dtype)
    effective, neurons = _kernel(step), neuron_shape(step)
    for scale in (f.scale for f in step.folded if f.scale is not None):
        row = tf.cast(tf.reshape(scale, [-1]), effective.dtype)
        effective *= tf.reshape(tf.broadcast_to(row, [math.prod(neurons)]), neurons)
    return effective


def kernel_shape(step: Step) -> tuple[int, ...]:
    """Give the shape of the layer's variable; the operation of a Conv1D has one axis more."""
    in_graph = tuple(weights(step).shape)
    own = () if step.variable is None else tuple(step.variable.shape)
    return own if [n for n in own if n > 1] == [n for n in in_graph if n > 1] else in_graph


def neuron_shape(step: Step) -> list[int]:
    """Give the shape in which one number for each neuron broadcasts over the weights."""
    if is_sum(step):
        return [1, _channels(step)]
    inputs = input_axes(step)
    return [1 if axis in inputs else n for axis, n in enumerate(_kernel(step).shape)]


def input_axes(step: Step) -> list[int]:
    """Give the axes of the weights over which a neuron sums."""
    if is_sum(step):
        return [0]
    rank = len(_kernel(step).shape)
    neurons = {axis % rank for axis in _form(step).neurons}
    return [axis for axis in range(rank) if axis not in neurons]


def apply_kernel(step: Step, x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Give kernel^T x in the shape of a kernel step's output, without the bias."""
    y = _with_kernel(step, x, kernel).outputs[0]
    for folded in _rearrangements(step):
        y = rerun(folded.operation, {folded.data: y}).outputs[0]
    return y


def vjp_input(step: Step, cotangent: tf.Tensor, values: tf.Tensor) -> list[tf.Tensor]:
    """Pass a cotangent of the output back to the inputs, with `values` in place of the weights."""
    if is_sum(step):
        cast = tf.cast(values, cotangent.dtype)
        return [summed_like(x, cotangent * cast[i]) for i, x in enumerate(step.inputs)]
    operation = _with_kernel(step, step.inputs[0], values)
    return [gradients(operation, [_before_rearranging(step, cotangent)])[_form(step).data]]


def vjp_weights(step: Step, cotangents: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Pass cotangents of the output back to the weights: sums over examples and positions.

    The sums of inputs times a cotangent are in float32 at least; half precision would overflow.

    Args:
        step: a linear step.
        cotangents: tensors of the shape of its output.

    Returns:
        For each cotangent a tensor of the shape of the weights.
    """
    if is_sum(step):
        wide = [tf.cast(c, tf.float32) for c in cotangents]
        inputs = [tf.cast(x, tf.float32) for x in step.inputs]
        return [tf.stack([total(x * c) for x in inputs]) for c in wide]
    cotangents = [_before_rearranging(step, c) for c in cotangents]
    operation = step.first
    if operation.outputs[0].dtype.size < 4:
        floats = {
            i: tf.cast(t, tf.float32) for i, t in enumerate(operation.inputs) if t.dtype.is_floating
        }
        operation = rerun(operation, floats)
        cotangents = [tf.cast(c, tf.float32) for c in cotangents]
    return weight_gradients(operation, _form(step).kernel, cotangents)


def total(values: tf.Tensor) -> tf.Tensor:
    """Sum values over all axes but the last, in float64 from one example to the next, ``[C]``."""
    if values.shape.rank > 2:
        shape = tf.shape(values)
        positions = tf.reduce_prod(shape[1:-1])
        rows = tf.reshape(values, [shape[0], positions, values.shape[-1]])
        # A product with ones takes less time than a reduction, and loses less to rounding.
        values = tf.matmul(tf.ones([1, 1, positions], values.dtype), rows)
    return tf.reduce_sum(tf.cast(values, tf.float64), range(values.shape.rank - 1))


def summed_like(x: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Sum values over the axes along which x was broadcast to their shape."""
    if x.shape.rank == values.shape.rank and list(x.shape) == list(values.shape):
        return values
    axes = tf.raw_ops.BroadcastGradientArgs(s0=tf.shape(x), s1=tf.shape(values)).r0
    return tf.reshape(tf.reduce_sum(values, axes), tf.shape(x))


def _channels(step: Step) -> int:
    return step.outputs[0].shape[-1]


def _form(step: Step) -> KernelForm:
    if step.form is None:
        raise TypeError(f"{step.first.name} is not a kernel")
    return step.form


def _kernel(step: Step) -> tf.Tensor:
    return step.first.inputs[_form(step).kernel]


def _with_kernel(step: Step, x: tf.Tensor, kernel: tf.Tensor) -> tf.Operation:
    values = tf.cast(kernel, _kernel(step).dtype)
    return rerun(step.first, {_form(step).data: x, _form(step).kernel: values})


def _rearrangements(step: Step) -> list[Folded]:
    return [f for f in step.folded if f.operation.type in REARRANGING]


def _before_rearranging(step: Step, cotangent: tf.Tensor) -> tf.Tensor:
    for folded in reversed(_rearrangements(step)):
        cotangent = gradients(folded.operation, [cotangent])[folded.data]
    return tf.cast(cotangent, step.first.outputs[0].dtype)
