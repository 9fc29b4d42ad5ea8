"""A run's results as one HTML file that needs nothing else: table, curves, comparisons, maps."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from html import escape
from urllib.parse import quote

import numpy as np
from matplotlib.figure import Figure

from tfxai import plot
from tfxai.benchmark.results import Cell, Results
from tfxai.benchmark.statistics import enough
from tfxai.core.folders import write_whole

ACROSS = 9
"""Maps beside each other."""
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
    """Write ``report.html`` into the run's directory."""
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        f"<title>{escape(_title(results))}</title><style>{STYLE}</style></head><body>",
        *_header(results),
        *_table(results),
        *_curves(results),
        *_grid(results),
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
    kinds = results.settings["metrics"]
    yield "<h2>Which method is best?</h2><div class='wide'><table><tr><th>method</th>"
    for metric in results.metrics:
        arrow = "↑" if kinds[metric]["better"] == "more" else "↓"
        yield f"<th>{escape(metric)} {arrow}</th>"
    yield "<th>seconds</th></tr>"
    for method in order:
        yield f"<tr><td>{escape(method)}</td>"
        yield from (_cell(cells.get((metric, method))) for metric in results.metrics)
        yield f"<td>{results.seconds(method):.2g}</td></tr>"
    yield (
        "</table></div><p class='note'>Means over the images that every method has a value for, "
        "with 95 % bootstrap intervals; ↑ more is better, ↓ less is. Bold is the best mean. On "
        "green, no method is better beyond chance: a sign-flip test on the same images, adjusted "
        "for all pairs of a metric. Methods stand in the order of their mean rank; metrics measure "
        "different things, so that order is no verdict. Seconds are of one explanation.</p>"
    )
    few = [m for m in results.metrics if 0 < _images(results, m) < enough(len(results.methods))]
    if few:
        yield (
            f"<p class='error'>Too few images to tell any two of {len(results.methods)} methods "
            f"apart by {escape(', '.join(few))}: it takes {enough(len(results.methods))}.</p>"
        )


def _images(results: Results, metric: str) -> int:
    return max((c.images for c in results.cells if c.metric == metric), default=0)


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return "<td>–</td>"
    kinds = ["first"] * (cell.rank == 1) + ["best"] * cell.best
    low, high = cell.value.low, cell.value.high
    spread = "" if np.isnan(low) else f" <small>{low:.3g} to {high:.3g}</small>"
    return f"<td class='{' '.join(kinds)}'>{cell.value.mean:.3g}{spread}</td>"


def _curves(results: Results) -> Iterator[str]:
    figures = [(m, figure) for m in results.metrics if (figure := curves(results, m)) is not None]
    if figures:
        yield "<h2>Curves</h2><div class='curves'>"
        yield from (_image(figure, f"Curves of {metric}") for metric, figure in figures)
        yield "</div>"


def curves(results: Results, metric: str) -> Figure | None:
    """Draw a metric's mean curve of each method; None for a metric that has none.

    Args:
        results: of a run.
        metric: one of its metrics.
    """
    found = {m: c for m in results.methods if (c := results.curve(metric, m)) is not None}
    if not found:
        return None
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    better = -1 if results.settings["metrics"][metric]["better"] == "more" else 1
    areas = {m: better * c.mean.mean() for m, c in found.items()}
    for number, method in enumerate(results.methods):
        if method in found:
            axes.plot(
                found[method].fractions,
                found[method].mean,
                color=f"C{number % 10}",
                linestyle=("-", "--", ":")[number // 10 % 3],
                label=method,
            )
    axes.set_title(metric, size=11, parse_math=False)
    axes.margins(x=0)
    information = results.settings["metrics"][metric].get("thresholds") is not None
    axes.set_xlabel("information" if information else "share of the image")
    axes.set_ylabel("relative score" if information else "probability")
    axes.spines[["top", "right"]].set_visible(False)
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    order = sorted(found, key=lambda m: areas[m])
    axes.legend(
        [handles[m] for m in order], order, fontsize=8, frameon=False, loc="center left",
        bbox_to_anchor=(1.01, 0.5),
    )  # fmt: skip
    return figure


def _grid(results: Results) -> Iterator[str]:
    figure = grid(results)
    if figure is not None:
        yield "<h2>Maps</h2>"
        yield _image(figure, "Images and their maps by every method")
        yield "<p class='note'>Red speaks for the class, blue against it.</p>"


def grid(results: Results) -> Figure | None:
    """Draw the first images beside their maps by each method; None where none are kept.

    Args:
        results: of a run.
    """
    images = _kept(results, "images")
    kept = {m: _kept(results, quote(m, safe="")) for m in results.methods}
    maps = {m: [v[..., None] for v in k] for m, k in kept.items() if k.shape == images.shape[:3]}
    if not len(images) or not maps:
        return None
    names = results.settings["class_names"]
    labels = [names[t].split(",")[0] if names else str(t) for t in results.targets[: len(images)]]
    signed = results.settings["sign"] == "signed"
    sign = ["signed" if signed and (np.stack(v) < 0).any() else "absolute" for v in maps.values()]
    return plot.panel(list(images), maps, labels=labels, signs=sign, across=min(ACROSS, len(maps)))


def _kept(results: Results, name: str) -> np.ndarray:
    parts = [results.directory / "maps" / f"{n:06}.{name}.npy" for n in results.batches]
    found = [np.load(path) for path in parts if path.exists()]
    return np.concatenate(found) if found else np.zeros([0])


def _comparisons(results: Results) -> Iterator[str]:
    yield "<h2>Differences that are real</h2>"
    for metric in results.metrics:
        found = results.comparisons[metric]
        real = [c for c in found if c.real]
        yield f"<details><summary>{escape(metric)}: {len(real)} of {len(found)} pairs</summary>"
        yield "<div class='wide'><table><tr><th>methods</th><th>difference</th><th>p</th></tr>"
        for c in sorted(real, key=lambda c: c.adjusted):
            mean, low, high = c.difference
            yield (
                f"<tr><td>{escape(c.first)} – {escape(c.second)}</td><td>{mean:.3g} "
                f"<small>{low:.3g} to {high:.3g}</small></td><td>{c.adjusted:.2g}</td></tr>"
            )
        yield "</table></div></details>"


def _settings(results: Results) -> Iterator[str]:
    yield "<h2>Settings</h2><div class='wide'><table>"
    of_run = ("batch_size", "seed", "sign", "bounds")
    shown = {name: results.settings[name] for name in of_run}
    for kind in ("versions", "methods", "metrics"):
        shown |= results.settings[kind]
    for name, value in shown.items():
        text = ", ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else value
        yield f"<tr><td>{escape(name)}</td><td class='text'>{escape(str(text))}</td></tr>"
    yield "</table></div>"


def _image(figure: Figure, words: str) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f"<img alt='{escape(words)}' src='data:image/png;base64,{data}'>"
