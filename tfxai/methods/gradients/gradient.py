"""Plain gradients (Simonyan et al. 2014), gradient times input, and a random map."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from tfxai import scores
from tfxai.core import checks
from tfxai.core.types import Attribution, Result, Score, Tensors
from tfxai.estimation.estimate import gradient_of
from tfxai.estimation.samplers import split_seed
from tfxai.explaining.builder import builder
from tfxai.explaining.explainer import Explainer
from tfxai.explaining.method import Method
from tfxai.models.model_info import ModelInspector


@builder
def gradient(model: keras.Model, *, score: Score = scores.logit) -> Method:
    """Explain by the gradient of the score, d f_t(x) / d x.

    Args:
        model: a Keras model with one output.
        score: what is explained, (outputs, targets) -> ``[B]``.

    Returns:
        An Explainer with attributions of the inputs' shape, in units of score per input.

    Raises:
        TypeError: `model` is not a keras.Model.

    Reference:
        Simonyan, Vedaldi and Zisserman 2014, section 3, but with signs and without the maximum
        over channels, which is left to plotting.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
        >>> _ = model.layers[0].kernel.assign([[2.0], [3.0]])
        >>> gradient(model)(tf.constant([[1.0, 1.0]])).numpy().round(4)
        array([[2., 3.]], dtype=float32)
    """
    inspector = ModelInspector(checks.model(model))
    attribution = gradient_of(model, score)
    return Method(inspector, lambda rows: attribution, score, slopes=True)


@builder
def gradient_times_input(model: keras.Model, *, score: Score = scores.logit) -> Method:
    """Explain by x * d f_t(x) / d x, which sums to the score if the network has no biases.

    Args:
        model: a Keras model with one output; or an explainer, which takes the gradient's place.
        score: what is explained, (outputs, targets) -> ``[B]``; an explainer has its own.

    Returns:
        An Explainer with attributions of the inputs' shape, in units of the score.

    Raises:
        ValueError: `score` is given although `model` is an explainer.

    Reference:
        Shrikumar et al. 2016, *Not Just a Black Box*. ``gradient_times_input(smoothgrad(model))``
        is S-GI, and with `adaptgrad` A-GI, of Zhou et al. 2024a (AdaptGrad), Table 2. In the
        reverse order, ``smoothgrad(gradient_times_input(model))``, the factor x is noisy too.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
        >>> _ = model.layers[0].kernel.assign([[2.0], [3.0]])
        >>> gradient_times_input(model)(tf.constant([[1.0, -1.0]])).numpy().round(4)
        array([[ 2., -3.]], dtype=float32)
    """
    inner = inner_method(model, score)
    return inner._replace(
        build=lambda rows: times_input(inner.build(rows), inner.selected),
        like=inner.select,
        warn=None,
        slopes=False,
    )


@builder
def random_attribution(model: keras.Model, *, score: Score = scores.logit) -> Method:
    """Explain by N(0, 1) noise, which every other method has to beat in a comparison.

    Args:
        model: a Keras model; only the shape of its inputs is used.
        score: what a record says of the examples; the maps do not depend on it.

    Returns:
        An Explainer with attributions of the inputs' shape. For one seed, all examples have the
        same noise.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        >>> random_attribution(model)(tf.ones([1, 2]), 0, seed=1).shape
        TensorShape([1, 2])
    """

    def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
        del targets
        flat = tf.nest.flatten(inputs)
        seeds = split_seed(seed, len(flat))
        noise = [
            tf.random.stateless_normal(tf.shape(x)[1:], s, dtype=x.dtype)
            for x, s in zip(flat, seeds, strict=True)
        ]
        maps = [tf.zeros_like(x) + n for x, n in zip(flat, noise, strict=True)]
        return Result(tf.nest.pack_sequence_as(inputs, maps), {})

    inspector = ModelInspector(checks.model(model))
    return Method(inspector, lambda rows: attribute, score, random=True)


def inner_method(base: keras.Model, score: Score = scores.logit) -> Method:
    """Give the method to build upon: an explainer's method, or the gradient of a model.

    Raises:
        ValueError: a score is given although `base` is an explainer, which has its own; or no
            method can build upon this explainer.
    """
    if not isinstance(base, Explainer):
        return gradient(base, score=score).method
    if score is not scores.logit:
        raise ValueError(
            f"score={score!r}: give it to {base.name}, which takes the gradient's place"
        )
    if base.method.final is not None:
        raise ValueError(f"{base.name} cannot be built upon: {base.method.final}")
    return base.method


def times_input(
    attribution: Attribution, select: Callable[[Tensors], Tensors] = lambda values: values
) -> Attribution:
    """Multiply an attribution's maps by the inputs, of which `select` gives those with maps."""

    def attribute(inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Result:
        maps = attribution(inputs, targets, seed).attributions
        return Result(tf.nest.map_structure(tf.multiply, select(inputs), maps), {})

    return attribute
