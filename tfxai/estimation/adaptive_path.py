"""The integral of a gradient along the straight path, with nodes chosen for each example.

Along the path the gradient of a ReLU network jumps at every kink. It resembles a random walk, and
each kind of network is rougher in some parts of the path than in others. A random walk is a
Brownian bridge between two nodes, from which follow

- the best weights for given nodes: the trapezoid rule;
- the error of the integral: `tfxai.estimation.bridges`, which also reads from the correlation of
  successive bridges where the gradient is rougher or smoother than a random walk;
- the best place for the next node: the middle of the interval with the largest bridge,
  |g_{i+1} - g_i| h_i.

The first nodes are (k/8)^2, closer to the baseline: if the path starts at zero, the first
normalisation layer turns its first percent into a peak or a decay like 1 / alpha.

Networks with smooth activations are recognised by the correlation of successive increments, which
is near 1 for them. Their nodes get the weights of overlapping parabolas, and the difference
between the two sets of weights counts as error. All these decisions need only the inner products of
the gradients at the nodes.

The estimate is an error that few maps exceed, not a bound. It knows the gradient only at the nodes:
a peak between two nodes is seen only by its effect on them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfxai import quadrature
from tfxai.core import batch
from tfxai.core.tracing import in_batches
from tfxai.core.types import Attribution, Result, Tensors
from tfxai.estimation import bridges

FIRST_NODES = 9
GROWTH_DIVISOR = 3
"""A wave adds a third of the present nodes; measured, adding them one by one gains nothing."""
SMOOTH_CORRELATION = 0.7
"""Above this correlation of successive increments a gradient counts as smooth."""
Evaluate = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""Examples ``[A]`` and positions ``[A, m]`` -> values ``[A, m, F]``."""


class Nodes(NamedTuple):
    """The n nodes of each of A unfinished examples, in order of evaluation."""

    example: tf.Tensor
    """The examples' places in the batch, ``[A]``."""
    alpha: tf.Tensor
    """Positions on the path, ``[A, n]``."""
    value: tf.Tensor
    """Gradient times (x - x') at the positions, ``[A, n, F]``."""
    gram: tf.Tensor
    """Inner products of the values, ``[A, n, n]``."""


class Finished(NamedTuple):
    """The results of the whole batch; those of unfinished examples are still zero."""

    integral: tf.Tensor
    """The integral, ``[B, F]``."""
    error: tf.Tensor
    """Its estimated relative L2 error, ``[B]``."""
    steps: tf.Tensor
    """How many gradients were computed, ``[B]``."""


def adaptive_integral(
    attribution: Attribution,
    baseline: Tensors,
    *,
    tolerance: float,
    max_steps: int,
    rows: int,
    select: Callable[[Tensors], Tensors] = lambda values: values,
) -> Attribution:
    """Integrate (x - x') * attribution(x' + alpha (x - x')) over alpha in [0, 1], per example.

    Args:
        attribution: a deterministic gradient.
        baseline: x', broadcast to the inputs.
        tolerance: an example is done when its estimated relative L2 error is at most this number,
            or after `max_steps`.
        max_steps: the most gradients for one example, at least 2.
        rows: how many points to differentiate at once; they may be of several examples.
        select: values in the structure of the inputs -> those of the inputs that have maps.

    Returns:
        An Attribution with the diagnostics ``map_error`` ``[B]`` and ``steps`` ``[B]``.
    """
    maps_at = in_batches(lambda *arguments: attribution(*arguments).attributions, rows)

    def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
        step = tf.nest.map_structure(tf.subtract, inputs, baseline)
        start = tf.nest.map_structure(lambda x, b: tf.zeros_like(x) + b, inputs, baseline)

        def evaluate(example: tf.Tensor, alpha: tf.Tensor) -> tf.Tensor:
            """Give the values ``[A, m, F]`` at positions ``[A, m]``."""
            count = tf.shape(alpha)[1]
            row, position = tf.repeat(example, count), tf.reshape(alpha, [-1])
            row_steps = tf.nest.map_structure(lambda d: tf.gather(d, row), step)
            points = tf.nest.map_structure(
                lambda s, d: tf.gather(s, row) + _column(position, d) * d, start, row_steps
            )
            gradients = maps_at(points, tf.gather(targets, row), seed)
            values = batch.rows(tf.nest.map_structure(tf.multiply, gradients, select(row_steps)))
            return tf.reshape(values, [-1, count, values.shape[-1] or tf.shape(values)[-1]])

        like = select(inputs)
        integral, error, steps = _integrate(evaluate, batch.rows(like), tolerance, max_steps)
        maps = batch.from_rows(integral, like)
        return Result(maps, {"map_error": error, "steps": steps})

    return attribute


