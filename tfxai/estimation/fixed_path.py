"""Integrals along the straight path from a baseline to an input, by a rule of fixed nodes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfxai.core import batch
from tfxai.core.types import Attribution, Result, Tensors
from tfxai.estimation import aggregators
from tfxai.estimation.estimate import Evaluate, estimate
from tfxai.estimation.samplers import split_seed


def fixed_integral(
    attribution: Attribution,
    baseline: Tensors,
    nodes: np.ndarray,
    weights: np.ndarray,
    *,
    rows: int,
    select: Callable[[Tensors], Tensors] = lambda values: values,
) -> Attribution:
    """Integrate (x - x') * attribution along the straight path from x' to x by a fixed rule.

    The diagnostic ``map_error`` is the estimate of `tfxai.estimation.bridges` for these nodes, or
    NaN for one node. The estimate misses a peak before the first node, such as normalisation
    layers make near zero.

    Args:
        attribution: what is integrated.
        baseline: x', broadcast to the inputs.
        nodes: positions on the path in [0, 1], ``[n]``.
        weights: their weights, ``[n]``.
        rows: points evaluated at once.
        select: values in the structure of the inputs -> those of the inputs that have maps.
    """
    order = np.argsort(nodes)
    evaluate = along_line(attribution, baseline, nodes[order], weights[order], select=select)
    statistic = aggregators.path_mean(nodes[order])
    integral = estimate(evaluate, len(nodes), statistic, rows=rows, like=select)

    def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
        path = integral(inputs, targets, seed)
        error = tf.sqrt(path.squared_error)
        if len(nodes) == 1:
            map_error = tf.fill(tf.shape(error), tf.constant(np.nan, error.dtype))
        else:
            map_error = batch.relative_error(error, batch.norm(path.mean))
        diagnostics = {"map_error": map_error, "steps": tf.fill(tf.shape(targets)[:1], len(nodes))}
        return Result(batch.from_rows(path.mean, select(inputs)), diagnostics)

    return attribute


def along_line(
    attribution: Attribution,
    baseline: Tensors,
    nodes: np.ndarray,
    weights: np.ndarray,
    *,
    select: Callable[[Tensors], Tensors] = lambda values: values,
) -> Evaluate:
    """Evaluate (x - x') * attribution(x' + alpha_k (x - x')) at points of the straight path.

    An attribution that draws random numbers itself needs chunks of one sample, as in `over_inputs`.

    Args:
        attribution: what is evaluated.
        baseline: x', broadcast to the inputs.
        nodes: alpha_k, ``[n]``.
        weights: the weights of the points, ``[n]``.
        select: as in `over_inputs`.
    """

    def evaluate(
        inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor, ks: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        dtype = batch.dtype(inputs)
        alpha = tf.gather(tf.constant(nodes, dtype), ks)
        step = tf.nest.map_structure(tf.subtract, inputs, baseline)

        def points_on_line(start: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
            return batch.fold(start + tf.reshape(alpha, [-1] + [1] * step.shape.rank) * step)

        points = tf.nest.map_structure(points_on_line, baseline, step)
        count = tf.size(ks)
        inner_seed = split_seed(tf.random.fold_in(seed, ks[0]))[1]
        values = attribution(points, batch.tiled(targets, count), inner_seed).attributions
        scaled = tf.nest.map_structure(
            lambda v, d: batch.fold(batch.unfold(v, count) * d), values, select(step)
        )
        return batch.unfold(batch.rows(scaled), count), tf.gather(tf.constant(weights, dtype), ks)

    return evaluate
