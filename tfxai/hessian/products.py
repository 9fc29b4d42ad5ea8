"""Products H v of the input Hessian of the cross-entropy with vectors, without H itself.

Each function looks at the examples once, by a forward and a backward pass, and gives a function of
vectors, which may be called in loops. Vectors and products are rows ``[B, F]`` (`batch.rows`).

Derivatives are taken of logits and losses that are divided by 1 - p_t, the size of the gradient, so
that half precision does not lose the derivatives of confident predictions.
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
from tfxai.models.held_means import check_no_held_means
from tfxai.rules.piecewise import curved_operation
from tfxai.rules.steps import Step, steps_between
from tfxai.scores import cross_entropy

HVP = Callable[[tf.Tensor], tf.Tensor]
"""A function from vectors ``[B, F]`` to Hessian-vector products H v, ``[B, F]``."""
MeanGradient = Callable[[Tensors, tf.Tensor, tf.Tensor], tf.Tensor]
"""A function from inputs, targets and a seed to rows ``[B, F]``."""
MeanHVP = Callable[[Tensors, tf.Tensor, tf.Tensor], HVP]
"""A function from inputs, targets and a seed to products with the mean Hessian."""
_TINY = 1e-30
_NETWORK_ROUNDING = 32
"""The rounding error of a whole network, in units of the rounding error of one operation."""
_EPSILON = {
    tf.bfloat16: 2.0**-7,
    tf.float16: 2.0**-10,
    tf.float32: 2.0**-23,
    tf.float64: 2.0**-52,
}


class Linearization(NamedTuple):
    """What one forward pass tells of a classifier around inputs."""

    inputs: Tensors
    """The inputs from which the logits were computed, ``[B, ...]``."""
    logits: tf.Tensor
    """``[B, C]``."""
    classes: tf.Tensor
    """The class of each example among the logits, ``[B]``."""
    targets: tf.Tensor
    """What is explained, as it was given, ``[B, ...]``. Behind a sigmoid the logits are those of
    one unit, and the classes are 1."""
    curved_operation: str | None
    """An operation of the network that is not piecewise linear; None if there is none."""
    rounding: float
    """The relative error of a product, for the least precise data type in the network."""


def linearize(classifier: Classifier, inputs: Tensors, targets: tf.Tensor) -> Linearization:
    """Evaluate a classifier at inputs and read its graph.

    Raises:
        ValueError: the logits do not depend differentiably on one of the inputs.
    """
    copies = tf.nest.map_structure(tf.identity, inputs)  # steps are sought in the inputs' graph
    logits, classes = classifier(copies, targets)
    flat = tf.nest.flatten(copies)
    connected([logits if steps_between([x], [logits]) else None for x in flat], flat)
    steps = steps_between(flat, [logits])
    rounding = _rounding([logits.dtype, *_types(steps)])
    return Linearization(copies, logits, classes, targets, curved_operation(steps), rounding)


def reverse(at: Linearization) -> HVP:
    """Reverse over reverse: the gradient of (d loss / d x) . v.

    Raises:
        ValueError: TensorFlow's second derivatives of the model are wrong.
    """
    check_no_held_means(at.logits.graph.get_operations())
    flat = tf.nest.flatten(at.inputs)
    scaled, scale = _scaled_loss(at.logits, at.classes)
    gradients = differentiate(scaled, flat)

    def hvp(vectors: tf.Tensor) -> tf.Tensor:
        parts = tf.nest.flatten(batch.from_rows(vectors, at.inputs))
        return _rescaled(differentiate(gradients, flat, parts), scale)

    return hvp


def gauss_newton(at: Linearization) -> HVP:
    """J^T (diag p - p p^T) J v with J = dz / dx, which is H v for a piecewise-linear network.

    For other networks it lacks the curvature of the logits themselves.

    Reference:
        Singla et al. 2019, section 3.1, where J^T is W.
    """
    flat = tf.nest.flatten(at.inputs)
    p = tf.nn.softmax(at.logits)
    likeliest = tf.argmax(p, 1)

    def hvp(vectors: tf.Tensor) -> tf.Tensor:
        parts = tf.nest.flatten(batch.from_rows(vectors, at.inputs))
        anything = tf.zeros_like(p)  # J^T c is linear in c, and its derivative is J
        (slopes,) = differentiate(differentiate(at.logits, flat, anything), [anything], parts)
        # diag p - p p^T maps constants to zero. With the likeliest class's slope subtracted,
        # nothing is lost to rounding where its p is near 1.
        slopes -= tf.gather(slopes, likeliest, axis=1, batch_dims=1)[:, None]
        cotangents = p * (slopes - tf.reduce_sum(p * slopes, 1, keepdims=True))
        return vjp(at.logits, flat, cotangents)

    return hvp


def exact(at: Linearization) -> HVP:
    """H v: by Gauss-Newton for piecewise-linear networks, by reverse over reverse for others."""
    return gauss_newton(at) if at.curved_operation is None else reverse(at)


def forward(classifier: Classifier, inputs: Tensors, targets: tf.Tensor) -> HVP:
    """Forward over reverse: the derivative of d loss / d x along v."""
    flat = tf.nest.flatten(inputs)

    # A tape knows tensors by their Python objects, which are gone where the head is bypassed.
    @traced
    def losses(inputs: Tensors, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        logits, classes = classifier(inputs, targets)
        check_no_held_means(logits.graph.get_operations())
        return _scaled_loss(logits, classes)

    def hvp(vectors: tf.Tensor) -> tf.Tensor:
        parts = tf.nest.flatten(batch.from_rows(vectors, inputs))
        with tf.autodiff.ForwardAccumulator(flat, parts) as accumulator:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(flat)
                scaled, scale = losses(tf.nest.pack_sequence_as(inputs, flat), targets)
            gradients = tape.gradient(scaled, flat, unconnected_gradients="zero")
        return _rescaled(accumulator.jvp(gradients, unconnected_gradients="zero"), scale)

    return hvp


def averaged(
    classifier: Classifier, sampler: Sampler, samples: int, rows: int
) -> tuple[MeanGradient, MeanHVP]:
    """Give the mean gradient, and products with the mean Hessian, over points of a sampler.

    Args:
        classifier: gives the logits.
        sampler: draws the points.
        samples: how many points are drawn.
        rows: how many points may be differentiated at once.
    """

    def mean_of(attribute: Attribution) -> MeanGradient:
        evaluate = over_inputs(attribute, sampler)
        mean = estimate(evaluate, samples, aggregators.mean(), rows=rows)
        return lambda inputs, targets, seed: mean(inputs, targets, seed).value

    def gradients(points: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
        del seed
        rows = gradient(linearize(classifier, points, targets))
        return Result(batch.from_rows(rows, points), {})

    def mean_hvp(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> HVP:
        def hvp(vectors: tf.Tensor) -> tf.Tensor:
            def hvp_at_points(points: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
                del seed
                copies = tf.shape(targets)[0] // tf.shape(vectors)[0]
                product = exact(linearize(classifier, points, targets))
                rows = product(tf.tile(vectors, [copies, 1]))
                return Result(batch.from_rows(rows, points), {})

            return mean_of(hvp_at_points)(inputs, targets, seed)

        return hvp

    return mean_of(gradients), mean_hvp


def gradient(at: Linearization) -> tf.Tensor:
    """Give d loss / d x, ``[B, F]``, exact for confident predictions and in half precision.

    Raises:
        ValueError: the logits do not depend differentiably on one of the inputs.
    """
    flat = tf.nest.flatten(at.inputs)
    scaled, scale = _scaled_loss(at.logits, at.classes)
    return _rescaled(connected(tf.gradients(scaled, flat), flat), scale)


def finite(hvp: HVP) -> HVP:
    """Give products whose evaluation fails where they are not finite, instead of in a loop."""

    def checked(vectors: tf.Tensor) -> tf.Tensor:
        product = hvp(vectors)
        return checks.asserted(
            product,
            tf.math.is_finite(tf.reduce_sum(product, 1)),
            "the Hessian of the cross-entropy is not finite: are the model's logits?",
        )

    return checked


def vjp(logits: tf.Tensor, flat: Sequence[tf.Tensor], cotangents: tf.Tensor) -> tf.Tensor:
    """Give J^T c as rows ``[B, F]``; c is scaled to the size 1 while it is passed back.

    Args:
        logits: ``[B, C]``.
        flat: the inputs, as a list of tensors.
        cotangents: c, ``[B, C]``.
    """
    size = tf.reduce_max(tf.abs(cotangents), 1)
    size = tf.where(size > 0, size, tf.ones_like(size))
    return _rescaled(differentiate(logits, flat, cotangents / size[:, None]), size)


def differentiate(
    ys: tf.Tensor | Sequence[tf.Tensor],
    xs: Sequence[tf.Tensor],
    cotangents: tf.Tensor | Sequence[tf.Tensor] | None = None,
) -> list[tf.Tensor]:
    """Give sum_i cotangents_i dy_i / dx for each x; zero where no y depends on it.

    Raises:
        ValueError: TensorFlow has no gradient of an operation, often of a gradient itself.
    """
    try:
        return tf.gradients(ys, xs, cotangents, unconnected_gradients="zero")
    except LookupError as error:
        raise ValueError(
            f"TensorFlow cannot differentiate this model twice: {error}. Take another operation "
            "in its place, or tfxai.cafo, which needs no second derivative."
        ) from error


def _scaled_loss(logits: tf.Tensor, classes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Give the cross-entropy divided by 1 - p_t, which counts as a constant, and this divisor."""
    loss = cross_entropy(logits, classes)
    scale = tf.maximum(tf.stop_gradient(-tf.math.expm1(-loss)), _TINY)
    return loss / scale, scale


def _types(steps: Sequence[Step]) -> list[tf.DType]:
    return [output.dtype for step in steps for output in step.outputs]


def _rounding(types: Sequence[tf.DType]) -> float:
    return _NETWORK_ROUNDING * max(_EPSILON.get(t, 0.0) for t in types)


def _rescaled(parts: Sequence[tf.Tensor], scale: tf.Tensor) -> tf.Tensor:
    rows = batch.rows(parts)
    return rows * tf.cast(scale, rows.dtype)[:, None]
