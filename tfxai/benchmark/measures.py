"""The metrics of a benchmark by name, each with its options and which way is better."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfxai import metrics
from tfxai.benchmark.subject import Predictor, Subject, summed
from tfxai.metrics import Curve
from tfxai.metrics.information import THRESHOLDS

LAST = "channels_last"
"""The order of a `Subject`, whatever the model's is."""


class Outcome(NamedTuple):
    """What a metric says of a batch."""

    values: np.ndarray
    """``[B]``; NaN where it does not apply."""
    curve: Curve | None = None


class Measure(NamedTuple):
    """A metric with its options."""

    compute: Callable[[Subject], Outcome]
    better: str
    """"more" or "less"."""
    options: dict[str, Any]
    needs: tuple[str, ...] = ()
    """Of "regions", "bounds" and "classes", what it cannot do without."""


def score(measure: Measure, subject: Subject) -> Outcome:
    """Score a subject's maps, NaN for constant ones, in which there is nothing to be scored."""
    values, curve = measure.compute(subject)
    if curve is not None:
        curve = replace(
            curve,
            scores=np.where(subject.constant[:, None], np.nan, curve.scores),
            auc=np.where(subject.constant, np.nan, curve.auc),
        )
    return Outcome(np.where(subject.constant, np.nan, values), curve)


def deletion(
    *, substrate: Any = "blur", step: int | None = None, cells: int | None = None
) -> Measure:
    """Give the area under the deletion curve of the probability (`tfxai.metrics.deletion`).

    `cells` averages maps over a grid of so many cells a side first.
    """
    return _along(metrics.deletion, "less", substrate, step, cells)


def insertion(
    *, substrate: Any = "blur", step: int | None = None, cells: int | None = None
) -> Measure:
    """Give the area under the insertion curve of the probability (`tfxai.metrics.insertion`).

    `cells` averages maps over a grid of so many cells a side first.
    """
    return _along(metrics.insertion, "more", substrate, step, cells)


def degradation(*, patch: int = 9, most: int = 100, substrate: Any = None) -> Measure:
    """Give the mean probability while patches are degraded (`tfxai.metrics.degradation`)."""
    options: dict[str, Any] = {"patch": patch, "most": most, "substrate": substrate}

    def compute(s: Subject) -> Outcome:
        maps, predict = s.heatmaps[..., None], s.predictor.probabilities
        curve = metrics.degradation(
            predict, s.inputs, maps, s.targets, bounds=s.bounds, data_format=LAST, **options
        )
        return Outcome(curve.auc, curve)

    return Measure(compute, "less", options)


def gini() -> Measure:
    """Give the Gini index of the map, summed over channels (`tfxai.metrics.gini`)."""
    return Measure(lambda s: Outcome(metrics.gini(s.heatmaps)), "more", {})


def sic(*, masks: int = 1, least: float = 0.8, thresholds: Sequence[float] = THRESHOLDS) -> Measure:
    """Give the information level by probability (`tfxai.metrics.information_level`)."""
    return _information("softmax", {"masks": masks, "least": least, "thresholds": thresholds})


def aic(*, masks: int = 1, least: float = 0.8, thresholds: Sequence[float] = THRESHOLDS) -> Measure:
    """Give the information level by accuracy (`tfxai.metrics.information_level`)."""
    return _information("accuracy", {"masks": masks, "least": least, "thresholds": thresholds})


def consistency(
    *, order: str = "cascading", stages: int = 5, other: keras.Model | None = None
) -> Measure:
    """Give how like maps are to those of random weights (`tfxai.metrics.consistency`).

    Maps are summed over channels first. `other` is a model that has learnt random labels, as
    papers 001 and 002 have it; each model's own class is explained.
    """
    options: dict[str, Any] = {"order": order, "stages": stages}

    def compute(s: Subject) -> Outcome:
        explain = summed(s.explain, s.sign)
        if other is not None:
            on_other = summed(s.explain_on(other), s.sign)
            pair = (explain(s.inputs, None), on_other(s.inputs, None))
            return Outcome(np.abs(metrics.rank_correlation(*pair)))
        found = metrics.consistency(s.model, explain, s.inputs, s.targets, seed=s.seed, **options)
        return Outcome(found.mean)

    return Measure(compute, "less", {"other": other.name} if other is not None else options)


def invariance(*, shift: float = 1.0, retrained: keras.Model | None = None) -> Measure:
    """Give how like maps are under a shift that is compensated (`tfxai.metrics.invariance`).

    Maps are summed over channels first. `retrained` is a model that was trained on shifted inputs,
    as papers 001 and 002 have it; each model's own class is explained. Methods with bounds must be
    built with shifted ones for it.
    """

    @cache
    def moved(model: keras.Model) -> keras.Model:
        return metrics.shifted(model, shift)

    def compute(s: Subject) -> Outcome:
        explain = summed(s.explain, s.sign)
        other = summed(s.explain_on(moved(s.model) if retrained is None else retrained), s.sign)
        targets = s.targets if retrained is None else None
        return Outcome(metrics.invariance(explain, other, s.inputs, targets, shift=shift))

    options = {"shift": shift, "retrained": None if retrained is None else retrained.name}
    return Measure(compute, "more", options)


