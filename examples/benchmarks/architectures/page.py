"""The page docs/architectures.md, from the lines of JSON."""

import json
import re
from collections import Counter, defaultdict

from builders import FAMILIES, METHODS
from catalogue import NETWORKS

STATES = {
    "ok": "agrees with an independent check, or, where the network has none, has the right "
    "form, is finite and not constant, and is the same for an example alone",
    "extended": "so it does, and its record names the operations that it treats beyond its paper",
    "warned": "the map says nothing, and a warning says so",
    "refused": "an error of tfxai's own",
    "undefined": "the method cannot be defined for the network, which is known beforehand",
    "wrong": "disagrees with its check, and nothing says so",
    "crashed": "an error that is not tfxai's own",
}
LETTERS = dict(zip(STATES, ("ok", "ext", "w", "r", "–", "WRONG", "CRASHED"), strict=True))


def read(folder):
    """All cells of a run."""
    lines = [line for file in sorted(folder.glob("*.jsonl")) for line in file.open()]
    return [json.loads(line) for line in lines]


def of_methods(results):
    return [r for r in results if r["method"] != "(reference)"]


def shares(results):
    """Give the counts of the states, and the share of what is ok among what is defined."""
    counts = Counter(r["state"] for r in of_methods(results))
    defined = sum(counts.values()) - counts["undefined"]
    return counts, (counts["ok"] + counts["extended"]) / max(defined, 1)


def summary(results):
    counts, share = shares(results)
    listed = ", ".join(f"{counts[s]} {s}" for s in STATES if counts[s])
    return (
        f"{sum(counts.values())} cells: {listed}; {share:.1%} of those defined are ok or extended"
    )


def cell_text(results):
    """Give the states of a family of methods on a network, such as "3 ok 1 ext"."""
    counts = Counter(r["state"] for r in results)
    if len(counts) == 1:
        return LETTERS[next(iter(counts))]
    return " ".join(f"{counts[s]} {LETTERS[s]}" for s in STATES if counts[s])


def grid(results):
    """Networks x families of methods."""
    by_network = defaultdict(list)
    for r in of_methods(results):
        by_network[r["network"]].append(r)
    yield "| network | " + " | ".join(FAMILIES) + " |"
    yield "|---" * (len(FAMILIES) + 1) + "|"
    for network, cells in by_network.items():
        texts = [
            cell_text([c for c in cells if c["method"] in methods]) if cells else ""
            for methods in FAMILIES.values()
        ]
        yield f"| {network} | " + " | ".join(texts) + " |"


def without_names(message):
    """Give a message with the names and numbers of a network left out, to group by."""
    message = re.sub(r"'[^']*'|\"[^\"]*\"", "'...'", message)
    message = re.sub(r"\[[^\]]*\]|\([^)]*\)|\d[\d.e-]*", "...", message)
    return re.sub(r"\s+", " ", message)[:260]


def refusals(results):
    """Messages of refusals, how often each comes, and what following its remedy gives."""
    groups = defaultdict(list)
    for r in of_methods(results):
        if r["state"] == "refused":
            groups[without_names(r["message"])].append(r)
    yield "| cells | message | remedy followed |"
    yield "|---|---|---|"
    for message, cells in sorted(groups.items(), key=lambda g: -len(g[1])):
        outcomes = Counter(c.get("followed", "none is known to the driver")[:60] for c in cells)
        listed = "; ".join(f"{n} {what}" for what, n in outcomes.most_common())
        yield f"| {len(cells)} | {message.replace('|', '/')} | {listed} |"


def listed(results, state):
    """Each cell of a state, with its message."""
    for r in of_methods(results):
        if r["state"] == state:
            message = re.sub(r"\s+", " ", r.get("message", ""))[:200]
            yield f"- {r['network']}, `{r['method']}`: {message}"


def page(results):
    """Give the whole page."""
    counts, share = shares(results)
    found = {r["network"] for r in results}
    total, networks = sum(counts.values()), len(found)
    absent = [name for name in NETWORKS if name not in found]
    checked = sum("error" in r for r in of_methods(results))
    lines = [
        "# Which methods explain which networks",
        "",
        "Written by `examples/benchmarks/architectures/run.py`, which builds networks with random "
        "weights, runs every public method on each, and checks each map by an independent "
        "computation: the gradient of a float64 twin by a tape, which is itself compared with "
        "finite differences; loops over samples, masks and patches; the laws of a method. "
        "To run it again:",
        "",
        "    python examples/benchmarks/architectures/run.py --page docs/architectures.md",
        "",
        f"{total} cells, {len(METHODS)} methods on {networks} networks; {checked} have a check of "
        f"their own. **{share:.1%} of the cells that are defined are ok or extended.**",
        "",
        "| state | cells | share | what it means |",
        "|---|---|---|---|",
        *(
            f"| {s} | {counts[s]} | {counts[s] / total:.1%} | {text} |"
            for s, text in STATES.items()
        ),
        "",
        "A family's entry is the state of all its methods, or their numbers.",
        "",
        *grid(results),
        "",
        *([f"Without results in this run: {', '.join(absent)}.", ""] if absent else []),
        "## Refusals",
        "",
        "Names and numbers are left out. The driver follows what a message advises.",
        "",
        *refusals(results),
    ]
    for state in ("wrong", "crashed", "warned"):
        entries = list(listed(results, state))
        if entries:
            lines += ["", f"## {state.capitalize()}", "", *entries]
    return "\n".join(lines) + "\n"
