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
"""Operations that run functions; no rule looks into the functions."""
Backward = Callable[[tf.Tensor], Sequence[tf.Tensor]]
"""A function from the cotangent of a step's output to those of its inputs that are data."""


class Replacement(NamedTuple):
    """A backward pass that takes the place of a step's gradient."""

    description: str
    """A few words on the backward pass, for the report."""
    backward: Backward


class Rule(NamedTuple):
    """How single steps pass cotangents back."""

    name: str
    """The method's name, for messages."""
    replace: Callable[[Step], Replacement | None]
    """Gives the replacement of a step's gradient. None means that the step keeps its gradient; this
    is an error if the step is not piecewise linear."""
    keeps_kernels: bool = False
    """Whether kernels may keep their gradient, too."""


class Row(NamedTuple):
    """A line of `Explainer.rule_report`: one step."""

    operation: str
    """The operation's name in the graph, which contains the names of the layers around it."""
    kind: str
    """The types of the operations in the step."""
    description: str
    """What the rule does with the step."""


class Report(tuple[Row, ...]):
    """The steps of a model whose gradients a rule replaces; prints as a table."""

    def __str__(self) -> str:
        widths = [max((len(row[i]) for row in self), default=0) for i in range(2)]
        return "\n".join(
            f"{row.operation:{widths[0]}}  {row.kind:{widths[1]}}  {row.description}"
            for row in self
        )


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
        steps: the steps between inputs and outputs, in their order of evaluation.
        rule: replaces the gradients of single steps.
        outputs: the tensor at which the cotangent starts.
        cotangent: of the outputs' shape.
        inputs: the tensors to which it is passed.
        passthrough: types of operations, or names of layers, that keep their ordinary gradient.

    Returns:
        The cotangents of the inputs.

    Raises:
        ValueError: the rule does not know a step that is not in `passthrough`, or the outputs do
            not depend on an input.
    """
    cotangent_of: dict = {outputs.ref(): cotangent}
    for step in reversed(steps):
        cotangents = [cotangent_of.get(t.ref()) for t in step.outputs]
        if all(c is None for c in cotangents):
            continue
        replacement = replacement_of(rule, step, passthrough)
        cotangents = [
            tf.zeros_like(t) if c is None and carries_gradients(t.dtype) else c
            for t, c in zip(step.outputs, cotangents, strict=True)
        ]
        passed_back: Sequence[tf.Tensor | None]
        if replacement is None:
            passed_back = step.gradient(cotangents)
        else:
            passed_back = replacement.backward(cotangents[0])
        for tensor, value in zip(step.inputs, passed_back, strict=True):
            if value is not None:
                before = cotangent_of.get(tensor.ref())
                cotangent_of[tensor.ref()] = value if before is None else before + value
    for tensor in inputs:
        if tensor.ref() not in cotangent_of:
            raise ValueError(
                f"{rule.name}: the output does not depend differentiably on {tensor.name} "
                f"{tensor.shape}: it is looked up in a table, or lies on no way to the output"
            )
    return [cotangent_of[t.ref()] for t in inputs]


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
        rule: makes the rule, within the graph that uses it.
        model: any Keras model.
        score: what is explained. Its gradient with respect to the model's outputs is the ordinary
            one; the rule begins at the outputs.
        start: "one" to pass back that gradient, "output" to multiply it by the score first.
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
    """List the steps of a model whose gradients a rule replaces, without running the model."""
    forward = scored_outputs(model, score)
    rows: list[Row] = []

    def trace(*flat: tf.Tensor) -> None:
        targets = tf.zeros([tf.shape(flat[0])[0]], tf.int32)
        with keras_graph.inlined():
            outputs, _ = forward(tf.nest.pack_sequence_as(specs, flat), targets)
        for step in steps_between(flat, [outputs], keras_graph.owners(model)):
            replacement = replacement_of(rule, step, passthrough)
            if replacement is not None:
                rows.append(Row(step.first.name, _kind(step), replacement.description))

    tf.function(trace, autograph=False).get_concrete_function(*tf.nest.flatten(specs))
    return Report(rows)


def replacement_of(rule: Rule, step: Step, passthrough: Sequence[str]) -> Replacement | None:
    """Give the replacement of a step's gradient, None where the step keeps its gradient.

    Raises:
        ValueError: the rule does not know the step, which is not piecewise linear.
    """
    if any(_matches(step, name) for name in passthrough):
        return None
    replacement = rule.replace(step)
    if replacement is not None or _keeps_gradient(rule, step):
        return replacement
    raise ValueError(
        f"{rule.name} does not know the operation {step.first.type} in {step.first.name!r}, "
        f"{_reason(step)}. {_remedy(step)}, or explain a part of the model by tfxai.split."
    )


def _reason(step: Step) -> str:
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
    """Give the name of the layer around a loop: "lstm" of the operation "model_1/lstm_1/while"."""
    scopes = step.first.name.split("/")[:-1]
    layers = [s for s in scopes if not re.match(r"TensorArray|map(_\d+)?$|while(_\d+)?$", s)]
    return re.sub(r"_\d+$", "", (layers or scopes or [step.first.type])[-1])


def _keeps_gradient(rule: Rule, step: Step) -> bool:
    """Whether a step without a replacement may keep its ordinary gradient."""
    if step.first.type in KERNELS:
        return rule.keeps_kernels and len(step.data) == 1
    return step.first.type in PIECEWISE_LINEAR


def _matches(step: Step, name: str) -> bool:
    """Whether a name is that of the step, of its type or of a layer around it."""
    if name in (step.first.type, step.name):
        return True
    scopes = step.first.name.split("/")
    return any(
        s == name or (s.startswith(f"{name}_") and s[len(name) + 1 :].isdigit()) for s in scopes
    )


def _kind(step: Step) -> str:
    return " + ".join([step.first.type, *(f.operation.type for f in step.folded)])
