"""Which inputs of a model are masked, and masks of them as attributions of the whole model.

A mask method is written for a list of masked inputs whose channels are last. The other inputs of
the model stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfxai.baselines import baseline as baseline_of
from tfxai.core.axes import Order
from tfxai.core.layout import Layout, checked_covering, layout_of
from tfxai.core.named_inputs import check_input_name, check_option_names, leaf_names, of_input
from tfxai.core.types import Result, Tensors
from tfxai.models import keras_graph
from tfxai.models.model_info import ModelInspector


class Examples(NamedTuple):
    """The inputs of a model, apart by whether they are masked."""

    inputs: list[tf.Tensor]
    """The masked inputs, their channels last, ``[B, ...]`` each."""
    references: list[tf.Tensor]
    """What each of them shows where it is masked, of the same shapes."""
    others: list[tf.Tensor]
    """The inputs that stay, ``[B, ...]`` each."""


ScoreParts = Callable[[Sequence[tf.Tensor], Sequence[tf.Tensor], tf.Tensor], tf.Tensor]
"""Masked inputs with n rows for each example, channels last; the other inputs ``[B, ...]``; targets
``[n B]`` -> scores ``[n B]``."""
MaskMethod = Callable[[Examples, tf.Tensor, tf.Tensor], Result]
"""Examples, targets ``[B]``, seed ``[2]`` -> a list of maps, one for each masked input."""


class MaskedInputs(NamedTuple):
    """Which inputs of a model are masked, and how."""

    inspector: ModelInspector
    names: tuple[Any, ...] | None
    """The names of the masked inputs; None for all inputs."""
    per_channel: bool = False
    """Whether single channels are masked."""
    groups: Any = None
    """Which elements are masked together: an array, or a dict of arrays by the inputs' names."""
    baseline: Any = 0.0
    """What masked elements show, in the structure of the masked inputs."""
    bounds: tuple[Any, Any] | None = None
    """The range of the inputs, for a baseline by name."""

    def select(self, values: Tensors) -> Tensors:
        """Give the masked inputs' parts of values in the structure of the inputs.

        Returns:
            The structure itself if all inputs are masked, the part of a single input alone, and a
            dict by name for several.

        Raises:
            ValueError: the model has no input of a name.
        """
        names, flat = self._all_names(values), tf.nest.flatten(values)
        chosen = names if self.names is None else list(self.names)
        for name in chosen:
            check_input_name(name, names)
        if len(chosen) == len(flat):
            return values
        parts = {name: part for name, part in zip(names, flat, strict=True) if name in chosen}
        return parts[chosen[0]] if len(chosen) == 1 else parts

    def order(self, inputs: Tensors) -> Order:
        """Give the order of the axes of the masked inputs."""
        channels = self.inspector.order(inputs).channels
        return Order(tuple(channels[place] for place in self._places(inputs)))

    def split(self, inputs: Tensors) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """Give the masked inputs and the others."""
        flat, places = tf.nest.flatten(inputs), self._places(inputs)
        return [flat[p] for p in places], [x for p, x in enumerate(flat) if p not in places]

    def join(self, inputs: Tensors, masked: Sequence[Any], others: Sequence[Any]) -> Tensors:
        """Put together what `split` takes apart, in the structure of the inputs."""
        parts = dict(zip(self._places(inputs), masked, strict=True))
        rest = iter(others)
        count = len(tf.nest.flatten(inputs))
        flat = [parts[p] if p in parts else next(rest) for p in range(count)]
        return tf.nest.pack_sequence_as(inputs, flat)

    def masked_names(self, inputs: Tensors) -> list[Any]:
        """Give the name of each masked input."""
        names = self._all_names(inputs)
        return [names[place] for place in self._places(inputs)]

    def for_each(self, option: str, value: Any, inputs: Tensors) -> list[Any]:
        """Give the value of an option for each masked input, None where a dict has none.

        Raises:
            TypeError: a dict has a name that no input of the model has.
        """
        check_option_names(option, value, self._all_names(inputs))
        return [of_input(value, name) for name in self.masked_names(inputs)]

    def layouts(self, inputs: Tensors) -> list[Layout]:
        """Give the layout of the masks of each masked input."""
        masked = self.order(inputs).to_channels_last(self.split(inputs)[0])
        each = self.for_each("groups", self.groups, inputs)
        return [
            layout_of(x, per_channel=self.per_channel, groups=groups)
            for x, groups in zip(masked, each, strict=True)
        ]

    def maps_like(self, inputs: Tensors) -> Tensors:
        """Give zeros of the shapes of the maps of inputs."""
        pairs = zip(self.layouts(inputs), self.split(inputs)[0], strict=True)
        zeros = [layout.zeros_for(x) for layout, x in pairs]
        return self.packed(inputs, self.order(inputs).from_channels_last(zeros))

    def packed(self, inputs: Tensors, values: Sequence[Any]) -> Tensors:
        """Give values, one for each masked input, in the structure of the maps."""
        return tf.nest.pack_sequence_as(self.select(inputs), list(values))

    def _places(self, inputs: Tensors) -> list[int]:
        """Give the places of the masked inputs among all, in the order in which they are masked."""
        count = len(tf.nest.flatten(inputs))
        return tf.nest.flatten(self.select(tf.nest.pack_sequence_as(inputs, list(range(count)))))

    def _all_names(self, inputs: Tensors) -> list[Any]:
        return leaf_names(inputs, keras_graph.declared_inputs(self.inspector.model))


def masked_inputs(
    model: keras.Model,
    names: Any,
    *,
    per_channel: bool,
    groups: Any,
    baseline: Any,
    bounds: tuple[Any, Any] | None,
    data_format: str | None,
) -> MaskedInputs:
    """Check the options that say what is masked, and by what.

    Args:
        model: the model.
        names: the option `inputs`: a name, several, or None for all inputs.
        per_channel: as in `MaskedInputs`.
        groups: as in `MaskedInputs`.
        baseline: as in `MaskedInputs`; of all inputs a dict by name, too.
        bounds: as in `MaskedInputs`.
        data_format: where the channels of the inputs are.

    Raises:
        TypeError, ValueError: an option has the wrong type, or two contradict each other.
    """
    inspector = ModelInspector(model, data_format)
    labels = checked_covering(per_channel, groups)
    chosen = None
    if names is not None:
        chosen = (names,) if isinstance(names, str | int) else tuple(names)
        if not chosen or len(set(chosen)) != len(chosen):
            raise ValueError(f"inputs={names!r}: expected the names of inputs, each once")
    is_of_all = chosen is None and tf.nest.is_nested(keras_graph.declared_inputs(model))
    reference = inspector.as_declared("baseline", baseline) if is_of_all else baseline
    baseline_of(reference, bounds)  # raises for what is no baseline
    return MaskedInputs(inspector, chosen, per_channel, labels, reference, bounds)
