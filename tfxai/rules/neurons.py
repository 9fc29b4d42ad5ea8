"""The neurons of a model: their weights by name, and whether patterns belong to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfxai.core.types import Tensors
from tfxai.models import keras_graph
from tfxai.models.heads import strip_head
from tfxai.rules.backward import decide
from tfxai.rules.linear import input_axes, is_linear, neuron_shape, shape, weights
from tfxai.rules.pattern import pattern_attribution
from tfxai.rules.patterns import Patterns
from tfxai.rules.steps import Step, steps_between

TOLERANCE = 0.01
"""How far w . a may be from 1, in nine of ten neurons, for patterns that belong to a model."""


class Weights(NamedTuple):
    """Of the neurons of a linear step."""

    values: np.ndarray
    """W'."""
    neurons: tuple[int, ...]
    """Shape that broadcasts ``[O]`` over the kernel."""
    inputs: tuple[int, ...]
    """The axes over which a neuron sums."""
    shape: tuple[int, ...]
    """Of the layer's kernel, which patterns have."""


def weights_of(
    model: keras.Model, specs: Tensors, passthrough: Sequence[str]
) -> dict[str, Weights]:
    """Give the weights that get patterns, by name, with what is folded into them."""
    shapes: dict[str, tuple] = {}

    def find(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        found = {}
        for step in linear_steps(model, specs, inputs, passthrough):
            shapes[step.name] = tuple(neuron_shape(step)), tuple(input_axes(step)), shape(step)
            found[step.name] = tf.cast(weights(step), tf.float32)
        return found

    flat = tf.nest.flatten(specs)
    function = tf.function(find, autograph=False).get_concrete_function(*flat)
    nothing = [tf.zeros([0, *(1 if n is None else n for n in s.shape[1:])], s.dtype) for s in flat]
    values = function(*nothing)  # the weights do not depend on examples
    return {name: Weights(v.numpy(), *shapes[name]) for name, v in values.items()}


def linear_steps(
    model: keras.Model, specs: Tensors, inputs: Sequence[tf.Tensor], passthrough: Sequence[str]
) -> list[Step]:
    """Trace the model; give the steps that get patterns, having looked at all of them."""
    rule = pattern_attribution({})
    with keras_graph.inlined():
        outputs = model(tf.nest.pack_sequence_as(specs, inputs), training=False)
    logits, _ = strip_head(outputs)
    steps = steps_between(inputs, [logits], keras_graph.owners(model))
    return [s for s in steps if decide(rule, s, passthrough) is not None and is_linear(s)]


def check_patterns(patterns: Any, model: keras.Model, passthrough: Sequence[str]) -> Patterns:
    """Give patterns back that belong to a model, or raise.

    Raises:
        TypeError: not `Patterns`.
        ValueError: fitted on another model, or on this one before it was trained further.
    """
    if not isinstance(patterns, Patterns):
        raise TypeError(
            f"patterns: expected what tfxai.fit_patterns gives, got {type(patterns).__name__}"
        )
    specs = keras_graph.declared_inputs(model)
    if specs is None:
        return patterns  # the rule looks for their names when it meets the first inputs
    floating = tf.nest.map_structure(
        lambda s: tf.TensorSpec(s.shape, keras_graph.float_type(model)), specs
    )
    kernels = weights_of(model, floating, passthrough)
    remedy = "call tfxai.fit_patterns(model, data) again"
    if set(kernels) != set(patterns):
        missing = sorted(set(kernels) - set(patterns))
        unknown = sorted(set(patterns) - set(kernels))
        raise ValueError(
            f"patterns: fitted on another model; layers without patterns {missing[:3]}, patterns "
            f"without a layer {unknown[:3]}; {remedy}"
        )
    for name, kernel in kernels.items():
        if patterns[name].shape != kernel.shape:
            raise ValueError(
                f"patterns: {name!r} has kernels of shape {list(kernel.shape)}, but "
                f"patterns of shape {list(patterns[name].shape)}; {remedy}"
            )
        pattern = patterns[name].reshape(kernel.values.shape)
        products = (kernel.values * pattern).sum(kernel.inputs, dtype=np.float64)
        alive = np.any(pattern != 0, axis=kernel.inputs)
        if not np.isnan(pattern).all() and (np.abs(products[alive] - 1) > TOLERANCE).mean() > 0.1:
            raise ValueError(
                f"patterns: those of {name!r} do not fit its weights (w . a is "
                f"{np.median(products[alive]):.3g}, not 1): fitted on another model, or before "
                f"this one was trained further; {remedy}"
            )
    return patterns
