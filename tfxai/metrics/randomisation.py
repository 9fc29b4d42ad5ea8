"""Consistency: whether attributions depend on what the model has learnt.

Its weights are made random, and the maps before and after are compared (Adebayo et al. 2018b).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from tfxai.core import checks
from tfxai.metrics.arrays import checked_targets
from tfxai.metrics.explain import Explain, explain_in_batches
from tfxai.metrics.given_inputs import given_inputs
from tfxai.metrics.rows import ratio
from tfxai.metrics.similarity import rank_correlation
from tfxai.models import keras_graph

ORDERS = ("cascading", "independent")


@dataclass(frozen=True)
class Consistency:
    """How similar a model's maps stay when its weights are made random, stage by stage."""

    layers: tuple[tuple[str, ...], ...]
    """The names of the layers that are made random at each of the S stages."""
    correlations: np.ndarray
    """Spearman's rank correlation of the maps, ``[S, B]``; NaN where a map is constant."""

    @property
    def mean(self) -> np.ndarray:
        """The mean absolute correlation over the stages where it is not NaN, ``[B]``.

        It is small for maps that depend on the weights.
        """
        sizes = np.abs(self.correlations)
        known = np.isfinite(sizes)
        return ratio(np.where(known, sizes, 0).sum(0), known.sum(0), np.nan)


def consistency(
    model: keras.Model,
    explain: Explain,
    inputs: Any,
    targets: Any,
    *,
    order: str = "cascading",
    stages: int = 5,
    seed: int = 0,
    batch_size: int = 32,
) -> Consistency:
    """Compare maps before and after the model's weights are made random, layer by layer.

    The values of each weight array are shuffled. So activations keep their size in any
    architecture, and only what was learnt is lost.

    Args:
        model: its weights are changed and put back, so nothing else may use the model meanwhile.
        explain: maps inputs ``[B, ...]`` and targets ``[B]`` to attributions of this very model,
            such as one of its `Explainer`s. To sum over channels, as the papers do, pass a function
            that calls the explainer and sums. Patterns stay those of the trained model; to fit them
            anew at each stage, pass a function that does.
        inputs: ``[B, ...]``; of a model of several inputs a dict by name, whose maps count
            together.
        targets: class indices, ``[B]`` or one for all; None for the class that the model predicts
            at each stage.
        order: "cascading" goes from the output to the input, and layers that were made random stay
            random; "independent" restores a stage before the next one.
        stages: into how many groups the layers are divided, at most one for each layer.
        seed: shuffles the weights.
        batch_size: how many examples are explained at once.

    Returns:
        A `Consistency`.

    Raises:
        ValueError: a model without weights, or attributions that are not finite.

    Reference:
        Adebayo et al. 2018b, section 3, who draw new weights from the initialisers instead
        (docs/methods.md, Consistency and invariance).

    Example:
        >>> model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4, "relu")])
        >>> model.add(keras.layers.Dense(3))
        >>> inputs = np.random.default_rng(0).normal(size=(2, 6))
        >>> same = consistency(model, lambda x, t: x, inputs, 0)  # a map of the input alone
        >>> same.correlations.shape, same.mean.round(6)
        ((2, 2), array([1., 1.]))
    """
    checks.model(model)
    cascading = checks.one_of("order", order, ORDERS) == "cascading"
    names, variables = _layer_groups(model, checks.positive_integer("stages", stages))
    given = given_inputs(inputs)
    classes = checked_targets(targets, len(given.flat[0]))
    maps = explain_in_batches(explain, given.structure, classes, batch_size)
    correlations = []
    with _restored([v for group in variables for v in group]) as restore:
        for number, group in enumerate(variables):
            _shuffle(group, np.random.default_rng([seed, number]))
            others = explain_in_batches(explain, given.structure, classes, batch_size)
            correlations.append(rank_correlation(maps, others))
            if not cascading:
                restore()
    return Consistency(tuple(map(tuple, names)), np.stack(correlations))


def _layer_groups(
    model: keras.Model, stages: int
) -> tuple[list[list[str]], list[list[keras.Variable]]]:
    """Divide the layers that have weights into groups, from the output to the input.

    Returns:
        The names of the layers of each group, and the variables of each group.
    """
    layers = keras_graph.weighted_layers(model)[::-1]
    if not layers:
        raise ValueError(f"model: {model.name} has no weights")
    parts = np.array_split(np.arange(len(layers)), min(stages, len(layers)))
    groups = [layers[part[0] : part[-1] + 1] for part in parts]
    names = [[name for name, _ in group] for group in groups]
    return names, [[v for _, variables in group for v in variables] for group in groups]


@contextmanager
def _restored(variables: Sequence[keras.Variable]) -> Iterator[Any]:
    """Restore the values of variables at the end; give a function that does so at any time."""
    values = [v.numpy() for v in variables]

    def restore() -> None:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    try:
        yield restore
    finally:
        restore()


def _shuffle(variables: Sequence[keras.Variable], random: np.random.Generator) -> None:
    """Permute the values within each variable."""
    for variable in variables:
        value = variable.numpy()
        variable.assign(random.permutation(value.ravel()).reshape(value.shape))
