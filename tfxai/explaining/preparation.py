"""Concrete inputs and targets: what is checked and traced before any of them is explained."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfxai.core import checks
from tfxai.core.types import Tensors
from tfxai.explaining.runner import Runner
from tfxai.explaining.waiting import announced
from tfxai.models import keras_graph
from tfxai.models.model_info import check_logits
from tfxai.scores import expects_logits


class Preparation:
    """Checks what an explainer is asked, and traces what answers it.

    Args:
        name: the explainer's, for messages.
        runner: what will explain.
    """

    def __init__(self, name: str, runner: Runner):
        self.name = name
        self.runner = runner
        self._has_logits = False

    def prepare(
        self,
        inputs: Tensors,
        targets: Any,
        class_names: tuple[str, ...] | None,
        *,
        quiet: bool,
        strategy: tf.distribute.Strategy | None = None,
    ) -> np.ndarray | None:
        """Check examples and their targets, and trace all that explaining them takes.

        Args:
            inputs: arrays or eager tensors ``[B, ...]``.
            targets: as in `Explainer.__call__`.
            class_names: of the model's classes, where they are known.
            quiet: whether to say nothing about a trace that takes long.
            strategy: of which all replicas are to have a part in explaining.

        Returns:
            The targets, int32 ``[B]``; None for the predicted classes.

        Raises:
            TypeError, ValueError: as in `Explainer.__call__`.
        """
        model = self.runner.model
        with announced(f"{self.name}: tracing {model.name} ...", quiet=quiet):
            self.check(inputs)
            first = self._first(inputs)
            chosen = None
            if targets is not None:
                units = self.runner.info(first).units
                chosen = checks.targets(targets, _count(inputs), units, class_names)
            self.runner.prepare(first, strategy)
        return chosen

    def check(self, inputs: Tensors) -> None:
        """Raise a TypeError or ValueError for examples that the method cannot explain."""
        runner = self.runner
        checks.inputs(inputs, keras_graph.declared_inputs(runner.model))
        if runner.method.check is not None:
            runner.method.check(runner.cast(inputs))
        first = self._first(inputs)
        info = runner.info(first)
        if not self._has_logits and expects_logits(runner.method.score):
            check_logits(runner.model, info, first)
            self._has_logits = True

    def _first(self, inputs: Tensors) -> Tensors:
        return self.runner.cast(tf.nest.map_structure(lambda x: x[:1], inputs))


def is_concrete(inputs: Tensors) -> bool:
    """Whether inputs have values, and are no tensors of a graph or of a functional model."""
    return not any(
        isinstance(x, keras.KerasTensor) or (tf.is_tensor(x) and not hasattr(x, "numpy"))
        for x in tf.nest.flatten(inputs)
    )


def _count(inputs: Tensors) -> int:
    return np.shape(tf.nest.flatten(inputs)[0])[0]
