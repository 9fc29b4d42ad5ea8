"""The results of a run: values by image, means with intervals, comparisons, curves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfxai.benchmark import journal
from tfxai.benchmark.statistics import Comparison, Interval, comparisons, interval


class Cell(NamedTuple):
    """One method's mean by one metric."""

    metric: str
    method: str
    images: int
    """How many images the mean is over."""
    value: Interval
    rank: int
    """The method with the best mean has rank 1."""
    best: bool
    """Whether no other method is better beyond chance."""


class MeanCurve(NamedTuple):
    """The mean of the curves of images; each field is ``[n]``."""

    fractions: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    """Percentile 2.5 of the mean over bootstrap samples."""
    high: np.ndarray
    """Percentile 97.5."""


@dataclass(frozen=True)
class Results:
    """Everything in the directory of a run; `tfxai.benchmark.run` returns it, `load` reads it."""

    directory: Path
    settings: dict[str, Any]
    """What is explained, and how."""
    lines: list[dict[str, Any]]
    """The journal: a line for each batch and method, and one for each batch with broken images."""

    @classmethod
    def load(cls, directory: str | PathLike[str]) -> Results:
        """Read a run, finished or not.

        Raises:
            ValueError: there is no run, or its journal is damaged.
        """
        path = Path(directory)
        return cls(path, journal.read_settings(path), journal.lines(path))

    @property
    def methods(self) -> list[str]:
        """The titles of the methods, in order."""
        return list(self.settings["methods"])

    @property
    def metrics(self) -> list[str]:
        """The titles of the metrics, in order."""
        return list(self.settings["metrics"])

    @cached_property
    def batches(self) -> dict[int, dict[str, Any]]:
        """Batch number -> a line that names its images and targets, in order."""
        by_number = {line["batch"]: line for line in self.lines if "images" in line}
        return dict(sorted(by_number.items()))

    @property
    def images(self) -> list[str]:
        """The names of the images, in order."""
        return [name for line in self.batches.values() for name in line["images"]]

    @property
    def targets(self) -> list[int]:
        """The explained class of each image."""
        return [target for line in self.batches.values() for target in line["targets"]]

    @property
    def broken(self) -> dict[str, str]:
        """Image that could not be read -> the reason."""
        return {
            name: reason for line in self.lines for name, reason in line.get("broken", {}).items()
        }

    @property
    def failed(self) -> dict[tuple[str, str], str]:
        """(method, metric) -> the error, where no later run has succeeded."""
        return {
            (line["method"], metric): error
            for line in self.lines
            for metric, error in line.get("failed", {}).items()
            if metric not in self.scored_metrics(line["batch"], line["method"])
        }

    @cached_property
    def constant(self) -> dict[str, int]:
        """Method -> how many of its maps are constant, and so not scored; only where some are."""
        counts = {
            (line["batch"], line["method"]): line.get("constant", 0)
            for line in self.lines
            if "method" in line
        }
        totals = {
            method: sum(count for (_, name), count in counts.items() if name == method)
            for method in self.methods
        }
        return {method: total for method, total in totals.items() if total}

    def values(self, metric: str) -> dict[str, np.ndarray]:
        """Give the values of a metric: method -> ``[images]``, NaN where there is no value.

        Raises:
            ValueError: the run has no such metric.
        """
        if metric not in self.metrics:
            raise ValueError(f"metric={metric!r}: the run has {', '.join(self.metrics)}")
        return {method: self._joined("values", metric, method) for method in self.methods}

    def paired(self, metric: str) -> dict[str, np.ndarray]:
        """Give the values of a metric on the images for which every method has a finite one.

        Methods that have no finite value at all are left out.
        """
        values = {m: v for m, v in self.values(metric).items() if np.isfinite(v).any()}
        if not values:
            return {}
        complete = np.isfinite(np.stack(list(values.values()))).all(0)
        return {m: v[complete] for m, v in values.items()}

    @cached_property
    def comparisons(self) -> dict[str, list[Comparison]]:
        """Metric -> the comparison of every two methods on the same images."""
        return {metric: comparisons(self.paired(metric)) for metric in self.metrics}

    @cached_property
    def cells(self) -> list[Cell]:
        """Every method by every metric; for each metric the best method is first."""
        return [cell for metric in self.metrics for cell in self._ranked(metric)]

    def _ranked(self, metric: str) -> list[Cell]:
        more = self.settings["metrics"][metric]["better"] == "more"
        values = {m: v for m, v in self.paired(metric).items() if len(v)}
        order = sorted(values, key=lambda m: (-1 if more else 1) * values[m].mean())
        beaten = set()
        for c in self.comparisons[metric]:
            if c.significant:
                beaten.add(c.second if (c.difference.mean > 0) == more else c.first)
        return [
            Cell(metric, m, len(values[m]), interval(values[m]), rank, m not in beaten)
            for rank, m in enumerate(order, 1)
        ]

    def curve(self, metric: str, method: str) -> MeanCurve | None:
        """Give the mean curve of a method by a metric; None where there is none."""
        rows = self._joined("curves", metric, method)
        rows = rows[np.isfinite(rows).all(-1)] if rows.ndim == 2 else rows[:0]
        if not len(rows):
            return None
        fractions = next(
            line["fractions"][metric] for line in self.lines if metric in line.get("fractions", {})
        )
        resamples = np.random.default_rng(0).integers(0, len(rows), (400, len(rows)))
        low, high = np.percentile([rows[r].mean(0) for r in resamples], [2.5, 97.5], axis=0)
        return MeanCurve(np.array(fractions), rows.mean(0), low, high)

    def seconds(self, method: str) -> float:
        """Give the seconds of one explanation, the median over batches (the first one traces)."""
        durations = [
            line["seconds"]["explain"] / len(line["images"])
            for line in self.lines
            if line.get("method") == method and "explain" in line["seconds"]
        ]
        return float(np.median(durations)) if durations else float("nan")

    @cached_property
    def _scored(self) -> dict[tuple[int, str], dict[str, dict[str, Any]]]:
        """(batch, method) -> metric -> its values and curves; later lines replace earlier ones."""
        scored: dict[tuple[int, str], dict[str, dict[str, Any]]] = {}
        for line in self.lines:
            if "method" in line:
                by_metric = scored.setdefault((line["batch"], line["method"]), {})
                for metric, values in line["values"].items():
                    by_metric[metric] = {"values": values, "curves": line["curves"].get(metric)}
        return scored

    def scored_metrics(self, batch: int, method: str) -> set[str]:
        """Give the metrics by which a method's maps of a batch have been scored."""
        return set(self._scored.get((batch, method), {}))

    def _joined(self, kind: str, metric: str, method: str) -> np.ndarray:
        """Join the "values" or "curves" of all batches; NaN where there are none."""
        rows: list[Any] = []
        for number, line in self.batches.items():
            part = self._scored.get((number, method), {}).get(metric, {}).get(kind)
            rows += part if part is not None else [None] * len(line["images"])
        width = next((len(row) for row in rows if isinstance(row, list)), None)
        missing = np.nan if width is None else [np.nan] * width
        return np.array([missing if row is None else row for row in rows], np.float64)