def pointing_game(*, tolerance: float = 15.0) -> Measure:
    """Give whether the largest attribution is on the object (`tfxai.metrics.pointing_game`)."""
    options: dict[str, Any] = {"tolerance": tolerance}

    def compute(s: Subject) -> Outcome:
        return Outcome(metrics.pointing_game(s.heatmaps, s.regions, **options))

    return Measure(compute, "more", options, ("regions",))


def top_k_share(*, k: int = 5) -> Measure:
    """Give the share of the k largest that are on the object (`tfxai.metrics.top_k_share`)."""
    return Measure(
        lambda s: Outcome(metrics.top_k_share(s.heatmaps, s.regions, k=k)),
        "more",
        {"k": k},
        ("regions",),
    )


def mass_share() -> Measure:
    """Give the share of the map that is on the object (`tfxai.metrics.mass_share`)."""
    return Measure(
        lambda s: Outcome(metrics.mass_share(s.heatmaps, s.regions)), "more", {}, ("regions",)
    )


def completeness(*, baseline: Any = 0.0) -> Measure:
    """Give the gap between the map's sum and the logit's gain (`tfxai.metrics.completeness`)."""
    options: dict[str, Any] = {"baseline": baseline}

    def compute(s: Subject) -> Outcome:
        return Outcome(
            metrics.completeness(
                s.predictor.logits, s.inputs, s.attributions, s.targets, score=None,
                bounds=s.bounds, **options,
            )
        )  # fmt: skip

    return Measure(compute, "less", options)


def infidelity(*, baseline: Any = 0.0, samples: int = 100) -> Measure:
    """Give what maps leave unsaid of removed squares (`tfxai.metrics.infidelity`, normalised)."""
    options: dict[str, Any] = {"baseline": baseline, "samples": samples}

    def compute(s: Subject) -> Outcome:
        found = metrics.infidelity(
            s.predictor.logits, s.inputs, s.attributions, s.targets, slopes=s.slopes, score=None,
            seed=s.seed, bounds=s.bounds, data_format=LAST, **options,
        )  # fmt: skip
        return Outcome(found.normalised_error)

    return Measure(compute, "less", options)


def max_sensitivity(*, radius: float = 0.02, samples: int = 10) -> Measure:
    """Give the largest change under small noise (`tfxai.metrics.max_sensitivity`)."""
    options: dict[str, Any] = {"radius": radius, "samples": samples}

    def compute(s: Subject) -> Outcome:
        found = metrics.max_sensitivity(s.explain, s.inputs, s.targets, seed=s.seed, **options)
        return Outcome(found)

    return Measure(compute, "less", options)


MEASURES: dict[str, Callable[..., Measure]] = {
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


def named(given: Sequence[str] | Mapping[str, Measure]) -> dict[str, Measure]:
    """Give metrics by name, those given as names with their defaults.

    Raises:
        ValueError: an unknown name, or none at all.
    """
    if not given:
        raise ValueError(f"metrics: none given; expected some of {', '.join(MEASURES)}")
    if isinstance(given, Mapping):
        return dict(given)
    for name in given:
        if name not in MEASURES:
            raise ValueError(f"metrics: {name!r} is none; expected some of {', '.join(MEASURES)}")
    return {name: MEASURES[name]() for name in given}


def check(chosen: Mapping[str, Measure], predictor: Predictor, available: set[str]) -> None:
    """Raise a ValueError for a metric that this model or these images cannot have."""
    remedies = {
        "regions": "images whose class's place is known: masks, boxes, or compositions of photos",
        "bounds": "bounds=(smallest, largest), what black and white are in the model's inputs",
    }
    for name, measure in chosen.items():
        for need in measure.needs:
            if need == "classes" and predictor.units == 1:
                raise ValueError(
                    f"metrics: {name} needs a model of several classes, not one output"
                )
            if need in remedies and need not in available:
                raise ValueError(f"metrics: {name} needs {remedies[need]}")


def _along(
    metric: Callable[..., Curve], better: str, substrate: Any, step: int | None, cells: int | None
) -> Measure:
    def compute(s: Subject) -> Outcome:
        maps = s.heatmaps[..., None]
        if cells is not None:
            maps = tf.image.resize(maps, [cells, cells], method="area").numpy()
        curve = metric(
            s.predictor.probabilities, s.inputs, maps, s.targets,
            substrate=substrate, step=step, bounds=s.bounds, data_format=LAST,
        )  # fmt: skip
        return Outcome(curve.auc, curve)

    return Measure(compute, better, {"substrate": substrate, "step": step, "cells": cells})


def _information(kind: str, options: dict[str, Any]) -> Measure:
    def compute(s: Subject) -> Outcome:
        assert s.bounds is not None
        curve = metrics.information_level(
            s.predictor.probabilities, s.inputs, s.heatmaps[..., None], s.targets,
            bounds=s.bounds, kind=kind, seed=s.seed, data_format=LAST, **options,
        )  # fmt: skip
        # A tenth of the levels is enough to draw, and keeps the journal small.
        short = Curve(curve.fractions[::10], curve.scores[:, ::10], curve.auc, curve.name)
        return Outcome(curve.auc, short)

    return Measure(compute, "more", options, ("bounds", "classes"))
