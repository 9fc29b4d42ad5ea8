"""What a run has found: values by image, means with intervals, comparisons, curves."""

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
    """One method by one metric."""

    metric: str
    method: str
    images: int
    value: Interval
    rank: int
    """1 is the best mean."""
    best: bool
    """Whether no method is better beyond chance."""


class MeanCurve(NamedTuple):
    """The mean over the images, ``[n]`` each."""

    fractions: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    """Percentile 2.5 of the mean over bootstrap samples."""
    high: np.ndarray


@dataclass(frozen=True)
class Results:
    """Everything in a run's directory; `tfxai.benchmark.run` returns it and `load` reads it."""

    directory: Path
    settings: dict[str, Any]
    lines: list[dict[str, Any]]

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
        """Of the run, in order."""
        return list(self.settings["methods"])

    @property
    def metrics(self) -> list[str]:
        """Of the run, in order."""
        return list(self.settings["metrics"])

    @cached_property
    def batches(self) -> dict[int, dict[str, Any]]:
        """Batch number -> the line that names its images and targets, in order."""
        found = {line["batch"]: line for line in self.lines if "images" in line}
        return dict(sorted(found.items()))

    @property
    def images(self) -> list[str]:
        """Names, in order."""
        return [name for line in self.batches.values() for name in line["images"]]

    @property
    def targets(self) -> list[int]:
        """Explained classes."""
        return [target for line in self.batches.values() for target in line["targets"]]

    @property
    def broken(self) -> dict[str, str]:
        """Images that could not be read, with the reason."""
        return {n: why for line in self.lines for n, why in line.get("broken", {}).items()}

    @property
    def failed(self) -> dict[tuple[str, str], str]:
        """(method, metric) -> the error, where there is one that no later run has overcome."""
        return {
            (line["method"], metric): error
            for line in self.lines
            for metric, error in line.get("failed", {}).items()
            if metric not in self.has(line["batch"], line["method"])
        }

    @cached_property
    def constant(self) -> dict[str, int]:
        """Method -> how many of its maps are the same everywhere, so that nothing is scored."""
        counts = {
            (line["batch"], line["method"]): line.get("constant", 0)
            for line in self.lines
            if "method" in line
        }
        found = {m: sum(n for (_, of), n in counts.items() if of == m) for m in self.methods}
        return {method: count for method, count in found.items() if count}

    def values(self, metric: str) -> dict[str, np.ndarray]:
        """Give one metric, method -> ``[images]``, NaN where there is no value.

        Raises:
            ValueError: the run has no such metric.
        """
        if metric not in self.metrics:
            raise ValueError(f"metric={metric!r}: the run has {', '.join(self.metrics)}")
        return {method: self._joined("values", metric, method) for method in self.methods}

    def paired(self, metric: str) -> dict[str, np.ndarray]:
        """Give one metric on the images for which every method has a finite value.

        Methods that have none at all are left out.
        """
        values = {m: v for m, v in self.values(metric).items() if np.isfinite(v).any()}
        if not values:
            return {}
        whole = np.isfinite(np.stack(list(values.values()))).all(0)
        return {m: v[whole] for m, v in values.items()}

    @cached_property
    def comparisons(self) -> dict[str, list[Comparison]]:
        """Metric -> every two methods on the same images."""
        return {metric: comparisons(self.paired(metric)) for metric in self.metrics}

    @cached_property
    def cells(self) -> list[Cell]:
        """Every method by every metric, the best first."""
        return [cell for metric in self.metrics for cell in self._ranked(metric)]

    def _ranked(self, metric: str) -> list[Cell]:
        more = self.settings["metrics"][metric]["better"] == "more"
        values = {m: v for m, v in self.paired(metric).items() if len(v)}
        order = sorted(values, key=lambda m: (-1 if more else 1) * values[m].mean())
        beaten = set()
        for c in self.comparisons[metric]:
            if c.real:
                beaten.add(c.second if (c.difference.mean > 0) == more else c.first)
        return [
            Cell(metric, m, len(values[m]), interval(values[m]), rank, m not in beaten)
            for rank, m in enumerate(order, 1)
        ]

    def curve(self, metric: str, method: str) -> MeanCurve | None:
        """Give the mean curve of a metric that has curves."""
        rows = self._joined("curves", metric, method)
        rows = rows[np.isfinite(rows).all(-1)] if rows.ndim == 2 else rows[:0]
        if not len(rows):
            return None
        fractions = next(
            line["fractions"][metric] for line in self.lines if metric in line.get("fractions", {})
        )
        picked = np.random.default_rng(0).integers(0, len(rows), (400, len(rows)))
        low, high = np.percentile([rows[p].mean(0) for p in picked], [2.5, 97.5], axis=0)
        return MeanCurve(np.array(fractions), rows.mean(0), low, high)

    def seconds(self, method: str) -> float:
        """Give the time of one explanation, the median over batches (the first traces)."""
        found = [
            line["seconds"]["explain"] / len(line["images"])
            for line in self.lines
            if line.get("method") == method and "explain" in line["seconds"]
        ]
        return float(np.median(found)) if found else float("nan")

    @cached_property
    def _found(self) -> dict[tuple[int, str], dict[str, dict[str, Any]]]:
        """(batch, method) -> metric -> its values and curves, of whichever lines have them."""
        found: dict[tuple[int, str], dict[str, dict[str, Any]]] = {}
        for line in self.lines:
            if "method" in line:
                of = found.setdefault((line["batch"], line["method"]), {})
                for metric, values in line["values"].items():
                    of[metric] = {"values": values, "curves": line["curves"].get(metric)}
        return found

    def has(self, batch: int, method: str) -> set[str]:
        """Give the metrics that are there for a batch and a method."""
        return set(self._found.get((batch, method), {}))

    def _joined(self, kind: str, metric: str, method: str) -> np.ndarray:
        parts = []
        for number, line in self.batches.items():
            found = self._found.get((number, method), {}).get(metric, {}).get(kind)
            parts.append(found if found is not None else [None] * len(line["images"]))
        flat = [row for part in parts for row in part]
        width = next((len(row) for row in flat if isinstance(row, list)), None)
        none = np.nan if width is None else [np.nan] * width
        return np.array([none if row is None else row for row in flat], np.float64)
