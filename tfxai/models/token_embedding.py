"""The embedding of a model's tokens, found in the model's graph."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfxai.core.named_inputs import leaf_names
from tfxai.core.types import Tensors
from tfxai.models import keras_graph
from tfxai.models.model_graph import ModelGraph
from tfxai.models.named_layers import check_call, find_layer, name_of_layer
from tfxai.models.positions import SHAPE_READING
from tfxai.models.shared_graphs import model_graph

TOKEN_INPUTS = ("token_ids", "input_ids", "tokens")
"""Names of inputs that are token ids, as KerasHub and others call them."""


class TokenEmbedding(NamedTuple):
    """An embedding of tokens."""

    layer: str
    """Its name, with the number of its call where it is called several times."""
    source: str
    """The name of the input that it reads."""


def token_embedding(model: keras.Model, layer: str | None) -> TokenEmbedding:
    """Find the embedding of a model's tokens, and the input that it reads.

    Args:
        model: a Keras model.
        layer: the name of a layer that gives a vector for each token; None for the only
            `keras.layers.Embedding` that reads an input of the model, or for that of an input
            that is called ``token_ids``, ``input_ids`` or ``tokens``.

    Raises:
        ValueError: there is no such layer, or there are several.
    """
    declared = keras_graph.declared_inputs(model)
    if declared is None:
        raise ValueError(
            f"embedded: {model.name} declares no inputs; put keras.Input in front of it: "
            'tokens = keras.Input((None,), dtype="int32"); keras.Model(tokens, model(tokens))'
        )
    dtype = keras_graph.float_type(model)
    specs = tf.nest.map_structure(lambda s: tf.TensorSpec(s.shape, dtype), declared)
    graph = model_graph(model, specs)
    if layer is not None:
        return _named(model, graph, layer, specs, declared)
    found = [
        TokenEmbedding(name, source)
        for embedding in _embeddings(model)
        for name, source in _calls(model, graph, embedding, specs, declared)
    ]
    likely = found if len(found) == 1 else [f for f in found if f.source in TOKEN_INPUTS]
    if len(likely) == 1:
        return likely[0]
    if not found:
        raise ValueError(
            f"embedded: {model.name} has no keras.layers.Embedding that reads an input of the "
            "model; name the layer that gives a vector for each token, layer="
        )
    calls = ", ".join(f"layer={f.layer!r} reads {f.source!r}" for f in found)
    raise ValueError(f"embedded: {model.name} has several embeddings; say which one: {calls}")


def _embeddings(model: keras.Model) -> list[keras.layers.Embedding]:
    """Give the embeddings of a model, each once."""
    every = {id(x): x for x in keras_graph.layers(model)}.values()
    return [x for x in every if isinstance(x, keras.layers.Embedding)]


def _calls(
    model: keras.Model, graph: ModelGraph, layer: Any, specs: Tensors, declared: Tensors
) -> list[tuple[str, str]]:
    """Give the calls of a layer that read inputs of the model, and the first input of each."""
    results = graph.results_of(layer)
    name = name_of_layer(model, layer)
    numbered = [f"{name}@{i}" if len(results) > 1 else name for i in range(1, len(results) + 1)]
    sources = [_sources(graph, result, specs, declared) for result in results]
    return [(n, s[0]) for n, s in zip(numbered, sources, strict=True) if s]


def _named(
    model: keras.Model, graph: ModelGraph, layer: str, specs: Tensors, declared: Tensors
) -> TokenEmbedding:
    operation, number = find_layer(model, layer)
    results = graph.results_of(operation)
    check_call(layer, number, len(results))
    sources = _sources(graph, results[number - 1], specs, declared)
    if not sources:
        raise ValueError(f"embedded: layer={layer!r} reads no input of {model.name}")
    return TokenEmbedding(layer, next((s for s in sources if s in TOKEN_INPUTS), sources[0]))


def _sources(graph: ModelGraph, result: Any, specs: Tensors, declared: Tensors) -> list[str]:
    """Give the names of the inputs on whose values a result depends, those of tokens first."""
    names = leaf_names(specs, declared)
    places = {x.op.name: i for i, x in enumerate(graph.graph.inputs[: len(names)])}
    waiting, seen, found = [result.op] if tf.is_tensor(result) else [], set(), set()
    while waiting:
        operation = waiting.pop()
        if operation.name in seen or operation.type in SHAPE_READING:
            continue
        seen.add(operation.name)
        if operation.name in places:
            found.add(places[operation.name])
        waiting += [x.op for x in operation.inputs]
    return sorted((str(names[p]) for p in found), key=lambda n: n not in TOKEN_INPUTS)
