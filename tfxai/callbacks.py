"""Explanations while a model is trained: pictures of fixed images, and metrics in Keras's logs.

Nothing of the training changes: neither weights, optimizer state nor random numbers. What the
callbacks cost is in the logs, as ``explanation_seconds``.
"""

from __future__ import annotations

import importlib.util
import io
import time
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from tfxai import plot
from tfxai.benchmark.measures import Measure, check, named, score
from tfxai.benchmark.subject import Subject, chosen_targets, explained, predictor
from tfxai.core import checks
from tfxai.core.map_checks import constant_warnings
from tfxai.explaining.explainer import Explainer
from tfxai.metrics import rank_correlation
from tfxai.metrics.scoring import one_array
from tfxai.plot import SIGNS

SECONDS = "explanation_seconds"
PREVIOUS = "previous"
"""A metric of its own: the rank correlation with the maps of the epoch that was measured before."""


class ExplanationCallback(keras.callbacks.Callback):
    """Draws the maps of fixed images as training goes on.

    Args:
        explainers: title -> an explainer of the model that is trained.
        images: ``[N, ...]``, as the model takes them.
        directory: for ``epoch_0001.png`` and so on, and ``training.gif``; None for no files.
        tensorboard: a log directory for image summaries; needs the package tensorboard. None for
            no summaries.
        targets: the classes to explain, ``[N]`` or one for all; None for the predicted ones.
        every: epochs between two pictures; the first epoch has one.
        signs: "signed" or "absolute", for all or for each title, as in `tfxai.plot.panel`.
        seed: of methods with random numbers.

    Raises:
        TypeError, ValueError: no explainers, or none of the model; nowhere to write.
        ModuleNotFoundError: no package tensorboard.
        OSError: the directory cannot be written.

    Example:
        >>> import tempfile, tfxai
        >>> model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten()])
        >>> model.add(keras.layers.Dense(2))
        >>> model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> x, y, out = np.ones((8, 4, 4, 1)), np.zeros(8), tempfile.mkdtemp()
        >>> drawn = ExplanationCallback({"gradient": tfxai.gradient(model)}, x[:2], directory=out)
        >>> _ = model.fit(x, y, epochs=2, verbose=0, callbacks=[drawn])
        >>> sorted(path.name for path in Path(out).iterdir())
        ['epoch_0001.png', 'epoch_0002.png', 'training.gif']
    """

    def __init__(
        self,
        explainers: Mapping[str, Explainer],
        images: np.ndarray,
        *,
        directory: str | PathLike[str] | None = None,
        tensorboard: str | PathLike[str] | None = None,
        targets: Any = None,
        every: int = 1,
        signs: Sequence[str] | str = "signed",
        seed: int = 0,
    ):
        super().__init__()
        self.explainers = _checked(explainers)
        self.images = one_array("images", images)
        self.targets = targets
        self.every = checks.positive_integer("every", every)
        self.signs = signs
        self.seed = seed
        if directory is None and tensorboard is None:
            raise ValueError("directory=None and tensorboard=None: give one, or both")
        self.directory = None if directory is None else Path(directory)
        if self.directory is not None:
            self.directory.mkdir(parents=True, exist_ok=True)
        self.writer = None if tensorboard is None else _writer(tensorboard)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """See that the explainers are of this model."""
        _same_model(self.explainers, self.model)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Draw, if it is time."""
        seconds = 0.0
        if epoch % self.every == 0:
            start = time.perf_counter()
            self._draw(epoch)
            seconds = time.perf_counter() - start
        if logs is not None:
            logs[SECONDS] = logs.get(SECONDS, 0.0) + seconds

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Join the pictures to an animation."""
        if self.directory is None:
            return
        frames = [Image.open(path) for path in sorted(self.directory.glob("epoch_*.png"))]
        if frames:
            path = self.directory / "training.gif"
            frames[0].save(path, save_all=True, append_images=frames[1:], duration=600, loop=0)
        for frame in frames:
            frame.close()

    def _draw(self, epoch: int) -> None:
        maps, images, labels = {}, [], []
        for title, explainer in self.explainers.items():
            with warnings.catch_warnings():
                # Pictures show what a warning would tell, at every epoch again.
                warnings.simplefilter("ignore", UserWarning)
                record = explainer.explain(self.images, self.targets, verbose=0, seed=self.seed)
            maps[title] = list(plot.channels_last(record.attributions, record.channels))
            images = list(plot.channels_last(self.images, record.channels))
            labels = record.target_names
        figure = plot.panel(images, maps, labels=labels, signs=self.signs)
        figure.suptitle(f"epoch {epoch + 1}")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=80)
        if self.directory is not None:
            (self.directory / f"epoch_{epoch + 1:04}.png").write_bytes(buffer.getvalue())
        if self.writer is not None:
            pixels = np.asarray(Image.open(buffer).convert("RGB"))
            with self.writer.as_default(step=epoch + 1):
                tf.summary.image("explanations", pixels[None])
            self.writer.flush()


