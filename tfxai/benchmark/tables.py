"""The results of a run as tables: CSV, and Parquet where pyarrow is installed."""

from __future__ import annotations

import csv
import importlib.util
import io
from collections.abc import Callable
from typing import Any

from tfxai.benchmark.results import Results
from tfxai.core.folders import write_whole

Rows = list[dict[str, Any]]


def write(results: Results) -> None:
    """Write all tables into the directory of a run.

    All but ``seconds`` are the same to the byte when a run is repeated or resumed.
    """
    for name, rows in (
        ("values", values(results)),
        ("summary", summary(results)),
        ("comparisons", comparisons(results)),
        ("curves", curves(results)),
        ("seconds", seconds(results)),
    ):
        path = results.directory / f"{name}.csv"
        write_whole(path, as_csv(rows))
        if importlib.util.find_spec("pyarrow") is not None:
            write_whole(path.with_suffix(".parquet"), _as_parquet(rows))


def values(results: Results) -> Rows:
    """Give a row for each image and method, with a column for each metric."""
    columns = {metric: results.values(metric) for metric in results.metrics}
    return [
        {
            "image": image,
            "target": target,
            "method": method,
            **{metric: float(column[method][i]) for metric, column in columns.items()},
        }
        for i, (image, target) in enumerate(zip(results.images, results.targets, strict=True))
        for method in results.methods
    ]


def summary(results: Results) -> Rows:
    """Give a row for each metric and method, the best method first."""
    return [
        {
            "metric": cell.metric,
            "better": results.settings["metrics"][cell.metric]["better"],
            "method": cell.method,
            "images": cell.images,
            **cell.value._asdict(),
            "rank": cell.rank,
            "best": cell.best,
        }
        for cell in results.cells
    ]


def comparisons(results: Results) -> Rows:
    """Give a row for each metric and pair of methods."""
    return [
        {
            "metric": metric,
            "first": c.first,
            "second": c.second,
            "difference": c.difference.mean,
            "low": c.difference.low,
            "high": c.difference.high,
            "p": c.p,
            "p_adjusted": c.p_adjusted,
            "significant": c.significant,
        }
        for metric, compared in results.comparisons.items()
        for c in compared
    ]


def curves(results: Results) -> Rows:
    """Give a row for each point of each mean curve."""
    return [
        {
            "metric": metric,
            "method": method,
            "fraction": float(x),
            "mean": float(mean),
            "low": float(low),
            "high": float(high),
        }
        for metric in results.metrics
        for method in results.methods
        if (curve := results.curve(metric, method)) is not None
        for x, mean, low, high in zip(*curve, strict=True)
    ]


def seconds(results: Results) -> Rows:
    """Give a row for each method, batch and task: to explain an image, or to score its map."""
    return [
        {
            "method": line["method"],
            "batch": line["batch"],
            "task": task,
            "seconds_per_image": duration / len(line["images"]),
        }
        for line in results.lines
        if "method" in line
        for task, duration in line["seconds"].items()
    ]


def as_csv(rows: Rows) -> bytes:
    """Give rows as CSV; numbers are written so that they are read back unchanged."""
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue().encode()


def _as_parquet(rows: Rows) -> bytes:
    import pyarrow
    import pyarrow.parquet

    buffer = io.BytesIO()
    table: Callable = pyarrow.Table.from_pylist
    pyarrow.parquet.write_table(table(rows), buffer)
    return buffer.getvalue()
