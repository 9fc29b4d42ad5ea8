"""Fits patterns in one pass over data, of which only running sums are kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfxai.core import checks
from tfxai.core.data import batches, count
from tfxai.core.named_inputs import as_declared
from tfxai.core.types import Tensors
from tfxai.models import keras_graph
from tfxai.rules.linear import neuron_shape, total, vjp_weights, weights
from tfxai.rules.neurons import (
    NeuronWeights,
    has_loops_of_open_length,
    linear_steps,
    neuron_weights,
)
from tfxai.rules.patterns import Patterns, Quality
from tfxai.rules.steps import Step
from tfxai.scores.rows import at_least_float32

ESTIMATORS = ("relu", "linear", "relu_printed")


class Sums(NamedTuple):
    """Running sums of one linear step over examples and positions.

    x is the input of a neuron, y its output, and m the mask of the estimator: 1 where y > 0, else
    0, or 1 everywhere for "linear".
    """

    m: tf.Variable
    """The sum of m, ``[O]``."""
    y: tf.Variable
    """The sum of y, ``[O]``."""
    my: tf.Variable
    """The sum of m (y - c), ``[O]``; only for "relu_printed"."""
    centre: tf.Variable
    """A constant c near the mean of y, ``[O]``: the mean in the first batch."""
    mx: tf.Variable
    """The sum of m x, of the weights' shape."""
    mxy: tf.Variable
    """The sum of m x (y - c), of the weights' shape."""
    count: tf.Variable
    """The number of examples and positions, a scalar."""


def fit_patterns(
    model: keras.Model,
    data: Any,
    *,
    estimator: str = "relu",
    batch_size: int = 8,
    passthrough: Sequence[str] = (),
    extend: bool = True,
    verbose: int = 1,
) -> Patterns:
    """Estimate the patterns of a model's kernels from data.

    a = (E+[x y] - E+[x] E[y]) / w . (E+[x y] - E+[x] E[y])

    E+ is the mean over the examples (and positions, for convolutions) at which the neuron's output
    y is positive; E is the mean over all of them. Batch normalisation is folded into the kernel
    before it.

    The sums are over all examples, whatever their order, and equal sums in float64 but for
    rounding: a relative error of 1e-7 times the root of the number of batches. They are computed
    as gradients of the kernels: a batch costs one forward pass and, for each kernel, one gradient
    with the cotangents of both means side by side, or two where that takes less time. The memory
    does not depend on the number of examples.

    Args:
        model: a Keras model, written in any way.
        data: examples ``[N, ...]`` as the model takes them, or a batched `tf.data.Dataset` of
            examples or of (examples, labels). Some hundred images suffice for convolutions; dense
            layers need more examples than they have inputs.
        estimator: "relu" as above; "linear" without the restriction to positive outputs;
            "relu_printed" with E+[y] in place of E[y], as Schwarzenberg and Castle 2020 print it.
        batch_size: how many examples are evaluated at once, where `data` is an array.
        passthrough: types of operations or names of layers that keep their ordinary gradient and
            get no patterns.
        extend: whether what is not piecewise linear is accepted, too, without patterns of its own;
            False to refuse such models.
        verbose: 0 for no progress bar.

    Returns:
        `Patterns` with w . a = 1 for every neuron, or zero for neurons that were never active. Its
        `report` tells how many neurons these are.

    Raises:
        TypeError, ValueError: there is no data, the data do not fit the model or are not finite, or
            an operation is not known or, with ``extend=False``, not piecewise linear.

    Reference:
        Kindermans et al. 2018, equations 4 to 7, with E[y] of the pre-activation over all examples
        (equation 7), as in the authors' code. Schwarzenberg and Castle 2020, equation 2, is the
        form "relu_printed" (docs/methods.md, Patterns).

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="only")])
        >>> _ = model.layers[0].kernel.assign([[1.0], [-1.0]])
        >>> z = np.linspace(-2, 2, 101)[:, None]
        >>> signal_and_distractor = z * [1, 0] + np.cos(20 * z) * [1, 1]
        >>> fit_patterns(model, signal_and_distractor, verbose=0)["only"].ravel().round(1) + 0.0
        array([1., 0.], dtype=float32)
    """
    checks.model(model)
    checks.one_of("estimator", estimator, ESTIMATORS)
    names = checks.names("passthrough", passthrough)
    checks.one_of("extend", extend, (True, False))
    size = checks.positive_integer("batch_size", batch_size)
    progress = keras.utils.Progbar(count(data)) if verbose else None
    accumulator: _Accumulator | None = None
    seen = 0
    for examples in batches(data, name="data", cut=size):
        # A Sequential without an Input knows its inputs only after its first call.
        declared = keras_graph.declared_inputs(model)
        checks.inputs(examples, declared)
        batch = as_declared(examples, declared)
        if accumulator is None:
            accumulator = _Accumulator(model, _specs(model, batch), names, estimator, extend)
        accumulator.add(batch)
        seen += len(tf.nest.flatten(batch)[0])
        if progress is not None:
            progress.update(seen)
    if accumulator is None:
        raise ValueError("data: there are no examples to fit patterns on")
    if progress is not None:
        progress.update(seen, finalize=True)
    sums, specs = accumulator.sums, accumulator.specs
    del accumulator  # and its graphs, which hold the sums
    kernels = neuron_weights(model, specs, names, extend=extend)
    arrays, report = {}, []
    for name in list(sums):
        arrays[name], quality = _solve(name, sums.pop(name), kernels.pop(name), estimator)
        report.append(quality)
    return Patterns(arrays, estimator=estimator, examples=seen, report=tuple(report))


