"""Explain every image by every method, score by every metric, and never twice."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tfxai.benchmark import cases, journal, measures, report, tables
from tfxai.benchmark.cases import Batch
from tfxai.benchmark.measures import Measure
from tfxai.benchmark.results import Results
from tfxai.benchmark.subject import Build, predictor
from tfxai.benchmark.work import Setup, digest, explainer_of, heading, work
from tfxai.core import checks, folders
from tfxai.core.provenance import readable, versions
from tfxai.plot import SIGNS

FORMAT = 1
"""Of the directory."""


def run(
    model: keras.Model,
    images: Any,
    methods: Mapping[str, Build],
    metrics: Sequence[str] | Mapping[str, Measure],
    out: str | PathLike[str],
    *,
    targets: Any = None,
    regions: Any = None,
    bounds: tuple[Any, Any] | None = None,
    sign: str = "signed",
    batch_size: int = 8,
    seed: int = 0,
    shown: int = 6,
    class_names: Sequence[str] | None = None,
    verbose: int = 1,
) -> Results:
    """Rank methods on a model: explain images by each, score the maps by each metric.

    Results are kept as they come. A run that was stopped, even killed, goes on where it was when
    it is called again, with the same numbers; methods and metrics may be added later. What an
    error befalls is noted and left out, and tried again by the next call. Maps that are the same
    everywhere are counted, warned of (UserWarning) and not scored.

    Args:
        model: a Keras classifier of images.
        images: what the model takes: an array ``[N, H, W, C]``; a `tf.data.Dataset` of batches,
            alone or with targets ``[b]`` and masks ``[b, H, W]``, always in the same order; or
            any iterable of `Case`, such as `Photos` or `Compositions`, which can be gone through
            again.
        methods: title -> a function from a model to its explainer, such as `tfxai.gradient` or
            ``lambda m: tfxai.smoothgrad(m, samples=20)``.
        metrics: names of `MEASURES`, or title -> one of them with options, such as
            ``{"deletion": benchmark.deletion(substrate="mean")}``.
        out: the directory.
        targets: for an array, the classes to explain; None for the predicted ones.
        regions: for an array, where the classes are: masks ``[N, H, W]``.
        bounds: what black and white are in the images, scalars or per channel.
        sign: how channels are joined for metrics that want one: "signed" adds the attributions,
            "absolute" their sizes.
        batch_size: images at once. Another one may change the last digits.
        seed: of methods and metrics with random numbers.
        shown: images in the report.
        class_names: for the report; None for the model's `class_names`.
        verbose: 0 for no progress bar.

    Returns:
        `Results`. The directory has them as tables, ``values.csv``, ``summary.csv``,
        ``comparisons.csv``, ``curves.csv`` and ``seconds.csv`` (and .parquet where pyarrow is
        installed), and as ``report.html``.

    Raises:
        TypeError: methods that are no functions from a model to an explainer.
        ValueError: no images or methods, an unknown metric or one that the model or the images
            cannot have, a directory of another run, or one that another run is writing to.

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
    directory = Path(out)
    chosen = measures.named(metrics)
    size = checks.positive_integer("batch_size", batch_size)
    checks.one_of("sign", sign, SIGNS)
    checks.seed(seed)
    seen = predictor(checks.model(model))
    explainers = {
        title: explainer_of(title, build, model) for title, build in _some(methods).items()
    }
    setup = Setup(
        model, seen, methods, explainers, {}, chosen, bounds, sign, seed,
        checks.positive_integer("shown", shown, least=0), size, directory,
    )  # fmt: skip
    found = cases.batches(images, targets, regions, size)
    first = _first(found)
    available = {"regions"} if first.regions is not None else set()
    measures.check(chosen, seen, available | ({"bounds"} if bounds is not None else set()))
    with folders.locked(directory):
        journal.open_run(directory, _settings(setup, class_names))
        before = Results.load(directory)
        total = cases.count(images)
        steps = None if total is None else -(-total // size) * len(methods)
        with _progress(verbose) as progress:
            task = progress.add_task("Explaining", total=steps, detail="")
            for batch in cases.batches(images, targets, regions, size):
                _same_images(before, batch)
                if batch.broken and batch.number not in _broken(before):
                    _note_broken(setup, batch, progress)
                missing = {t: set(chosen) - before.has(batch.number, t) for t in methods}
                begun = heading(setup, batch) if batch.names and any(missing.values()) else {}
                for title in methods:
                    if begun and missing[title]:
                        work(setup, batch, begun, title, missing[title], progress, task)
                    progress.advance(task)
        results = Results.load(directory)
        if not results.images:
            raise ValueError("images: none of them could be read or explained")
        tables.write(results)
        report.write(results)
    for title, number in results.constant.items():
        warnings.warn(
            f"{title}: {number} of {len(results.images)} maps are the same everywhere, and no "
            f"metric counts them: {explainers[title].method.if_constant}",
            stacklevel=2,
        )
    return results


def _settings(setup: Setup, class_names: Sequence[str] | None) -> dict[str, Any]:
    names = class_names or getattr(setup.model, "class_names", None)
    return {
        "format": FORMAT,
        "model": {"name": setup.model.name, "weights": digest(*setup.model.get_weights())},
        "batch_size": setup.batch_size,
        "seed": setup.seed,
        "sign": setup.sign,
        "bounds": None if setup.bounds is None else [np.asarray(b).tolist() for b in setup.bounds],
        "shown": setup.shown,
        "versions": versions(),
        "class_names": None if names is None else list(names),
        "methods": {title: e.settings for title, e in setup.explainers.items()},
        "metrics": {
            name: {"better": m.better, **readable(m.options)} for name, m in setup.chosen.items()
        },
    }


def _some(methods: Mapping[str, Build]) -> Mapping[str, Build]:
    if not isinstance(methods, Mapping) or not all(isinstance(t, str) and t for t in methods):
        raise TypeError("methods: expected a dict from titles to functions")
    if not methods:
        raise ValueError("methods: none given")
    return methods


def _first(found: Any) -> Batch:
    for batch in found:
        return batch
    raise ValueError("images: there are none")


def _same_images(before: Results, batch: Batch) -> None:
    known = before.batches.get(batch.number)
    if known is not None and known["inputs"] != digest(batch.inputs):
        raise ValueError(
            f"out={str(before.directory)!r} has a run with other images, in batch {batch.number} "
            f"{known['images']}, not {batch.names}: use another directory, or delete this one"
        )


def _broken(results: Results) -> set[int]:
    return {line["batch"] for line in results.lines if "broken" in line}


def _note_broken(setup: Setup, batch: Batch, progress: Progress) -> None:
    found = dict(batch.broken)
    journal.append(setup.directory, {"batch": batch.number, "broken": found})
    for name, reason in found.items():
        line = f"{name}: not a readable image ({reason})"
        progress.console.print(line, style="red", markup=False, soft_wrap=True)


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
