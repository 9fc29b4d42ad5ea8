"""What a builder makes of a model: how its maps are computed, and what is known of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import keras

from tfxai.core.map_checks import sampling_warnings
from tfxai.core.types import Attribution, Score, Tensors
from tfxai.explaining.explanation import Explanation
from tfxai.models.model_info import ModelInspector
from tfxai.rules.backward import Report


class Method(NamedTuple):
    """What an explainer runs."""

    inspector: ModelInspector
    """The explained model, and what is known of it."""
    build: Callable[[int], Attribution]
    """How many rows may be differentiated at once -> the attribution."""
    score: Score
    """What is explained."""
    random: bool = False
    """Whether the seed matters."""
    arrays_per_example: int = 4
    """How many arrays of an example's size the method keeps for each example."""
    rows_per_example: int = 1
    """How many rows the method makes of each example at a time."""
    learnt: keras.layers.Layer | None = None
    """What the method has learnt, such as patterns; saved with the explainer."""
    report: Callable[[Tensors], Report] | None = None
    """The inputs' TensorSpecs -> what the rule replaces; None for a method without a rule."""
    like: Callable[[Tensors], Tensors] | None = None
    """Inputs -> arrays of the maps' shapes; None if these are the inputs' shapes."""
    check: Callable[[Tensors], None] | None = None
    """Raises a ValueError for (concrete) inputs that the method cannot explain."""
    if_constant: str = (
        "the score does not change with the input there, or alike everywhere; another target, or "
        "a method that looks further away (integrated_gradients, occlusion), may tell more"
    )
    """What a reader may try where a map is the same everywhere."""
    warn: Callable[[Explanation], list[str]] | None = None
    """A record -> what its reader is to be warned of, besides constant maps."""

    @property
    def model(self) -> keras.Model:
        """The explained model."""
        return self.inspector.model


def missed_tolerance(tolerance: float | None) -> Callable[[Explanation], list[str]] | None:
    """Give what warns of maps that have not reached the tolerance, if there is one."""
    if tolerance is None:
        return None
    return lambda record: sampling_warnings(record.diagnostics, tolerance)
