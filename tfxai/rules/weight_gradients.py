"""Gradients of one kernel's weights for several cotangents, at less than the cost of each alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import tensorflow as tf

from tfxai.rules.steps import gradients

MOST_SHARED_WEIGHTS = 2**20
"""The most weights for which cotangents share a gradient. The gradients of more weights do not fit
into a processor's cache together, and one after another they take less time."""


def weight_gradients(
    operation: tf.Operation, kernel: int, cotangents: Sequence[tf.Tensor]
) -> list[tf.Tensor]:
    """Give the gradients of a kernel's weights, one for each cotangent of its output.

    The gradient of a convolution reads its input once for all cotangents, which stand side by side
    in the output channels. That of a convolution with a window of one position is a matrix product,
    which is faster. Where another way is not known to be faster, the gradients are TensorFlow's.

    Args:
        operation: a kernel.
        kernel: the number of its input that is weights.
        cotangents: tensors of the shape of its output.
    """
    weights = operation.inputs[kernel].shape
    grouped = operation.inputs[0].shape[-1] != weights[-2]
    if operation.type != "Conv2D" or grouped or not weights.is_fully_defined():
        return [gradients(operation, [c])[kernel] for c in cotangents]
    explicit = operation.get_attr("padding") == b"EXPLICIT"
    pointwise = list(weights[:2]) == [1, 1] and not explicit
    gradient = _pointwise_gradient if pointwise else _window_gradient
    if not _share(weights):
        return [gradient(operation, c) for c in cotangents]
    return tf.split(gradient(operation, tf.concat(cotangents, -1)), len(cotangents), -1)


def _share(weights: tf.TensorShape) -> bool:
    """Whether one gradient for all cotangents takes less time than one for each.

    It does where a position's inputs, which are read once less, are at least as many as its
    outputs, which are copied to stand side by side.
    """
    inputs, outputs = math.prod(weights[:-1]), weights[-1]
    return outputs <= inputs and inputs * outputs <= MOST_SHARED_WEIGHTS


def _pointwise_gradient(convolution: tf.Operation, cotangent: tf.Tensor) -> tf.Tensor:
    """Differentiate a convolution of single positions as a product of matrices."""
    x, (_, rows, columns, _) = convolution.inputs[0], convolution.get_attr("strides")
    x = x if rows == columns == 1 else x[:, ::rows, ::columns]
    inputs, outputs = x.shape[-1], cotangent.shape[-1]
    x, cotangent = tf.reshape(x, [-1, inputs]), tf.reshape(cotangent, [-1, outputs])
    return tf.reshape(tf.matmul(x, cotangent, transpose_a=True), [1, 1, inputs, outputs])


def _window_gradient(convolution: tf.Operation, cotangent: tf.Tensor) -> tf.Tensor:
    attributes = ("strides", "explicit_paddings", "dilations")
    return tf.raw_ops.Conv2DBackpropFilter(
        input=convolution.inputs[0],
        filter_sizes=[*convolution.inputs[1].shape[:-1], cotangent.shape[-1]],
        out_backprop=cotangent,
        padding=convolution.get_attr("padding").decode(),
        **{name: convolution.get_attr(name) for name in attributes},
    )
