"""What a builder hands to the Explainer: how maps are computed, and what is known of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tfxai.core.map_checks import sampling_warnings
from tfxai.core.types import Measurement, Score, Tensors
from tfxai.explaining.explanation import Explanation
from tfxai.models.model_info import ModelInspector
from tfxai.rules.backward import Report


class Method(NamedTuple):
    """What an explainer runs."""

    build: Callable[[int], Measurement]
    """Rows that may be differentiated at once -> the measurement."""
    score: Score
    """What is explained."""
    random: bool = False
    """Whether the seed matters."""
    copies: int = 4
    """How many arrays of an example's size it keeps for each example."""
    evaluations: int = 1
    """How many rows it makes of each example at a time."""
    report: Callable[[Tensors], Report] | None = None
    """Inputs' TensorSpecs -> what its rule replaces; None for a method without a rule."""
    like: Callable[[Tensors], Tensors] | None = None
    """Inputs -> arrays of its maps' shapes; None if these are the inputs'."""
    check: Callable[[Tensors], None] | None = None
    """Raises a ValueError for (concrete) inputs that the method cannot explain."""
    if_constant: str = (
        "the score does not change with the input there, or alike everywhere; another target, or "
        "a method that looks further away (integrated_gradients, occlusion), may tell more"
    )
    """What its reader may try where a map is the same everywhere."""
    warn: Callable[[Explanation], list[str]] | None = None
    """A record -> what its reader is to be warned of, besides constant maps."""
    inspector: ModelInspector | None = None
    """Of the model, for a method that has looked at it itself."""


def missed_tolerance(tolerance: float | None) -> Callable[[Explanation], list[str]] | None:
    """Give what warns of maps that have not reached the tolerance, if there is one."""
    if tolerance is None:
        return None
    return lambda record: sampling_warnings(record.diagnostics, tolerance)
