"""Plain gradients (Simonyan et al. 2014), gradient times input, and a random map."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from tfxai import scores
from tfxai.core import checks
from tfxai.core.tracing import any_batch_specs
from tfxai.core.types import Attribution, Measured, Measurement, Score, Tensors
from tfxai.estimation.estimate import gradient_of
from tfxai.estimation.samplers import split
from tfxai.explaining.explainer import Explainer, as_explainer
from tfxai.explaining.method import Method
from tfxai.models.heads import scored


@keras.saving.register_keras_serializable("tfxai")
def gradient(model: keras.Model, *, score: Score = scores.logit) -> Explainer:
    """Explain by the gradient of the score, d f_t(x) / d x.

    Args:
        model: a Keras model with one output.
        score: what is explained, (outputs, targets) -> ``[B]``.

    Returns:
        An Explainer with attributions of the inputs' shape, in units of score per input.

    Raises:
        TypeError: `model` is not a keras.Model.

    Reference:
        Simonyan, Vedaldi and Zisserman 2014, section 3; signed and without a maximum over
        channels, which is left to plotting.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
        >>> _ = model.layers[0].kernel.assign([[2.0], [3.0]])
        >>> gradient(model)(tf.constant([[1.0, 1.0]])).numpy().round(4)
        array([[2., 3.]], dtype=float32)
    """
    attribution = gradient_of(scored(checks.model(model), score))
    method = Method(lambda rows: without_numbers(attribution), score)
    return Explainer(model, method, builder=gradient, options={"score": score})


@keras.saving.register_keras_serializable("tfxai")
def gradient_times_input(model: keras.Model, *, score: Score = scores.logit) -> Explainer:
    """Explain by x * d f_t(x) / d x: complete for networks without biases.

    Args:
        model: a Keras model with one output, or an explainer to stand in the gradient's place.
        score: what is explained, (outputs, targets) -> ``[B]``; of a model, not of an explainer.

    Returns:
        An Explainer with attributions of the inputs' shape, in units of the score.

    Raises:
        ValueError: a score beside an explainer.

    Reference:
        Shrikumar et al. 2016, *Not Just a Black Box*. Of `smoothgrad` or `adaptgrad` it is paper
        001's S-GI and A-GI (METHODS 2.3); the reverse puts the noise on the factor x too.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
        >>> _ = model.layers[0].kernel.assign([[2.0], [3.0]])
        >>> gradient_times_input(model)(tf.constant([[1.0, -1.0]])).numpy().round(4)
        array([[ 2., -3.]], dtype=float32)
    """
    base = in_place_of_gradient(model, score)

    def build(rows: int) -> Measurement:
        return without_numbers(times_input(maps_only(base.method.build(rows))))

    method = base.method._replace(build=build, like=None, warn=None)
    return Explainer(model, method, builder=gradient_times_input, options={"score": score})


@keras.saving.register_keras_serializable("tfxai")
def random_attribution(model: keras.Model) -> Explainer:
    """Explain by N(0, 1) noise: the floor that every other method has to beat.

    Args:
        model: a Keras model; only its inputs' shape is used.

    Returns:
        An Explainer with attributions of the inputs' shape. The same noise for every example of
        the same seed.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        >>> random_attribution(model)(tf.ones([1, 2]), 0, seed=1).shape
        TensorShape([1, 2])
    """

    def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Tensors:
        del targets
        flat = tf.nest.flatten(inputs)
        seeds = split(seed, len(flat))
        noise = [
            tf.random.stateless_normal(tf.shape(x)[1:], s, dtype=x.dtype)
            for x, s in zip(flat, seeds, strict=True)
        ]
        wide = [tf.zeros_like(x) + n for x, n in zip(flat, noise, strict=True)]
        return tf.nest.pack_sequence_as(inputs, wide)

    method = Method(lambda rows: without_numbers(attribute), scores.logit, random=True)
    return Explainer(checks.model(model), method, builder=random_attribution, options={})


def in_place_of_gradient(of: keras.Model, score: Score) -> Explainer:
    """Give an explainer as it is, and of a model its gradient; an explainer has its own score."""
    base = as_explainer(of, lambda model: gradient(model, score=score))
    if base is of and score is not scores.logit:
        raise ValueError(f"score={score!r}: give it to {of.name}, which takes the gradient's place")
    return base


def times_input(attribution: Attribution) -> Attribution:
    """Multiply an attribution by the inputs."""

    def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Tensors:
        return tf.nest.map_structure(tf.multiply, inputs, attribution(inputs, targets, seed))

    return attribute


def without_numbers(attribution: Attribution) -> Measurement:
    """Give an attribution that knows nothing of its accuracy as a measurement."""

    def measure(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Measured:
        return Measured(attribution(inputs, targets, seed), {})

    return measure


def maps_only(measure: Measurement) -> Attribution:
    """Forget a measurement's numbers."""

    def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Tensors:
        return measure(inputs, targets, seed).attributions

    return attribute


def shaped_by(attribution: Attribution) -> Callable[[Tensors], Tensors]:
    """Give inputs -> arrays of the maps' shapes, found by tracing the attribution."""

    def like(inputs: Tensors) -> Tensors:
        integers = tf.TensorSpec([None], tf.int32), tf.TensorSpec([2], tf.int32)
        maps = tf.function(lambda *a: attribution(*a), autograph=False).get_concrete_function(
            any_batch_specs(inputs), *integers
        )
        count = tf.shape(tf.nest.flatten(inputs)[0])[0]
        return tf.nest.map_structure(
            lambda m: tf.zeros([count, *m.shape[1:]], m.dtype), maps.structured_outputs
        )

    return like
