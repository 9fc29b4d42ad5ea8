"""The graph of a model is traced once, kept with the model, and shared by all that need it.

All explainers and scores of a model run this graph as a function, or copy its operations.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework.func_graph import func_graph_from_py_func

from tfxai.core.tracing import any_batch_specs, traced
from tfxai.core.types import Tensors
from tfxai.models import keras_graph
from tfxai.models.architecture import GRAPHS, architecture, is_same
from tfxai.models.integer_inputs import behind_the_cast
from tfxai.models.model_graph import Forward, ModelGraph, forward_of
from tfxai.models.named_layers import find_layer, layer_outputs
from tfxai.models.unrolled_loops import CannotUnrollError, has_loops, unrolled_copy

_ONE_THREAD = threading.RLock()
"""While a model is traced, its layers note their results, which no other thread may disturb."""


class _Graphs:
    """The graphs of a model; they are an attribute of it, so that they end with it.

    This is no tuple, in which Keras would look for layers to save.

    Args:
        architecture: the model's architecture when it was traced.
        by_specs: the shapes and types of the inputs -> the graph.
    """

    def __init__(self, architecture: list[Any], by_specs: dict[str, ModelGraph]):
        self.architecture = architecture
        self.by_specs = by_specs


def model_graph(model: keras.Model, inputs: Tensors) -> ModelGraph:
    """Give the graph of a model for inputs like these; it is traced at the first call.

    A model whose layers, or their attributes, have changed since then is traced again. Where the
    values of its variables have changed, the graph reads the new ones.

    Args:
        model: any Keras model.
        inputs: tensors or TensorSpecs in the structure that the model takes.
    """
    with _ONE_THREAD:
        specs = _specs(model, inputs)
        key = repr(tf.nest.map_structure(lambda s: (s.shape, s.dtype), specs))
        graphs = vars(model).get(GRAPHS)
        if graphs is None or not is_same(graphs.architecture, architecture(model)):
            first = ModelGraph(model, specs)
            # After the trace: a model that was not built yet has its layers only now.
            graphs = vars(model)[GRAPHS] = _Graphs(architecture(model), {key: first})
        elif key not in graphs.by_specs:
            graphs.by_specs[key] = ModelGraph(model, specs)
        return graphs.by_specs[key]


def run(model: keras.Model, inputs: Tensors) -> Forward:
    """Run a model in the current graph by a call of its own graph.

    A result that is differentiated is better computed by `in_graph`.
    """
    if keras_graph.reads_own_variables():
        return model_graph(model, inputs).run(inputs)
    with behind_the_cast(model, inputs):
        return forward_of(model(inputs, training=False))


def outputs_of(model: keras.Model, inputs: Tensors) -> Tensors:
    """Give the outputs of a model for inputs that have values, by its graph if that is its own."""
    if keras_graph.reads_own_variables():
        return model_graph(model, inputs).run(inputs).outputs
    return model(inputs, training=False)


def in_graph(
    model: keras.Model,
    inputs: Tensors,
    layers: Sequence[str] = (),
    *,
    inline: bool,
    folded: bool = False,
    twice: bool = False,
    unrolled: bool = False,
) -> tuple[Forward, Callable[[str], tf.Tensor]]:
    """Put the operations of a model into the current graph.

    Args:
        model: any Keras model.
        inputs: tensors of the current graph.
        layers: names of layers whose outputs are wanted.
        inline: whether operations of functions that the model wraps in `tf.function` are wanted,
            too, so that all operations can be read. Otherwise they may be calls of functions.
        folded: whether normalisations may be folded into the convolutions before them, which is
            faster, and equal but for rounding.
        twice: whether second derivatives are wanted, beside which nothing is folded; they are
            right only where `tfxai.models.held_means.check_no_held_means` says so.
        unrolled: whether loops are wanted step by step, where the numbers of their steps are known.

    Returns:
        What the model gives, and a function from the names to the layers' outputs, which raises a
        ValueError for a layer that was not called, was called several times, or has several
        outputs.
    """
    if keras_graph.reads_own_variables():
        graph = model_graph(model, inputs)
        calls = {name: find_layer(model, name) for name in layers}
        if graph.is_copyable and all(graph.has_recorded(layer) for layer, _ in calls.values()):
            forward, outputs = graph.copy(inputs, calls, folded=folded, twice=twice)
            return forward, outputs.__getitem__
    if unrolled:
        without_loops = _unrolled(model, inputs, layers)
        if without_loops is not None:
            return without_loops
    return _called(model, inputs, layers, inline=inline)


def _called(
    model: keras.Model, inputs: Tensors, layers: Sequence[str], *, inline: bool
) -> tuple[Forward, Callable[[str], tf.Tensor]]:
    with (
        keras_graph.inlined() if inline else nullcontext(),
        behind_the_cast(model, inputs),
        layer_outputs(model, layers) as output_of,
    ):
        return forward_of(model(inputs, training=False)), output_of


def _unrolled(
    model: keras.Model, inputs: Tensors, layers: Sequence[str]
) -> tuple[Forward, Callable[[str], tf.Tensor]] | None:
    """Put a model without its loops into the current graph; None if it has none, or they stay."""
    flat = tf.nest.flatten(inputs)
    found: dict[str, tf.Tensor] = {}

    def trace(*flat: tf.Tensor) -> None:
        arguments = tf.nest.pack_sequence_as(inputs, flat)
        forward, output_of = _called(model, arguments, layers, inline=True)
        forwards.append(forward)
        found.update({name: output_of(name) for name in layers})

    forwards: list[Forward] = []
    specs = [tf.TensorSpec(x.shape, x.dtype) for x in flat]
    graph = func_graph_from_py_func("with_loops", trace, specs, {})
    if not has_loops(graph):
        return None
    forward = forwards[-1]
    outputs, logits = tf.nest.flatten(forward.outputs), tf.nest.flatten(forward.logits)
    wanted = [*outputs, *logits, *found.values()]
    if not all(map(tf.is_symbolic_tensor, wanted)):
        return None
    try:
        copies = unrolled_copy(graph, flat, wanted)
    except CannotUnrollError:
        return None
    count = len(outputs)
    copied = Forward(
        tf.nest.pack_sequence_as(forward.outputs, copies[:count]),
        tf.nest.pack_sequence_as(forward.outputs, copies[count : 2 * count]),
        forward.heads,
    )
    return copied, dict(zip(found, copies[2 * count :], strict=True)).__getitem__


def shared_function(
    model: keras.Model, key: Any, function: Callable[[Tensors, tf.Tensor], Tensors]
) -> Callable[[Tensors, tf.Tensor], Tensors]:
    """Trace a function of (inputs, targets) once for a model, whoever asks for it.

    Args:
        model: any Keras model.
        key: says what the function computes; of two functions with one key, the first is taken.
            None for a function of its own, which is not shared.
        function: gives tensors of the inputs' shapes, for inputs ``[B, ...]`` and targets ``[B]``.
    """
    traced_function = traced(function)

    def call(inputs: Tensors, targets: tf.Tensor) -> Tensors:
        if key is None or not keras_graph.reads_own_variables():
            return traced_function(inputs, targets)
        graph = model_graph(model, inputs)

        def trace() -> Callable:
            with tf.init_scope():
                any_targets = tf.TensorSpec([None], tf.int32)
                return traced(function).get_concrete_function(graph.specs, any_targets)

        results = graph.shared(key, trace)(inputs, targets)
        return tf.nest.map_structure(_with_shape_of, results, inputs)

    return call


def _with_shape_of(result: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    return result if result.shape == x.shape else tf.ensure_shape(result, x.shape)


def _specs(model: keras.Model, inputs: Tensors) -> Tensors:
    """Give the TensorSpecs for which a model is traced: as general as its declared inputs are."""
    given = any_batch_specs(inputs)
    declared = tf.nest.flatten(keras_graph.declared_inputs(model))
    flat = tf.nest.flatten(given)
    if len(declared) != len(flat) or not all(map(_includes, declared, flat)):
        return given
    general = [tf.TensorSpec(d.shape, g.dtype) for d, g in zip(declared, flat, strict=True)]
    return tf.nest.pack_sequence_as(given, general)


def _includes(general: Any, spec: tf.TensorSpec) -> bool:
    """Whether all tensors of `spec` fit a declared input."""
    if not isinstance(general, tf.TensorSpec) or general.shape.rank != spec.shape.rank:
        return False
    return all(g in (None, s) for g, s in zip(general.shape, spec.shape, strict=True))