class _Accumulator:
    """Adds batches to the running sums of all linear steps of a model."""

    def __init__(
        self,
        model: keras.Model,
        specs: Tensors,
        passthrough: Sequence[str],
        estimator: str,
        extend: bool,
    ):
        self.specs = specs
        self.sums: dict[str, Sums] = {}
        signature = tf.nest.flatten(specs)
        shapes: dict[str, tuple[tf.TensorShape, int]] = {}

        def describe(*inputs: tf.Tensor) -> None:
            for step in linear_steps(model, specs, inputs, passthrough, extend=extend):
                shapes[step.name] = weights(step).shape, math.prod(neuron_shape(step))

        def add(*inputs: tf.Tensor) -> None:
            updates: list[tf.Operation] = []
            for step in linear_steps(model, specs, inputs, passthrough, extend=extend):
                # One after another, so that the products of one layer exist at a time.
                with tf.control_dependencies(updates):
                    updates = _add(self.sums[step.name], step, estimator)

        tf.function(describe, autograph=False).get_concrete_function(*signature)
        for name, (shape, neurons) in shapes.items():
            per_neuron = [tf.Variable(tf.zeros([neurons], tf.float64)) for _ in range(4)]
            per_weight = [tf.Variable(tf.zeros(shape)) for _ in range(2)]
            count = tf.Variable(tf.zeros([], tf.float64))
            self.sums[name] = Sums._make([*per_neuron, *per_weight, count])
        self._add = tf.function(add, autograph=False, input_signature=signature)

    def add(self, batch: Tensors) -> None:
        """Add a batch of examples to the sums."""
        pairs = zip(tf.nest.flatten(batch), tf.nest.flatten(self.specs), strict=True)
        self._add(*(tf.cast(x, s.dtype) for x, s in pairs))


def _add(sums: Sums, step: Step, estimator: str) -> list[tf.Operation]:
    """Add the values of one batch to a step's sums; give the operations that do it."""
    y = at_least_float32(step.outputs[0])
    m = tf.ones_like(y) if estimator == "linear" else tf.cast(y > 0, y.dtype)
    of_m, of_y = total(m), total(y)
    count = tf.cast(tf.size(y) // y.shape[-1], tf.float64)
    centre = tf.where(sums.count > 0, sums.centre, of_y / count)
    my = m * (y - tf.cast(centre, y.dtype))
    mx, mxy = vjp_weights(step, [m, my])
    increments = [
        (sums.count, count),
        (sums.m, of_m),
        (sums.y, of_y),
        (sums.mx, tf.cast(mx, tf.float32)),
        (sums.mxy, tf.cast(mxy, tf.float32)),
    ]
    if estimator == "relu_printed":
        increments.append((sums.my, total(my)))
    keep_centre = sums.centre.assign(centre, read_value=False)
    return [keep_centre, *(running.assign_add(v, read_value=False) for running, v in increments)]


def _solve(
    name: str, sums: Sums, kernel: NeuronWeights, estimator: str
) -> tuple[np.ndarray, Quality]:
    """Solve a = num / (w . num), num = E+[x y] - E+[x] E[y], from the sums; large arrays in place.

    num = E+[x (y - c)] - E+[x] (E[y] - c) for any c. With c near E[y] the second term is small, and
    little is lost to rounding. Sums serve in place of means, since a common factor of a neuron's
    num cancels.
    """
    m, y, my, centre = (v.numpy() for v in sums[:4])
    printed = estimator == "relu_printed"
    factor = my / np.maximum(m, 1) if printed else y / sums.count.numpy() - centre
    neurons, axes = kernel.neuron_shape, kernel.input_axes
    pattern, offset = sums.mxy.numpy(), sums.mx.numpy()
    offset *= factor.reshape(neurons).astype(np.float32)
    pattern -= offset
    np.multiply(kernel.values, pattern, out=offset)
    denominator = offset.sum(axes, dtype=np.float64, keepdims=True).reshape(neurons)
    dead = (m.reshape(neurons) == 0) | (denominator == 0)
    pattern /= np.where(dead, 1, denominator).astype(np.float32)
    pattern *= ~dead
    np.multiply(kernel.values, pattern, out=offset)
    error = np.abs(offset.sum(axes, dtype=np.float64).ravel() - 1)[~dead.ravel()].max(initial=0)
    quality = Quality(name, len(m), float(dead.mean()), float(error))
    return pattern.reshape(kernel.kernel_shape), quality


def _specs(model: keras.Model, batch: Tensors) -> Tensors:
    declared = keras_graph.declared_inputs(model)
    dtype = keras_graph.float_type(model)
    reads_batch = declared is None or has_loops_of_open_length(model, declared)
    like = batch if reads_batch else declared
    return tf.nest.map_structure(lambda x: tf.TensorSpec([None, *x.shape[1:]], dtype), like)
