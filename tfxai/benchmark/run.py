"""Explain every image by every method and score it by every metric, and nothing twice."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tfxai.benchmark import cases, journal, report, tables
from tfxai.benchmark.cases import Batch
from tfxai.benchmark.catalogue import metrics_by_title
from tfxai.benchmark.explain_and_score import (
    Setup,
    batch_fields,
    build_explainer,
    digest,
    explain_and_score,
)
from tfxai.benchmark.explained_batch import Builder
from tfxai.benchmark.metric import Metric, check_needs
from tfxai.benchmark.predictor import build_predictor
from tfxai.benchmark.results import Results
from tfxai.core import checks, folders
from tfxai.core.provenance import readable, versions
from tfxai.plot import SIGNS

FORMAT = 2
"""The version of what a run's directory holds."""


def run(
    model: keras.Model,
    images: Any,
    methods: Mapping[str, Builder],
    metrics: Sequence[str] | Mapping[str, Metric],
    out: str | PathLike[str],
    *,
    targets: Any = None,
    regions: Any = None,
    bounds: tuple[Any, Any] | None = None,
    sign: str = "signed",
    batch_size: int = 8,
    seed: int = 0,
    images_in_report: int = 6,
    class_names: Sequence[str] | None = None,
    verbose: int = 1,
) -> Results:
    """Rank methods on a model: explain images by each method, and score the maps by each metric.

    Results are kept as they come. A run that was stopped, even killed, continues where it was when
    `run` is called again, with the same numbers; methods and metrics may be added later. A method
    or metric that raises an error for a batch is noted and left out there, and tried again by the
    next call. Constant maps are counted, warned about (UserWarning) and not scored.

    Args:
        model: a Keras classifier of images.
        images: what the model takes: an array ``[N, H, W, C]``; a `tf.data.Dataset` of batches,
            alone or with targets ``[b]`` and masks ``[b, H, W]``, always in the same order; or
            an iterable of `Case` that can be gone through more than once, such as `Photos` or
            `Compositions`.
        methods: title -> a function from a model to its explainer, such as `tfxai.gradient` or
            ``lambda m: tfxai.smoothgrad(m, samples=20)``.
        metrics: names in `METRICS`; or title -> one of those metrics with options, such as
            ``{"deletion": benchmark.deletion(substrate="mean")}``.
        out: the directory of the run.
        targets: for an array, the classes to explain; None for the predicted classes.
        regions: for an array, masks ``[N, H, W]`` of where the classes are.
        bounds: the values of black and white in the images, scalars or one for each channel.
        sign: how channels are joined for metrics of heatmaps: "signed" sums the attributions,
            "absolute" their absolute values.
        batch_size: how many images are explained at once. Another one may change the last digits.
        seed: for methods and metrics that draw random numbers.
        images_in_report: how many images the report shows with their maps.
        class_names: for the report; None takes the model's `class_names`, if it has some.
        verbose: 0 for no progress bar.

    Returns:
        `Results`. The directory has them as tables, ``values.csv``, ``summary.csv``,
        ``comparisons.csv``, ``curves.csv`` and ``seconds.csv`` (and .parquet where pyarrow is
        installed), and as ``report.html``.

    Raises:
        TypeError: methods that are no functions from a model to an explainer.
        ValueError: no images or methods; an unknown metric, or one that does not apply to the
            model or to the images; the directory of another run, or one that another run is
            writing to.

    Example:
        >>> import tempfile, tfxai
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()])
        >>> model.add(keras.layers.Dense(3, "softmax"))
        >>> images = np.random.default_rng(0).random((4, 8, 8, 1))
        >>> methods = {"gradient": tfxai.gradient, "random": tfxai.random_attribution}
        >>> with tempfile.TemporaryDirectory() as out:
        ...     results = run(model, images, methods, ["deletion", "gini"], out, verbose=0)
        >>> results.values("gini")["gradient"].shape
        (4,)
    """
    chosen = metrics_by_title(metrics)
    size = checks.positive_integer("batch_size", batch_size)
    checks.one_of("sign", sign, SIGNS)
    checks.seed(seed)
    predictor = build_predictor(checks.model(model))
    explainers = {
        title: build_explainer(title, builder, model)
        for title, builder in _checked_methods(methods).items()
    }
    setup = Setup(
        model, predictor, methods, explainers, {}, chosen, bounds, sign, seed,
        checks.positive_integer("images_in_report", images_in_report, least=0), size, Path(out),
    )  # fmt: skip
    _check_metrics(setup, _first(cases.batches(images, targets, regions, size)))
    with folders.locked(setup.directory):
        journal.open_run(setup.directory, _settings(setup, class_names))
        with _progress(verbose) as progress:
            batches = cases.batches(images, targets, regions, size)
            _complete(setup, batches, cases.count(images), progress)
        results = Results.load(setup.directory)
        if not results.images:
            raise ValueError("images: none of them could be read or explained")
        tables.write(results)
        report.write(results)
    _warn_of_constant_maps(setup, results)
    return results


