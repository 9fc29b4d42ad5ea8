"""What a rule is: how single steps pass cotangents back, and which steps it does not know."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from tfxai.models.unrolled_loops import LOOPS, MOST_STEPS
from tfxai.rules.affine import KERNELS
from tfxai.rules.piecewise import PIECEWISE_LINEAR
from tfxai.rules.steps import Step

CALLS = {
    *("If", "StatelessIf", "Case", "StatelessCase", "PartitionedCall", "StatefulPartitionedCall"),
}
"""Operations that run functions; no rule looks into the functions."""
Backward = Callable[[tf.Tensor], Sequence[tf.Tensor | None]]
"""A function from the cotangent of a step's output to those of its inputs that are data."""


class Replacement(NamedTuple):
    """A backward pass that takes the place of a step's gradient."""

    description: str
    """A few words on the backward pass, for the report."""
    backward: Backward | None
    """None for the ordinary gradient of a step which the rule's paper does not treat."""
    extended: bool = False
    """Whether this goes beyond the rule's paper."""


class Rule(NamedTuple):
    """How single steps pass cotangents back."""

    name: str
    """The method's name, for messages."""
    replace: Callable[[Step], Replacement | None]
    """Gives the replacement of a step's gradient. None means that the step keeps its gradient; this
    is an error if the step is not piecewise linear."""
    keeps_kernels: bool = False
    """Whether kernels may keep their gradient, too."""
    extend: Callable[[Step], Replacement | None] | None = None
    """Gives the replacement of a step beyond the rule's paper, None for the steps that the paper
    treats; asked before `replace`. Without it, what the paper does not treat is an error."""
    fitted: bool = False
    """Whether the rule reads patterns, whose fit needs the same `passthrough`."""


def replacement_of(rule: Rule, step: Step, passthrough: Sequence[str]) -> Replacement | None:
    """Give the replacement of a step's gradient, None where the step keeps its gradient.

    Args:
        rule: replaces the gradients of single steps.
        step: any step.
        passthrough: types of operations, or names of layers, that keep their ordinary gradient.

    Raises:
        ValueError: the rule does not know the step, which is not piecewise linear.
    """
    if any(_matches(step, name) for name in passthrough):
        return None
    extended = rule.extend(step) if rule.extend is not None else None
    if extended is not None:
        return extended
    replacement = rule.replace(step)
    if replacement is not None or _keeps_gradient(rule, step):
        return replacement
    raise ValueError(
        f"{rule.name} does not know the operation {step.first.type} in {step.title!r}, "
        f"{_reason(step)}. {_remedy(step)}{', in tfxai.fit_patterns too' * rule.fitted}, or "
        "explain a part of the model by tfxai.split."
    )


def _reason(step: Step) -> str:
    """Say why a rule does not know a step."""
    if is_of_a_loop(step):
        return (
            "a part of a loop that cannot be read step by step: its number of steps depends on "
            f"values or on the batch, or is above {MOST_STEPS}, or a function in the model has a "
            "gradient of its own"
        )
    if step.first.type in CALLS:
        return "whose steps are hidden in functions"
    if step.first.type in KERNELS:
        return "whose weights depend on the input or whose channels come first"
    if step.first.type == "IdentityN":
        return "a function with a gradient of its own, such as swish"
    return "which is not piecewise linear"


def _remedy(step: Step) -> str:
    """Say how a model with an unknown step can be explained."""
    if is_of_a_loop(step):
        layer = _layer(step)
        return (
            "Give it a number of steps that is known before it runs, or its ordinary gradient by "
            f"passthrough=[{layer!r}]"
        )
    kind = f"passthrough=[{step.first.type!r}] (or the name of its layer)"
    return f"Give it its ordinary gradient by {kind}"


def is_of_a_loop(step: Step) -> bool:
    """Whether a step is a loop that is not unrolled, or makes or reads the lists that it keeps."""
    kind = step.first.type
    return kind in LOOPS or kind.startswith("TensorList")


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
    of_region = [] if step.region is None else [o.type for o in step.operations]
    if name in (step.first.type, step.name, *of_region):
        return True
    scopes = step.first.name.split("/")
    return any(
        s == name or (s.startswith(f"{name}_") and s[len(name) + 1 :].isdigit()) for s in scopes
    )
