"""The integral of a gradient along the straight path, on nodes chosen for each example.

Along the path the gradient of a ReLU network jumps at every kink: it resembles a random walk, and
each kind of network is rougher in some parts of the path than in others. Between two nodes a
random walk is a Brownian bridge, from which follow

- the best weights for any nodes: the trapezoid rule;
- the error of the integral: `tfxai.estimation.bridges`, which also sees from the correlation of
  successive bridges where the gradient is rougher or smoother than a random walk;
- where the next node is worth most: in the middle of the interval with the largest bridge,
  |g_{i+1} - g_i| h_i.

The first nodes lie closer to the baseline, at (k/8)^2: from zero, the first normalisation layer
turns the path's first percent into a peak or a decay like 1 / alpha.

Networks with smooth activations are told by the correlation of successive increments, near 1
there; their nodes get the weights of overlapping parabolas, and what these change counts as error.
Only inner products between the gradients at the nodes are needed for these decisions.

What the estimate promises: it is an error that few maps exceed, not a bound. It knows the
gradient at the nodes alone, so a peak between two of them is seen only by what it leaves there.
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
GROWTH = 3
"""A wave adds a third of the nodes that there are: measured to lose nothing against one by one."""
SMOOTH_CORRELATION = 0.7
Evaluate = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""Examples ``[A]`` and positions ``[A, m]`` -> values ``[A, m, F]``."""


class Nodes(NamedTuple):
    """What is known of A unfinished examples after n gradients each, in order of evaluation."""

    example: tf.Tensor
    """Its place in the batch, ``[A]``."""
    alpha: tf.Tensor
    """Positions on the path, ``[A, n]``."""
    value: tf.Tensor
    """Gradient times step at them, ``[A, n, F]``."""
    gram: tf.Tensor
    """Inner products of the values, ``[A, n, n]``."""


class Finished(NamedTuple):
    """Results by place in the batch."""

    integral: tf.Tensor
    """``[B, F]``."""
    error: tf.Tensor
    """Estimated relative L2 error, ``[B]``."""
    steps: tf.Tensor
    """Gradients taken, ``[B]``."""


def adaptive_integral(
    attribution: Attribution, baseline: Tensors, *, tolerance: float, max_steps: int, rows: int
) -> Attribution:
    """Integrate (x - x') * attribution(x' + alpha (x - x')) over alpha in [0, 1], per example.

    Args:
        attribution: a deterministic gradient.
        baseline: x', broadcast to the inputs.
        tolerance: an example is done when its estimated relative L2 error is not above this;
            with 0, when there is none left or after `max_steps`.
        max_steps: the most gradients for one example, at least 2.
        rows: points differentiated at once, of whatever examples.

    Returns:
        An Attribution with the diagnostics ``map_error`` ``[B]`` and ``steps`` ``[B]``.
    """
    maps_at = in_batches(lambda *arguments: attribution(*arguments).attributions, rows)

    def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
        step = tf.nest.map_structure(tf.subtract, inputs, baseline)
        start = tf.nest.map_structure(lambda x, b: tf.zeros_like(x) + b, inputs, baseline)

        def evaluate(example: tf.Tensor, alpha: tf.Tensor) -> tf.Tensor:
            """Values ``[A, m, F]`` at positions ``[A, m]``."""
            count = tf.shape(alpha)[1]
            row, at = tf.repeat(example, count), tf.reshape(alpha, [-1])
            here = tf.nest.map_structure(lambda d: tf.gather(d, row), step)
            points = tf.nest.map_structure(
                lambda s, d: tf.gather(s, row) + _column(at, d) * d, start, here
            )
            gradients = maps_at(points, tf.gather(targets, row), seed)
            values = batch.rows(tf.nest.map_structure(tf.multiply, gradients, here))
            return tf.reshape(values, [-1, count, values.shape[-1] or tf.shape(values)[-1]])

        integral, error, steps = _integrate(evaluate, batch.rows(inputs), tolerance, max_steps)
        maps = batch.from_rows(integral, inputs)
        return Result(maps, {"map_error": error, "steps": steps})

    return attribute