def _integrate(evaluate: Evaluate, like: tf.Tensor, tolerance: float, max_steps: int) -> Finished:
    """Give each example more nodes, wave by wave, until it is done."""
    count, features = tf.shape(like)[0], like.shape[-1]
    no_alpha = tf.zeros([count, 0], like.dtype)
    no_value = tf.zeros_like(like)[:, None][:, :0]
    nodes = Nodes(tf.range(count), no_alpha, no_value, no_alpha[:, None][:, :0])
    done = Finished(tf.zeros_like(like), tf.zeros([count], like.dtype), tf.zeros([count], tf.int32))

    def wave(nodes: Nodes, done: Finished) -> tuple[Nodes, Finished]:
        alpha = _next_positions(nodes, max_steps)
        nodes = _append(nodes, alpha, evaluate(nodes.example, alpha))
        at_limit = tf.shape(nodes.alpha)[1] >= max_steps
        weights, error = _weights_and_error(nodes)
        stop = (error <= tolerance) | at_limit
        done = _finish(done, _select(nodes, stop), weights[stop], error[stop])
        return _select(nodes, ~stop), done

    any_size = Nodes(
        tf.TensorShape([None]),
        tf.TensorShape([None, None]),
        tf.TensorShape([None, None, features]),
        tf.TensorShape([None, None, None]),
    )
    _, done = tf.while_loop(
        lambda nodes, done: tf.size(nodes.example) > 0,
        wave,
        (nodes, done),
        shape_invariants=(any_size, Finished(*(x.shape for x in done))),
        parallel_iterations=1,
    )
    return done


