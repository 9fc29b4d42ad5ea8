"""A model of token ids in two parts: up to the output of its embedding, and behind it.

The model is called as it is. Of the embedding's call the output is read, or replaced by other
vectors; so that every kind of model has these parts, and everything that goes around the embedding,
such as masks, positions and other inputs, comes from the model's own inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfxai.core.named_inputs import leaf_names
from tfxai.core.tracing import any_batch_specs
from tfxai.core.types import Tensors
from tfxai.models import keras_graph
from tfxai.models.named_layers import check_call, find_layer, intercepted_calls
from tfxai.models.shared_graphs import model_graph

PADDING_INPUTS = ("padding_mask", "attention_mask")
"""Names of inputs that are 0 at padding, as KerasHub and others call them."""


class Cut(NamedTuple):
    """Where a model of token ids is cut."""

    layer: str
    """The name of the embedding, with the number of its call where it is called several times."""
    padding: int | str | None
    """The id of padding, or the name of an input that is 0 there; None where the model tells."""


class EmbeddingEncoder(keras.Model):
    """A model of token ids up to the output of its embedding, and whether the tokens are padding.

    Args:
        model: a Keras model of token ids.
        cut: where it is cut.
    """

    def __init__(self, model: keras.Model, cut: Cut):
        super().__init__(
            name=f"{model.name}_encoder", dtype=keras_graph.float_type(model), autocast=False
        )
        self.model = model
        self.cut = cut

    @property
    def size(self) -> int:
        """How many numbers a token's vector has."""
        specs = any_batch_specs(keras_graph.declared_inputs(self.model))
        size = model_graph(self, specs).forward.outputs["vectors"].shape[-1]
        if size is None:
            raise ValueError(f"layer={self.cut.layer!r}: the size of its vectors is not known")
        return size

    def call(self, inputs: Tensors) -> dict[str, tf.Tensor]:
        """Give the "vectors" ``[B, T, D]``, and booleans ``[B, T]``, "is_padding".

        Raises:
            ValueError: the layer gives something else for these inputs.
        """
        found: dict[str, tf.Tensor] = {}

        def read(layer: Any, ids: Any, vectors: Any) -> Any:
            if not tf.is_tensor(vectors) or vectors.shape.rank != 3:
                raise ValueError(
                    f"layer={self.cut.layer!r} gives {getattr(vectors, 'shape', 'no tensor')}: "
                    "expected a vector for each token, [batch, tokens, size]"
                )
            is_padding = _is_padding(self.cut, layer, ids, vectors, self.model, inputs)
            if is_padding is None:
                is_padding = tf.zeros(tf.shape(vectors)[:2], tf.bool)
            found.update(vectors=vectors, is_padding=is_padding)
            return vectors

        _call_with(self.model, self.cut, inputs, read)
        return found


@keras.saving.register_keras_serializable("tfxai")
class EmbeddingHead(keras.Model):
    """A model of token ids behind its embedding: ``[vectors, inputs]`` -> the model's outputs.

    Padding keeps its own vectors, whatever vectors are given there.

    Args:
        model: a Keras model of token ids.
        layer: as in `Cut`.
        padding: as in `Cut`.
    """

    def __init__(self, model: keras.Model, layer: str, padding: int | str | None = None):
        super().__init__(
            name=f"{model.name}_head", dtype=keras_graph.float_type(model), autocast=False
        )
        self.model = model
        self.cut = Cut(layer, padding)
        self.class_names = getattr(model, "class_names", None)

    def call(self, inputs: Any) -> Tensors:
        """Give the outputs for vectors ``[B, T, D]`` in place of the embedding's.

        Raises:
            ValueError: the inputs are no pair.
        """
        if not isinstance(inputs, list | tuple) or len(inputs) != 2:
            raise ValueError(
                "the head of a text model takes [vectors, the model's inputs]; to explain tokens, "
                "give its explainer to text.explained_by, and that one the token ids"
            )
        vectors, given = inputs

        def replace(layer: Any, ids: Any, own: Any) -> Any:
            replaced = tf.ensure_shape(tf.cast(vectors, own.dtype), own.shape)
            is_padding = _is_padding(self.cut, layer, ids, own, self.model, given)
            if is_padding is not None:
                replaced = tf.where(is_padding[..., None], own, replaced)
            return keras_graph.with_mask_of(own, replaced)

        return _call_with(self.model, self.cut, given, replace)

    def get_config(self) -> dict[str, Any]:
        """Give the whole model, and where it is cut."""
        return {"model": keras.saving.serialize_keras_object(self.model), **self.cut._asdict()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> EmbeddingHead:
        """Cut the saved model."""
        return cls(
            keras.saving.deserialize_keras_object(config["model"]),
            config["layer"],
            config["padding"],
        )


def _call_with(
    model: keras.Model, cut: Cut, inputs: Tensors, visit: Callable[[Any, Any, Any], Any]
) -> Tensors:
    """Call a model, and let a function replace the output of its embedding.

    Raises:
        ValueError: the model does not call the layer, or calls it several times.
    """
    layer, number = find_layer(model, cut.layer)
    calls = 0

    def visit_call(layer: Any, ids: Any, result: Any) -> Any:
        nonlocal calls
        calls += 1
        return visit(layer, ids, result) if calls == number else result

    with intercepted_calls([layer], visit_call):
        outputs = model(inputs, training=False)
    check_call(cut.layer, number, calls)
    return outputs


def _is_padding(
    cut: Cut, layer: Any, ids: Any, vectors: Any, model: keras.Model, inputs: Tensors
) -> tf.Tensor | None:
    """Tell which tokens are padding: by their id, by an input, or by the mask that Keras makes."""
    if isinstance(cut.padding, int):
        return tf.equal(tf.cast(ids, tf.int64), cut.padding)
    if cut.padding is not None:
        names = leaf_names(inputs, keras_graph.declared_inputs(model))
        mask = tf.nest.flatten(inputs)[names.index(cut.padding)]
        return tf.equal(tf.cast(mask, tf.int32), 0)
    mask = keras_graph.mask_of(layer, ids, vectors)
    return None if mask is None else tf.logical_not(mask)