class MetricCallback(keras.callbacks.Callback):
    """Logs how good the explanations are, as ``<title>_<metric>``, the mean over fixed images.

    Put it before the callbacks that are to see the logs, such as `keras.callbacks.CSVLogger` or
    `keras.callbacks.EarlyStopping` with ``monitor="ig_deletion"``. Between two measurements the
    last values are repeated. What no image has a value of is not logged, so that monitors never
    see a NaN: Keras says so of what it monitors, and goes on. (`CSVLogger` takes its columns from
    the first epoch.) Maps that are the same everywhere have no values; they are warned of.

    Args:
        explainers: title -> an explainer of the model that is trained.
        images: ``[N, H, W, C]``, as the model takes them.
        metrics: names of `tfxai.benchmark.MEASURES`, or title -> one of them with options; and
            "previous", Spearman's rank correlation with the maps of the measurement before; at the
            first, with those of the model before its training.
        targets: the classes to explain, ``[N]`` or one for all; None for the predicted ones.
        regions: masks ``[N, H, W]`` of where they are, for the metrics that need them.
        bounds: what black and white are in the images.
        sign: "signed" adds a map's channels, "absolute" their sizes.
        every: epochs between two measurements; the first epoch has one.
        seed: of methods and metrics with random numbers.

    Raises:
        TypeError, ValueError: no explainers, or none of the model; a metric that the model or the
            images cannot have.

    Example:
        >>> import tfxai
        >>> model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten()])
        >>> model.add(keras.layers.Dense(2))
        >>> model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> x, y = np.random.default_rng(0).random((8, 4, 4, 1)), np.zeros(8)
        >>> told = MetricCallback({"gradient": tfxai.gradient(model)}, x[:2], ["gini"])
        >>> history = model.fit(x, y, epochs=2, verbose=0, callbacks=[told])
        >>> sorted(history.history)
        ['explanation_seconds', 'gradient_gini', 'loss']
    """

    def __init__(
        self,
        explainers: Mapping[str, Explainer],
        images: np.ndarray,
        metrics: Sequence[str] | Mapping[str, Measure] = ("deletion", "insertion", "gini"),
        *,
        targets: Any = None,
        regions: Any = None,
        bounds: tuple[Any, Any] | None = None,
        sign: str = "signed",
        every: int = 1,
        seed: int = 0,
    ):
        super().__init__()
        self.explainers = _checked(explainers)
        self.images = one_array("images", images)
        self.targets = targets
        self.regions = None if regions is None else np.asarray(regions)
        self.bounds = bounds
        self.sign = checks.one_of("sign", sign, SIGNS)
        self.every = checks.positive_integer("every", every)
        self.seed = seed
        self.compares = PREVIOUS in metrics
        self.measures = _measures(metrics)
        if not self.measures and not self.compares:
            raise ValueError("metrics: none given")
        self.others = {title: cache(e.on) for title, e in self.explainers.items()}
        self.values: dict[str, float] = {}
        self.before: dict[str, np.ndarray] = {}

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """See that explainers and metrics fit this model."""
        _same_model(self.explainers, self.model)
        self.predictor = predictor(self.model)
        available = {"regions"} if self.regions is not None else set()
        available |= {"bounds"} if self.bounds is not None else set()
        check(self.measures, self.predictor, available)
        if self.compares:
            self.before = {t: self._subject(t, e).heatmaps for t, e in self.explainers.items()}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Measure, if it is time, and log."""
        start = time.perf_counter()
        if epoch % self.every == 0:
            for title, explainer in self.explainers.items():
                self._measure(title, explainer)
        if logs is not None:
            logs |= self.values
            logs[SECONDS] = logs.get(SECONDS, 0.0) + time.perf_counter() - start

    def _measure(self, title: str, explainer: Explainer) -> None:
        subject = self._subject(title, explainer)
        for message in constant_warnings(subject.heatmaps, explainer.method.if_constant):
            warnings.warn(f"{title}: {message}", stacklevel=2)
        for name, measure in self.measures.items():
            self._note(f"{title}_{name}", score(measure, subject).values)
        if self.compares:
            same = rank_correlation(self.before[title], subject.heatmaps)
            self._note(f"{title}_{PREVIOUS}", same)
            self.before[title] = subject.heatmaps

    def _note(self, name: str, values: np.ndarray) -> None:
        """Keep a mean for the logs, or none where no image has a value."""
        known = values[np.isfinite(values)]
        self.values.pop(name, None)
        if len(known):
            self.values[name] = float(known.mean())

    def _subject(self, title: str, explainer: Explainer) -> Subject:
        given = [None] * len(self.images)
        if self.targets is not None:
            given = checks.targets(self.targets, len(given), self.predictor.units, None).tolist()
        return explained(
            explainer,
            self.predictor,
            self.images,
            chosen_targets(self.predictor, self.images, given),
            regions=self.regions,
            bounds=self.bounds,
            sign=self.sign,
            seed=self.seed,
            explain_on=self.others[title],
        )


def _measures(metrics: Sequence[str] | Mapping[str, Measure]) -> dict[str, Measure]:
    """Give the benchmark's metrics by name, without "previous"."""
    if isinstance(metrics, Mapping):
        return {name: measure for name, measure in metrics.items() if name != PREVIOUS}
    names = [name for name in metrics if name != PREVIOUS]
    return named(names) if names else {}


def _checked(explainers: Mapping[str, Explainer]) -> dict[str, Explainer]:
    if not isinstance(explainers, Mapping) or not explainers:
        raise TypeError("explainers: expected a dict from titles to explainers, at least one")
    for title, explainer in explainers.items():
        if not isinstance(explainer, Explainer):
            raise TypeError(f"explainers[{title!r}]: expected an Explainer, got {explainer!r}")
    return dict(explainers)


def _same_model(explainers: Mapping[str, Explainer], model: keras.Model) -> None:
    for title, explainer in explainers.items():
        if explainer.model is not model:
            raise ValueError(
                f"explainers[{title!r}] explains another model, {explainer.model.name}, than the "
                f"one that is trained, {model.name}"
            )


def _writer(directory: str | PathLike[str]) -> Any:
    if importlib.util.find_spec("tensorboard") is None:
        raise ModuleNotFoundError(
            "tensorboard= needs the package tensorboard: pip install 'tfxai[tensorboard]', or use "
            "directory="
        )
    return tf.summary.create_file_writer(str(directory))
