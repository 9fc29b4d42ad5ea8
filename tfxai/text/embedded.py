"""A model of token ids, to be explained at the output of its embedding."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfxai.core import checks
from tfxai.core.named_inputs import as_declared, leaf_names
from tfxai.core.types import Tensors
from tfxai.explaining.explainer import Explainer
from tfxai.models import keras_graph
from tfxai.models.embedding_cut import PADDING_INPUTS, EmbeddingEncoder, EmbeddingHead
from tfxai.models.named_layers import find_layer
from tfxai.models.shared_graphs import outputs_of
from tfxai.models.token_embedding import token_embedding
from tfxai.text.by_tokens import by_tokens


class EmbeddedModel:
    """A model of token ids in two parts; made by `embedded`.

    Args:
        model: the model of token ids.
        layer: the name of its embedding.
        padding: the id of padding, or the name of an input that is 0 there; None where the mask
            of the embedding tells.
    """

    def __init__(self, model: keras.Model, layer: str, padding: int | str | None):
        self.model = model
        self.head = EmbeddingHead(model, layer, padding)
        self.encoder = EmbeddingEncoder(model, self.head.cut)

    def vectors(self, inputs: Tensors) -> np.ndarray:
        """Give the vectors ``[B, T, D]`` of the model's inputs, such as token ids ``[B, T]``."""
        return self._embedded(inputs)["vectors"].numpy()

    def is_padding(self, inputs: Tensors) -> np.ndarray:
        """Tell which tokens of the model's inputs are padding, booleans ``[B, T]``."""
        return self._embedded(inputs)["is_padding"].numpy()

    def embedding_of(self, token_id: Any) -> np.ndarray:
        """Give the vector ``[D]`` of a token, or those of several, by the embedding itself.

        Args:
            token_id: an integer, or an array of integers of any shape.

        Raises:
            ValueError: the layer is no `keras.layers.Embedding`: what it gives for a token may
                depend on the token's place.
        """
        layer, _ = find_layer(self.model, self.head.cut.layer)
        if not isinstance(layer, keras.layers.Embedding):
            raise ValueError(
                f"embedding_of: {self.head.cut.layer} is a {type(layer).__name__}, whose vectors "
                "may depend on the place; take text.vectors(ids)[0], of ids that have this token "
                "everywhere"
            )
        return layer(np.asarray(token_id)).numpy()

    def explained_by(self, explainer: Explainer, *, reduce: str | None = None) -> Explainer:
        """Explain token ids by an explainer of the head.

        Every explainer of `head` can be given, and those that build upon others, such as
        ``integrated_gradients(smoothgrad(text.head))``. It moves the vectors of the tokens and
        nothing else: other inputs of the model, masks, positions and the vectors of padding stay
        as they are in each example.

        Args:
            explainer: such as ``tfxai.integrated_gradients(text.head, steps=50)``. A `baseline` is
                one for vectors: a number, a vector ``[D]`` (`embedding_of`) or vectors ``[T, D]``.
            reduce: how the numbers of a token's vector become one: by their "sum", which keeps what
                the methods say of sums, or by their L2 "norm", which is never negative. None takes
                the norm of slopes, such as plain or smoothed gradients, whose sum means nothing
                (behind a layer normalisation it is 0), and the sum of all else.

        Returns:
            An Explainer of the model itself. It takes what the model takes, and its maps are
            ``[B, T]``, in the units of the explainer's, with 0 at padding. The record of `explain`
            has the maps of the vectors, ``[B, T, D]``, as the diagnostic ``vector_attributions``;
            the other diagnostics are those of the explainer, and speak of these maps.

        Raises:
            TypeError, ValueError: the explainer is not one of this head, or `reduce` is unknown.
        """
        if isinstance(explainer, Explainer) and explainer.model is not self.head:
            raise ValueError(
                f"explained_by: {explainer.name} explains {explainer.model.name}, not text.head"
            )
        return by_tokens(explainer, reduce=reduce)

    def __repr__(self) -> str:
        padding = {
            int: f"token {self.head.cut.padding}",
            str: f"where {self.head.cut.padding} is 0",
        }.get(type(self.head.cut.padding), "as the mask of the embedding tells")
        return f"{self.model.name}, cut behind {self.head.cut.layer}; padding: {padding}"

    def _embedded(self, inputs: Tensors) -> dict[str, tf.Tensor]:
        declared = keras_graph.declared_inputs(self.model)
        given = tf.nest.map_structure(tf.convert_to_tensor, as_declared(inputs, declared))
        return outputs_of(self.encoder, given)


def embedded(
    model: keras.Model, layer: str | None = None, *, padding: int | str | None = None
) -> EmbeddedModel:
    """Cut a model of token ids behind its embedding, so that any method can explain the tokens.

    Token ids have no gradient, and nothing lies between two of them. The vectors that the embedding
    gives for them do. The model is called as it is, with other vectors in place of the embedding's,
    so that it may be functional, Sequential or made of layers and models of your own, and may take
    several inputs.

    Args:
        model: a Keras model that declares its inputs, one of which are token ids ``[B, T]``.
        layer: the name of the layer that gives the vectors ``[B, T, D]``; "name@2" is its second
            call. None finds the `keras.layers.Embedding` that reads the tokens. Positions that are
            added afterwards are not explained, and stay. A layer that gives the sum of tokens and
            positions can be named, too.
        padding: the id of padding, or the name of an input that is 0 at padding. None takes an
            input that is called ``padding_mask`` or ``attention_mask``; without one, the mask of
            the embedding (``mask_zero=True``); without that, no token is padding.

    Returns:
        An `EmbeddedModel`: its `head` is what explainers are built upon, and `explained_by` turns
        these into explainers of token ids.

    Raises:
        TypeError, ValueError: `model` is no Keras model or declares no inputs; no embedding or
            several are found; there is no such layer or input.

    Example:
        >>> import tfxai
        >>> tokens = keras.Input((None,), dtype="int32")
        >>> x = keras.layers.Embedding(9, 4, mask_zero=True)(tokens)
        >>> x = keras.layers.GlobalAveragePooling1D()(x)
        >>> text = embedded(keras.Model(tokens, keras.layers.Dense(2)(x)))
        >>> explainer = text.explained_by(tfxai.integrated_gradients(text.head, steps=8))
        >>> maps = explainer(np.array([[3, 8, 1, 0], [5, 0, 0, 0]]))
        >>> maps.shape, np.count_nonzero(maps, 1)
        (TensorShape([2, 4]), array([3, 1]))
    """
    found = token_embedding(checks.model(model), layer)
    declared = keras_graph.declared_inputs(model)
    names = [str(name) for name in leaf_names(declared, declared)]
    if padding is None:
        padding = next((name for name in PADDING_INPUTS if name in names), None)
    elif isinstance(padding, bool) or not isinstance(padding, int | str):
        raise TypeError(f"padding={padding!r}: expected a token id or the name of an input")
    elif isinstance(padding, str) and padding not in names:
        raise ValueError(f"padding={padding!r}: no input has this name, but {', '.join(names)}")
    return EmbeddedModel(model, found.layer, padding)
