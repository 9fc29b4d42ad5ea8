"""The callback that logs metrics."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import keras
import numpy as np

from tfxai.benchmark.catalogue import metrics_by_title
from tfxai.benchmark.explained_batch import ExplainedBatch, explain_batch
from tfxai.benchmark.metric import Metric, check_needs, evaluate
from tfxai.benchmark.predictor import build_predictor, classes_to_explain
from tfxai.callbacks.explainers import check_same_model, checked_explainers, log_seconds
from tfxai.core import checks
from tfxai.core.map_checks import constant_warnings
from tfxai.explaining.explainer import Explainer
from tfxai.metrics import rank_correlation
from tfxai.metrics.arrays import one_array
from tfxai.plot import SIGNS

PREVIOUS = "previous"
"""The metric that only the callback has: the rank correlation with the maps measured before."""


class MetricCallback(keras.callbacks.Callback):
    """Logs how good the explanations are, as ``<title>_<metric>``, the mean over fixed images.

    Put it before the callbacks that are to see its logs, such as `keras.callbacks.CSVLogger` or
    `keras.callbacks.EarlyStopping` with ``monitor="ig_deletion"``. Between two measurements the
    last values are repeated. A metric that has no value for any image is not logged, so that
    monitors never see a NaN: Keras warns if what it monitors is missing, and goes on. (`CSVLogger`
    takes its columns from the first epoch.) Constant maps have no values, and are warned about.

    Args:
        explainers: title -> an explainer of the model that is trained.
        images: ``[N, H, W, C]``, as the model takes them.
        metrics: names in `tfxai.benchmark.METRICS`, or title -> one of those metrics with options;
            and "previous", Spearman's rank correlation with the maps of the measurement before,
            which for the first one are the maps of the model before its training.
        targets: the classes to explain, ``[N]`` or one for all; None for the predicted classes.
        regions: masks ``[N, H, W]`` of where the classes are, for the metrics that need them.
        bounds: the values of black and white in the images.
        sign: "signed" sums a map's channels, "absolute" their absolute values.
        every: how many epochs lie between two measurements; the first epoch has one.
        seed: for methods and metrics that draw random numbers.

    Raises:
        TypeError, ValueError: no explainers, or none of the model; a metric that does not apply to
            the model or to the images.

    Example:
        >>> import tfxai
        >>> model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten()])
        >>> model.add(keras.layers.Dense(2))
        >>> model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> x, y = np.random.default_rng(0).random((8, 4, 4, 1)), np.zeros(8)
        >>> sparseness = MetricCallback({"gradient": tfxai.gradient(model)}, x[:2], ["gini"])
        >>> history = model.fit(x, y, epochs=2, verbose=0, callbacks=[sparseness])
        >>> sorted(history.history)
        ['explanation_seconds', 'gradient_gini', 'loss']
    """

    def __init__(
        self,
        explainers: Mapping[str, Explainer],
        images: np.ndarray,
        metrics: Sequence[str] | Mapping[str, Metric] = ("deletion", "insertion", "gini"),
        *,
        targets: Any = None,
        regions: Any = None,
        bounds: tuple[Any, Any] | None = None,
        sign: str = "signed",
        every: int = 1,
        seed: int = 0,
    ):
        super().__init__()
        self.explainers = checked_explainers(explainers)
        self.images = one_array("images", images)
        self.targets = targets
        self.regions = None if regions is None else np.asarray(regions)
        self.bounds = bounds
        self.sign = checks.one_of("sign", sign, SIGNS)
        self.every = checks.positive_integer("every", every)
        self.seed = seed
        self.compares = PREVIOUS in metrics
        self.metrics = _without_previous(metrics)
        if not self.metrics and not self.compares:
            raise ValueError("metrics: none given")
        # Explainers for other models, which some metrics ask for, are built once.
        self.explainers_of_others = {title: cache(e.on) for title, e in self.explainers.items()}
        self.values: dict[str, float] = {}
        self.previous_heatmaps: dict[str, np.ndarray] = {}

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Check that explainers and metrics go with the model that is trained."""
        check_same_model(self.explainers, self.model)
        self.predictor = build_predictor(self.model)
        known = {"regions": self.regions, "bounds": self.bounds}
        available = {name for name, value in known.items() if value is not None}
        check_needs(self.metrics, self.predictor, available)
        if self.compares:
            self.previous_heatmaps = {
                title: self._explain(title).heatmaps for title in self.explainers
            }

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Measure, if the epoch has a measurement, and log."""
        start = time.perf_counter()
        if epoch % self.every == 0:
            for title in self.explainers:
                self._measure(title)
        if logs is not None:
            logs |= self.values
            log_seconds(logs, time.perf_counter() - start)

    def _measure(self, title: str) -> None:
        """Explain the images and keep the mean of each metric for the logs."""
        batch = self._explain(title)
        for message in constant_warnings(batch.heatmaps, self.explainers[title].method.if_constant):
            warnings.warn(f"{title}: {message}", stacklevel=2)
        for name, metric in self.metrics.items():
            self._keep_mean(f"{title}_{name}", evaluate(metric, batch).values)
        if self.compares:
            values = rank_correlation(self.previous_heatmaps[title], batch.heatmaps)
            self._keep_mean(f"{title}_{PREVIOUS}", values)
            self.previous_heatmaps[title] = batch.heatmaps

    def _keep_mean(self, name: str, values: np.ndarray) -> None:
        """Keep the mean of the finite values, or nothing where there are none."""
        finite = values[np.isfinite(values)]
        self.values.pop(name, None)
        if len(finite):
            self.values[name] = float(finite.mean())

    def _explain(self, title: str) -> ExplainedBatch:
        """Explain the images by one explainer."""
        targets: list[int | None] = [None] * len(self.images)
        if self.targets is not None:
            classes = self.predictor.classes
            targets = checks.targets(self.targets, len(targets), classes, None).tolist()
        return explain_batch(
            self.explainers[title],
            self.predictor,
            self.images,
            classes_to_explain(self.predictor, self.images, targets),
            regions=self.regions,
            bounds=self.bounds,
            sign=self.sign,
            seed=self.seed,
            explain_on=self.explainers_of_others[title],
        )


def _without_previous(metrics: Sequence[str] | Mapping[str, Metric]) -> dict[str, Metric]:
    """Give the metrics of the benchmark by title, without "previous"."""
    if isinstance(metrics, Mapping):
        return {name: metric for name, metric in metrics.items() if name != PREVIOUS}
    names = [name for name in metrics if name != PREVIOUS]
    return metrics_by_title(names) if names else {}
