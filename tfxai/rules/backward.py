"""The backward pass under a rule: step by step, from the outputs to the inputs."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from tfxai.core.tracing import traced
from tfxai.core.types import Attribution, Result, Score, Tensors
from tfxai.models import keras_graph
from tfxai.models.heads import scored_outputs
from tfxai.rules.affine import KERNELS
from tfxai.rules.piecewise import PIECEWISE_LINEAR
from tfxai.rules.steps import Step, carries_gradients, steps_between

CALLS = {
    *("If", "StatelessIf", "Case", "StatelessCase", "PartitionedCall", "StatefulPartitionedCall"),
}
"""Operations that run functions, into which no rule looks."""
Backward = Callable[[tf.Tensor], Sequence[tf.Tensor]]
"""The cotangent of a step's output -> those of its inputs that are data."""


class Replaced(NamedTuple):
    """What a rule does with a step."""

    what: str
    """In a few words, for the report."""
    backward: Backward


class Rule(NamedTuple):
    """How single steps pass cotangents back."""

    name: str
    replace: Callable[[Step], Replaced | None]
    """None leaves a step its ordinary gradient, if that is piecewise linear."""
    leaves_kernels: bool = False
    """Whether kernels keep theirs."""


class Row(NamedTuple):
    """A line of `Explainer.rule_report`."""

    operation: str
    """The name in the graph, which holds the layers' names."""
    kind: str
    """The operations' types."""
    done: str
    """What the rule does with it."""


class Report(tuple[Row, ...]):
    """What a rule replaces in a model; prints as a table."""

    def __str__(self) -> str:
        widths = [max((len(row[i]) for row in self), default=0) for i in range(2)]
        return "\n".join(f"{o:{widths[0]}}  {k:{widths[1]}}  {d}" for o, k, d in self)


def backpropagate(
    steps: Sequence[Step],
    rule: Rule,
    outputs: tf.Tensor,
    cotangent: tf.Tensor,
    inputs: Sequence[tf.Tensor],
    *,
    passthrough: Sequence[str] = (),
) -> list[tf.Tensor]:
    """Pass a cotangent of the outputs back to the inputs, under a rule.

    Args:
        steps: between inputs and outputs.
        rule: what replaces single gradients.
        outputs: where the cotangent starts.
        cotangent: of the outputs' shape.
        inputs: where to pass it.
        passthrough: types of operations, or names of layers, that keep their ordinary gradient.

    Raises:
        ValueError: a step that the rule does not know and that is not in `passthrough`.
    """
    arrived: dict = {outputs.ref(): cotangent}
    for step in reversed(steps):
        cotangents = [arrived.get(t.ref()) for t in step.outputs]
        if all(c is None for c in cotangents):
            continue
        replaced = decide(rule, step, passthrough)
        cotangents = [
            tf.zeros_like(t) if c is None and carries_gradients(t.dtype) else c
            for t, c in zip(step.outputs, cotangents, strict=True)
        ]
        passed = replaced.backward(cotangents[0]) if replaced else step.gradient(cotangents)
        for tensor, value in zip(step.inputs, passed, strict=True):
            if value is not None:
                before = arrived.get(tensor.ref())
                arrived[tensor.ref()] = value if before is None else before + value
    for tensor in inputs:
        if tensor.ref() not in arrived:
            raise ValueError(
                f"{rule.name}: the output does not depend differentiably on {tensor.name} "
                f"{tensor.shape}: it is looked up in a table, or lies on no way to the output"
            )
    return [arrived[t.ref()] for t in inputs]


