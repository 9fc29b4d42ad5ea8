"""The inputs of a metric with their maps and their score, as they are and as they change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfxai.core import axes, checks
from tfxai.core.axes import Order
from tfxai.core.named_inputs import as_declared
from tfxai.core.types import Score, Tensors
from tfxai.metrics.arrays import baselines_of, finite, floating
from tfxai.metrics.given_inputs import GivenInputs, given_inputs
from tfxai.metrics.scoring import ScoreFunction, score_function
from tfxai.models import keras_graph


class ScoredInputs(NamedTuple):
    """The inputs that maps explain, and the score that a metric follows while they change.

    A model may have other inputs, too: they stay as they are.
    """

    inputs: list[np.ndarray]
    """The explained inputs, their channels last, ``[B, ...]`` each."""
    maps: list[np.ndarray]
    """The map of each of them; its channels are last if it has the rank of the input."""
    labels: list[str]
    """What messages call each map."""
    targets: np.ndarray
    """What is explained of each example: its class ``[B]``, or with a part, ``[B, 1 + n]``."""
    function: ScoreFunction
    """Maps all inputs of the model and targets ``[N]`` to scores ``[N]``."""
    order: Order
    """The order of the axes of the explained inputs, in which users give these and their maps."""
    places: list[int]
    """The places of the explained inputs among all."""
    given: GivenInputs
    """All inputs."""

    def score(self, parts: Sequence[np.ndarray], indices: np.ndarray) -> np.ndarray:
        """Score examples in which the explained inputs have changed.

        Args:
            parts: the changed inputs, their channels last, ``[N, ...]`` each.
            indices: the number of each example, ``[N]``, for its target and its other inputs.
        """
        changed = dict(zip(self.places, self.order.from_channels_last(list(parts)), strict=True))
        flat = [
            changed[place] if place in changed else x[indices]
            for place, x in enumerate(self.given.flat)
        ]
        return self.function(self.given.pack(flat), self.targets[indices])

    def baselines(
        self, argument: str, value: Any, bounds: tuple[Any, Any] | None
    ) -> list[np.ndarray]:
        """Give the baseline of each explained input, as `baselines_of` does, channels last."""
        inputs = self.given.among(self.places, self.order.from_channels_last(self.inputs))
        if isinstance(value, Mapping) and isinstance(inputs, list | tuple):
            named = {name: np.asarray(part) for name, part in value.items()}
            value = as_declared(named, self.given.declared, name=argument)
        found = baselines_of(argument, value, bounds, inputs, self.order)
        return self.order.to_channels_last(tf.nest.flatten(found))


def scored_inputs(
    model: Callable,
    inputs: Any,
    maps: Any,
    targets: Any,
    score: Score | None,
    data_format: str | None = None,
    *,
    argument: str = "attributions",
) -> ScoredInputs:
    """Check the inputs, maps and targets of a metric, and trace the score of its model.

    Args:
        model: as in `score_function`.
        inputs: what the model takes: ``[B, ...]``, or a structure of such arrays.
        maps: as in `GivenInputs.explained`.
        targets: class indices, ``[B]`` or one for all.
        score: as in `score_function`.
        data_format: as in `score_function`.
        argument: what messages call the maps.
    """
    given = given_inputs(inputs, _declared(model))
    explained = given.explained(argument, maps)
    # A dict of some inputs is flattened in the order of its names.
    places = tf.nest.flatten(given.among(list(explained), list(explained)))
    flat = [floating(x) if place in explained else x for place, x in enumerate(given.flat)]
    given = given._replace(structure=given.pack(flat))
    function, order, explained_of = score_function(model, score, given.structure, data_format)
    classes = checks.targets(targets, len(flat[0]), None, None)
    explained_order = Order(tuple(order.channels[place] for place in places))
    changed = explained_order.to_channels_last([flat[place] for place in places])
    labels = [given.label(argument, place) for place in places]
    return ScoredInputs(
        inputs=changed,
        maps=[
            _channels_last(finite(label, explained[place]), x, order.channels[place])
            for label, place, x in zip(labels, places, changed, strict=True)
        ],
        labels=labels,
        targets=explained_of(given.structure, classes),
        function=function,
        order=explained_order,
        places=places,
        given=given,
    )


def score_perturbed(
    scored: ScoredInputs,
    perturb: Callable[[np.ndarray, np.ndarray], Sequence[np.ndarray]],
    stages: np.ndarray,
    batch_size: int,
) -> np.ndarray:
    """Score every example at every stage of a perturbation.

    Args:
        scored: the inputs with their score.
        perturb: maps the indices of examples ``[N]`` and the stage of each ``[N]`` to the perturbed
            inputs, ``[N, ...]`` each, channels last.
        stages: integers, ``[n]``.
        batch_size: how many examples the model is given at once.

    Returns:
        ``[B, n]``.
    """
    size = checks.positive_integer("batch_size", batch_size)
    count = len(scored.targets)
    pairs = np.stack(np.meshgrid(np.arange(count), stages, indexing="ij"), -1).reshape(-1, 2)
    scores = []
    for start in range(0, len(pairs), size):
        indices, part = pairs[start : start + size].T
        scores.append(scored.score(perturb(indices, part), indices))
    return np.concatenate(scores).reshape(count, -1)


def _declared(model: Callable) -> Tensors | None:
    return keras_graph.declared_inputs(model) if isinstance(model, keras.Model) else None


def _channels_last(values: np.ndarray, x: np.ndarray, channel: int | None) -> np.ndarray:
    """Move the channels of a map to the end, if it has the rank of its input."""
    if values.ndim != x.ndim or channel is None:
        return values
    return axes.move_axis(values, channel, -1)
