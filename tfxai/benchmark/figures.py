"""The figures of a report: mean curves by metric, and images beside their maps."""

from __future__ import annotations

from urllib.parse import quote

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfxai import plot
from tfxai.benchmark.results import Results

MOST_COLUMNS = 9
"""How many maps are beside each other, at most."""


def curves(results: Results, metric: str) -> Figure | None:
    """Draw the mean curve of each method by a metric; None for a metric without curves.

    Args:
        results: of a run.
        metric: one of its metrics.
    """
    drawn = {m: c for m in results.methods if (c := results.curve(metric, m)) is not None}
    if not drawn:
        return None
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    for number, method in enumerate(results.methods):
        if method in drawn:
            axes.plot(
                drawn[method].fractions,
                drawn[method].mean,
                color=f"C{number % 10}",
                linestyle=("-", "--", ":")[number // 10 % 3],
                label=method,
            )
    axes.set_title(metric, size=11, parse_math=False)
    axes.margins(x=0)
    settings = results.settings["metrics"][metric]
    information = settings.get("thresholds") is not None
    axes.set_xlabel("information" if information else "share of the image")
    axes.set_ylabel("relative score" if information else "probability")
    axes.spines[["top", "right"]].set_visible(False)
    factor = -1 if settings["better"] == "more" else 1
    _legend(axes, sorted(drawn, key=lambda m: factor * drawn[m].mean.mean()))
    return figure


def _legend(axes: Axes, methods: list[str]) -> None:
    """Put a legend with the methods in their order to the right of the axes."""
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    axes.legend(
        [handles[m] for m in methods],
        methods,
        fontsize=8,
        frameon=False,
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
    )


def maps(results: Results) -> Figure | None:
    """Draw the first images beside their maps by each method; None where none are kept.

    Args:
        results: of a run.
    """
    images = _kept(results, "images")
    kept = {m: _kept(results, quote(m, safe="")) for m in results.methods}
    columns = {m: [v[..., None] for v in k] for m, k in kept.items() if k.shape == images.shape[:3]}
    if not len(images) or not columns:
        return None
    names = results.settings["class_names"]
    labels = [names[t].split(",")[0] if names else str(t) for t in results.targets[: len(images)]]
    signed = results.settings["sign"] == "signed"
    signs = [
        "signed" if signed and (np.stack(column) < 0).any() else "absolute"
        for column in columns.values()
    ]
    across = min(MOST_COLUMNS, len(columns))
    return plot.panel(list(images), columns, labels=labels, signs=signs, across=across)


def _kept(results: Results, name: str) -> np.ndarray:
    """Read what was kept for the report, ``[n, ...]``: the images, or the heatmaps of a method."""
    paths = [results.directory / "maps" / f"{n:06}.{name}.npy" for n in results.batches]
    parts = [np.load(path) for path in paths if path.exists()]
    return np.concatenate(parts) if parts else np.zeros([0])
