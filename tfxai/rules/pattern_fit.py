"""Fit patterns: one streaming pass over data that keeps running sums only (METHODS 1.1)."""

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
from tfxai.rules.linear import neuron_shape, products, weights
from tfxai.rules.neurons import Weights, linear_steps, weights_of
from tfxai.rules.patterns import Patterns, Quality
from tfxai.rules.steps import Step

ESTIMATORS = ("relu", "linear", "relu_printed")


class Sums(NamedTuple):
    """Running sums of one linear step, over examples and positions; m is 1 where y > 0, else 0."""

    m: tf.Variable
    """``[O]``, as are the next three."""
    y: tf.Variable
    my: tf.Variable
    centre: tf.Variable
    """What is subtracted from y in mxy, a constant: the mean of y in the first batch."""
    mx: tf.Variable
    """Of the weights' shape, as is the next."""
    mxy: tf.Variable
    count: tf.Variable
    """Of examples and positions, a scalar."""


def fit_patterns(
    model: keras.Model,
    data: Any,
    *,
    estimator: str = "relu",
    batch_size: int = 8,
    passthrough: Sequence[str] = (),
    verbose: int = 1,
) -> Patterns:
    """Estimate the patterns of a model's kernels from data.

    a = (E+[x y] - E+[x] E[y]) / w . (E+[x y] - E+[x] E[y])

    where E+ is the mean over the examples (and positions, for convolutions) at which the neuron's
    output y is positive, and E that over all. Batch normalisation is folded into the kernel
    before it.

    Args:
        model: a Keras model of piecewise-linear steps, written in any way.
        data: examples ``[N, ...]`` as the model takes them, or a batched `tf.data.Dataset` of
            such or of (examples, labels). Some hundred images suffice for convolutions; dense
            layers want more examples than they have inputs.
        estimator: "relu" as above; "linear" without the restriction to positive outputs;
            "relu_printed" with E+[y] in the place of E[y], as paper 000 prints it.
        batch_size: examples at once, where `data` is an array.
        passthrough: types of operations or names of layers that keep their ordinary gradient and
            get no patterns.
        verbose: 0 for no progress bar.

    Returns:
        `Patterns` with w . a = 1 for every neuron; zero for those that were never active. Its
        `report` tells how many.

    Raises:
        ValueError: no data, data of the wrong shape or not finite, or an operation that is not
            piecewise linear.

    Reference:
        Kindermans et al. 2018, equations 4 to 7, with the unconditional E[y] of the authors'
        code. All sums are over all examples, in whatever order they come, and equal those in
        float64 but for rounding, 1e-7 times the root of the number of batches. They are filter
        gradients: a batch costs a forward pass and two of those, and memory does not depend on
        the number of examples.

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
    size = checks.positive_integer("batch_size", batch_size)
    progress = keras.utils.Progbar(count(data)) if verbose else None
    accumulator: _Accumulator | None = None
    seen = 0
    for examples in batches(data, name="data", cut=size):
        declared = keras_graph.declared_inputs(
            model
        )  # a Sequential knows its inputs once it was called
        checks.inputs(examples, declared)
        batch = as_declared(examples, declared)
        if accumulator is None:
            accumulator = _Accumulator(model, _specs(model, batch), names, estimator)
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
    kernels = weights_of(model, specs, names)
    arrays, report = {}, []
    for name in list(sums):
        arrays[name], quality = _solve(name, sums.pop(name), kernels.pop(name), estimator)
        report.append(quality)
    return Patterns(arrays, estimator=estimator, examples=seen, report=tuple(report))


class _Accumulator:
    """Adds batches to the sums of all linear steps of a model."""

    def __init__(
        self, model: keras.Model, specs: Tensors, passthrough: Sequence[str], estimator: str
    ):
        self.specs = specs
        self.sums: dict[str, Sums] = {}
        signature = tf.nest.flatten(specs)
        shapes: dict[str, tuple[tf.TensorShape, int]] = {}

        def describe(*inputs: tf.Tensor) -> None:
            for step in linear_steps(model, specs, inputs, passthrough):
                shapes[step.name] = weights(step).shape, math.prod(neuron_shape(step))

        def add(*inputs: tf.Tensor) -> None:
            done: list[tf.Operation] = []
            for step in linear_steps(model, specs, inputs, passthrough):
                with tf.control_dependencies(done):  # one layer's products exist at a time
                    done = _add(self.sums[step.name], step, estimator)

        tf.function(describe, autograph=False).get_concrete_function(*signature)
        for name, (shape, neurons) in shapes.items():
            rows = [tf.Variable(tf.zeros([neurons], tf.float64)) for _ in range(4)]
            whole = [tf.Variable(tf.zeros(shape)) for _ in range(2)]
            self.sums[name] = Sums._make([*rows, *whole, tf.Variable(tf.zeros([], tf.float64))])
        self._add = tf.function(add, autograph=False, input_signature=signature)

    def add(self, batch: Tensors) -> None:
        """Add a batch."""
        pairs = zip(tf.nest.flatten(batch), tf.nest.flatten(self.specs), strict=True)
        self._add(*(tf.cast(x, s.dtype) for x, s in pairs))


def _add(sums: Sums, step: Step, estimator: str) -> list[tf.Operation]:
    y = step.outputs[0]
    y = tf.cast(y, tf.float32) if y.dtype.size < 4 else tf.identity(y)
    m = tf.ones_like(y) if estimator == "linear" else tf.cast(y > 0, y.dtype)
    rows, active = (tf.reshape(v, [-1, y.shape[-1]]) for v in (y, m))
    counted = active if estimator == "relu_printed" else tf.ones_like(active)
    mean = tf.math.divide_no_nan(tf.reduce_sum(rows * counted, 0), tf.reduce_sum(counted, 0))
    centre = tf.where(sums.count > 0, sums.centre, tf.cast(mean, tf.float64))
    added = [
        (sums.count, tf.cast(tf.shape(rows)[0], tf.float64)),
        (sums.m, _total(active)),
        (sums.y, _total(rows)),
        (sums.mx, tf.cast(products(step, m), tf.float32)),
        (sums.mxy, tf.cast(products(step, m * (y - tf.cast(centre, y.dtype))), tf.float32)),
    ]
    if estimator == "relu_printed":
        added.append((sums.my, _total(rows * active)))
    kept = sums.centre.assign(centre, read_value=False)
    return [kept, *(total.assign_add(value, read_value=False) for total, value in added)]


def _total(rows: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.reduce_sum(rows, 0), tf.float64)


def _solve(name: str, sums: Sums, kernel: Weights, estimator: str) -> tuple[np.ndarray, Quality]:
    """Solve a = num / (w . num), num = E+[x y] - E+[x] E[y], from the sums; large arrays in place.

    With any c, num = E+[x (y - c)] - E+[x] (E[y] - c): with c near E[y], the second term is small
    and little is lost to rounding. A factor that a neuron's whole pattern has does not matter.
    """
    m, y, my, centre = (v.numpy() for v in sums[:4])
    mean = my / np.maximum(m, 1) if estimator == "relu_printed" else y / sums.count.numpy()
    factor = mean - centre
    neurons, axes = kernel.neurons, kernel.inputs
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
    return pattern.reshape(kernel.shape), quality


def _specs(model: keras.Model, batch: Tensors) -> Tensors:
    declared = keras_graph.declared_inputs(model)
    kind = keras_graph.float_type(model)
    like = batch if declared is None else declared
    return tf.nest.map_structure(lambda x: tf.TensorSpec([None, *x.shape[1:]], kind), like)
