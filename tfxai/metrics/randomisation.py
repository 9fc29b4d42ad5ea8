"""Whether attributions depend on what the model has learnt, and on nothing else.

Consistency and invariance: METHODS 2.4, 3 (Metrics) and 6.5.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from scipy.stats import rankdata

from tfxai.core import checks
from tfxai.metrics.scoring import Explain, checked_targets, finite, maps_of, one_array
from tfxai.models import keras_graph

ORDERS = ("cascading", "independent")


def rank_correlation(attributions: Any, others: Any) -> np.ndarray:
    """Give Spearman's rank correlation of each map with another one, number by number.

    Papers 001 and 002 sum the maps of colour images over channels first: ``maps.sum(-1)``. So does
    the benchmark.

    Args:
        attributions: ``[B, ...]``.
        others: of the same shape.

    Returns:
        ``[B]`` in [-1, 1]; NaN where a map is the same everywhere.

    Raises:
        ValueError: shapes that differ, nothing at all, or values that are not finite.

    Reference:
        METHODS 2.4. Papers 001 and 002 call its size, between the maps of two models of which one
        has learnt random labels, consistency; between a model and one that was trained on shifted
        inputs, invariance.

    Example:
        >>> rank_correlation(np.array([[1.0, 2.0, 9.0]]), np.array([[3.0, 4.0, 5.0]])).round(6)
        array([1.])
    """
    pair = [
        finite(name, one_array(name, values, np.float64))
        for name, values in (("attributions", attributions), ("others", others))
    ]
    if pair[0].shape != pair[1].shape or pair[0].ndim < 2 or pair[0].size == 0:
        raise ValueError(
            f"attributions have shapes {list(pair[0].shape)} and {list(pair[1].shape)}: expected "
            "the same, [B, ...], and not empty"
        )
    ranks = [rankdata(v.reshape(len(v), -1), axis=1) for v in pair]
    first, second = (r - r.mean(1, keepdims=True) for r in ranks)
    sizes = np.sqrt((first**2).sum(1) * (second**2).sum(1))
    products = (first * second).sum(1)
    return np.divide(products, sizes, out=np.full(len(sizes), np.nan), where=sizes > 0)


@dataclass(frozen=True)
class Consistency:
    """How like a model's maps are to those of the same model with random weights."""

    layers: tuple[tuple[str, ...], ...]
    """What was made random at each stage, ``[S]`` of names."""
    correlations: np.ndarray
    """Spearman's, ``[S, B]``; NaN where a map is the same everywhere."""

    @property
    def mean(self) -> np.ndarray:
        """Of the sizes that are known, ``[B]``: small for maps that depend on the weights."""
        sizes = np.abs(self.correlations)
        known = np.isfinite(sizes)
        count = known.sum(0)
        none = np.full(len(count), np.nan)
        return np.divide(np.where(known, sizes, 0).sum(0), count, out=none, where=count > 0)


def consistency(
    model: keras.Model,
    explain: Explain,
    inputs: np.ndarray,
    targets: Any,
    *,
    order: str = "cascading",
    stages: int = 5,
    seed: int = 0,
    batch_size: int = 32,
) -> Consistency:
    """Compare maps before and after the model's weights are made random, layer by layer.

    Each weight of a layer changes place with a random other one of the same array: activations
    stay of their size in any architecture, and only what was learnt is lost.

    Args:
        model: the model. Its weights are changed and put back, so nothing else may use it
            meanwhile.
        explain: (inputs ``[B, ...]``, targets ``[B]``) -> attributions of this very model, such as
            an `Explainer` on it; to sum channels, as the papers do, pass a function around it.
            Patterns stay those of the trained model; to fit them anew, pass a function that does.
        inputs: ``[B, ...]``.
        targets: class indices, ``[B]`` or one for all; None for the class that the model predicts
            at each stage.
        order: "cascading" goes from the output to the input and leaves random what was; by
            "independent" a stage is put back before the next.
        stages: into how many groups the layers are divided, at most one for each layer.
        seed: of the weights.
        batch_size: inputs that are explained at once.

    Returns:
        A `Consistency`.

    Raises:
        ValueError: a model without weights, or attributions that are not finite.

    Reference:
        Adebayo et al. 2018, section 3, who draw weights from the initialisers; METHODS 6.5.

    Example:
        >>> model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4, "relu")])
        >>> model.add(keras.layers.Dense(3))
        >>> inputs = np.random.default_rng(0).normal(size=(2, 6))
        >>> found = consistency(model, lambda x, t: x, inputs, 0)  # a map of the input alone
        >>> found.correlations.shape, found.mean.round(6)
        ((2, 2), array([1., 1.]))
    """
    checks.model(model)
    cascading = checks.one_of("order", order, ORDERS) == "cascading"
    layers = keras_graph.weighted_layers(model)[::-1]
    if not layers:
        raise ValueError(f"model: {model.name} has no weights")
    count = min(checks.positive_integer("stages", stages), len(layers))
    parts = [layers[p[0] : p[-1] + 1] for p in np.array_split(np.arange(len(layers)), count)]
    groups = [[name for name, _ in part] for part in parts]
    variables = [[v for _, owned in part for v in owned] for part in parts]
    points = finite("inputs", one_array("inputs", inputs))
    chosen = checked_targets(targets, len(points))
    before = maps_of(explain, points, chosen, batch_size)
    found = []
    with _restored([v for group in variables for v in group]) as restore:
        for number, group in enumerate(variables):
            _shuffle(group, np.random.default_rng([seed, number]))
            found.append(rank_correlation(before, maps_of(explain, points, chosen, batch_size)))
            if not cascading:
                restore()
    return Consistency(tuple(map(tuple, groups)), np.stack(found))


