"""A metric of the benchmark, how it is evaluated, and what it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from tfxai.benchmark.explained_batch import ExplainedBatch
from tfxai.benchmark.predictor import Predictor
from tfxai.metrics import Curve


class Metric(NamedTuple):
    """A metric with its options."""

    compute: Callable[[ExplainedBatch], np.ndarray | Curve]
    """Gives a value for each image, ``[B]``, or a curve whose areas are the values."""
    better: str
    """Which values are better, "more" or "less"."""
    options: dict[str, Any]
    needs: tuple[str, ...] = ()
    """Which of "regions", "bounds" and "classes" (more than one output) the metric needs."""


class Outcome(NamedTuple):
    """What a metric says about a batch."""

    values: np.ndarray
    """``[B]``; NaN where the metric does not apply."""
    curve: Curve | None = None


def evaluate(metric: Metric, batch: ExplainedBatch) -> Outcome:
    """Apply a metric to a batch; constant heatmaps get NaN, because they rank nothing."""
    computed = metric.compute(batch)
    if not isinstance(computed, Curve):
        return Outcome(np.where(batch.constant, np.nan, computed))
    curve = replace(
        computed,
        scores=np.where(batch.constant[:, None], np.nan, computed.scores),
        auc=np.where(batch.constant, np.nan, computed.auc),
    )
    return Outcome(curve.auc, curve)


def check_needs(metrics: Mapping[str, Metric], predictor: Predictor, available: set[str]) -> None:
    """Raise a ValueError for a metric that does not apply to the model or to the images.

    Args:
        metrics: metrics by title.
        predictor: the model.
        available: which of "regions" and "bounds" are known of the images.
    """
    remedies = {
        "regions": "images whose class's place is known: masks, boxes, or compositions of photos",
        "bounds": "bounds=(smallest, largest), what black and white are in the model's inputs",
    }
    for name, metric in metrics.items():
        for need in metric.needs:
            if need == "classes" and predictor.units == 1:
                raise ValueError(
                    f"metrics: {name} needs a model of several classes, not one output"
                )
            if need in remedies and need not in available:
                raise ValueError(f"metrics: {name} needs {remedies[need]}")
