"""Concrete examples explained in batches that fit into memory, and the record of it."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfxai.core import checks, data, map_checks
from tfxai.core.named_inputs import as_given
from tfxai.core.provenance import versions
from tfxai.core.types import Tensors
from tfxai.explaining.explanation import Explanation, join
from tfxai.explaining.preparation import Preparation
from tfxai.explaining.runner import Runner
from tfxai.explaining.waiting import announced
from tfxai.models import keras_graph
from tfxai.scores import expects_logits


class Recorder(NamedTuple):
    """What explains examples for an explainer, and what the records say of it."""

    preparation: Preparation
    settings: dict[str, Any]
    class_names: tuple[str, ...] | None
    seed: int
    strategy: tf.distribute.Strategy | None
    """Of which all replicas are to have a part in it."""

    @property
    def name(self) -> str:
        """The explainer's name, for messages."""
        return self.preparation.name

    @property
    def runner(self) -> Runner:
        """What runs the method."""
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
            asked = targets if total is not None else _of_batch(targets, done, done + count)
            chosen = self.preparation.prepare(
                examples, asked, self.class_names, quiet=not verbose, strategy=self.strategy
            )
            size = size or self._examples_at_once(examples, batch_size)
            if verbose and progress is None and (total is None or total > size):
                progress = keras.utils.Progbar(total)
            waiting = f"{self.name}: explaining {count} example{'s' * (count > 1)} ..."
            with announced(waiting, quiet=not verbose or progress is not None):
                new, size = self.records(examples, chosen, size, progress)
            records += new
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
        """Give records of up to `size` examples each, and the size that memory sufficed for.

        Args:
            examples: numpy arrays ``[B, ...]``.
            targets: ``[B]``; None for the predicted classes.
            size: examples at once; it is halved when memory runs out.
            progress: told of what is done.
        """
        records: list[Explanation] = []
        start, count = 0, data.size(examples)
        while start < count:
            stop = min(start + size, count)
            chosen = None if targets is None else targets[start:stop]
            try:
                records.append(self.record(data.part(examples, start, stop), chosen))
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
        """Explain examples together."""
        runner = self.runner
        inputs = runner.cast(examples)
        with checks.assertions_as_errors(self.name):
            asked = runner.predicted(inputs) if targets is None else tf.constant(targets)
            chosen, scores = runner.read(inputs)(inputs, asked)
            attribute = runner.attribute(inputs, self.strategy)
            result = attribute(inputs, chosen, checks.seed(self.seed))
        count = data.size(examples)
        for maps in tf.nest.flatten(result.attributions):
            if len(maps) != count:
                raise ValueError(
                    f"{self.name}: gives maps of shape {list(maps.shape)} for {count} examples: "
                    "the model joins the batch with another axis; explain its parts by tfxai.split"
                )
        to_numpy = partial(tf.nest.map_structure, lambda x: x.numpy())
        like_given = partial(
            as_given, given=examples, declared=keras_graph.declared_inputs(runner.model)
        )
        bypassed = expects_logits(runner.method.score)
        return Explanation(
            attributions=like_given(to_numpy(result.attributions)),
            diagnostics={
                name: like_given(value) if tf.nest.is_nested(value) else value
                for name, value in to_numpy(result.diagnostics).items()
            },
            targets=chosen.numpy(),
            scores=scores.numpy(),
            seed=self.seed,
            settings=self.settings,
            head=runner.info(inputs).head if bypassed else None,
            versions=versions(),
            names=self.class_names,
            inputs=examples,
            channels=like_given(runner.inspector.order(inputs).channels),
        )

    def doubts(self, record: Explanation) -> list[str]:
        """Say what the reader of a record is to be warned of."""
        method = self.runner.method
        messages = []
        if not all(np.isfinite(m).all() for m in tf.nest.flatten(record.attributions)):
            messages.append(
                "some attributions are NaN or infinite: the gradient is not finite there, or "
                f"beyond what {self.runner.dtype.name} holds (a model in float64 may help)"
            )
        if (
            "mask" not in record.diagnostics
        ):  # methods with masks say themselves why one is constant
            messages += map_checks.constant_warnings(record.attributions, method.if_constant)
        if method.warn is not None:
            messages += method.warn(record)
        return messages


def _of_batch(targets: Any, start: int, stop: int) -> Any:
    """Give the targets of some of a dataset's examples; one for all is that of each of them."""
    if np.ndim(targets) == 0:
        return targets
    if len(targets) < stop:
        raise ValueError(f"targets: {len(targets)} for a dataset of {stop} examples or more")
    return targets[start:stop]
