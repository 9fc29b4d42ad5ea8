"""The forward pass of a model as a graph, which is run as a function, or copied."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

import keras
import tensorflow as tf

from tfxai.core.tracing import traced
from tfxai.core.types import Tensors
from tfxai.models import keras_graph
from tfxai.models.graph_copy import GraphCopy, is_copyable
from tfxai.models.heads import strip_head
from tfxai.models.integer_inputs import behind_the_cast
from tfxai.models.named_layers import (
    check_call,
    checked_output,
    recorded_calls,
)
from tfxai.scores.forward import Forward


class ModelGraph:
    """The graph of ``model(inputs, training=False)`` for inputs of any batch size.

    Args:
        model: any Keras model.
        specs: the TensorSpecs of the inputs, ``[None, ...]``.
    """

    def __init__(self, model: keras.Model, specs: Tensors):
        self.specs = specs
        self._shared: dict[Any, Callable] = {}

        def trace(*flat: tf.Tensor) -> tuple[Tensors, Tensors]:
            # TensorFlow traces twice where the first trace makes the variables.
            for results in calls.values():
                results.clear()
            self.forward = forward_of(model(tf.nest.pack_sequence_as(specs, flat), training=False))
            return self.forward.outputs, self.forward.logits

        with (
            tf.init_scope(),
            behind_the_cast(model, specs),
            recorded_calls(keras_graph.operations(model)) as calls,
        ):
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

    def results_of(self, layer: Any) -> list[tf.Tensor | None]:
        """Give the outputs of a layer's calls; None for what is no tensor of this graph."""
        names = self._calls.get(id(layer), [])
        return [None if n is None else self.graph.get_tensor_by_name(n) for n in names]

    def run(self, inputs: Tensors) -> Forward:
        """Call the graph as a function, which takes one operation in the current graph."""
        outputs, logits = self._to_run(*tf.nest.flatten(inputs))
        return Forward(outputs, logits, self.forward.heads)

    @cached_property
    def _to_run(self) -> Callable:
        """The function with normalisations folded into convolutions, if it has any."""
        if not (self.is_copyable and self._copier.has_normalizations):
            return self.function

        def trace(*flat: tf.Tensor) -> tuple[Tensors, Tensors]:
            forward, _ = self.copy(tf.nest.pack_sequence_as(self.specs, flat), {}, folded=True)
            return forward.outputs, forward.logits

        with tf.init_scope():
            return traced(trace).get_concrete_function(*tf.nest.flatten(self.specs))

    def copy(
        self,
        inputs: Tensors,
        layers: Mapping[str, tuple[Any, int]],
        *,
        folded: bool,
        twice: bool = False,
    ) -> tuple[Forward, dict[str, tf.Tensor]]:
        """Copy the operations into the graph that is being built.

        Args:
            inputs: what the copies read.
            layers: names of layers -> the layer, and the number of its call.
            folded: whether normalisations are folded into convolutions.
            twice: whether second derivatives are wanted.

        Returns:
            What the model gives, and the outputs of the layers by their names.
        """
        outputs, logits, heads = self.forward
        tensors = tf.nest.flatten((outputs, logits))
        names = [t.name for t in tensors] + [self._layer(n, *call) for n, call in layers.items()]
        copies = self._copier.into_current_graph(
            tf.nest.flatten(inputs), names, folded=folded, twice=twice
        )
        of_layers = copies[len(tensors) :]
        copied = tf.nest.pack_sequence_as((outputs, logits), copies[: len(tensors)])
        forward = Forward(copied[0], copied[1], heads)
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


def forward_of(outputs: Tensors) -> Forward:
    """Find the logits behind each output of a model in the graph of its outputs."""
    flat = tf.nest.flatten(outputs)
    stripped = [strip_head(x) if is_floating(x) else (x, None) for x in flat]
    logits, heads = zip(*stripped, strict=True)
    pack = partial(tf.nest.pack_sequence_as, outputs)
    return Forward(outputs, pack(logits), pack(heads))


def is_floating(output: Any) -> bool:
    """Whether an output is a tensor of a graph, of floating-point numbers.

    A subclassed model may give anything else, too, such as constants, weights, or None.
    """
    return tf.is_symbolic_tensor(output) and output.dtype.is_floating
