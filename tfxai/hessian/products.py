"""Products H v of the input Hessian of the cross-entropy with vectors, without H.

Each function looks at the examples once, with forward and backward pass, and gives a function of
the vectors, which may be called in loops. Vectors and products are rows ``[B, F]`` (`batch.rows`).

The derivatives are taken of logits and losses divided by what the gradient's size is, 1 - p_t, so
that half precision does not lose those of confident predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from tfxai.core import batch, checks
from tfxai.core.tracing import traced
from tfxai.core.types import Attribution, Classifier, Result, Sampler, Tensors
from tfxai.estimation import aggregators
from tfxai.estimation.estimate import connected, estimate, over_inputs
from tfxai.models import keras_graph
from tfxai.rules.piecewise import curved_operation
from tfxai.rules.steps import Step, steps_between
from tfxai.scores import cross_entropy

Product = Callable[[tf.Tensor], tf.Tensor]
"""Vectors ``[B, F]`` -> H v, ``[B, F]``."""
Mean = Callable[[Tensors, tf.Tensor, tf.Tensor], tf.Tensor]
"""Inputs, targets and seed -> rows ``[B, F]``."""
_TINY = 1e-30
_UNITS = 32
"""Rounding errors of a whole network, in units of a single one's."""
_EPSILON = {
    tf.bfloat16: 2.0**-7,
    tf.float16: 2.0**-10,
    tf.float32: 2.0**-23,
    tf.float64: 2.0**-52,
}


class Local(NamedTuple):
    """What one forward pass shows of a classifier around inputs."""

    inputs: Tensors
    """``[B, ...]``, those that the logits were computed from."""
    logits: tf.Tensor
    """``[B, C]``."""
    targets: tf.Tensor
    """``[B]``."""
    curved: str | None
    """An operation on the way that is not piecewise linear, if there is one."""
    rounding: float
    """Relative error of a product, for the coarsest type on the way."""


def local(classifier: Classifier, inputs: Tensors, targets: tf.Tensor) -> Local:
    """Look at a classifier around inputs.

    Raises:
        ValueError: the logits do not depend differentiably on one of the inputs.
    """
    here = tf.nest.map_structure(tf.identity, inputs)  # steps are sought in the inputs' graph
    with keras_graph.inlined():
        logits, classes = classifier(here, targets)
    flat = tf.nest.flatten(here)
    connected([logits if steps_between([x], [logits]) else None for x in flat], flat)
    steps = steps_between(flat, [logits])
    return Local(
        here, logits, classes, curved_operation(steps), _rounding([logits.dtype, *_types(steps)])
    )


def reverse(at: Local) -> Product:
    """Reverse over reverse: the gradient of (d loss / d x) . v."""
    flat = tf.nest.flatten(at.inputs)
    scaled, scale = _scaled_loss(at.logits, at.targets)
    gradients = differentiate(scaled, flat)

    def product(vectors: tf.Tensor) -> tf.Tensor:
        parts = tf.nest.flatten(batch.from_rows(vectors, at.inputs))
        return _rescaled(differentiate(gradients, flat, parts), scale)

    return product


def gauss_newton(at: Local) -> Product:
    """J^T (diag p - p p^T) J v, with J = dz / dx: H of a piecewise-linear net (METHODS 4.2).

    Of other nets it lacks the curvature of the logits themselves.
    """
    flat = tf.nest.flatten(at.inputs)
    p = tf.nn.softmax(at.logits)
    likeliest = tf.argmax(p, 1)

    def product(vectors: tf.Tensor) -> tf.Tensor:
        parts = tf.nest.flatten(batch.from_rows(vectors, at.inputs))
        anything = tf.zeros_like(p)  # J^T c is linear in c, and its derivative is J
        (slopes,) = differentiate(differentiate(at.logits, flat, anything), [anything], parts)
        # A has the constants as its null space: without the likeliest class's slope, nothing is
        # lost where its p is near 1.
        slopes -= tf.gather(slopes, likeliest, axis=1, batch_dims=1)[:, None]
        cotangents = p * (slopes - tf.reduce_sum(p * slopes, 1, keepdims=True))
        return pulled_back(at.logits, flat, cotangents)

    return product


def exact(at: Local) -> Product:
    """Gauss-Newton products of piecewise-linear nets, reverse-over-reverse ones of others."""
    return gauss_newton(at) if at.curved is None else reverse(at)