def gradient_under(
    rule: Callable[[], Rule],
    model: keras.Model,
    score: Score,
    *,
    start: str = "one",
    passthrough: Sequence[str] = (),
) -> Attribution:
    """Give the attribution d score / d inputs under a rule.

    Args:
        rule: makes the rule, in the graph where it is used.
        model: any Keras model.
        score: what is explained; its own gradient is the ordinary one.
        start: "one", or "output" to multiply the gradient by the score.
        passthrough: as in `backpropagate`.
    """
    forward = scored_outputs(model, score)

    def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
        del seed
        flat = tf.nest.flatten(inputs)
        with keras_graph.inlined():
            outputs, scores = forward(inputs, targets)
        if not tf.is_tensor(outputs):
            raise ValueError("rules explain one output; give keras.Model(inputs, outputs[i])")
        (cotangent,) = tf.gradients(scores, [outputs])
        if start == "output":
            factor = tf.reshape(scores, [-1] + [1] * (outputs.shape.rank - 1))
            cotangent *= tf.cast(factor, cotangent.dtype)
        steps = steps_between(flat, [outputs], keras_graph.owners(model))
        maps = backpropagate(steps, rule(), outputs, cotangent, flat, passthrough=passthrough)
        return Result(tf.nest.pack_sequence_as(inputs, maps), {})

    return traced(attribute)


def report(
    rule: Rule, model: keras.Model, score: Score, specs: Tensors, passthrough: Sequence[str]
) -> Report:
    """List what a rule does with each step of a model, without running it."""
    forward = scored_outputs(model, score)
    rows: list[Row] = []

    def trace(*flat: tf.Tensor) -> None:
        targets = tf.zeros([tf.shape(flat[0])[0]], tf.int32)
        with keras_graph.inlined():
            outputs, _ = forward(tf.nest.pack_sequence_as(specs, flat), targets)
        for step in steps_between(flat, [outputs], keras_graph.owners(model)):
            replaced = decide(rule, step, passthrough)
            if replaced is not None:
                rows.append(Row(step.first.name, _kind(step), replaced.what))

    tf.function(trace, autograph=False).get_concrete_function(*tf.nest.flatten(specs))
    return Report(rows)


def decide(rule: Rule, step: Step, passthrough: Sequence[str]) -> Replaced | None:
    """Give what a rule does with a step; None for its ordinary gradient. Raise if neither fits."""
    if any(_matches(step, name) for name in passthrough):
        return None
    replaced = rule.replace(step)
    if replaced is not None or _is_left(rule, step):
        return replaced
    raise ValueError(
        f"{rule.name} does not know the operation {step.first.type} in {step.first.name!r}, "
        f"{_why(step)}. {_remedy(step)}, or explain a part of the model by tfxai.split."
    )


def _why(step: Step) -> str:
    if _is_of_a_loop(step):
        return "a part of a loop, such as a recurrent layer or keras.ops.while_loop, scan or map"
    if step.first.type in CALLS:
        return "whose steps are hidden in functions"
    if step.first.type in KERNELS:
        return "whose weights depend on the input or whose channels come first"
    if step.first.type == "IdentityN":
        return "a function with a gradient of its own, such as swish"
    return "which is not piecewise linear"


def _remedy(step: Step) -> str:
    if _is_of_a_loop(step):
        layer = _layer(step)
        return (
            f"Unroll it (unroll=True), or give it its ordinary gradient by passthrough=[{layer!r}]"
        )
    kind = f"passthrough=[{step.first.type!r}] (or the name of its layer)"
    return f"Give it its ordinary gradient by {kind}"


def _is_of_a_loop(step: Step) -> bool:
    kind = step.first.type
    return kind in ("While", "StatelessWhile") or kind.startswith("TensorList")


def _layer(step: Step) -> str:
    """Give the name of the layer around a loop, from the operation's, "model_1/lstm_1/while"."""
    scopes = step.first.name.split("/")[:-1]
    layers = [s for s in scopes if not re.match(r"TensorArray|map(_\d+)?$|while(_\d+)?$", s)]
    return re.sub(r"_\d+$", "", (layers or scopes or [step.first.type])[-1])


def _is_left(rule: Rule, step: Step) -> bool:
    """Whether the ordinary gradient of a step fits the rule."""
    if step.first.type in KERNELS:
        return rule.leaves_kernels and len(step.data) == 1
    return step.first.type in PIECEWISE_LINEAR


def _matches(step: Step, name: str) -> bool:
    if name in (step.first.type, step.name):
        return True
    scopes = step.first.name.split("/")
    return any(
        s == name or (s.startswith(f"{name}_") and s[len(name) + 1 :].isdigit()) for s in scopes
    )


def _kind(step: Step) -> str:
    return " + ".join([step.first.type, *(f.operation.type for f in step.folded)])