def _integrate(evaluate: Evaluate, like: tf.Tensor, tolerance: float, max_steps: int) -> Finished:
    """Give all examples more nodes, wave by wave, until each is done."""
    count, features = tf.shape(like)[0], like.shape[-1]
    none = tf.zeros([count, 0], like.dtype)
    nodes = Nodes(tf.range(count), none, tf.zeros_like(like)[:, None][:, :0], none[:, None][:, :0])
    done = Finished(tf.zeros_like(like), tf.zeros([count], like.dtype), tf.zeros([count], tf.int32))

    def wave(nodes: Nodes, done: Finished) -> tuple[Nodes, Finished]:
        alpha = _next_positions(nodes, max_steps)
        nodes = _with(nodes, alpha, evaluate(nodes.example, alpha))
        enough = tf.shape(nodes.alpha)[1] >= max_steps
        weights, error = _weights_and_error(nodes)
        stop = (error <= tolerance) | enough
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
    """Where to look next, ``[A, m]``: a grid, then where the bridges add most to the error."""
    dtype = nodes.alpha.dtype
    count = tf.shape(nodes.alpha)[1]
    first = tf.linspace(tf.zeros([], dtype), tf.ones([], dtype), min(FIRST_NODES, max_steps)) ** 2
    room = tf.minimum(tf.maximum(count // GROWTH, 1), max_steps - count)
    return tf.cond(
        tf.equal(count, 0),
        lambda: tf.repeat(first[None], tf.size(nodes.example), axis=0),
        lambda: _bisections(nodes, tf.minimum(room, count - 1)),
    )


def _bisections(nodes: Nodes, count: tf.Tensor) -> tf.Tensor:
    """Give the middles of the `count` intervals of each example with the largest bridges."""
    order = tf.argsort(nodes.alpha, axis=-1, stable=True)
    alpha = tf.gather(nodes.alpha, order, batch_dims=1)
    squares, _ = _bridges(nodes, order)
    _, worst = tf.math.top_k(squares, count)
    ends = tf.gather(alpha, worst, batch_dims=1), tf.gather(alpha, worst + 1, batch_dims=1)
    return (ends[0] + ends[1]) / 2


def _with(nodes: Nodes, alpha: tf.Tensor, value: tf.Tensor) -> Nodes:
    """Append nodes and their inner products."""
    across = tf.matmul(nodes.value, value, transpose_b=True)
    within = tf.matmul(value, value, transpose_b=True)
    above = tf.concat([nodes.gram, across], 2)
    below = tf.concat([tf.linalg.matrix_transpose(across), within], 2)
    return Nodes(
        nodes.example,
        tf.concat([nodes.alpha, alpha], 1),
        tf.concat([nodes.value, value], 1),
        tf.concat([above, below], 1),
    )


def _finish(done: Finished, nodes: Nodes, weights: tf.Tensor, error: tf.Tensor) -> Finished:
    """Integrate the examples in `nodes` and put them where they belong in the batch."""
    integral = tf.linalg.matvec(nodes.value, weights, transpose_a=True)
    steps = tf.fill(tf.shape(error), tf.shape(nodes.alpha)[1])
    return batch.put(done, nodes.example, Finished(integral, error, steps))


def _weights_and_error(nodes: Nodes) -> tuple[tf.Tensor, tf.Tensor]:
    """Weights ``[A, n]`` in order of evaluation, and the relative error ``[A]`` of their sum."""
    order = tf.argsort(nodes.alpha, axis=-1, stable=True)
    back = tf.argsort(order, axis=-1)
    alpha = tf.gather(nodes.alpha, order, batch_dims=1)
    rough = tf.gather(quadrature.trapezoid_weights(alpha), back, batch_dims=1)
    fine = tf.gather(quadrature.parabolic_weights(alpha), back, batch_dims=1)
    squares, products = _bridges(nodes, order)
    rho = bridges.correlation(squares, products)
    rough_error = tf.sqrt(bridges.squared_error(squares, products, rho))
    change = _norm(nodes.gram, fine - rough)
    fine_error = tf.sqrt(change**2 + bridges.mean_squared_error(squares, rho))
    alike = bridges.correlation(*_increments(nodes, order)) > SMOOTH_CORRELATION
    smooth = alike & (fine_error < rough_error)
    weights = tf.where(smooth[:, None], fine, rough)
    error = tf.where(smooth, fine_error, rough_error)
    return weights, batch.relative_error(error, _norm(nodes.gram, weights))


def _bridges(nodes: Nodes, order: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """|b_i|^2 of each interval ``[A, n-1]`` and b_i . b_{i+1} of two successive ``[A, n-2]``."""
    alpha = tf.gather(nodes.alpha, order, batch_dims=1)
    width = alpha[:, 1:] - alpha[:, :-1]
    own, successive = _increments(nodes, order)
    return own * width**2, successive * width[:, 1:] * width[:, :-1]


def _increments(nodes: Nodes, order: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """|D_i|^2 ``[A, n-1]`` and D_i . D_{i+1} ``[A, n-2]`` of the increments g_{i+1} - g_i."""
    gram = tf.gather(tf.gather(nodes.gram, order, batch_dims=1), order, axis=2, batch_dims=1)
    gram = gram[:, 1:, 1:] + gram[:, :-1, :-1] - gram[:, 1:, :-1] - gram[:, :-1, 1:]
    return tf.maximum(tf.linalg.diag_part(gram), 0), tf.linalg.diag_part(gram, k=1)


def _norm(gram: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """|sum_j w_j v_j| from the inner products."""
    squared = tf.reduce_sum(weights * tf.linalg.matvec(gram, weights), -1)
    return tf.sqrt(tf.maximum(squared, 0))


def _select(nodes: Nodes, keep: tf.Tensor) -> Nodes:
    return Nodes(*(tf.boolean_mask(x, keep) for x in nodes))


def _column(x: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    return tf.reshape(x, [-1] + [1] * (like.shape.rank - 1))
