"""The model that ends in another model's logits."""

from __future__ import annotations

import keras
import tensorflow as tf

from tfxai.core import batch
from tfxai.core.named_inputs import flatten_with_paths
from tfxai.core.tracing import any_batch_specs, traced
from tfxai.core.types import Tensors
from tfxai.models import keras_graph
from tfxai.models.model_info import ModelInfo, check_logits, trace_info
from tfxai.models.shared_graphs import run
from tfxai.scores import logit, output


def logits(model: keras.Model) -> keras.Model:
    """Give a model that ends before `model`'s softmax or sigmoid and shares all its variables.

    Args:
        model: any Keras model.

    Returns:
        A model with the same inputs and the logits as outputs, where the model has several in the
        same structure; `model` itself if it has no head.

    Raises:
        ValueError: an output is probabilities, but there is no softmax to bypass.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, "softmax")])
        >>> _ = model.layers[0].kernel.assign([[1, 2, 3], [4, 5, 6]])
        >>> logits(model)(tf.constant([[1.0, 1.0]])).numpy().round(4)
        array([[5., 7., 9.]], dtype=float32)
    """
    specs = keras_graph.declared_inputs(model)
    if specs is not None:
        info = trace_info(model, specs)
        if not any(tf.nest.flatten(info.heads)):
            batch.accepted_example(specs, lambda x: _check_all(model, info, x))
            return model
    return Logits(model)


@keras.saving.register_keras_serializable("tfxai")
class Logits(keras.Model):
    """The model that `logits` returns.

    Args:
        model: the model whose logits this one computes.
    """

    def __init__(self, model: keras.Model):
        super().__init__(name=f"{model.name}_logits", dtype=keras_graph.float_type(model))
        self.base = model
        self.compute = traced(lambda inputs: run(self.base, inputs).logits)
        self._checked = False

    def call(self, inputs: Tensors) -> Tensors:
        """Compute the logits."""
        concrete = all(hasattr(x, "numpy") for x in tf.nest.flatten(inputs))
        if concrete and not self._checked:
            _check_all(self.base, trace_info(self.base, any_batch_specs(inputs)), inputs)
            self._checked = True
        return self.compute(inputs)

    def get_config(self) -> dict:
        """Give the wrapped model."""
        return {"model": keras.saving.serialize_keras_object(self.base)}

    @classmethod
    def from_config(cls, config: dict) -> Logits:
        """Wrap the saved model."""
        return cls(keras.saving.deserialize_keras_object(config["model"]))


def _check_all(model: keras.Model, info: ModelInfo, examples: Tensors) -> None:
    """Raise for an output of probabilities that has no head."""
    for path, _ in flatten_with_paths(info.outputs):
        check_logits(model, info, examples, output(path) if path else logit)
