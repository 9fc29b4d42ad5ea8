"""`Method`: how the maps of a model are computed, and what is known of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf

from tfxai.core.axes import Order
from tfxai.core.map_checks import sampling_warnings
from tfxai.core.types import Attribution, Score, Tensors
from tfxai.explaining.explanation import Explanation
from tfxai.models.model_info import ModelInspector
from tfxai.rules.extensions import Extensions
from tfxai.rules.report import Report


class Method(NamedTuple):
    """What a builder makes, and an explainer runs."""

    inspector: ModelInspector
    """The explained model, and what is known of it."""
    build: Callable[[int], Attribution]
    """The number of rows that may be differentiated at once -> the attribution."""
    score: Score
    """What is explained, (outputs, targets) -> ``[B]``."""
    random: bool = False
    """Whether the maps depend on the seed."""
    arrays_per_example: int = 4
    """How many arrays of an example's size the method keeps in memory for each example."""
    rows_per_example: int = 1
    """How many rows of the model's input the method makes of each example at a time."""
    learnt: keras.layers.Layer | None = None
    """A layer with what the method has learnt, such as patterns; saved with the explainer."""
    report: Callable[[Tensors], Report] | None = None
    """The inputs' TensorSpecs -> the gradients that a rule replaces; None without a rule."""
    extensions: Extensions | None = None
    """What a rule does beyond its paper, known once the maps are traced; None without a rule."""
    like: Callable[[Tensors], Tensors] | None = None
    """Inputs -> arrays of the maps' shapes; None if the maps have the inputs' shapes."""
    select: Callable[[Tensors], Tensors] | None = None
    """Values in the structure of the inputs -> those of the inputs that have maps, in the structure
    of the maps; None if all inputs have."""
    needs_size: bool = False
    """Whether a graph is for one size of the inputs, where the model takes any."""
    check: Callable[[Tensors], None] | None = None
    """Raises a ValueError for concrete inputs that the method cannot explain."""
    if_constant: str = (
        "the score does not change with the input there, or alike everywhere; another target, or "
        "a method that looks further away (integrated_gradients, occlusion), may tell more"
    )
    """What the warning about a constant map says of its cause and its remedy."""
    slopes: bool = False
    """Whether the maps are slopes, in units of the score per input, whose sums over several inputs
    mean nothing."""
    final: str | None = None
    """Why no other method can build upon this one, and what to do; None where any can."""
    warn: Callable[[Explanation], list[str]] | None = None
    """A record -> warnings for its reader; those of constant maps are given for all methods."""

    @property
    def model(self) -> keras.Model:
        """The explained model."""
        return self.inspector.model

    def selected(self, values: Tensors) -> Tensors:
        """Give the parts of the inputs that have maps, of values in the structure of the inputs."""
        return values if self.select is None else self.select(values)

    def order_of_maps(self, inputs: Tensors) -> Order:
        """Give the order of the axes of the maps of inputs."""
        channels = tf.nest.pack_sequence_as(inputs, self.inspector.order(inputs).channels)
        return Order(tuple(tf.nest.flatten(self.selected(channels))))


def missed_tolerance(tolerance: float | None) -> Callable[[Explanation], list[str]] | None:
    """Give a sampling method's `warn`, for maps that miss the tolerance; None without one."""
    if tolerance is None:
        return None
    return lambda record: sampling_warnings(record.diagnostics, tolerance)
