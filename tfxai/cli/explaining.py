"""What ``tfxai explain`` does with a photo: its record, its picture, and what is said of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import tfxai
from tfxai import plot, zoo
from tfxai.cli.terminal import UserError, gathering
from tfxai.explaining.explanation import Explanation


def record(
    explainer: tfxai.Explainer,
    classifier: zoo.Classifier,
    pixels: np.ndarray,
    target: int | str | None,
    seed: int,
) -> tuple[Explanation, list[str]]:
    """Explain one photo; give the record, which notes its preprocessing, and what was warned of."""
    inputs = classifier.preprocess(pixels)[None]
    try:
        with gathering() as warned:
            found = explainer.explain(inputs, target, verbose=0, seed=seed)
    except (TypeError, ValueError) as error:
        raise UserError(str(error)) from error
    settings = {**found.settings, "preprocess": classifier.preprocessing}
    return dataclasses.replace(found, settings=settings), warned


def picture(record: Explanation, pixels: np.ndarray) -> Figure:
    """Draw a photo beside its map, with signs and by size."""
    title = record.settings["method"].replace("_", " ")
    label = f"{record.target_names[0]}  {record.scores[0]:.3g}"
    maps = {title: record.attributions, f"{title}, size": record.attributions}
    return plot.panel([pixels], maps, labels=[label], signs=["signed", "absolute"])


def summary(file: Path, record: Explanation) -> str:
    """Say in one line what is explained, and how well."""
    parts = [f"{file.name}: {record.target_names[0]} (score {record.scores[0]:.4g})"]
    parts += [f"{k} {v[0]:.3g}" for k, v in record.diagnostics.items() if np.ndim(v) == 1]
    return ", ".join(parts)
