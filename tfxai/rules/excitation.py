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
from tfxai.rules.smooth import (
    gated,
    is_activation,
    is_normalization,
    is_product,
    is_product_of_matrices,
    is_product_with_weights,
    is_softmax,
    title,
)
from tfxai.rules.steps import Step, gradients, is_sum, rerun

AVERAGES = {"AvgPool", "AvgPool3D", "Mean", "Sum", "ResizeBilinear"}
RELUS = {"Relu", "Relu6"}
NEVER_NEGATIVE = {"Sigmoid", "Softplus", "Exp"}
"""Activations whose units are excited by what raises them, wherever their inputs are."""
CHANNELWISE = {"Add", "AddV2", "Sub", "BiasAdd", "Mul", "RealDiv", "Neg", "Minimum"}


def excitation(*, top: Step | None = None, negated: bool = False, extend: bool = False) -> Rule:
    """P_j = sum_i [x_j w_ij]+ P_i / sum_k [x_k w_ik]+ for parents i and their inputs j.

    Args:
        top: the last kernel. The contributions that raise its outputs count, whatever the sign of
            the outputs.
        negated: whether the signs of the weights of `top` are turned, as in contrastive excitation
            backprop.
        extend: whether activations, normalisations, gates and attention are treated, too; all pass
            on the whole probability.
    """
    never_negative = RELUS | (NEVER_NEGATIVE if extend else set())

    def replace(step: Step) -> Replacement | None:
        if step.form is not None:
            is_top = top is not None and step.first is top.first
            sign = -1 if is_top and negated else 1
            positive = is_top or _is_rectified(step, never_negative)
            return Replacement(
                "shared by contributions",
                lambda p: [_kernel(step, p, sign=sign, positive=positive)],
            )
        return _replace(step)

    return Rule("excitation_backprop", replace, extend=_extend if extend else None)


def _extend(step: Step) -> Replacement | None:
    if is_activation(step) or is_normalization(step) or is_softmax(step):
        return Replacement(f"{title(step)}: passed to the only input", lambda p: [p], True)
    if is_product(step) and gated(step) is not None:
        return Replacement("gate: passed to what it gates", lambda p: _to_gated(step, p), True)
    if is_product_of_matrices(step):
        return Replacement(
            "product of matrices: shared by contributions", lambda p: _matrices(step, p), True
        )
    if is_product_with_weights(step):
        return Replacement(
            f"{title(step)}: shared by contributions",
            lambda p: [_of_matrix(step, p, step.data[0])],
            True,
        )
    return None


def _to_gated(step: Step, probability: tf.Tensor) -> list[tf.Tensor | None]:
    """Pass the probability of a product to the factor that a gate multiplies."""
    return [
        summed_like(x, probability) if i == gated(step) else None for i, x in enumerate(step.inputs)
    ]


def _matrices(step: Step, probability: tf.Tensor) -> list[tf.Tensor | None]:
    """Share by contributions among what attention weighs; half to each of two other matrices."""
    position = gated(step)
    if position is not None:
        shared = _of_matrix(step, probability, position)
        return [shared if i == position else None for i in range(2)]
    return [_of_matrix(step, probability / 2, i) for i in range(2)]


def _of_matrix(step: Step, probability: tf.Tensor, position: int) -> tf.Tensor:
    """Share the probability of a product of matrices among the elements of one of them.

    Args:
        step: the product.
        probability: of its elements.
        position: the number of this matrix, among the inputs of the operation.
    """
    x, other = step.first.inputs[position], step.first.inputs[1 - position]
    result = []
    for sign in (1, -1):
        pairs = [(tf.nn.relu(s * sign * x), tf.nn.relu(s * other)) for s in (1, -1)]
        products = [rerun(step.first, {position: a, 1 - position: b}) for a, b in pairs]
        total = tf.add_n([product.outputs[0] for product in products])
        has_sign = tf.sign(step.outputs[0]) == sign
        of_sign = tf.where(has_sign, probability, tf.zeros_like(probability))
        share = tf.math.divide_no_nan(of_sign, total)
        result += [
            a * gradients(product, [share])[position]
            for (a, _), product in zip(pairs, products, strict=True)
        ]
    return tf.add_n(result)


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


def _is_rectified(step: Step, never_negative: set[str]) -> bool:
    """Whether only ReLUs, or activations that are never negative, read the step's output.

    Then no probability comes from below 0.
    """
    readers = step.outputs[0].consumers()
    return bool(readers) and all(o.type in never_negative for o in readers)
