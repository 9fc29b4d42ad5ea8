"""The metrics of the benchmark by name: functions from options to a `Metric`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfxai import metrics
from tfxai.benchmark.explained_batch import ExplainedBatch, explain_heatmaps
from tfxai.benchmark.metric import Metric
from tfxai.metrics import Curve
from tfxai.metrics.information import THRESHOLDS

CHANNELS_LAST = "channels_last"
"""The order of the axes in an `ExplainedBatch`, whatever that of the model is."""


def deletion(
    *, substrate: Any = "blur", step: int | None = None, cells: int | None = None
) -> Metric:
    """Give the area under the deletion curve of the probability (`tfxai.metrics.deletion`).

    With `cells`, maps are first averaged over a grid with that many cells along each side.
    """
    return _perturbation(metrics.deletion, "less", {"substrate": substrate, "step": step}, cells)


def insertion(
    *, substrate: Any = "blur", step: int | None = None, cells: int | None = None
) -> Metric:
    """Give the area under the insertion curve of the probability (`tfxai.metrics.insertion`).

    With `cells`, maps are first averaged over a grid with that many cells along each side.
    """
    return _perturbation(metrics.insertion, "more", {"substrate": substrate, "step": step}, cells)


def degradation(*, patch: int = 9, most: int = 100, substrate: Any = None) -> Metric:
    """Give the mean probability while patches are degraded (`tfxai.metrics.degradation`)."""
    options = {"patch": patch, "most": most, "substrate": substrate}
    return Metric(partial(_curve, metrics.degradation, options), "less", options)


def gini() -> Metric:
    """Give the Gini index of the map, summed over channels (`tfxai.metrics.gini`)."""
    return Metric(lambda batch: metrics.gini(batch.heatmaps), "more", {})


def sic(*, masks: int = 1, least: float = 0.8, thresholds: Sequence[float] = THRESHOLDS) -> Metric:
    """Give the information level by probability (`tfxai.metrics.information_level`)."""
    return _information("softmax", {"masks": masks, "least": least, "thresholds": thresholds})


def aic(*, masks: int = 1, least: float = 0.8, thresholds: Sequence[float] = THRESHOLDS) -> Metric:
    """Give the information level by accuracy (`tfxai.metrics.information_level`)."""
    return _information("accuracy", {"masks": masks, "least": least, "thresholds": thresholds})


def consistency(
    *, order: str = "cascading", stages: int = 5, other: keras.Model | None = None
) -> Metric:
    """Give how similar maps are to those of random weights (`tfxai.metrics.consistency`).

    Maps are first summed over channels. `other` is a model that has learnt random labels, as Zhou
    et al. 2024a (AdaptGrad) and 2024b (smoothing kernels) use it instead of random weights; then
    the class that each model predicts is explained.
    """
    options: dict[str, Any] = {"order": order, "stages": stages}

    def compute(batch: ExplainedBatch) -> np.ndarray:
        explain = explain_heatmaps(batch.explain, batch.sign)
        if other is not None:
            explain_other = explain_heatmaps(batch.explain_on(other), batch.sign)
            maps = (explain(batch.inputs, None), explain_other(batch.inputs, None))
            return np.abs(metrics.rank_correlation(*maps))
        return metrics.consistency(
            batch.model, explain, batch.inputs, batch.targets, seed=batch.seed, **options
        ).mean

    return Metric(compute, "less", {"other": other.name} if other is not None else options)


def invariance(*, shift: float = 1.0, retrained: keras.Model | None = None) -> Metric:
    """Give how similar maps stay under a shift that is undone (`tfxai.metrics.invariance`).

    Maps are first summed over channels. `retrained` is a model that was trained on shifted inputs,
    as Zhou et al. 2024a and 2024b use it instead of one that undoes the shift; then the class that
    each model predicts is explained. Methods with bounds must be built with shifted bounds for it.
    """

    @cache
    def shifted(model: keras.Model) -> keras.Model:
        return metrics.shifted(model, shift)

    def compute(batch: ExplainedBatch) -> np.ndarray:
        other = shifted(batch.model) if retrained is None else retrained
        return metrics.invariance(
            explain_heatmaps(batch.explain, batch.sign),
            explain_heatmaps(batch.explain_on(other), batch.sign),
            batch.inputs,
            batch.targets if retrained is None else None,
            shift=shift,
        )

    options = {"shift": shift, "retrained": None if retrained is None else retrained.name}
    return Metric(compute, "more", options)


def pointing_game(*, tolerance: float = 15.0) -> Metric:
    """Give whether the largest attribution is on the object (`tfxai.metrics.pointing_game`)."""
    return _localisation(metrics.pointing_game, {"tolerance": tolerance})


def top_k_share(*, k: int = 5) -> Metric:
    """Give the share of the k largest attributions on the object (`tfxai.metrics.top_k_share`)."""
    return _localisation(metrics.top_k_share, {"k": k})


def mass_share() -> Metric:
    """Give the share of the positive attribution on the object (`tfxai.metrics.mass_share`)."""
    return _localisation(metrics.mass_share, {})


def completeness(*, baseline: Any = 0.0) -> Metric:
    """Give the gap between the map's sum and the logit's gain (`tfxai.metrics.completeness`)."""
    options = {"baseline": baseline}

    def compute(batch: ExplainedBatch) -> np.ndarray:
        return metrics.completeness(
            *_logits(batch),
            score=None,
            bounds=batch.bounds,
            data_format=CHANNELS_LAST,
            **options,
        )

    return Metric(compute, "less", options)


def infidelity(*, baseline: Any = 0.0, samples: int = 100) -> Metric:
    """Give the normalised error of what a map predicts of squares (`tfxai.metrics.infidelity`)."""
    options: dict[str, Any] = {"baseline": baseline, "samples": samples}

    def compute(batch: ExplainedBatch) -> np.ndarray:
        return metrics.infidelity(
            *_logits(batch),
            slopes=batch.slopes,
            score=None,
            seed=batch.seed,
            bounds=batch.bounds,
            data_format=CHANNELS_LAST,
            **options,
        ).normalised_error

    return Metric(compute, "less", options)


def max_sensitivity(*, radius: float = 0.02, samples: int = 10) -> Metric:
    """Give the largest change under small noise (`tfxai.metrics.max_sensitivity`)."""
    options: dict[str, Any] = {"radius": radius, "samples": samples}

    def compute(batch: ExplainedBatch) -> np.ndarray:
        return metrics.max_sensitivity(
            batch.explain, batch.inputs, batch.targets, seed=batch.seed, **options
        )

    return Metric(compute, "less", options)


METRICS: dict[str, Callable[..., Metric]] = {
    function.__name__: function
    for function in (
        deletion,
        insertion,
        degradation,
        gini,
        sic,
        aic,
        consistency,
        invariance,
        pointing_game,
        top_k_share,
        mass_share,
        completeness,
        infidelity,
        max_sensitivity,
    )
}


def metrics_by_title(given: Sequence[str] | Mapping[str, Metric]) -> dict[str, Metric]:
    """Give metrics by title; those that are given by name have their default options.

    Raises:
        ValueError: an unknown name, or no metrics.
    """
    if not given:
        raise ValueError(f"metrics: none given; expected some of {', '.join(METRICS)}")
    if isinstance(given, Mapping):
        return dict(given)
    for name in given:
        if name not in METRICS:
            raise ValueError(f"metrics: {name!r} is none; expected some of {', '.join(METRICS)}")
    return {name: METRICS[name]() for name in given}


def _perturbation(
    function: Callable[..., Curve], better: str, options: dict[str, Any], cells: int | None
) -> Metric:
    """Give deletion or insertion; with `cells`, of maps that are averaged over a grid."""

    def compute(batch: ExplainedBatch) -> Curve:
        if cells is None:
            return _curve(function, options, batch)
        maps = tf.image.resize(batch.heatmaps[..., None], [cells, cells], method="area")
        return _curve(function, options, batch._replace(heatmaps=maps.numpy()[..., 0]))

    return Metric(compute, better, {**options, "cells": cells})


def _information(kind: str, options: dict[str, Any]) -> Metric:
    """Give an information level; its curve keeps a tenth of the levels, enough to draw it."""

    def compute(batch: ExplainedBatch) -> Curve:
        assert batch.bounds is not None
        every = {**options, "kind": kind, "seed": batch.seed}
        curve = _curve(metrics.information_level, every, batch)
        return Curve(curve.fractions[::10], curve.scores[:, ::10], curve.auc, curve.name)

    return Metric(compute, "more", options, ("bounds", "classes"))


def _localisation(function: Callable[..., np.ndarray], options: dict[str, Any]) -> Metric:
    """Give a metric of heatmaps and of the regions where the classes are."""

    def compute(batch: ExplainedBatch) -> np.ndarray:
        return function(batch.heatmaps, batch.regions, **options)

    return Metric(compute, "more", options, ("regions",))


def _curve(function: Callable[..., Curve], options: dict[str, Any], batch: ExplainedBatch) -> Curve:
    """Compute a curve of the probability while images change in the order of their heatmaps."""
    return function(
        batch.predictor.probabilities,
        batch.inputs,
        batch.heatmaps[..., None],
        batch.targets,
        bounds=batch.bounds,
        data_format=CHANNELS_LAST,
        **options,
    )


def _logits(batch: ExplainedBatch) -> tuple[Callable, np.ndarray, np.ndarray, np.ndarray]:
    """Give what metrics of the logit take: model, inputs, attributions and targets."""
    return batch.predictor.logits, batch.inputs, batch.attributions, batch.targets
