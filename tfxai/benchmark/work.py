"""One batch by one method: explain it, score the maps, and note all of it in one line."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import keras
import numpy as np
from rich.progress import Progress, TaskID

from tfxai.benchmark import journal
from tfxai.benchmark.cases import Batch
from tfxai.benchmark.measures import Measure, score
from tfxai.benchmark.subject import (
    Build,
    Predictor,
    Subject,
    chosen_targets,
    explained,
    quiet,
)
from tfxai.explaining.explainer import Explainer

EXPECTED = (TypeError, ValueError, ArithmeticError)
"""What methods and metrics raise for a model or a map that they cannot have."""


class Setup(NamedTuple):
    """What stays the same for all images."""

    model: keras.Model
    predictor: Predictor
    builds: Mapping[str, Build]
    explainers: dict[str, Explainer]
    others: dict[tuple[str, keras.Model], Explainer]
    chosen: dict[str, Measure]
    bounds: tuple[Any, Any] | None
    sign: str
    seed: int
    shown: int
    batch_size: int
    directory: Path


def heading(setup: Setup, batch: Batch) -> dict[str, Any]:
    """Give what all lines of a batch begin with: its images, and the classes to explain."""
    targets = chosen_targets(setup.predictor, batch.inputs, batch.targets)
    return {
        "batch": batch.number,
        "images": batch.names,
        "inputs": digest(batch.inputs),
        "targets": targets.tolist(),
    }


def work(
    setup: Setup,
    batch: Batch,
    begun: dict[str, Any],
    title: str,
    missing: set[str],
    progress: Progress,
    task: TaskID,
) -> None:
    """Explain a batch by one method and score it by the missing metrics, in one line."""
    targets = np.array(begun["targets"], np.int32)
    line: dict[str, Any] = {
        **begun,
        "method": title,
        "values": {},
        "curves": {},
        "fractions": {},
        "seconds": {},
        "failed": {},
    }
    start = time.perf_counter()
    try:
        subject = _subject(setup, batch, title, targets)
    except EXPECTED as error:
        line["failed"] = dict.fromkeys(sorted(missing), _one_line(error))
    else:
        line["seconds"]["explain"] = time.perf_counter() - start
        line["constant"] = int(subject.constant.sum())
        for name, measure in setup.chosen.items():
            if name in missing:
                _score(line, name, measure, subject)
        taken = line["seconds"]["explain"] / len(batch.names)
        progress.update(task, detail=f"{title} {taken:.2g} s/image")
    journal.append(setup.directory, line)
    for text in dict.fromkeys(line["failed"].values()):
        progress.console.print(f"{title}: {text}", style="red", markup=False, soft_wrap=True)


def _subject(setup: Setup, batch: Batch, title: str, targets: np.ndarray) -> Subject:
    """Explain a batch, and keep the maps that the report shows."""
    found = explained(
        setup.explainers[title],
        setup.predictor,
        batch.inputs,
        targets,
        regions=batch.regions,
        bounds=setup.bounds,
        sign=setup.sign,
        seed=setup.seed,
        explain_on=lambda other: quiet(_on(setup, title, other), setup.seed),
    )
    _keep_maps(setup, batch, title, found)
    return found


def _score(line: dict[str, Any], name: str, measure: Measure, subject: Subject) -> None:
    """Add one metric to a line, or why there is none."""
    start = time.perf_counter()
    try:
        outcome = score(measure, subject)
    except EXPECTED as error:
        line["failed"][name] = _one_line(error)
        return
    line["seconds"][name] = time.perf_counter() - start
    line["values"][name] = np.asarray(outcome.values, np.float64).tolist()
    if outcome.curve is not None:
        rows = outcome.curve.scores
        line["curves"][name] = [[float(f"{v:.6g}") for v in row] for row in rows]
        line["fractions"][name] = outcome.curve.fractions.tolist()


def _on(setup: Setup, title: str, model: keras.Model) -> Explainer:
    """Give a method's explainer of another model, made once."""
    if (title, model) not in setup.others:
        setup.others[title, model] = explainer_of(title, setup.builds[title], model)
    return setup.others[title, model]


def _keep_maps(setup: Setup, batch: Batch, title: str, found: Subject) -> None:
    """Keep the first images and their maps for the report."""
    rows = max(0, setup.shown - batch.number * setup.batch_size)
    folder = setup.directory / "maps"
    if rows == 0:
        return
    folder.mkdir(exist_ok=True)
    for name, values in (("images", found.inputs), (quote(title, safe=""), found.heatmaps)):
        path = folder / f"{batch.number:06}.{name}.npy"
        partial = path.with_suffix(".part")
        with partial.open("wb") as file:
            np.save(file, values[:rows].astype(np.float32))
        partial.replace(path)


def digest(*arrays: np.ndarray) -> str:
    """Give a number that other arrays do not have."""
    found = hashlib.sha256()
    for value in arrays:
        array = np.ascontiguousarray(value)
        found.update(json.dumps([str(array.dtype), array.shape]).encode())
        found.update(array.tobytes())
    return found.hexdigest()[:16]


def explainer_of(title: str, build: Any, model: keras.Model) -> Explainer:
    """Build a method, or raise a TypeError."""
    explainer = build(model) if callable(build) and not isinstance(build, keras.Model) else None
    if not isinstance(explainer, Explainer):
        raise TypeError(
            f"methods[{title!r}]: expected a function from a model to its explainer, such as "
            f"tfxai.gradient, got {type(build).__name__}"
        )
    return explainer


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]
