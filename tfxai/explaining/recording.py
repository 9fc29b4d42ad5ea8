"""Explaining concrete examples in batches that fit into memory, and recording the results."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfxai.core import checks, data, map_checks
from tfxai.core.named_inputs import as_declared, as_given
from tfxai.core.provenance import versions
from tfxai.core.types import Tensors
from tfxai.explaining.explanation import Explanation, join
from tfxai.explaining.preparation import Preparation
from tfxai.explaining.runner import Runner
from tfxai.explaining.waiting import announced
from tfxai.models import keras_graph
from tfxai.scores import expects_logits


class Recorder(NamedTuple):
    """Explains examples for an explainer, and makes the records."""

    preparation: Preparation
    """Checks the examples and their targets, and traces the graphs."""
    settings: dict[str, Any]
    """The explainer's method and options, for the records."""
    class_names: tuple[str, ...] | None
    """The names of the model's classes, if they are known."""
    seed: int
    """The seed of all examples."""
    strategy: tf.distribute.Strategy | None
    """A strategy whose replicas share the examples; None for one device."""

    @property
    def name(self) -> str:
        """The name of the explainer, for messages."""
        return self.preparation.name

    @property
    def runner(self) -> Runner:
        """Runs the explainer's method."""
        return self.preparation.runner

    def explain(
        self, inputs: Any, targets: Any, batch_size: int | str, verbose: int
    ) -> Explanation:
        """Explain all examples, as `Explainer.explain` does, and join their records."""
        total = data.count(inputs)
        size: int | None = None
        progress: keras.utils.Progbar | None = None
        records: list[Explanation] = []
        done = 0
        for examples in data.batches(inputs, name="inputs"):
            count = data.size(examples)
            batch_targets = targets
            if total is None:
                batch_targets = _targets_of_batch(targets, done, done + count)
            indices = self.preparation.prepare(
                examples,
                batch_targets,
                self.class_names,
                scores=True,
                quiet=not verbose,
                strategy=self.strategy,
            )
            size = size or self._examples_at_once(examples, batch_size)
            if verbose and progress is None and (total is None or total > size):
                progress = keras.utils.Progbar(total)
            message = f"{self.name}: explaining {count} example{'s' * (count > 1)} ..."
            with announced(message, quiet=not verbose or progress is not None):
                batch_records, size = self.records(examples, indices, size, progress)
            records += batch_records
            done += count
        if total is None and np.ndim(targets) and len(targets) != done:
            raise ValueError(f"targets: {len(targets)} for the {done} examples of the dataset")
        if progress is not None:
            progress.update(done, finalize=True)
        return join(records)

    def _examples_at_once(self, examples: Tensors, batch_size: int | str) -> int:
        if batch_size != "auto":
            return int(batch_size)
        replicas = 1 if self.strategy is None else self.strategy.num_replicas_in_sync
        first = self.runner.cast(data.part(examples, 0, 1))
        return replicas * self.runner.examples_at_once(first)

    def records(
        self,
        examples: Tensors,
        targets: np.ndarray | None,
        size: int,
        progress: keras.utils.Progbar | None,
    ) -> tuple[list[Explanation], int]:
        """Explain examples, up to `size` at a time.

        Args:
            examples: numpy arrays ``[B, ...]``.
            targets: ``[B]``; None for the predicted classes.
            size: how many examples to explain at once; it is halved when memory runs out.
            progress: a bar that shows how many examples are done.

        Returns:
            The records, and the size for which memory was sufficient.
        """
        records: list[Explanation] = []
        start, count = 0, data.size(examples)
        while start < count:
            stop = min(start + size, count)
            part_targets = None if targets is None else targets[start:stop]
            try:
                records.append(self.record(data.part(examples, start, stop), part_targets))
            except tf.errors.ResourceExhaustedError:
                if not self.runner.shrink(self.runner.cast(data.part(examples, 0, 1))):
                    raise
                size = max(1, min(size, count) // 2)
                continue
            if progress is not None:
                progress.add(stop - start)
            start = stop
        return records, size

    def record(self, examples: Tensors, targets: np.ndarray | None) -> Explanation:
        """Explain examples together; `targets` is None for the predicted classes."""
        runner = self.runner
        inputs = runner.cast(examples)
        with checks.assertions_as_errors(self.name):
            given_targets = runner.predicted(inputs) if targets is None else tf.constant(targets)
            explained_targets, scores = runner.read(inputs)(inputs, given_targets)
            attribute = runner.attribute(inputs, self.strategy)
            result = attribute(inputs, explained_targets, checks.seed(self.seed))
        count = data.size(examples)
        for maps in tf.nest.flatten(result.attributions):
            if len(maps) != count:
                raise ValueError(
                    f"{self.name}: gives maps of shape {list(maps.shape)} for {count} examples: "
                    "the model joins the batch with another axis; explain its parts by tfxai.split"
                )
        to_numpy = partial(tf.nest.map_structure, lambda x: x.numpy())
        declared = keras_graph.declared_inputs(runner.model)
        as_inputs_given = partial(as_given, given=examples, declared=declared)
        channels = tf.nest.pack_sequence_as(inputs, runner.inspector.order(inputs).channels)
        explained = examples
        if (select := runner.method.select) is not None:
            explained = as_inputs_given(select(as_declared(examples, declared)))
            channels = select(channels)
        score = runner.method.score
        return Explanation(
            attributions=as_inputs_given(to_numpy(result.attributions)),
            diagnostics={
                name: as_inputs_given(value) if tf.nest.is_nested(value) else value
                for name, value in to_numpy(result.diagnostics).items()
            },
            targets=explained_targets.numpy(),
            scores=scores.numpy(),
            seed=self.seed,
            settings=self._settings_with_extensions(),
            head=runner.info(inputs).head_of(score) if expects_logits(score) else None,
            versions=versions(),
            names=self.class_names,
            inputs=explained,
            channels=as_inputs_given(channels),
        )

    def _settings_with_extensions(self) -> dict[str, Any]:
        """Give the settings, with what a rule has done beyond its paper, if it has."""
        extensions = self.runner.method.extensions
        found = {} if extensions is None else extensions.as_settings()
        return {**self.settings, "extended": found} if found else self.settings

    def warnings(self, record: Explanation) -> list[str]:
        """Give the warnings for the reader of a record."""
        method = self.runner.method
        messages = []
        if not all(np.isfinite(m).all() for m in tf.nest.flatten(record.attributions)):
            messages.append(
                "some attributions are NaN or infinite: the gradient is not finite there, or "
                f"beyond what {self.runner.dtype.name} holds (a model in float64 may help)"
            )
        # Methods with masks explain a constant mask themselves.
        if "mask" not in record.diagnostics:
            messages += map_checks.constant_warnings(record.attributions, method.if_constant)
        if method.warn is not None:
            messages += method.warn(record)
        return messages


def _targets_of_batch(targets: Any, start: int, stop: int) -> Any:
    """Give the targets of the examples start..stop-1 of a dataset, or the one target for all."""
    if np.ndim(targets) == 0:
        return targets
    if len(targets) < stop:
        raise ValueError(f"targets: {len(targets)} for a dataset of {stop} examples or more")
    return targets[start:stop]