def _complete(
    setup: Setup, batches: Iterable[Batch], images: int | None, progress: Progress
) -> None:
    """Compute what the journal does not have yet.

    Args:
        setup: the run.
        batches: all images of the run.
        images: how many they are, None if that is not known.
        progress: where it is shown.
    """
    before = Results.load(setup.directory)
    already_noted = {line["batch"] for line in before.lines if "broken" in line}
    steps = None if images is None else -(-images // setup.batch_size) * len(setup.builders)
    task = progress.add_task("Explaining", total=steps, detail="")
    for batch in batches:
        _check_same_images(before, batch)
        if batch.broken and batch.number not in already_noted:
            _note_broken(setup, batch, progress)
        missing = {
            title: set(setup.metrics) - before.scored_metrics(batch.number, title)
            for title in setup.builders
        }
        fields = batch_fields(setup, batch) if batch.names and any(missing.values()) else {}
        for title in setup.builders:
            if fields and missing[title]:
                explain_and_score(setup, batch, fields, title, missing[title], progress, task)
            progress.advance(task)


def _settings(setup: Setup, class_names: Sequence[str] | None) -> dict[str, Any]:
    """Give what ``settings.json`` says of a run."""
    names = class_names or getattr(setup.model, "class_names", None)
    return {
        "format": FORMAT,
        "model": {"name": setup.model.name, "weights": digest(*setup.model.get_weights())},
        "batch_size": setup.batch_size,
        "seed": setup.seed,
        "sign": setup.sign,
        "bounds": None if setup.bounds is None else [np.asarray(b).tolist() for b in setup.bounds],
        "images_in_report": setup.images_in_report,
        "versions": versions(),
        "class_names": None if names is None else list(names),
        "methods": {title: e.settings for title, e in setup.explainers.items()},
        "metrics": {
            name: {"better": m.better, **readable(m.options)} for name, m in setup.metrics.items()
        },
    }


def _checked_methods(methods: Mapping[str, Builder]) -> Mapping[str, Builder]:
    if not isinstance(methods, Mapping) or not all(isinstance(t, str) and t for t in methods):
        raise TypeError("methods: expected a dict from titles to functions")
    if not methods:
        raise ValueError("methods: none given")
    return methods


def _first(batches: Iterable[Batch]) -> Batch:
    for batch in batches:
        return batch
    raise ValueError("images: there are none")


def _check_metrics(setup: Setup, batch: Batch) -> None:
    """Raise a ValueError for a metric that does not apply to the model or to the images."""
    known = {"regions": batch.regions, "bounds": setup.bounds}
    available = {name for name, value in known.items() if value is not None}
    check_needs(setup.metrics, setup.predictor, available)


def _check_same_images(before: Results, batch: Batch) -> None:
    known = before.batches.get(batch.number)
    if known is not None and known["inputs"] != digest(batch.inputs):
        raise ValueError(
            f"out={str(before.directory)!r} has a run with other images, in batch {batch.number} "
            f"{known['images']}, not {batch.names}: use another directory, or delete this one"
        )


def _note_broken(setup: Setup, batch: Batch, progress: Progress) -> None:
    """Write the broken images of a batch into the journal, and show them."""
    reasons = dict(batch.broken)
    journal.append(setup.directory, {"batch": batch.number, "broken": reasons})
    for name, reason in reasons.items():
        text = f"{name}: not a readable image ({reason})"
        progress.console.print(text, style="red", markup=False, soft_wrap=True)


def _warn_of_constant_maps(setup: Setup, results: Results) -> None:
    for title, number in results.constant.items():
        warnings.warn(
            f"{title}: {number} of {len(results.images)} maps are the same everywhere, and no "
            f"metric counts them: {setup.explainers[title].method.if_constant}",
            stacklevel=3,
        )


def _progress(verbose: int) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
        console=Console(stderr=True),
        disable=not verbose,
    )
