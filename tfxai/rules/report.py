"""The report of a rule: which steps of a model it replaces, and how."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from tfxai.core.types import Score, Tensors
from tfxai.models import keras_graph
from tfxai.models.scored_models import scored_outputs
from tfxai.rules.rule import Rule, replacement_of
from tfxai.rules.steps import Step, steps_between


class Row(NamedTuple):
    """A line of `Explainer.rule_report`: one step."""

    operation: str
    """The operation's name in the graph, which contains the names of the layers around it."""
    kind: str
    """The types of the operations in the step."""
    description: str
    """What the rule does with the step."""
    extended: bool = False
    """Whether this goes beyond the rule's paper."""


class Report(tuple[Row, ...]):
    """The steps of a model whose gradients a rule replaces; prints as a table."""

    def __str__(self) -> str:
        rows = [(row.operation, row.kind) for row in self]
        widths = [max((len(row[i]) for row in rows), default=0) for i in range(2)]
        return "\n".join(
            f"{row.operation:{widths[0]}}  {row.kind:{widths[1]}}  {row.description}"
            f"{' (extended)' if row.extended else ''}"
            for row in self
        )


def report(
    rule: Rule,
    model: keras.Model,
    score: Score,
    specs: Tensors,
    passthrough: Sequence[str],
    *,
    only: Callable[[Tensors], int] | None = None,
) -> Report:
    """List the steps of a model whose gradients a rule replaces, without running the model.

    `only` gives the place of the one input that has a map; None stands for all.
    """
    forward = scored_outputs(model, score, unrolled=True)
    rows: dict[Row, None] = {}  # in their order; each step of a loop gives the same ones

    def trace(*flat: tf.Tensor) -> None:
        rows.clear()  # TensorFlow may trace twice.
        targets = tf.zeros([tf.shape(flat[0])[0]], tf.int32)
        outputs, *_ = forward(tf.nest.pack_sequence_as(specs, flat), targets)
        owners, regions = keras_graph.owners(model), rule.extend is not None
        explained = flat if only is None else [flat[only(specs)]]
        for step in steps_between(explained, [outputs], owners, regions=regions):
            replacement = replacement_of(rule, step, passthrough)
            if replacement is not None:
                description, _, extended = replacement
                rows[Row(step.title, _kind(step), description, extended)] = None

    tf.function(trace, autograph=False).get_concrete_function(*tf.nest.flatten(specs))
    return Report(rows)


def _kind(step: Step) -> str:
    return " + ".join(o.type for o in step.operations)
