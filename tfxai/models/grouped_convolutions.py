"""Grouped convolutions in a graph that is read, such that any CPU runs them and their gradients.

Keras compiles grouped convolutions with XLA, which hides them from a reader of the graph. Without
XLA there are two problems on a CPU without oneDNN: TensorFlow has no kernels for their gradients,
and its graph optimiser fuses them with a bias or a batch normalisation into an operation that has
no kernel. Therefore an operation that stops the optimiser follows each of them, and their gradients
are those of the same convolution without groups, whose weights between different groups are zero.
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
    """Make calls of `tf.nn.conv2d` and `tf.nn.convolution`, such as Keras's, run on any CPU."""
    before = {name: getattr(tf.nn, name) for name in ("conv2d", "convolution")}
    for name, convolution in before.items():
        setattr(tf.nn, name, _portable(convolution))
    try:
        yield
    finally:
        for name, convolution in before.items():
            setattr(tf.nn, name, convolution)


def _portable(convolution: Callable) -> Callable:
    """Wrap a convolution so that a grouped one in a graph has the gradients of this file."""
    signature = inspect.signature(convolution)

    @wraps(convolution)
    def convolve(*arguments: Any, **keywords: Any) -> tf.Tensor:
        bound = signature.bind(*arguments, **keywords).arguments
        x, kernel = (tf.TensorShape(np.shape(bound[name])) for name in ("input", "filters"))
        channels_first = (bound.get("data_format") or "").startswith("NC")
        known = None not in (x[-1], kernel[-2])
        if tf.executing_eagerly() or channels_first or not known or x[-1] == kernel[-2]:
            return convolution(*arguments, **keywords)
        if kernel.rank == 5:
            return _compiled(convolution, bound)
        result = convolution(*arguments, **keywords)
        operation = result.op
        while operation.type != "Conv2D":  # a Conv1D squeezes its result
            operation = operation.inputs[0].op
        # Not as an attribute of the operation, which would be saved with the graph.
        operation._gradient_function = _gradient
        return tf.ensure_shape(result, result.shape)

    return convolve


def _compiled(convolution: Callable, arguments: dict[str, Any]) -> tf.Tensor:
    """Compile a convolution with XLA that has no kernel otherwise, such as a grouped Conv3D."""
    x, kernel = (tf.convert_to_tensor(arguments.pop(name)) for name in ("input", "filters"))
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(False)
    try:
        compiled = tf.function(partial(convolution, **arguments), autograph=False, jit_compile=True)
        return compiled(x, kernel)
    finally:
        tf.config.run_functions_eagerly(before)


def _gradient(operation: tf.Operation, cotangent: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Give the gradients of a grouped Conv2D by operations that every CPU has."""
    x, kernel = operation.inputs
    options = {
        "out_backprop": cotangent,
        "strides": operation.get_attr("strides"),
        "padding": operation.get_attr("padding").decode(),
        "explicit_paddings": operation.get_attr("explicit_paddings"),
        "dilations": operation.get_attr("dilations"),
    }
    _, row_stride, column_stride, _ = options["strides"]
    regular = row_stride == column_stride and options["dilations"] == [1, 1, 1, 1]
    if kernel.shape[2] == 1 and regular:
        return _depthwise(x, kernel, options)
    return _without_groups(x, kernel, options)


def _depthwise(x: tf.Tensor, kernel: tf.Tensor, options: dict) -> tuple[tf.Tensor, tf.Tensor]:
    """Differentiate as a depthwise convolution, whose groups have one input channel each."""
    height, width, _, outputs = kernel.shape
    shape = [height, width, x.shape[-1], outputs // x.shape[-1]]
    to_x = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
        input_sizes=tf.shape(x), filter=tf.reshape(kernel, shape), **options
    )
    to_kernel = tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
        input=x, filter_sizes=shape, **options
    )
    return to_x, tf.reshape(to_kernel, kernel.shape)


def _without_groups(x: tf.Tensor, kernel: tf.Tensor, options: dict) -> tuple[tf.Tensor, tf.Tensor]:
    """Differentiate as a convolution of all channels, with zero weights between groups."""
    height, width, inputs, outputs = kernel.shape
    groups = x.shape[-1] // inputs
    input_group = np.arange(groups * inputs) // inputs
    output_group = np.arange(outputs) // (outputs // groups)
    same_group = tf.constant(input_group[:, None] == output_group, kernel.dtype)
    to_x = tf.raw_ops.Conv2DBackpropInput(
        input_sizes=tf.shape(x), filter=tf.tile(kernel, [1, 1, groups, 1]) * same_group, **options
    )
    shape = [height, width, groups * inputs, outputs]
    to_all = tf.raw_ops.Conv2DBackpropFilter(input=x, filter_sizes=shape, **options) * same_group
    return to_x, tf.reduce_sum(tf.reshape(to_all, [height, width, groups, inputs, outputs]), 2)
