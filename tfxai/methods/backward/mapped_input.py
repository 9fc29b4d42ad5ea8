"""Which of several inputs a layer's activations map: the one whose places they stand for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tfxai.core.axes import Order
from tfxai.core.named_inputs import check_input_name, leaf_names, quoted
from tfxai.core.tracing import any_batch_specs
from tfxai.core.types import Tensors
from tfxai.methods.backward.placed_activations import Places
from tfxai.models import keras_graph
from tfxai.models.model_info import ModelInspector


class MappedInput:
    """The input that is mapped; it is found once, for the first inputs that are seen.

    Args:
        inspector: the inspector of the model.
        name: the option `inputs`: the name of the input, None for the one that leads to the
            activations.
        leading: symbolic inputs and targets -> the places of the inputs that lead to the
            activations, among all inputs.
        layer: what messages call the activations.

    Raises:
        TypeError: `name` is no name.
    """

    def __init__(
        self,
        inspector: ModelInspector,
        name: Any,
        leading: Callable[[Tensors, tf.Tensor], list[int]],
        layer: str,
    ):
        if name is not None and not isinstance(name, str | int):
            raise TypeError(
                f"inputs={name!r}: expected the name of one input, since each input is mapped by "
                "activations of its own"
            )
        self.inspector = inspector
        self.name = name
        self.leading = leading
        self.layer = layer
        self._found: int | None = None

    def place(self, inputs: Tensors) -> int:
        """Give the place of the mapped input among all, in the order of `tf.nest.flatten`.

        Args:
            inputs: tensors or TensorSpecs; once the input is found, any values in the structure of
                the inputs.

        Raises:
            ValueError: the model has no such input, or it is not clear which one is to be mapped.
        """
        if self._found is None:
            names = self._names(inputs)
            if self.name is not None:
                check_input_name(self.name, names)
                self._found = names.index(self.name)
            else:
                self._found = 0 if len(names) == 1 else self._leading(inputs, names)
        return self._found

    def select(self, values: Tensors) -> Any:
        """Give the mapped input's part of values in the structure of the inputs."""
        return tf.nest.flatten(values)[self.place(values)]

    def places(self, inputs: Tensors) -> Places:
        """Give where activations lie in the mapped input, in the graph of the inputs."""
        return places_in(self.inspector, inputs, self.place(inputs))

    def check(self, activation: tf.Tensor, inputs: Tensors, *, placed: bool) -> None:
        """Raise a ValueError where the mapped one of several inputs does not lead to an activation.

        Args:
            activation: in the graph of the inputs.
            inputs: symbolic inputs.
            placed: whether its positions must stand for places of the input.
        """
        names = self._names(inputs)
        places = self.places(inputs)
        leads = places.lead_to(activation) if placed else places.are_before(activation)
        if len(names) == 1 or leads:
            return
        others = [
            name
            for place, name in enumerate(names)
            if places_in(self.inspector, inputs, place).lead_to(activation)
        ]
        raise ValueError(
            f"inputs={names[self.place(inputs)]!r}: the positions of {self.layer}, "
            f"{activation.shape}, stand for no places of this input"
            + (f", but for those of another one: {_as_code(others)}" if others else "")
            + "; or name another layer="
        )

    def _leading(self, inputs: Tensors, names: Sequence[Any]) -> int:
        found: list[int] = []

        def trace(inputs: Tensors, targets: tf.Tensor) -> None:
            found[:] = self.leading(inputs, targets)  # TensorFlow may trace twice.

        # Not in a graph of its own: the weights may be tensors of the graph that is being built.
        targets = tf.TensorSpec([None], tf.int32)
        tf.function(trace, autograph=False).get_concrete_function(any_batch_specs(inputs), targets)
        if len(found) == 1:
            return found[0]
        if not found:
            raise ValueError(
                f"{self.layer}: no positions stand for places of one of the inputs "
                f"{quoted(names)}; name another layer=, or, for maps of the layer's own size, the "
                f"input that it is of: {_as_code(names, 'upsample=None')}"
            )
        several = [names[place] for place in found]
        raise ValueError(
            f"{self.layer}: there are positions that stand for places of {len(several)} inputs; "
            f"say which one is to be mapped: {_as_code(several)}"
        )

    def _names(self, inputs: Tensors) -> list[Any]:
        return leaf_names(inputs, keras_graph.declared_inputs(self.inspector.model))


def places_in(inspector: ModelInspector, inputs: Tensors, place: int) -> Places:
    """Give where activations lie in one of several symbolic inputs."""
    return Places(tf.nest.flatten(inputs)[place], Order((inspector.order(inputs).channels[place],)))


def _as_code(names: Sequence[Any], *others: str) -> str:
    """Give the options that name one of several inputs, to be pasted."""
    return " or ".join(", ".join([f"inputs={name!r}", *others]) for name in names)
