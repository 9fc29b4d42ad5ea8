"""Grouped convolutions in a graph that is read: any CPU can run them, and their gradients.

Keras has XLA compile them, which hides them from whoever reads the graph. Left to TensorFlow, a CPU
without oneDNN has no kernels for their gradients, and the graph optimiser fuses them with a bias
or a batch normalisation to an operation without a kernel there. So an operation that the optimiser
does not see through stands behind each, and gradients are those of the same convolution without
groups, whose weights from one group to another are zero.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any

import numpy as np
import tensorflow as tf


@contextmanager
def portable() -> Iterator[None]:
    """Let what calls `tf.nn.conv2d` and `tf.nn.convolution`, as Keras does, run on any CPU."""
    before = {name: getattr(tf.nn, name) for name in ("conv2d", "convolution")}
    for name, convolution in before.items():
        setattr(tf.nn, name, _portable(convolution))
    try:
        yield
    finally:
        for name, convolution in before.items():
            setattr(tf.nn, name, convolution)


def _portable(convolution: Callable) -> Callable:
    signature = inspect.signature(convolution)

    @wraps(convolution)
    def convolve(*arguments: Any, **keywords: Any) -> tf.Tensor:
        given = signature.bind(*arguments, **keywords).arguments
        x, kernel = (tf.TensorShape(np.shape(given[name])) for name in ("input", "filters"))
        channels_first = (given.get("data_format") or "").startswith("NC")
        known = None not in (x[-1], kernel[-2])
        if tf.executing_eagerly() or channels_first or not known or x[-1] == kernel[-2]:
            return convolution(*arguments, **keywords)
        if kernel.rank == 5:
            return _compiled(convolution, given)
        result = convolution(*arguments, **keywords)
        operation = result.op
        while operation.type != "Conv2D":  # a Conv1D squeezes its result
            operation = operation.inputs[0].op
        # Not as an attribute of the operation, which would be saved with the graph.
        operation._gradient_function = _gradient
        return tf.ensure_shape(result, result.shape)

    return convolve


def _compiled(convolution: Callable, given: dict[str, Any]) -> tf.Tensor:
    """Have XLA compile a convolution without a kernel of its own, such as a grouped Conv3D."""
    x, kernel = (tf.convert_to_tensor(given.pop(name)) for name in ("input", "filters"))
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(False)
    try:
        compiled = tf.function(partial(convolution, **given), autograph=False, jit_compile=True)
        return compiled(x, kernel)
    finally:
        tf.config.run_functions_eagerly(before)


def _gradient(operation: tf.Operation, cotangent: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Give the gradients of a grouped Conv2D by operations that every CPU has."""
    x, kernel = operation.inputs
    how = {
        "out_backprop": cotangent,
        "strides": operation.get_attr("strides"),
        "padding": operation.get_attr("padding").decode(),
        "explicit_paddings": operation.get_attr("explicit_paddings"),
        "dilations": operation.get_attr("dilations"),
    }
    square = how["strides"][1] == how["strides"][2] and how["dilations"] == [1, 1, 1, 1]
    if kernel.shape[2] == 1 and square:
        return _depthwise(x, kernel, how)
    return _without_groups(x, kernel, how)


def _depthwise(x: tf.Tensor, kernel: tf.Tensor, how: dict) -> tuple[tf.Tensor, tf.Tensor]:
    """Differentiate as a depthwise convolution: each group has one input channel."""
    height, width, _, outputs = kernel.shape
    shape = [height, width, x.shape[-1], outputs // x.shape[-1]]
    to_x = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
        input_sizes=tf.shape(x), filter=tf.reshape(kernel, shape), **how
    )
    to_kernel = tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(input=x, filter_sizes=shape, **how)
    return to_x, tf.reshape(to_kernel, kernel.shape)


def _without_groups(x: tf.Tensor, kernel: tf.Tensor, how: dict) -> tuple[tf.Tensor, tf.Tensor]:
    """Differentiate as a convolution of all channels, with zeros from one group to another."""
    height, width, inputs, outputs = kernel.shape
    groups = x.shape[-1] // inputs
    of_input = np.arange(groups * inputs) // inputs
    of_output = np.arange(outputs) // (outputs // groups)
    same = tf.constant(of_input[:, None] == of_output, kernel.dtype)
    to_x = tf.raw_ops.Conv2DBackpropInput(
        input_sizes=tf.shape(x), filter=tf.tile(kernel, [1, 1, groups, 1]) * same, **how
    )
    shape = [height, width, groups * inputs, outputs]
    wide = tf.raw_ops.Conv2DBackpropFilter(input=x, filter_sizes=shape, **how) * same
    return to_x, tf.reduce_sum(tf.reshape(wide, [height, width, groups, inputs, outputs]), 2)
