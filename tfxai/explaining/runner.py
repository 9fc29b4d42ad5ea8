"""Runs a method on a model: in graphs that are traced once, and in bounded memory."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tfxai.core import batch
from tfxai.core.named_inputs import as_declared
from tfxai.core.tracing import in_batches, traced
from tfxai.core.types import Result, Tensors
from tfxai.explaining.method import Method
from tfxai.explaining.replicas import on_replicas
from tfxai.models import heads, keras_graph
from tfxai.models.model_info import ModelInfo, rows_within

MEMORY_BUDGET = 2**30
"""Bytes that the intermediate results of one chunk may take, about."""
ROWS_OF_UNKNOWN_SIZE = 8


class Runner:
    """A method on a model, for concrete or symbolic inputs of any batch size.

    Args:
        method: what to run; the variables of its model are shared.
        dtype: the inputs' type, "float32" or "float64".
    """

    def __init__(self, method: Method, dtype: str):
        self.method = method
        self.model = method.model
        self.inspector = method.inspector
        self.dtype = tf.as_dtype(dtype)
        self.memory = MEMORY_BUDGET
        self._graphs: dict[tuple, Callable] = {}

    def cast(self, inputs: Tensors) -> Tensors:
        """Give inputs in the runner's type and the structure that the model declares."""
        return batch.cast(as_declared(inputs, keras_graph.declared_inputs(self.model)), self.dtype)

    def info(self, inputs: Tensors) -> ModelInfo:
        """Look at the model; once, on the first (cast) inputs that are seen."""
        return self.inspector.model_info(self.specs(inputs))

    def specs(self, inputs: Tensors) -> Tensors:
        """Give inputs' TensorSpecs, for any batch, in the runner's type."""
        return tf.nest.map_structure(
            lambda x: tf.TensorSpec([None, *x.shape[1:]], self.dtype), inputs
        )

    def predicted(self, inputs: Tensors) -> tf.Tensor:
        """Give targets ``[B]`` that stand for the predicted classes, as `read` fills them in.

        Raises:
            ValueError: the outputs are not one row of classes per example.
        """
        if self.info(inputs).units is None:
            raise ValueError(
                "targets=None: the model has no [batch, classes] output to predict a class from; "
                "pass targets, or 0 if your score ignores them"
            )
        return tf.fill([tf.shape(tf.nest.flatten(inputs)[0])[0]], heads.PREDICTED)

    def prepare(self, inputs: Tensors, strategy: tf.distribute.Strategy | None = None) -> None:
        """Trace all that explaining takes, so that no later call of any kind has to."""
        self.attribute(inputs, strategy)
        self.read(inputs)

    def read(self, inputs: Tensors) -> Callable[..., tuple[tf.Tensor, tf.Tensor]]:
        """Give (inputs, targets) -> (the explained classes, their scores): `heads.scored_targets`.

        It is traced for inputs like these.
        """
        predicts = self.info(inputs).units is not None
        forward = heads.scored_targets(self.model, self.method.score, predicts=predicts)
        return self._graph("read", in_batches(forward, self.rows(inputs)), 2, inputs)

    def attribute(
        self, inputs: Tensors, strategy: tf.distribute.Strategy | None = None
    ) -> Callable[..., Result]:
        """Give the method's attribution, traced for inputs like these.

        Args:
            inputs: examples, concrete or symbolic.
            strategy: of which all replicas are to have a part in it.
        """

        def attribution(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
            return self.method.build(self.rows(inputs))(inputs, targets, seed)

        batched = in_batches(attribution, self.examples_at_once(inputs))
        if strategy is None:
            return self._graph("attribute", batched, 3, inputs)
        return self._graph("replicas", on_replicas(batched, strategy), 3, inputs)

    def rows(self, inputs: Tensors) -> int:
        """Give how many rows may be differentiated at once."""
        if batch.feature_count(inputs) is None:
            return ROWS_OF_UNKNOWN_SIZE
        return rows_within(self.memory, self.info(inputs))

    def examples_at_once(self, inputs: Tensors) -> int:
        """Give how many examples fill the chunks twice and fit, with what the method keeps."""
        features = batch.feature_count(inputs)
        if features is None:
            return ROWS_OF_UNKNOWN_SIZE
        kept = self.method.arrays_per_example * features * self.dtype.size
        rows = self.rows(inputs)
        return max(1, min(rows, 2 * rows // self.method.rows_per_example, self.memory // kept))

    def shrink(self, inputs: Tensors) -> bool:
        """Halve the memory budget; False if a single row was too much already."""
        if self.rows(inputs) == 1:
            return False
        self.memory //= 2
        self._graphs.clear()
        return True

    def _graph(self, name: str, function: Callable, arguments: int, inputs: Tensors) -> Callable:
        """Trace a function of (inputs, targets, seed) once, for any batch, target and seed.

        A model that declares no inputs is traced again for inputs of another shape.
        """
        declared = keras_graph.declared_inputs(self.model)
        like = inputs if declared is None else declared
        specs = self.specs(like)
        key = (name, *(tuple(s.shape) for s in tf.nest.flatten(specs)))
        if key not in self._graphs:
            signature = [specs, tf.TensorSpec([None], tf.int32), tf.TensorSpec([2], tf.int32)]
            with tf.init_scope():
                self._graphs[key] = traced(function).get_concrete_function(*signature[:arguments])
        return self._graphs[key]