def _next_positions(nodes: Nodes, max_steps: int) -> tf.Tensor:
    """Give the next nodes, ``[A, m]``: first a grid, then the middles of the largest bridges."""
    dtype = nodes.alpha.dtype
    count = tf.shape(nodes.alpha)[1]
    first = tf.linspace(tf.zeros([], dtype), tf.ones([], dtype), min(FIRST_NODES, max_steps)) ** 2
    room = tf.minimum(tf.maximum(count // GROWTH_DIVISOR, 1), max_steps - count)
    return tf.cond(
        tf.equal(count, 0),
        lambda: tf.repeat(first[None], tf.size(nodes.example), axis=0),
        lambda: _bisections(nodes, tf.minimum(room, count - 1)),
    )


def _bisections(nodes: Nodes, count: tf.Tensor) -> tf.Tensor:
    """Give each example the middles of the `count` intervals with the largest bridges."""
    order = tf.argsort(nodes.alpha, axis=-1, stable=True)
    alpha = tf.gather(nodes.alpha, order, batch_dims=1)
    squares, _ = _bridges(nodes, order)
    _, interval = tf.math.top_k(squares, count)
    left = tf.gather(alpha, interval, batch_dims=1)
    right = tf.gather(alpha, interval + 1, batch_dims=1)
    return (left + right) / 2


def _append(nodes: Nodes, alpha: tf.Tensor, value: tf.Tensor) -> Nodes:
    """Append nodes, and their inner products with all nodes."""
    across = tf.matmul(nodes.value, value, transpose_b=True)
    within = tf.matmul(value, value, transpose_b=True)
    upper_rows = tf.concat([nodes.gram, across], 2)
    lower_rows = tf.concat([tf.linalg.matrix_transpose(across), within], 2)
    return Nodes(
        nodes.example,
        tf.concat([nodes.alpha, alpha], 1),
        tf.concat([nodes.value, value], 1),
        tf.concat([upper_rows, lower_rows], 1),
    )


def _finish(done: Finished, nodes: Nodes, weights: tf.Tensor, error: tf.Tensor) -> Finished:
    """Integrate the examples in `nodes` and put the results at their places in the batch."""
    integral = tf.linalg.matvec(nodes.value, weights, transpose_a=True)
    steps = tf.fill(tf.shape(error), tf.shape(nodes.alpha)[1])
    return batch.put(done, nodes.example, Finished(integral, error, steps))


def _weights_and_error(nodes: Nodes) -> tuple[tf.Tensor, tf.Tensor]:
    """Give the weights ``[A, n]`` in order of evaluation, and the relative error ``[A]``.

    The weights are the trapezoid rule's, or the parabolas' where the gradient is smooth and their
    estimated error is smaller.
    """
    order = tf.argsort(nodes.alpha, axis=-1, stable=True)
    evaluation_order = tf.argsort(order, axis=-1)
    alpha = tf.gather(nodes.alpha, order, batch_dims=1)
    trapezoid = tf.gather(quadrature.trapezoid_weights(alpha), evaluation_order, batch_dims=1)
    parabolic = tf.gather(quadrature.parabolic_weights(alpha), evaluation_order, batch_dims=1)
    squares, products = _bridges(nodes, order)
    rho = bridges.correlation(squares, products)
    trapezoid_error = tf.sqrt(bridges.squared_error(squares, products, rho))
    difference = _norm(nodes.gram, parabolic - trapezoid)
    parabolic_error = tf.sqrt(difference**2 + bridges.mean_squared_error(squares, rho))
    is_smooth = bridges.correlation(*_increments(nodes, order)) > SMOOTH_CORRELATION
    use_parabolas = is_smooth & (parabolic_error < trapezoid_error)
    weights = tf.where(use_parabolas[:, None], parabolic, trapezoid)
    error = tf.where(use_parabolas, parabolic_error, trapezoid_error)
    return weights, batch.relative_error(error, _norm(nodes.gram, weights))


def _bridges(nodes: Nodes, order: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Give |b_i|^2, ``[A, n-1]``, and b_i . b_{i+1}, ``[A, n-2]``, of the bridges b_i."""
    alpha = tf.gather(nodes.alpha, order, batch_dims=1)
    width = alpha[:, 1:] - alpha[:, :-1]
    squares, products = _increments(nodes, order)
    return squares * width**2, products * width[:, 1:] * width[:, :-1]


def _increments(nodes: Nodes, order: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Give |D_i|^2, ``[A, n-1]``, and D_i . D_{i+1}, ``[A, n-2]``, with D_i = g_{i+1} - g_i."""
    gram = tf.gather(tf.gather(nodes.gram, order, batch_dims=1), order, axis=2, batch_dims=1)
    gram = gram[:, 1:, 1:] + gram[:, :-1, :-1] - gram[:, 1:, :-1] - gram[:, :-1, 1:]
    return tf.maximum(tf.linalg.diag_part(gram), 0), tf.linalg.diag_part(gram, k=1)


def _norm(gram: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Give |sum_j w_j v_j|, ``[A]``, from the inner products of the v_j."""
    squared = tf.reduce_sum(weights * tf.linalg.matvec(gram, weights), -1)
    return tf.sqrt(tf.maximum(squared, 0))


def _select(nodes: Nodes, keep: tf.Tensor) -> Nodes:
    """Give the nodes of the examples for which `keep`, ``[A]``, is true."""
    return Nodes(*(tf.boolean_mask(x, keep) for x in nodes))


def _column(x: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """Give ``[N]`` as ``[N, 1, ...]``, of the rank of `like`."""
    return tf.reshape(x, [-1] + [1] * (like.shape.rank - 1))
