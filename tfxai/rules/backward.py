"""The backward pass under a rule: step by step, from the outputs to the inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from tfxai.core.tracing import traced_by_size
from tfxai.core.types import Attribution, Result, Score, Tensors
from tfxai.models import keras_graph
from tfxai.models.scored_models import scored_outputs
from tfxai.rules.extensions import Extensions
from tfxai.rules.rule import Rule, replacement_of
from tfxai.rules.steps import Step, carries_gradients, steps_between


def backpropagate(
    steps: Sequence[Step],
    rule: Rule,
    outputs: tf.Tensor,
    cotangent: tf.Tensor,
    inputs: Sequence[tf.Tensor],
    *,
    passthrough: Sequence[str] = (),
    extensions: Extensions | None = None,
) -> list[tf.Tensor]:
    """Pass a cotangent of the outputs back to the inputs, under a rule.

    Args:
        steps: the steps between inputs and outputs, in their order of evaluation.
        rule: replaces the gradients of single steps.
        outputs: the tensor at which the cotangent starts.
        cotangent: of the outputs' shape.
        inputs: the tensors to which it is passed.
        passthrough: types of operations, or names of layers, that keep their ordinary gradient.
        extensions: takes note of the steps that the rule treats beyond its paper.

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
        if extensions is not None:
            extensions.note(step, replacement)
        cotangents = [
            tf.zeros_like(t) if c is None and carries_gradients(t.dtype) else c
            for t, c in zip(step.outputs, cotangents, strict=True)
        ]
        passed_back: Sequence[tf.Tensor | None]
        if replacement is None or replacement.backward is None:
            passed_back = step.gradient(cotangents)
        else:
            passed_back = replacement.backward(cotangents[0])
        for tensor, value in zip(step.inputs, passed_back, strict=True):
            if value is not None:
                before = cotangent_of.get(tensor.ref())
                cotangent_of[tensor.ref()] = value if before is None else before + value
    read = {t.ref() for step in steps for t in step.inputs}
    for tensor in inputs:
        if tensor.ref() not in cotangent_of and tensor.ref() in read:
            cotangent_of[tensor.ref()] = tf.zeros_like(tensor)  # It is in gates alone.
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
    folded: bool = False,
    extensions: Extensions | None = None,
    only: Callable[[Tensors], int] | None = None,
) -> Attribution:
    """Give the attribution d score / d inputs under a rule.

    Args:
        rule: makes the rule, within the graph that uses it.
        model: any Keras model.
        score: what is explained. Its gradient with respect to the model's outputs is the ordinary
            one; the rule begins at the outputs.
        start: "one" to pass back that gradient, "output" to multiply it by the score first.
        passthrough: as in `backpropagate`.
        folded: whether normalisations may be folded into the convolutions before them: for rules
            that leave both as they are.
        extensions: as in `backpropagate`.
        only: inputs -> the place of the one that has a map, while the others count as constants;
            None for maps of all inputs.
    """
    forward = scored_outputs(model, score, folded=folded, unrolled=True)

    def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
        del seed
        flat = tf.nest.flatten(inputs)
        outputs, scores, _ = forward(inputs, targets)
        if not tf.is_tensor(outputs):
            raise ValueError(
                "rules explain one output, and this score reads several: say which one, "
                "score=tfxai.scores.output(key, score)"
            )
        (cotangent,) = tf.gradients(scores, [outputs])
        if start == "output":
            factor = tf.reshape(scores, [-1] + [1] * (outputs.shape.rank - 1))
            cotangent *= tf.cast(factor, cotangent.dtype)
        used = rule()
        explained = flat if only is None else [flat[only(inputs)]]
        extends = used.extend is not None
        steps = steps_between(explained, [outputs], keras_graph.owners(model), regions=extends)
        maps = backpropagate(
            steps,
            used,
            outputs,
            cotangent,
            explained,
            passthrough=passthrough,
            extensions=extensions,
        )
        return Result(tf.nest.pack_sequence_as(inputs, maps) if only is None else maps[0], {})

    return traced_by_size(attribute)
