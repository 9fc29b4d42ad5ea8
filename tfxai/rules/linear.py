"""Linear steps as neurons: their weights, and the products with them that rules are made of.

A kernel's neurons have the effective kernel W' = W s, with the factors that follow it folded in.
A sum of n summands has one neuron for each channel, with the weights 1 (or -1): ``[n, C]``.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from tfxai.rules.affine import REARRANGING, Folded, Form
from tfxai.rules.steps import Step, gradients, is_sum, rerun


def is_linear(step: Step) -> bool:
    """Whether a step has neurons: it is a kernel, or a sum of several inputs."""
    return step.form is not None or is_sum(step)


def weights(step: Step) -> tf.Tensor:
    """Give the effective kernel of a kernel, or the signs of the summands."""
    if is_sum(step):
        signs = [-1 if step.first.type == "Sub" and i == 1 else 1 for i in step.data]
        return tf.constant(np.outer(signs, np.ones(_channels(step))), step.outputs[0].dtype)
    effective, neurons = _kernel(step), neuron_shape(step)
    for scale in (f.scale for f in step.folded if f.scale is not None):
        row = tf.cast(tf.reshape(scale, [-1]), effective.dtype)
        effective *= tf.reshape(tf.broadcast_to(row, [math.prod(neurons)]), neurons)
    return effective


def shape(step: Step) -> tuple[int, ...]:
    """Give the shape of the layer's own kernel; a Conv1D sees it with one more axis."""
    seen = tuple(weights(step).shape)
    own = () if step.variable is None else tuple(step.variable.shape)
    return own if [n for n in own if n > 1] == [n for n in seen if n > 1] else seen


def neuron_shape(step: Step) -> list[int]:
    """Give the shape that broadcasts one number for each neuron over the weights."""
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


def applied(step: Step, x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Give kernel^T x of a kernel step, shaped like its output; no bias."""
    y = _with_kernel(step, x, kernel).outputs[0]
    for folded in _rearrangements(step):
        y = rerun(folded.operation, {folded.data: y}).outputs[0]
    return y


def vjp_input(step: Step, cotangent: tf.Tensor, values: tf.Tensor) -> list[tf.Tensor]:
    """Give what the inputs would get if the step had `values` for weights."""
    if is_sum(step):
        cast = tf.cast(values, cotangent.dtype)
        return [summed_like(x, cotangent * cast[i]) for i, x in enumerate(step.inputs)]
    operation = _with_kernel(step, step.inputs[0], values)
    return [gradients(operation, [_before_rearranging(step, cotangent)])[_form(step).data]]


def products(step: Step, cotangent: tf.Tensor) -> tf.Tensor:
    """Sum inputs times a cotangent of the output over examples and positions: weights' shape.

    In float32 at least: a half-precision sum would overflow.
    """
    if is_sum(step):
        wide = tf.cast(cotangent, tf.float32)
        values = [tf.cast(x, tf.float32) * wide for x in step.inputs]
        return tf.stack([tf.reduce_sum(v, range(v.shape.rank - 1)) for v in values])
    cotangent = _before_rearranging(step, cotangent)
    operation = step.first
    if cotangent.dtype.size < 4:
        wide = {
            i: tf.cast(t, tf.float32) for i, t in enumerate(operation.inputs) if t.dtype.is_floating
        }
        operation, cotangent = rerun(operation, wide), tf.cast(cotangent, tf.float32)
    return gradients(operation, [cotangent])[_form(step).kernel]


def summed_like(x: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Sum values over what x was broadcast along."""
    if x.shape.rank == values.shape.rank and list(x.shape) == list(values.shape):
        return values
    axes = tf.raw_ops.BroadcastGradientArgs(s0=tf.shape(x), s1=tf.shape(values)).r0
    return tf.reshape(tf.reduce_sum(values, axes), tf.shape(x))


def _channels(step: Step) -> int:
    return step.outputs[0].shape[-1]


def _form(step: Step) -> Form:
    if step.form is None:
        raise TypeError(f"{step.first.name} is no kernel")
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
