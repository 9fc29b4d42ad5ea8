"""What a model's graph tells before it is explained: its head, its size, its channels."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfxai.core import axes, checks
from tfxai.core.axes import Order
from tfxai.core.named_inputs import as_declared
from tfxai.core.tracing import any_batch_specs
from tfxai.core.types import Score, Tensors
from tfxai.models import graph_axes, keras_graph
from tfxai.models.convolution_checks import check_convolutions
from tfxai.models.graph_size import row_bytes
from tfxai.models.held_inputs import HoldingModel
from tfxai.models.shared_graphs import model_graph, outputs_of
from tfxai.models.unrolled_loops import has_loops
from tfxai.scores import logit, part
from tfxai.scores.forward import Forward


class ModelInfo(NamedTuple):
    """What the graph of a model's forward pass tells."""

    outputs: Tensors
    """The TensorSpecs of the outputs."""
    heads: Any
    """In the same structure "softmax" or "sigmoid"; None where an output is taken as logits."""
    bytes_per_row: int
    """The size of all intermediate results of the forward pass, for one example."""
    channel_axes: tuple[int | None, ...] = ()
    """The axis of each input that the model reads as its channels; None where nothing tells."""
    has_loops: bool = False
    """Whether the graph has loops, such as those of recurrent layers."""

    @property
    def head(self) -> str | None:
        """The head of a single output."""
        return self.heads if isinstance(self.outputs, tf.TensorSpec) else None

    @property
    def units(self) -> int | None:
        """The size of the last axis of a single output ``[B, C]``, 1 for ``[B]``, or None."""
        if not isinstance(self.outputs, tf.TensorSpec) or self.outputs.shape.rank not in (1, 2):
            return None
        return 1 if self.outputs.shape.rank == 1 else self.outputs.shape[-1]

    def classes(self, score: Score) -> int | None:
        """Give how many classes a score of the outputs can explain; None for any number."""
        return part.class_count(score, self.outputs)

    def head_of(self, score: Score) -> str | None:
        """Give the head that is bypassed for a score, if there is one."""
        output = part.whole(score, self.forward)
        return output.heads if isinstance(output.outputs, tf.TensorSpec) else None

    @property
    def forward(self) -> Forward:
        """The TensorSpecs of the outputs with their heads."""
        return Forward(self.outputs, self.outputs, self.heads)


class ModelInspector:
    """Reads a model's graph once, for the first inputs that it sees, and keeps what it tells.

    Args:
        model: any Keras model.
        data_format: where the channels of the model's inputs are, "channels_last" or
            "channels_first"; None to read it from the model.
    """

    def __init__(self, model: keras.Model, data_format: str | None = None):
        self.model = model
        self.data_format = checks.one_of("data_format", data_format, (None, *axes.DATA_FORMATS))
        self._info: ModelInfo | None = None

    def model_info(self, inputs: Tensors) -> ModelInfo:
        """Give what the graph for inputs like these tells."""
        if self._info is None:
            self._info = trace_info(self.model, any_batch_specs(inputs))
        return self._info

    def as_declared(self, argument: str, value: Any) -> Any:
        """Give a dict by the names of inputs in the structure that the model declares.

        Args:
            argument: the argument's name, for messages.
            value: a dict of numbers and arrays; any other value is returned unchanged.
        """
        if not isinstance(value, dict):
            return value
        return as_declared(_arrays(value), keras_graph.declared_inputs(self.model), name=argument)

    def order(self, inputs: Tensors) -> Order:
        """Give the order of the axes of inputs."""
        is_given = self.data_format is not None
        read = None if is_given else self.model_info(inputs).channel_axes
        return axes.order_of(inputs, read=read, data_format=self.data_format)


def trace_info(model: keras.Model, inputs: Tensors) -> ModelInfo:
    """Read the graph of a model for inputs like these, tensors or TensorSpecs.

    Raises:
        ValueError: the model has a convolution that TensorFlow cannot compute on this machine.
    """
    whole, given = model, inputs
    if isinstance(model, HoldingModel):
        whole, given = model.whole, [inputs, any_batch_specs(model.held)]
    graph = model_graph(whole, given)
    check_convolutions(graph.graph)
    count = len(tf.nest.flatten(inputs))
    return ModelInfo(
        tf.nest.map_structure(_spec, graph.forward.outputs),
        graph.forward.heads,
        row_bytes(graph.function, [x.shape[1:] for x in tf.nest.flatten(given)]),
        tuple(graph_axes.channel_axis(x) for x in graph.graph.inputs[:count]),
        has_loops(graph.graph),
    )


def _spec(output: Any) -> tf.TensorSpec | None:
    """Give the TensorSpec of an output; None for what is no tensor, which a model may give, too."""
    return any_batch_specs(output) if tf.is_tensor(output) else None


def check_logits(
    model: keras.Model, info: ModelInfo, examples: Tensors, score: Score = logit
) -> None:
    """Raise for a model whose outputs are probabilities, but which has no head to bypass.

    Every function that needs the logits of a model calls this one. A head that is written by hand,
    such as exp(z) / sum(exp(z)), is recognised by outputs that sum to 1, both for the first example
    and for zeros.

    Args:
        model: any Keras model.
        info: what the model's graph tells.
        examples: concrete inputs ``[B, ...]``.
        score: a score of the logits; the output that it reads is checked.

    Raises:
        ValueError: the output has no logits, or the model has no such output.
    """
    spec, _, head = part.whole(score, info.forward)
    if not isinstance(spec, tf.TensorSpec) or spec.shape.rank is None or spec.shape.rank < 2:
        return
    if head is not None or spec.shape[-1] in (None, 1):
        return
    first_and_zeros = tf.nest.map_structure(lambda x: tf.concat([x[:1], 0 * x[:1]], 0), examples)
    outputs = Forward.without_heads(outputs_of(model, first_and_zeros))
    rows = np.asarray(part.whole(score, outputs).outputs)
    checks.not_probabilities(rows.reshape(-1, spec.shape[-1]))


def _arrays(value: Any) -> Any:
    """Give the values of a dict as arrays; a list is one array, with a number for each channel."""
    if isinstance(value, dict):
        return {key: _arrays(part) for key, part in value.items()}
    return np.asarray(value)
