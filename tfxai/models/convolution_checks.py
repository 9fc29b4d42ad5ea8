"""A check of graphs for convolutions that TensorFlow cannot compute on this machine."""

from __future__ import annotations

from functools import cache

import numpy as np
import tensorflow as tf


def check_convolutions(graph: tf.Graph) -> None:
    """Raise a ValueError for a channels-first convolution that TensorFlow cannot compute here."""
    types = ("Conv2D", "Conv2DBackpropInput", "DepthwiseConv2dNative", "MaxPool", "AvgPool")
    for operation in graph.get_operations():
        channels_first = operation.type in types and operation.get_attr("data_format") == b"NCHW"
        if channels_first and not _runs_channels_first():
            raise ValueError(
                f"model: {operation.name!r} takes channels-first images, which TensorFlow cannot "
                "compute on this CPU: build the model with "
                "keras.config.set_image_data_format('channels_last') (kernels are the same in "
                "both) and a keras.layers.Permute((2, 3, 1)) in front, or set the environment "
                "variable TF_ENABLE_ONEDNN_OPTS=1 before TensorFlow is imported"
            )


@cache
def _runs_channels_first() -> bool:
    """Whether a channels-first convolution can be computed on this machine."""
    pixel = np.ones([1, 1, 1, 1], np.float32)
    try:
        with tf.init_scope():
            tf.nn.conv2d(pixel, pixel, 1, "VALID", data_format="NCHW")
    except tf.errors.UnimplementedError:
        return False
    return True
