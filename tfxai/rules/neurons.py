"""The neurons of a model: their weights by name, and a check that patterns belong to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfxai.core.types import Tensors
from tfxai.models import keras_graph
from tfxai.models.model_graph import is_floating
from tfxai.models.shared_graphs import in_graph, model_graph
from tfxai.models.unrolled_loops import has_loops
from tfxai.rules.linear import input_axes, is_linear, kernel_shape, neuron_shape, weights
from tfxai.rules.pattern_rules import pattern_attribution
from tfxai.rules.patterns import Patterns
from tfxai.rules.rule import replacement_of
from tfxai.rules.steps import Step, steps_between

TOLERANCE = 0.01
"""The largest |w . a - 1|, in nine of ten neurons, for patterns that belong to a model."""


class NeuronWeights(NamedTuple):
    """The weights of the neurons of one linear step."""

    values: np.ndarray
    """The effective weights W', with the factors that follow the kernel folded in."""
    neuron_shape: tuple[int, ...]
    """The shape in which one number for each neuron broadcasts over the weights."""
    input_axes: tuple[int, ...]
    """The axes of the weights over which a neuron sums."""
    kernel_shape: tuple[int, ...]
    """The shape of the layer's kernel, which its patterns have, too."""


def neuron_weights(
    model: keras.Model, specs: Tensors, passthrough: Sequence[str], *, extend: bool
) -> dict[str, NeuronWeights]:
    """Give the weights of all neurons that get patterns, by the names of their steps."""
    shapes: dict[str, tuple] = {}

    def effective_weights(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        values = {}
        for step in linear_steps(model, specs, inputs, passthrough, extend=extend):
            axes = tuple(input_axes(step))
            shapes[step.name] = tuple(neuron_shape(step)), axes, kernel_shape(step)
            values[step.name] = tf.cast(weights(step), tf.float32)
        return values

    traced = tf.compat.v1.wrap_function(effective_weights, tf.nest.flatten(specs))
    # The weights do not depend on examples. The model is not run for them: without examples a loop
    # that waits for a value would never end.
    values = traced.prune([], traced.structured_outputs)()
    return {name: NeuronWeights(v.numpy(), *shapes[name]) for name, v in values.items()}


def linear_steps(
    model: keras.Model,
    specs: Tensors,
    inputs: Sequence[tf.Tensor],
    passthrough: Sequence[str],
    *,
    extend: bool,
) -> list[Step]:
    """Trace a model in the current graph, check all its steps, and give those that get patterns.

    Raises:
        ValueError: a step is not known, or not piecewise linear without `extend`, and not in
            `passthrough`.
    """
    rule = pattern_attribution({}, extend=extend)
    forward, _ = in_graph(
        model, tf.nest.pack_sequence_as(specs, inputs), inline=True, unrolled=True
    )
    logits = [z for z in tf.nest.flatten(forward.logits) if is_floating(z)]
    steps = steps_between(inputs, logits, keras_graph.owners(model), regions=extend)
    return [s for s in steps if replacement_of(rule, s, passthrough) is not None and is_linear(s)]


def has_loops_of_open_length(model: keras.Model, specs: Tensors) -> bool:
    """Whether a model has loops and takes inputs of several sizes.

    Then its loops can be read only when the inputs are there.
    """
    is_open = any(None in s.shape[1:] for s in tf.nest.flatten(specs))
    return is_open and has_loops(model_graph(model, specs).graph)


def check_patterns(
    patterns: Any, model: keras.Model, passthrough: Sequence[str], *, extend: bool
) -> Patterns:
    """Give the patterns if they belong to a model, or raise.

    Raises:
        TypeError: `patterns` is not a `Patterns`.
        ValueError: the patterns were fitted on another model, or on this one before it was trained
            further.
    """
    if not isinstance(patterns, Patterns):
        raise TypeError(
            f"patterns: expected what tfxai.fit_patterns gives, got {type(patterns).__name__}"
        )
    specs = keras_graph.declared_inputs(model)
    if specs is None or has_loops_of_open_length(model, specs):
        return patterns  # The rule looks for their names at the first inputs.
    float_specs = tf.nest.map_structure(
        lambda s: tf.TensorSpec(s.shape, keras_graph.float_type(model)), specs
    )
    kernels = neuron_weights(model, float_specs, passthrough, extend=extend)
    remedy = "call tfxai.fit_patterns(model, data) again"
    if set(kernels) != set(patterns):
        missing = sorted(set(kernels) - set(patterns))
        unknown = sorted(set(patterns) - set(kernels))
        raise ValueError(
            f"patterns: fitted on another model; layers without patterns {missing[:3]}, patterns "
            f"without a layer {unknown[:3]}; {remedy}"
        )
    for name, kernel in kernels.items():
        if patterns[name].shape != kernel.kernel_shape:
            raise ValueError(
                f"patterns: {name!r} has kernels of shape {list(kernel.kernel_shape)}, but "
                f"patterns of shape {list(patterns[name].shape)}; {remedy}"
            )
        pattern = patterns[name].reshape(kernel.values.shape)
        products = (kernel.values * pattern).sum(kernel.input_axes, dtype=np.float64)
        alive = np.any(pattern != 0, axis=kernel.input_axes)
        are_known = not np.isnan(pattern).all() and alive.any()
        if are_known and (np.abs(products[alive] - 1) > TOLERANCE).mean() > 0.1:
            raise ValueError(
                f"patterns: those of {name!r} do not fit its weights (w . a is "
                f"{np.median(products[alive]):.3g}, not 1): fitted on another model, or before "
                f"this one was trained further; {remedy}"
            )
    return patterns
