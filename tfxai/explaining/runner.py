"""Runs a method in graphs that are traced once, and in bounded memory."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tfxai.core import batch
from tfxai.core.memory import memory_budget, rows_within
from tfxai.core.named_inputs import as_declared
from tfxai.core.tracing import in_batches, in_slices, traced
from tfxai.core.types import Result, Tensors
from tfxai.explaining.method import Method
from tfxai.explaining.replicas import on_replicas
from tfxai.models import keras_graph, scored_models
from tfxai.models.model_info import ModelInfo

ROWS_IF_SIZE_UNKNOWN = 8
"""How many rows, and examples, to take at once if the size of an example is not known."""


class Runner:
    """Runs a method on concrete or symbolic inputs of any batch size.

    Args:
        method: what to run; the variables of its model are shared, not copied.
        dtype: the inputs' type, "float32" or "float64".
    """

    def __init__(self, method: Method, dtype: str):
        self.method = method
        self.model = method.model
        self.inspector = method.inspector
        self.dtype = tf.as_dtype(dtype)
        self.memory = memory_budget()
        self._graphs: dict[tuple, Callable] = {}

    def cast(self, inputs: Tensors) -> Tensors:
        """Give inputs in the runner's data type, and in the structure that the model declares."""
        return batch.cast(as_declared(inputs, keras_graph.declared_inputs(self.model)), self.dtype)

    def info(self, inputs: Tensors) -> ModelInfo:
        """Give what is known of the model; it is traced once, for the first (cast) inputs."""
        return self.inspector.model_info(self.specs(inputs))

    def classes(self, inputs: Tensors) -> int | None:
        """Give how many classes the score can explain; None if the model predicts none for it."""
        return self.info(inputs).classes(self.method.score)

    def specs(self, inputs: Tensors) -> Tensors:
        """Give the TensorSpecs of inputs, for any batch size, in the runner's data type."""
        return tf.nest.map_structure(
            lambda x: tf.TensorSpec([None, *x.shape[1:]], self.dtype), inputs
        )

    def predicted(self, inputs: Tensors) -> tf.Tensor:
        """Give targets ``[B]`` that stand for the predicted classes; `read` replaces them.

        Raises:
            ValueError: the outputs are not one row of classes per example.
        """
        if self.classes(inputs) is None:
            raise scored_models.no_prediction(self.info(inputs).outputs, self.method.score)
        return tf.fill([tf.shape(tf.nest.flatten(inputs)[0])[0]], scored_models.PREDICTED)

    def prepare(
        self, inputs: Tensors, strategy: tf.distribute.Strategy | None = None, *, reads: bool
    ) -> None:
        """Trace the graphs that explain inputs like these, so that no later call traces.

        Args:
            inputs: examples.
            strategy: as in `attribute`.
            reads: whether `read` is needed, for the predicted classes or the scores.
        """
        self.attribute(inputs, strategy)
        if reads:
            self.read(inputs)

    def read(self, inputs: Tensors) -> Callable[..., tuple[tf.Tensor, tf.Tensor]]:
        """Give a graph (inputs, targets) -> (the explained classes, their scores).

        It computes `scored_models.scored_targets`, and is traced for inputs like these.
        """
        predicts = self.classes(inputs) is not None
        forward = scored_models.scored_targets(self.model, self.method.score, predicts=predicts)
        return self._batched("read", forward, self.rows(inputs), 2, inputs)

    def attribute(
        self, inputs: Tensors, strategy: tf.distribute.Strategy | None = None
    ) -> Callable[..., Result]:
        """Give the method's attribution, traced for inputs like these.

        Args:
            inputs: examples, concrete or symbolic.
            strategy: a strategy whose replicas share the examples; None for one device.
        """
        explained = scored_models.explained(self.model, self.method.score)

        def attribution(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
            build = self.method.build(self.rows(inputs))
            return build(inputs, explained(inputs, targets), seed)

        size = self.examples_at_once(inputs)
        if strategy is None:
            return self._batched("attribute", attribution, size, 3, inputs)
        on_all = on_replicas(in_batches(attribution, size), strategy)
        return self._graph("replicas", on_all, 3, inputs)

    def rows(self, inputs: Tensors) -> int:
        """Give how many rows may be differentiated at once."""
        if batch.feature_count(inputs) is None:
            return ROWS_IF_SIZE_UNKNOWN
        return rows_within(self.memory, self.info(inputs).bytes_per_row)

    def examples_at_once(self, inputs: Tensors) -> int:
        """Give how many examples to explain together: up to two full chunks, if memory allows."""
        features = batch.feature_count(inputs)
        if features is None:
            return ROWS_IF_SIZE_UNKNOWN
        bytes_per_example = self.method.arrays_per_example * features * self.dtype.size
        rows = self.rows(inputs)
        two_chunks = 2 * rows // self.method.rows_per_example
        return max(1, min(rows, two_chunks, self.memory // bytes_per_example))

    def shrink(self, inputs: Tensors) -> bool:
        """Halve the memory budget; give False if a chunk is a single row already."""
        rows = self.rows(inputs)
        if rows == 1:
            return False
        self.memory = min(self.memory, rows * self.info(inputs).bytes_per_row) // 2
        self._graphs.clear()
        return True

    def _batched(
        self, name: str, function: Callable, size: int, arguments: int, inputs: Tensors
    ) -> Callable:
        """Trace a function as `_graph` does, to be run on at most `size` examples at a time.

        Examples that have values are cut in Python: a loop within the graph would be as large as
        the graph itself, and takes as long to be optimised.
        """
        graph = self._graph(name, function, arguments, inputs)
        if tf.executing_eagerly():
            return in_slices(graph, size)
        return self._graph(f"{name} in batches", in_batches(graph, size), arguments, inputs)

    def _graph(self, name: str, function: Callable, arguments: int, inputs: Tensors) -> Callable:
        """Trace a function once, for any batch size, target and seed.

        A model that declares no inputs is traced again for inputs of another shape; so is a method
        that needs to know their size, as a rule does to read the steps of a loop.

        Args:
            name: what the function computes; part of the key under which the graph is kept.
            function: a function of the first `arguments` of (inputs, targets, seed).
            arguments: how many arguments the function takes.
            inputs: examples, concrete or symbolic.
        """
        declared = keras_graph.declared_inputs(self.model)
        reads_loops = self.method.report is not None and self.info(inputs).has_loops
        needs_size = self.method.needs_size or reads_loops
        like = inputs if declared is None or needs_size else declared
        specs = self.specs(like)
        key = (name, *(tuple(s.shape) for s in tf.nest.flatten(specs)))
        if key not in self._graphs:
            signature = [specs, tf.TensorSpec([None], tf.int32), tf.TensorSpec([2], tf.int32)]
            with tf.init_scope():
                self._graphs[key] = traced(function).get_concrete_function(*signature[:arguments])
        return self._graphs[key]
