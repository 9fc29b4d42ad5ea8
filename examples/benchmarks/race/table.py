"""The race's results as Markdown."""

import statistics
from typing import NamedTuple

ABSENT = "–"


class Spread(NamedTuple):
    """The median, the smallest and the largest of some numbers."""

    median: float
    low: float
    high: float


def spread(values) -> Spread:
    """Summarise numbers, of which there is at least one."""
    return Spread(statistics.median(values), min(values), max(values))


def ratios(peer, ours) -> list[float]:
    """Give peer / ours of each round; above 1, ours is faster."""
    return [p / o for p, o in zip(peer, ours, strict=True)]


def figure(value: float) -> str:
    """Write a number with three digits that count."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def with_range(values) -> str:
    """Write the median and, of several numbers, their range."""
    middle, low, high = spread(values)
    range_of = "" if len(values) == 1 else f" ({figure(low)} to {figure(high)})"
    return figure(middle) + range_of


def cell(result, ours) -> str:
    """Write a peer's part of a row: its ratio, why there is none, or that it did not take part."""
    if result is None:
        return ABSENT
    if "error" in result:
        return "failed"
    if ours is None:
        return f"{figure(spread(result['values']).median)} (alone)"
    return with_range(ratios(result["values"], ours))


def comparison(title: str, unit: str, names, rows) -> str:
    """Write a table of ratios.

    Args:
        title: the heading.
        unit: that of the first column of figures, ours.
        names: the contestants, ours first.
        rows: (work, model, batch) -> {name: {"values": one a round} or {"error": text}}.
    """
    lines = [
        f"## {title}",
        "",
        f"| work | model | images | {names[0]}, {unit} | " + " | ".join(names[1:]) + " |",
        "|---" * (len(names) + 3) + "|",
    ]
    for (work, model, batch), results in rows.items():
        first = results.get(names[0]) or {"error": "not measured"}
        ours = first.get("values")
        cells = [work, model, str(batch), with_range(ours) if ours else "failed"]
        cells += [cell(results.get(name), ours) for name in names[1:]]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def failures(rows) -> str:
    """List what failed, and why."""
    found = {
        (name, work, result["error"])
        for (work, _, _), results in rows.items()
        for name, result in results.items()
        if "error" in result
    }
    return "".join(f"- {name}, {work}: {error}\n" for name, work, error in sorted(found))
