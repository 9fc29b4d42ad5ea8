"""The report of a run, one HTML file without links: table, curves, maps, comparisons, settings."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from html import escape

import numpy as np
from matplotlib.figure import Figure

from tfxai.benchmark import figures
from tfxai.benchmark.results import Cell, Results
from tfxai.benchmark.statistics import images_needed
from tfxai.core.folders import write_whole

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; color: #222;
       padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #ddd;
         white-space: nowrap; }
th:first-child, td:first-child, td.text { text-align: left; }
td small { color: #777; } td.best { background: #e3f1e5; } td.first { font-weight: 700; }
img { max-width: 100%; } .note { color: #555; max-width: 55rem; } .error { color: #a11; }
td small { font-weight: 400; } .curves img { max-width: 36rem; }
.curves { display: flex; flex-wrap: wrap; gap: 1rem; }
"""


def write(results: Results) -> None:
    """Write ``report.html`` into the directory of a run."""
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        f"<title>{escape(_title(results))}</title><style>{STYLE}</style></head><body>",
        *_header(results),
        *_table(results),
        *_curves(results),
        *_maps(results),
        *_comparisons(results),
        *_settings(results),
        "</body></html>\n",
    ]
    write_whole(results.directory / "report.html", "\n".join(parts).encode())


def _title(results: Results) -> str:
    return f"Explanations of {results.settings['model']['name']}"


def _header(results: Results) -> Iterator[str]:
    yield f"<h1>{escape(_title(results))}</h1>"
    yield (
        f"<p>{len(results.images)} images, {len(results.methods)} methods, "
        f"{len(results.metrics)} metrics.</p>"
    )
    for name, reason in results.broken.items():
        yield f"<p class='error'>Skipped {escape(name)}: {escape(reason)}</p>"
    for (method, metric), error in results.failed.items():
        yield f"<p class='error'>{escape(method)}, {escape(metric)}: {escape(error)}</p>"
    for method, count in results.constant.items():
        yield (
            f"<p class='error'>{escape(method)}: {count} of {len(results.images)} maps are the "
            "same everywhere: they rank nothing, and no metric counts them.</p>"
        )


def _table(results: Results) -> Iterator[str]:
    cells = {(c.metric, c.method): c for c in results.cells}
    ranks = {m: [c.rank for c in results.cells if c.method == m] for m in results.methods}
    order = sorted(results.methods, key=lambda m: np.mean(ranks[m]) if ranks[m] else np.inf)
    settings = results.settings["metrics"]
    yield "<h2>Which method is best?</h2><div class='wide'><table><tr><th>method</th>"
    for metric in results.metrics:
        arrow = "↑" if settings[metric]["better"] == "more" else "↓"
        yield f"<th>{escape(metric)} {arrow}</th>"
    yield "<th>seconds</th></tr>"
    for method in order:
        yield f"<tr><td>{escape(method)}</td>"
        yield from (_cell(cells.get((metric, method))) for metric in results.metrics)
        yield f"<td>{results.seconds(method):.2g}</td></tr>"
    yield (
        "</table></div><p class='note'>Means over the images for which every method has a value, "
        "with 95 % bootstrap intervals; ↑ more is better, ↓ less is better. The best mean is bold. "
        "Where a cell is green, no other method is better beyond chance: by a sign-flip test on "
        "the same images, adjusted for all pairs of methods. Methods stand in the order of their "
        "mean rank; metrics measure different things, so that order is no verdict. Seconds are the "
        "time of one explanation.</p>"
    )
    needed = images_needed(len(results.methods))
    few = [m for m in results.metrics if 0 < _images(results, m) < needed]
    if few:
        yield (
            f"<p class='error'>Too few images to tell any two of {len(results.methods)} methods "
            f"apart by {escape(', '.join(few))}: it takes {needed}.</p>"
        )


def _images(results: Results, metric: str) -> int:
    """Give over how many images the means of a metric are."""
    return max((c.images for c in results.cells if c.metric == metric), default=0)


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return "<td>–</td>"
    classes = ["first"] * (cell.rank == 1) + ["best"] * cell.best
    mean, low, high = cell.value
    interval = "" if np.isnan(low) else f" <small>{low:.3g} to {high:.3g}</small>"
    return f"<td class='{' '.join(classes)}'>{mean:.3g}{interval}</td>"


def _curves(results: Results) -> Iterator[str]:
    drawn = [(m, f) for m in results.metrics if (f := figures.curves(results, m)) is not None]
    if drawn:
        yield "<h2>Curves</h2><div class='curves'>"
        yield from (_image(figure, f"Curves of {metric}") for metric, figure in drawn)
        yield "</div>"


def _maps(results: Results) -> Iterator[str]:
    figure = figures.maps(results)
    if figure is not None:
        yield "<h2>Maps</h2>"
        yield _image(figure, "Images and their maps by every method")
        yield "<p class='note'>Red speaks for the class, blue against it.</p>"


def _comparisons(results: Results) -> Iterator[str]:
    yield "<h2>Significant differences</h2>"
    for metric in results.metrics:
        pairs = results.comparisons[metric]
        significant = sorted((c for c in pairs if c.significant), key=lambda c: c.p_adjusted)
        yield (
            f"<details><summary>{escape(metric)}: {len(significant)} of {len(pairs)} pairs"
            "</summary>"
        )
        yield "<div class='wide'><table><tr><th>methods</th><th>difference</th><th>p</th></tr>"
        for c in significant:
            mean, low, high = c.difference
            yield (
                f"<tr><td>{escape(c.first)} – {escape(c.second)}</td><td>{mean:.3g} "
                f"<small>{low:.3g} to {high:.3g}</small></td><td>{c.p_adjusted:.2g}</td></tr>"
            )
        yield "</table></div></details>"


def _settings(results: Results) -> Iterator[str]:
    yield "<h2>Settings</h2><div class='wide'><table>"
    rows = {name: results.settings[name] for name in ("batch_size", "seed", "sign", "bounds")}
    for kind in ("versions", "methods", "metrics"):
        rows |= results.settings[kind]
    for name, value in rows.items():
        text = ", ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else value
        yield f"<tr><td>{escape(name)}</td><td class='text'>{escape(str(text))}</td></tr>"
    yield "</table></div>"


def _image(figure: Figure, description: str) -> str:
    """Give a figure as an element of the page."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f"<img alt='{escape(description)}' src='data:image/png;base64,{data}'>"