def invariance(
    explain: Explain,
    other: Explain,
    inputs: np.ndarray,
    targets: Any,
    *,
    shift: Any = 1.0,
    batch_size: int = 32,
) -> np.ndarray:
    """Compare maps of a model with those of one that sees shifted inputs and does the same.

    Args:
        explain: (inputs ``[B, ...]``, targets ``[B]``) -> attributions of the model.
        other: the same of the other model: of `shifted(model, shift)`, which computes exactly
            the same function; or of one that was trained on shifted data, which measures the noise
            of training too.
        inputs: ``[B, ...]``.
        targets: class indices, ``[B]`` or one for all; None for the class that each model predicts.
        shift: what the other model's inputs have more, a number or one for each channel.
        batch_size: inputs that are explained at once.

    Returns:
        ``[B]``, Spearman's rank correlation: 1 for an invariant method.

    Raises:
        ValueError: attributions that are not finite.

    Reference:
        Kindermans et al. 2019 have the exact reading; papers 001 and 002 retrain (METHODS 2.4).

    Example:
        >>> gradient, product = (lambda x, t: np.array([[1.0, 2.0]])), (lambda x, t: x)
        >>> x = np.array([[0.2, 0.1]])
        >>> invariance(gradient, gradient, x, 0).round(6)
        array([1.])
        >>> invariance(product, product, x, 0, shift=[0, 1]).round(6)
        array([-1.])
    """
    points = finite("inputs", one_array("inputs", inputs))
    moved = (points + np.asarray(shift)).astype(points.dtype)
    chosen = checked_targets(targets, len(points))
    return rank_correlation(
        maps_of(explain, points, chosen, batch_size), maps_of(other, moved, chosen, batch_size)
    )


def shifted(model: keras.Model, shift: Any = 1.0) -> keras.Model:
    """Give a model that does with x + shift what `model` does with x; it shares the weights.

    Args:
        model: a model of one input.
        shift: a number, or one for each channel.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> moved = shifted(model, 1.0)
        >>> np.array_equal(moved(np.ones((1, 2))), model(np.zeros((1, 2))))
        True
    """
    specs = keras_graph.declared_inputs(checks.model(model))
    if not isinstance(specs, tf.TensorSpec):
        raise ValueError(f"model: {model.name} has no single declared input to shift")
    inputs = keras.Input(specs.shape[1:], dtype=specs.dtype)
    offset = (-np.asarray(shift, np.float64)).tolist()
    back = keras.layers.Rescaling(1.0, offset, dtype=keras_graph.float_type(model))
    return keras.Model(inputs, model(back(inputs)), name=f"{model.name}_shifted")


@contextmanager
def _restored(variables: Sequence[keras.Variable]) -> Iterator[Any]:
    """Put variables back at the end; gives a function that does so at once."""
    values = [v.numpy() for v in variables]

    def restore() -> None:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    try:
        yield restore
    finally:
        restore()


def _shuffle(variables: Sequence[keras.Variable], random: np.random.Generator) -> None:
    for variable in variables:
        value = variable.numpy()
        variable.assign(random.permutation(value.ravel()).reshape(value.shape))
