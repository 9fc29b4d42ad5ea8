"""Excitation backprop (Zhang et al. 2016, equations 2 to 5): winning probabilities, passed back.

The probability of a parent is shared among its inputs in proportion to their contributions to it.
Each function of this file is this sentence for one kind of step.

The paper assumes that no activation is negative. Linear layers between additions, such as those of
MobileNetV2, have negative activations; then only contributions of the parent's sign count. For
parents that are not negative this is the paper's equation (docs/methods.md, Excitation backprop).
"""

from __future__ import annotations

import tensorflow as tf

from tfxai.rules.linear import apply_kernel, summed_like, vjp_input, weights
from tfxai.rules.rectifier import is_rectifier
from tfxai.rules.rule import Replacement, Rule
from tfxai.rules.steps import Step, is_sum, rerun

AVERAGES = {"AvgPool", "AvgPool3D", "Mean", "Sum", "ResizeBilinear"}
CHANNELWISE = {"Add", "AddV2", "Sub", "BiasAdd", "Mul", "RealDiv", "Neg", "Minimum"}


def excitation(*, top: Step | None = None, negated: bool = False) -> Rule:
    """P_j = sum_i [x_j w_ij]+ P_i / sum_k [x_k w_ik]+ for parents i and their inputs j.

    Args:
        top: the last kernel. The contributions that raise its outputs count, whatever the sign of
            the outputs.
        negated: whether the signs of the weights of `top` are turned, as in contrastive excitation
            backprop.
    """

    def replace(step: Step) -> Replacement | None:
        if step.form is not None:
            is_top = top is not None and step.first is top.first
            sign = -1 if is_top and negated else 1
            positive = is_top or _is_rectified(step)
            return Replacement(
                "shared by contributions",
                lambda p: [_kernel(step, p, sign=sign, positive=positive)],
            )
        return _replace(step)

    return Rule("excitation_backprop", replace)


def _replace(step: Step) -> Replacement | None:
    kind, several = step.first.type, len(step.data) > 1
    if is_sum(step):
        return Replacement("shared by summands", lambda p: _summands(step, p))
    if several and kind == "Mul":
        return Replacement("shared equally by factors", lambda p: _factors(step, p))
    if kind in AVERAGES:
        return Replacement("shared by inputs", lambda p: [_average(step, p)])
    if is_rectifier(step) or (kind in CHANNELWISE and not several):
        return Replacement("passed to the only input", lambda p: [summed_like(step.inputs[0], p)])
    return None  # The gradient is right for steps that move values or pick a winner.


def _kernel(step: Step, probability: tf.Tensor, *, sign: int, positive: bool) -> tf.Tensor:
    """Share the parents' probabilities by [x_j w_ij]+, or by [-x_j w_ij]+ for parents below 0.

    Args:
        step: a kernel.
        probability: of the parents.
        sign: +1, or -1 to turn the weights' signs.
        positive: whether all parents are treated as positive.
    """
    kernel, x = sign * weights(step), step.inputs[0]
    kernel_above, kernel_below = tf.nn.relu(kernel), tf.nn.relu(-kernel)
    x_above, x_below = tf.nn.relu(x), tf.nn.relu(-x)
    raising, lowering = [(x_above, kernel_above)], [(x_above, kernel_below)]
    if not _is_never_negative(x):
        raising.append((x_below, kernel_below))
        lowering.append((x_below, kernel_above))
    if positive:
        return _shared(step, probability, raising)
    is_above = step.outputs[0] > 0
    nothing = tf.zeros_like(probability)
    return _shared(step, tf.where(is_above, probability, nothing), raising) + _shared(
        step, tf.where(is_above, nothing, probability), lowering
    )


def _shared(
    step: Step, probability: tf.Tensor, pairs: list[tuple[tf.Tensor, tf.Tensor]]
) -> tf.Tensor:
    """Share probabilities in proportion to the products of inputs and weights in `pairs`."""
    total = tf.add_n([apply_kernel(step, x, kernel) for x, kernel in pairs])
    share = tf.math.divide_no_nan(tf.cast(probability, total.dtype), total)
    return tf.add_n([x * vjp_input(step, share, kernel)[0] for x, kernel in pairs])


def _summands(step: Step, probability: tf.Tensor) -> list[tf.Tensor]:
    """Share the probability of a sum by its summands of the sum's sign."""
    sign, signs = tf.sign(step.outputs[0]), tf.unstack(weights(step))
    parts = [tf.nn.relu(sign * w * x) for w, x in zip(signs, step.inputs, strict=True)]
    share = tf.math.divide_no_nan(probability, tf.add_n(parts))
    return [summed_like(x, p * share) for x, p in zip(step.inputs, parts, strict=True)]


def _factors(step: Step, probability: tf.Tensor) -> list[tf.Tensor]:
    """Share the probability of a product equally between its two factors."""
    return [summed_like(x, probability / 2) for x in step.inputs]


def _average(step: Step, probability: tf.Tensor) -> tf.Tensor:
    """Share the probability of an average by its inputs of the average's sign."""
    shared = []
    for sign in (1, -1):
        x = tf.nn.relu(sign * step.inputs[0])
        has_sign = tf.sign(step.outputs[0]) == sign
        average = rerun(step.first, {step.data[0]: x}).outputs[0]
        share = tf.math.divide_no_nan(
            tf.where(has_sign, probability, tf.zeros_like(probability)), average
        )
        shared.append(x * step.gradient([share])[0])
    return tf.add_n(shared)


def _is_never_negative(x: tf.Tensor) -> bool:
    """Whether x comes from a ReLU, sigmoid or softmax, perhaps through pooling or a reshape."""
    while x.op.type in ("MaxPool", "AvgPool", "Mean", "Reshape", "Pad", "Identity", "Cast"):
        x = x.op.inputs[0]
    return x.op.type in ("Relu", "Relu6", "Sigmoid", "Softmax")


def _is_rectified(step: Step) -> bool:
    """Whether only ReLUs read the step's output, so that no probability comes from below 0."""
    readers = step.outputs[0].consumers()
    return bool(readers) and all(o.type in ("Relu", "Relu6") for o in readers)
