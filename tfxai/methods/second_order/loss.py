"""The cross-entropy around an input: its gradient, and products with its Hessian."""

from __future__ import annotations

from typing import NamedTuple

import keras
import tensorflow as tf

from tfxai import kernels
from tfxai.core import batch, checks
from tfxai.core.tracing import traced
from tfxai.core.types import Classifier, Sampler, Score, Tensors
from tfxai.estimation import samplers
from tfxai.hessian import products
from tfxai.hessian.products import HVP, Linearization
from tfxai.methods.second_order.concave_problem import Products
from tfxai.models import scored_models


class Expansion(NamedTuple):
    """The Taylor expansion of a loss to second order around a batch of inputs."""

    loss: Loss
    linearization: Linearization
    """The classifier around the inputs."""
    gradient: tf.Tensor
    """g, ``[B, F]``."""
    hvp: HVP
    """One vector for each example, ``[B, F]`` -> H v, by derivatives of the network."""
    hvps: Products
    """K vectors for each example, ``[B, K, F]`` -> H v, by derivatives of the network."""


class Loss(NamedTuple):
    """The cross-entropy of a classifier, or its mean over noisy inputs.

    The mean is the smooth version of Singla et al. 2019. The noisy inputs keep the class of the
    clean input (docs/methods.md, CAFO and CASO).
    """

    classifier: Classifier
    noise: Sampler | None
    """What draws the noisy inputs; None if there are none."""
    samples: int
    """How many noisy inputs are drawn."""
    rows: int
    """How many rows may be differentiated at once."""

    def linearize(self, inputs: Tensors, targets: tf.Tensor) -> Linearization:
        """Run the classifier on inputs, so that it can be differentiated there."""
        return products.linearize(self.classifier, inputs, targets)

    def gradient(self, linearization: Linearization, seed: tf.Tensor) -> tf.Tensor:
        """Give the gradient g with respect to the inputs, ``[B, F]``.

        Raises:
            InvalidArgumentError: on its use, where g is zero or not finite.
        """
        if self.noise is None:
            gradient = products.gradient(linearization)
        else:
            mean_gradient, _ = self._means(self.noise)
            gradient = mean_gradient(linearization.inputs, linearization.targets, seed)
        length = batch.safe_norm(gradient)
        gradient = checks.asserted(
            gradient,
            tf.math.is_finite(length),
            "the gradient of the cross-entropy is not finite: are the model's logits?",
        )
        return checks.asserted(
            gradient,
            tf.not_equal(length, 0),
            "the gradient of the cross-entropy is zero, so there is no change to look for: no unit "
            "of the model is active there, or the prediction is beyond doubt in its precision "
            "(float64 may help)",
        )

    def expand(self, inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor) -> Expansion:
        """Expand the loss around inputs to second order.

        Raises:
            InvalidArgumentError: on its use, as in `gradient`.
        """
        linearization = self.linearize(inputs, targets)
        gradient = self.gradient(linearization, seed)
        hvp = traced(self._hvp(linearization, seed))
        return Expansion(self, linearization, gradient, hvp, self._hvps(linearization, seed))

    def _hvps(self, linearization: Linearization, seed: tf.Tensor) -> Products:
        """Give products of K vectors for each example, which is repeated K times."""

        def multiply(vectors: tf.Tensor) -> tf.Tensor:
            count = tf.shape(vectors)[1]
            copies = tf.nest.map_structure(lambda x: tf.repeat(x, count, 0), linearization.inputs)
            repeated = self.linearize(copies, tf.repeat(linearization.targets, count, 0))
            rows = tf.reshape(vectors, [-1, tf.shape(vectors)[2]])
            rows = tf.ensure_shape(rows, [None, batch.feature_count(linearization.inputs)])
            return tf.reshape(self._hvp(repeated, seed)(rows), tf.shape(vectors))

        return multiply

    def _hvp(self, linearization: Linearization, seed: tf.Tensor) -> HVP:
        """Give products of one vector for each example; they fail where they are not finite."""
        if self.noise is None:
            return products.finite(products.exact(linearization))
        _, mean_hvp = self._means(self.noise)
        return products.finite(mean_hvp(linearization.inputs, linearization.targets, seed))

    def _means(self, noise: Sampler) -> tuple:
        """Give the functions of inputs, targets and seed to the mean gradient and the mean hvp."""
        return products.averaged(self.classifier, noise, self.samples, self.rows)


def build_loss(
    model: keras.Model, score: Score, samples: int, noise_level: float, rows: int
) -> Loss:
    """Give the cross-entropy of a model, or its mean if there is more than one sample.

    Args:
        model: a classifier.
        score: the cross-entropy, or that of one row of classes of the outputs.
        samples: how many noisy inputs are drawn; 1 for the clean input alone.
        noise_level: the noise's standard deviation / (max x - min x) of each example.
        rows: how many rows may be differentiated at once.
    """
    noise = samplers.noise(kernels.gaussian, samplers.relative(noise_level))
    classifier = scored_models.classifier(model, score)
    return Loss(classifier, noise if samples > 1 else None, samples, rows)
