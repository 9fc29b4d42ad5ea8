"""Checks of concrete inputs and targets, and the tracing before they are explained."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfxai.core import checks
from tfxai.core.tracing import garbage_uncollected
from tfxai.core.types import Tensors
from tfxai.explaining.runner import Runner
from tfxai.explaining.waiting import announced
from tfxai.models import keras_graph
from tfxai.models.model_info import check_logits
from tfxai.scores import expects_logits


class Preparation:
    """Checks the inputs and targets of an explainer, and traces the graphs that explain them.

    Args:
        name: the name of the explainer, for messages.
        runner: runs the explainer's method.
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
        scores: bool,
        quiet: bool,
        strategy: tf.distribute.Strategy | None = None,
    ) -> np.ndarray | None:
        """Check examples and their targets, and trace the graphs that explain them.

        Args:
            inputs: arrays or eager tensors ``[B, ...]``.
            targets: as in `Explainer.__call__`.
            class_names: the names of the model's classes, if they are known.
            scores: whether the scores are wanted, too, and not the maps alone.
            quiet: whether to print no message if tracing takes long.
            strategy: a strategy whose replicas share the examples; None for one device.

        Returns:
            The targets, int32 ``[B]``; None if the predicted classes are explained.

        Raises:
            TypeError, ValueError: as in `Explainer.__call__`.
        """
        model = self.runner.model
        message = f"{self.name}: tracing {model.name} ..."
        with announced(message, quiet=quiet), garbage_uncollected():
            self.check(inputs)
            first = self._first(inputs)
            indices = None
            if targets is not None:
                classes = self.runner.classes(first)
                indices = checks.targets(targets, _count(inputs), classes, class_names)
            self.runner.prepare(first, strategy, reads=scores or targets is None)
        return indices

    def check(self, inputs: Tensors) -> None:
        """Raise a TypeError or ValueError for examples that the method cannot explain."""
        runner = self.runner
        checks.inputs(inputs, keras_graph.declared_inputs(runner.model))
        if runner.method.check is not None:
            runner.method.check(runner.cast(inputs))
        first = self._first(inputs)
        info = runner.info(first)
        if not self._has_logits and expects_logits(runner.method.score):
            check_logits(runner.model, info, first, runner.method.score)
            self._has_logits = True

    def _first(self, inputs: Tensors) -> Tensors:
        """Give the first example, as the runner takes it."""
        return self.runner.cast(tf.nest.map_structure(lambda x: x[:1], inputs))


def is_concrete(inputs: Tensors) -> bool:
    """Whether inputs have values: no symbolic tensors of a graph or of a functional model."""
    return not any(
        isinstance(x, keras.KerasTensor) or (tf.is_tensor(x) and not hasattr(x, "numpy"))
        for x in tf.nest.flatten(inputs)
    )


def _count(inputs: Tensors) -> int:
    return np.shape(tf.nest.flatten(inputs)[0])[0]
