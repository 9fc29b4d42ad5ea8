"""What is known of a model before it is explained."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfxai.core import axes, checks
from tfxai.core.axes import Order
from tfxai.core.named_inputs import as_declared
from tfxai.core.tracing import any_batch_specs
from tfxai.core.types import Tensors
from tfxai.models import heads, keras_graph


class Inspection:
    """A model's anatomy, looked at once, on the first inputs that are seen.

    Args:
        model: any Keras model.
        data_format: where the channels of its inputs are, "channels_last" or "channels_first";
            None for what the model itself says.
    """

    def __init__(self, model: keras.Model, data_format: str | None = None):
        self.model = model
        self.data_format = checks.one_of("data_format", data_format, (None, *axes.DATA_FORMATS))
        self._anatomy: heads.ModelInfo | None = None

    def info(self, inputs: Tensors) -> heads.ModelInfo:
        """Give the anatomy, by a trace on inputs like these."""
        if self._anatomy is None:
            with tf.init_scope():
                self._anatomy = heads.inspect(self.model, any_batch_specs(inputs))
        return self._anatomy

    def as_declared(self, argument: str, value: Any) -> Any:
        """Give a dict by the names of inputs in the structure that the model declares.

        Args:
            argument: what messages call it.
            value: such a dict of numbers and arrays; what is no dict is given back.
        """
        if not isinstance(value, dict):
            return value
        return as_declared(_arrays(value), keras_graph.declared_inputs(self.model), name=argument)

    def order(self, inputs: Tensors) -> Order:
        """Give the order of the axes of inputs."""
        said = self.data_format is not None
        read = None if said else self.info(inputs).channel_axes
        return axes.order_of(inputs, read=read, data_format=self.data_format)


def _arrays(value: Any) -> Any:
    """Give the values of a dict as arrays: a list of them would be one for each channel."""
    if isinstance(value, dict):
        return {key: _arrays(part) for key, part in value.items()}
    return np.asarray(value)
