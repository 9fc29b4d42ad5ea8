"""Excitation backprop (Zhang et al. 2016): winning probabilities, passed from parents to children.

A parent's probability is shared among its inputs in proportion to what each contributes to it.
Every function of this file is that sentence for one kind of step (METHODS 5.8).

The paper assumes that no activation is negative. Linear layers between additions, such as those
of MobileNetV2, have negative ones; then a contribution is what has the parent's sign. For parents
that are not negative this is the paper's equation.
"""

from __future__ import annotations

import tensorflow as tf

from tfxai.rules.backward import Replaced, Rule
from tfxai.rules.linear import applied, summed_like, vjp_input, weights
from tfxai.rules.rectifier import is_rectifier
from tfxai.rules.steps import Step, is_sum, rerun

AVERAGES = {"AvgPool", "AvgPool3D", "Mean", "Sum", "ResizeBilinear"}
CHANNELWISE = {"Add", "AddV2", "Sub", "BiasAdd", "Mul", "RealDiv", "Neg", "Minimum"}


def excitation(*, top: Step | None = None, negated: bool = False) -> Rule:
    """P_j = sum_i [x_j w_ij]+ P_i / sum_k [x_k w_ik]+ for parents i and their inputs j.

    Args:
        top: the last kernel; what raises its outputs counts there, whatever their sign.
        negated: whether `top` has its weights' signs turned, for the contrastive form.
    """

    def replace(step: Step) -> Replaced | None:
        if step.form is not None:
            is_top = top is not None and step.first is top.first
            sign = -1 if is_top and negated else 1
            raised = is_top or _is_rectified(step)
            what = "shared by contributions"
            return Replaced(what, lambda p: [_kernel(step, p, sign=sign, raised=raised)])
        return _replace(step)

    return Rule("excitation_backprop", replace)


def _replace(step: Step) -> Replaced | None:
    kind, several = step.first.type, len(step.data) > 1
    if is_sum(step):
        return Replaced("shared by summands", lambda p: _summands(step, p))
    if several and kind == "Mul":
        return Replaced("shared equally by factors", lambda p: _factors(step, p))
    if kind in AVERAGES:
        return Replaced("shared by inputs", lambda p: [_average(step, p)])
    if is_rectifier(step) or (kind in CHANNELWISE and not several):
        return Replaced("passed to the only input", lambda p: [summed_like(step.inputs[0], p)])
    return None  # moves values without changing them, or picks a winner: the gradient does that


def _kernel(step: Step, probability: tf.Tensor, *, sign: int, raised: bool) -> tf.Tensor:
    """Share by [x_j w_ij]+ below parents that are raised, by [-x_j w_ij]+ below the others."""
    kernel, x = sign * weights(step), step.inputs[0]
    positive, negative = tf.nn.relu(kernel), tf.nn.relu(-kernel)
    up, down = tf.nn.relu(x), tf.nn.relu(-x)
    pairs = [(up, positive)] if _is_positive(x) else [(up, positive), (down, negative)]
    if raised:
        return _shared(step, probability, pairs)
    opposite = [(part, negative if k is positive else positive) for part, k in pairs]
    above = step.outputs[0] > 0
    nothing = tf.zeros_like(probability)
    return _shared(step, tf.where(above, probability, nothing), pairs) + _shared(
        step, tf.where(above, nothing, probability), opposite
    )


def _shared(
    step: Step, probability: tf.Tensor, pairs: list[tuple[tf.Tensor, tf.Tensor]]
) -> tf.Tensor:
    contributed = tf.add_n([applied(step, part, kernel) for part, kernel in pairs])
    share = tf.math.divide_no_nan(tf.cast(probability, contributed.dtype), contributed)
    return tf.add_n([part * vjp_input(step, share, kernel)[0] for part, kernel in pairs])


def _summands(step: Step, probability: tf.Tensor) -> list[tf.Tensor]:
    sign, signs = tf.sign(step.outputs[0]), tf.unstack(weights(step))
    parts = [tf.nn.relu(sign * w * x) for w, x in zip(signs, step.inputs, strict=True)]
    share = tf.math.divide_no_nan(probability, tf.add_n(parts))
    return [summed_like(x, p * share) for x, p in zip(step.inputs, parts, strict=True)]


def _factors(step: Step, probability: tf.Tensor) -> list[tf.Tensor]:
    return [summed_like(x, probability / 2) for x in step.inputs]


def _average(step: Step, probability: tf.Tensor) -> tf.Tensor:
    sign = tf.sign(step.outputs[0])
    shared = []
    for direction in (1, -1):
        part = tf.nn.relu(direction * step.inputs[0])
        here = tf.where(sign == direction, probability, tf.zeros_like(probability))
        averaged = rerun(step.first, {step.data[0]: part}).outputs[0]
        share = tf.math.divide_no_nan(here, averaged)
        shared.append(part * step.gradient([share])[0])
    return tf.add_n(shared)


def _is_positive(x: tf.Tensor) -> bool:
    """Whether x is known not to be negative: it comes from a ReLU, through pooling and the like."""
    while x.op.type in ("MaxPool", "AvgPool", "Mean", "Reshape", "Pad", "Identity", "Cast"):
        x = x.op.inputs[0]
    return x.op.type in ("Relu", "Relu6", "Sigmoid", "Softmax")


def _is_rectified(step: Step) -> bool:
    """Whether only ReLUs see the step's output: no probability comes from below 0 then."""
    users = step.outputs[0].consumers()
    return bool(users) and all(o.type in ("Relu", "Relu6") for o in users)
