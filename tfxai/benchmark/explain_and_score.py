"""One step of a run: explain a batch by one method, score it, and write a line of the journal."""

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
from tfxai.benchmark.explained_batch import (
    Builder,
    ExplainedBatch,
    explain_batch,
    explain_quietly,
)
from tfxai.benchmark.metric import Metric, evaluate
from tfxai.benchmark.predictor import Predictor, classes_to_explain
from tfxai.explaining.explainer import Explainer

EXPECTED = (TypeError, ValueError, ArithmeticError)
"""What methods and metrics raise for a model or a map that they do not apply to."""


class Setup(NamedTuple):
    """What stays the same for all batches of a run."""

    model: keras.Model
    predictor: Predictor
    builders: Mapping[str, Builder]
    """Method title -> the function that builds its explainer."""
    explainers: dict[str, Explainer]
    """Method title -> its explainer for the model."""
    explainers_of_others: dict[tuple[str, keras.Model], Explainer]
    """(method title, another model) -> the explainer for that model; filled as metrics ask."""
    metrics: dict[str, Metric]
    bounds: tuple[Any, Any] | None
    sign: str
    seed: int
    images_in_report: int
    batch_size: int
    directory: Path


def batch_fields(setup: Setup, batch: Batch) -> dict[str, Any]:
    """Give what all lines of a batch have: its number, its images and the classes to explain."""
    targets = classes_to_explain(setup.predictor, batch.inputs, batch.targets)
    return {
        "batch": batch.number,
        "images": batch.names,
        "inputs": digest(batch.inputs),
        "targets": targets.tolist(),
    }


def explain_and_score(
    setup: Setup,
    batch: Batch,
    fields: dict[str, Any],
    title: str,
    missing: set[str],
    progress: Progress,
    task: TaskID,
) -> None:
    """Explain a batch by one method, score it by the missing metrics, and write one line.

    Args:
        setup: the run.
        batch: the images.
        fields: what `batch_fields` gives.
        title: the method.
        missing: the metrics that the journal has no values of.
        progress: where the seconds for each image and errors are shown.
        task: the task of `progress`.
    """
    line: dict[str, Any] = {
        **fields,
        "method": title,
        "values": {},
        "curves": {},
        "fractions": {},
        "seconds": {},
        "failed": {},
    }
    start = time.perf_counter()
    try:
        explained = _explained(setup, batch, title, np.array(fields["targets"], np.int32))
    except EXPECTED as error:
        line["failed"] = dict.fromkeys(sorted(missing), _one_line(error))
    else:
        line["seconds"]["explain"] = time.perf_counter() - start
        line["constant"] = int(explained.constant.sum())
        for name, metric in setup.metrics.items():
            if name in missing:
                _score(line, name, metric, explained)
        seconds = line["seconds"]["explain"] / len(batch.names)
        progress.update(task, detail=f"{title} {seconds:.2g} s/image")
    journal.append(setup.directory, line)
    for text in dict.fromkeys(line["failed"].values()):
        progress.console.print(f"{title}: {text}", style="red", markup=False, soft_wrap=True)


def _explained(setup: Setup, batch: Batch, title: str, targets: np.ndarray) -> ExplainedBatch:
    """Explain a batch, and keep the maps that the report shows."""
    explained = explain_batch(
        setup.explainers[title],
        setup.predictor,
        batch.inputs,
        targets,
        regions=batch.regions,
        bounds=setup.bounds,
        sign=setup.sign,
        seed=setup.seed,
        explain_on=lambda other: explain_quietly(_explainer_of(setup, title, other), setup.seed),
    )
    _keep_maps(setup, batch, title, explained)
    return explained


def _score(line: dict[str, Any], name: str, metric: Metric, explained: ExplainedBatch) -> None:
    """Add the values of a metric to a line, or the reason why there are none."""
    start = time.perf_counter()
    try:
        outcome = evaluate(metric, explained)
    except EXPECTED as error:
        line["failed"][name] = _one_line(error)
        return
    line["seconds"][name] = time.perf_counter() - start
    line["values"][name] = np.asarray(outcome.values, np.float64).tolist()
    if outcome.curve is not None:
        rows = outcome.curve.scores
        line["curves"][name] = [[float(f"{v:.6g}") for v in row] for row in rows]
        line["fractions"][name] = outcome.curve.fractions.tolist()


def _explainer_of(setup: Setup, title: str, other: keras.Model) -> Explainer:
    """Give the explainer of a method for another model; it is built once."""
    explainers = setup.explainers_of_others
    if (title, other) not in explainers:
        explainers[title, other] = build_explainer(title, setup.builders[title], other)
    return explainers[title, other]


def _keep_maps(setup: Setup, batch: Batch, title: str, explained: ExplainedBatch) -> None:
    """Write the first images of a run and their heatmaps to files, for the report."""
    rows = max(0, setup.images_in_report - batch.number * setup.batch_size)
    folder = setup.directory / "maps"
    if rows == 0:
        return
    folder.mkdir(exist_ok=True)
    arrays = {"images": explained.inputs, quote(title, safe=""): explained.heatmaps}
    for name, values in arrays.items():
        path = folder / f"{batch.number:06}.{name}.npy"
        partial = path.with_suffix(".part")
        with partial.open("wb") as file:
            np.save(file, values[:rows].astype(np.float32))
        partial.replace(path)


def digest(*arrays: np.ndarray) -> str:
    """Give 16 hexadecimal digits that tell arrays from others: of their types, shapes, values."""
    sha256 = hashlib.sha256()
    for value in arrays:
        array = np.ascontiguousarray(value)
        sha256.update(json.dumps([str(array.dtype), array.shape]).encode())
        sha256.update(array.tobytes())
    return sha256.hexdigest()[:16]


def build_explainer(title: str, builder: Any, model: keras.Model) -> Explainer:
    """Build the explainer of a method for a model.

    Raises:
        TypeError: the builder is no function from a model to an `Explainer`.
    """
    builds = callable(builder) and not isinstance(builder, keras.Model)
    explainer = builder(model) if builds else None
    if not isinstance(explainer, Explainer):
        raise TypeError(
            f"methods[{title!r}]: expected a function from a model to its explainer, such as "
            f"tfxai.gradient, got {type(builder).__name__}"
        )
    return explainer


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]