def forward(classifier: Classifier, inputs: Tensors, targets: tf.Tensor) -> Product:
    """Forward over reverse: the derivative of d loss / d x along v."""
    flat = tf.nest.flatten(inputs)
    # A tape knows tensors by their Python objects, which are gone where the head is bypassed.
    losses = traced(lambda *given: _scaled_loss(*classifier(*given)))

    def product(vectors: tf.Tensor) -> tf.Tensor:
        parts = tf.nest.flatten(batch.from_rows(vectors, inputs))
        with tf.autodiff.ForwardAccumulator(flat, parts) as along:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(flat)
                scaled, scale = losses(tf.nest.pack_sequence_as(inputs, flat), targets)
            gradients = tape.gradient(scaled, flat, unconnected_gradients="zero")
        return _rescaled(along.jvp(gradients, unconnected_gradients="zero"), scale)

    return product


def averaged(
    classifier: Classifier, sampler: Sampler, samples: int, rows: int
) -> tuple[Mean, Callable[..., Product]]:
    """Give (inputs, targets, seed) -> the mean gradient, and the mean H, over a sampler's points.

    Args:
        classifier: gives the logits.
        sampler: of the points.
        samples: how many.
        rows: how many points may be differentiated at once.
    """

    def mean_of(attribute: Attribution) -> Mean:
        evaluate = over_inputs(attribute, sampler)
        mean = estimate(evaluate, samples, aggregators.mean(), rows=rows)
        return lambda inputs, targets, seed: mean(inputs, targets, seed).value

    def gradients(points: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
        del seed
        rows = gradient(local(classifier, points, targets))
        return Result(batch.from_rows(rows, points), {})

    def hessian(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Product:
        def product(vectors: tf.Tensor) -> tf.Tensor:
            def products(points: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
                del seed
                copies = tf.shape(targets)[0] // tf.shape(vectors)[0]
                rows = exact(local(classifier, points, targets))(tf.tile(vectors, [copies, 1]))
                return Result(batch.from_rows(rows, points), {})

            return mean_of(products)(inputs, targets, seed)

        return product

    return mean_of(gradients), hessian


def gradient(at: Local) -> tf.Tensor:
    """Give d loss / d x, ``[B, F]``, exact for confident predictions and in half precision.

    Raises:
        ValueError: the logits do not depend differentiably on one of the inputs.
    """
    flat = tf.nest.flatten(at.inputs)
    scaled, scale = _scaled_loss(at.logits, at.targets)
    return _rescaled(connected(tf.gradients(scaled, flat), flat), scale)


def finite(product: Product) -> Product:
    """Give products that fail where they are not finite, before they end in a loop."""

    def checked(vectors: tf.Tensor) -> tf.Tensor:
        found = product(vectors)
        return checks.asserted(
            found,
            tf.math.is_finite(tf.reduce_sum(found, 1)),
            "the Hessian of the cross-entropy is not finite: are the model's logits?",
        )

    return checked


def pulled_back(logits: tf.Tensor, flat: Sequence[tf.Tensor], cotangents: tf.Tensor) -> tf.Tensor:
    """Give J^T c as rows; c is scaled to size 1 on its way back."""
    size = tf.reduce_max(tf.abs(cotangents), 1)
    size = tf.where(size > 0, size, tf.ones_like(size))
    return _rescaled(differentiate(logits, flat, cotangents / size[:, None]), size)


def differentiate(
    ys: tf.Tensor | Sequence[tf.Tensor],
    xs: Sequence[tf.Tensor],
    cotangents: tf.Tensor | Sequence[tf.Tensor] | None = None,
) -> list[tf.Tensor]:
    """Give sum_i cotangents_i dy_i / dx, zero where y does not depend on x.

    Raises:
        ValueError: TensorFlow has no gradient for an operation; often, for a gradient itself.
    """
    try:
        return tf.gradients(ys, xs, cotangents, unconnected_gradients="zero")
    except LookupError as error:
        raise ValueError(
            f"TensorFlow cannot differentiate this model twice: {error}. Take another operation "
            "in its place, or tfxai.cafo, which needs no second derivative."
        ) from error


def _scaled_loss(logits: tf.Tensor, classes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Give the cross-entropy divided by 1 - p_t, taken as a constant, and this divisor."""
    loss = cross_entropy(logits, classes)
    scale = tf.maximum(tf.stop_gradient(-tf.math.expm1(-loss)), _TINY)
    return loss / scale, scale


def _types(steps: Sequence[Step]) -> list[tf.DType]:
    return [output.dtype for step in steps for output in step.outputs]


def _rounding(types: Sequence[tf.DType]) -> float:
    return _UNITS * max(_EPSILON.get(t, 0.0) for t in types)


def _rescaled(parts: Sequence[tf.Tensor], scale: tf.Tensor) -> tf.Tensor:
    rows = batch.rows(parts)
    return rows * tf.cast(scale, rows.dtype)[:, None]
