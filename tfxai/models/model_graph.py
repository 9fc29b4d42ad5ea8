"""The forward pass of a model as a graph: traced once, kept with the model, and shared by all.

All explainers and scores of a model run this graph as a function, or copy its operations.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfxai.core.tracing import any_batch_specs, traced
from tfxai.core.types import Tensors
from tfxai.models import keras_graph
from tfxai.models.architecture import GRAPHS, architecture, is_same
from tfxai.models.graph_copy import GraphCopy, is_copyable
from tfxai.models.heads import strip_head
from tfxai.models.named_layers import (
    check_call,
    checked_output,
    find_layer,
    layer_outputs,
    recorded_calls,
)
from tfxai.scores import as_rows

_ONE_THREAD = threading.RLock()
"""While a model is traced, its layers note their results, which no other thread may disturb."""


class Forward(NamedTuple):
    """What a model gives for inputs."""

    outputs: Tensors
    """The model's outputs."""
    logits: tf.Tensor | None
    """The outputs before a softmax or sigmoid; None if there are several outputs."""
    head: str | None
    """What is between logits and outputs, "softmax", "sigmoid" or None."""

    def single(self) -> tf.Tensor:
        """Give the logits, or raise a ValueError for a model with several outputs."""
        return as_rows(self.outputs) if self.logits is None else self.logits


class ModelGraph:
    """The graph of ``model(inputs, training=False)`` for inputs of any batch size.

    Args:
        model: any Keras model.
        specs: the TensorSpecs of the inputs, ``[None, ...]``.
    """

    def __init__(self, model: keras.Model, specs: Tensors):
        self.specs = specs
        self._shared: dict[Any, Callable] = {}

        def trace(*flat: tf.Tensor) -> tuple[Tensors, tf.Tensor | None]:
            # TensorFlow traces twice where the first trace makes the variables.
            for results in calls.values():
                results.clear()
            self.forward = _forward(model(tf.nest.pack_sequence_as(specs, flat), training=False))
            return self.forward.outputs, self.forward.logits

        with tf.init_scope(), recorded_calls(keras_graph.operations(model)) as calls:
            self.function = traced(trace).get_concrete_function(*tf.nest.flatten(specs))
        self._calls = {key: list(map(self._name, results)) for key, results in calls.items()}

    @property
    def graph(self) -> tf.Graph:
        """The traced graph; its first inputs are those of the model."""
        return self.function.graph

    @cached_property
    def is_copyable(self) -> bool:
        """Whether copies of the operations can take their place."""
        outputs = tf.nest.flatten(self.forward.outputs)
        return None not in map(self._name, outputs) and is_copyable(self.graph)

    def has_recorded(self, layer: Any) -> bool:
        """Whether the outputs of a layer are known; not of layers made during the first call."""
        return id(layer) in self._calls

    def run(self, inputs: Tensors) -> Forward:
        """Call the graph as a function, which takes one operation in the current graph."""
        outputs, logits = self._to_run(*tf.nest.flatten(inputs))
        return Forward(outputs, logits, self.forward.head)

    @cached_property
    def _to_run(self) -> Callable:
        """The function with normalisations folded into convolutions, if it has any."""
        if not (self.is_copyable and self._copier.has_normalizations):
            return self.function

        def trace(*flat: tf.Tensor) -> tuple[Tensors, tf.Tensor | None]:
            forward, _ = self.copy(tf.nest.pack_sequence_as(self.specs, flat), {}, folded=True)
            return forward.outputs, forward.logits

        with tf.init_scope():
            return traced(trace).get_concrete_function(*tf.nest.flatten(self.specs))

    def copy(
        self, inputs: Tensors, layers: Mapping[str, tuple[Any, int]], *, folded: bool
    ) -> tuple[Forward, dict[str, tf.Tensor]]:
        """Copy the operations into the graph that is being built.

        Args:
            inputs: what the copies read.
            layers: names of layers -> the layer, and the number of its call.
            folded: whether normalisations are folded into convolutions.

        Returns:
            What the model gives, and the outputs of the layers by their names.
        """
        outputs, logits, head = self.forward
        tensors = [*tf.nest.flatten(outputs), *([] if logits is None else [logits])]
        names = [t.name for t in tensors] + [self._layer(n, *call) for n, call in layers.items()]
        copies = self._copier.into_current_graph(tf.nest.flatten(inputs), names, folded=folded)
        of_layers = copies[len(tensors) :]
        count = len(tf.nest.flatten(outputs))
        copied = tf.nest.pack_sequence_as(outputs, copies[:count])
        forward = Forward(copied, None if logits is None else copies[count], head)
        return forward, dict(zip(layers, of_layers, strict=True))

    def shared(self, key: Any, make: Callable[[], Callable]) -> Callable:
        """Give the function that `make` has made for this key, now or at an earlier call."""
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]

    @cached_property
    def _copier(self) -> GraphCopy:
        return GraphCopy(self.function)

    def _name(self, result: Any) -> str | None:
        """Give the name of a layer's result, None if it is no tensor of this graph."""
        is_symbolic = isinstance(result, tf.Tensor) and not hasattr(result, "numpy")
        return result.name if is_symbolic and result.graph is self.graph else None

    def _layer(self, name: str, layer: Any, number: int) -> str:
        results = self._calls.get(id(layer), [])
        check_call(name, number, len(results))
        return checked_output(name, results[number - 1])


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
    return _forward(model(inputs, training=False))


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

    Returns:
        What the model gives, and a function from the names to the layers' outputs, which raises a
        ValueError for a layer that was not called, was called several times, or has several
        outputs.
    """
    if keras_graph.reads_own_variables():
        graph = model_graph(model, inputs)
        calls = {name: find_layer(model, name) for name in layers}
        if graph.is_copyable and all(graph.has_recorded(layer) for layer, _ in calls.values()):
            forward, outputs = graph.copy(inputs, calls, folded=folded)
            return forward, outputs.__getitem__
    with (
        keras_graph.inlined() if inline else nullcontext(),
        layer_outputs(model, layers) as output_of,
    ):
        return _forward(model(inputs, training=False)), output_of


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


def _forward(outputs: Tensors) -> Forward:
    if not tf.is_tensor(outputs):
        return Forward(outputs, None, None)
    return Forward(outputs, *strip_head(outputs))


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
