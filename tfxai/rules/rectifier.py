"""Guided backprop (Springenberg et al. 2015) and deconvnet (Zeiler and Fergus 2014).

Both change the backward pass of rectifiers only and, where they are extended, of other activations
(docs/methods.md, Guided backpropagation and deconvnet).
R_out is the cotangent of a rectifier's output y, R_in that of its input.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tfxai.rules.rule import Replacement, Rule
from tfxai.rules.smooth import fixed_or_ordinary, is_activation, title
from tfxai.rules.steps import Step


def guided(*, extend: bool = False) -> Rule:
    """R_in = 1[y > 0] 1[R_out > 0] R_out: positive cotangents pass through active rectifiers.

    Extended, R_in = [f'(x)]+ [R_out]+ at any activation y = f(x), which is the same at a ReLU, and
    normalisations by data hold their statistics, as batch normalisations do.
    """
    return Rule(
        "guided_backprop",
        lambda s: _replace(s, "guided_backprop", _guided),
        keeps_kernels=True,
        extend=(lambda s: _extend(s, _guided_activation)) if extend else None,
    )


def deconvnet(*, extend: bool = False) -> Rule:
    """R_in = 1[R_out > 0] R_out: positive cotangents pass, whatever the rectifier's input was.

    Extended, this is so at any activation.
    """
    return Rule(
        "deconvnet",
        lambda s: _replace(s, "deconvnet", _deconvnet),
        keeps_kernels=True,
        extend=(lambda s: _extend(s, _positive)) if extend else None,
    )


def is_rectifier(step: Step) -> bool:
    """Whether a step is a ReLU: plain, capped, leaky, thresholded, or written as a maximum."""
    kind = step.first.type
    if kind in ("Select", "SelectV2"):
        condition = step.first.inputs[0].op
        return condition.type in ("Greater", "GreaterEqual") and any(
            x is condition.inputs[0] for x in step.inputs
        )
    return kind in ("Relu", "Relu6", "LeakyRelu") or (kind == "Maximum" and len(step.data) == 1)


def _replace(
    step: Step, name: str, backward: Callable[[Step, tf.Tensor], list]
) -> Replacement | None:
    if not is_rectifier(step):
        return None
    if _is_half(step):
        raise ValueError(
            f"{name}: {step.first.name!r} is one of two ReLUs, of x and of -x, such as those of a "
            f"PReLU, for which {name} is not defined; use LeakyReLU or ReLU, or give it its "
            "ordinary gradient by the name of its layer in passthrough="
        )
    return Replacement("positive gradients pass", lambda g: backward(step, g))


def _extend(step: Step, backward: Callable[[Step, tf.Tensor], list]) -> Replacement | None:
    if is_activation(step):
        return Replacement(
            f"{title(step)}: positive gradients pass", lambda g: backward(step, g), extended=True
        )
    return fixed_or_ordinary(step)


def _guided_activation(step: Step, cotangent: tf.Tensor) -> list:
    (slope,) = step.gradient([tf.ones_like(cotangent)])
    return [tf.nn.relu(slope) * tf.nn.relu(cotangent)]


def _positive(step: Step, cotangent: tf.Tensor) -> list:
    return [tf.nn.relu(cotangent)]


def _guided(step: Step, cotangent: tf.Tensor) -> list:
    return step.gradient([tf.nn.relu(cotangent)])


def _deconvnet(step: Step, cotangent: tf.Tensor) -> list:
    if step.first.type == "Relu6":  # min(ReLU(x), 6): the minimum has its ordinary gradient
        cotangent = tf.where(step.first.outputs[0] < 6, cotangent, tf.zeros_like(cotangent))
    return [tf.nn.relu(cotangent)]


def _is_half(step: Step) -> bool:
    """Whether a step is the ReLU of -x beside another ReLU, of x."""
    source = step.inputs[0].op
    return source.type == "Neg" and any(o.type == "Relu" for o in source.inputs[0].consumers())
