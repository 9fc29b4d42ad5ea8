"""Scores of blended images, and their gradient along the path to the mask (METHODS 5.2)."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfxai.core.tracing import in_batches
from tfxai.core.types import ScoredModel
from tfxai.estimation import aggregators
from tfxai.estimation.estimate import Evaluate, connected, estimate
from tfxai.methods.masks.masks import blend, noise_like


class Blended(NamedTuple):
    """What a mask chooses between."""

    images: tf.Tensor
    """I, ``[N, H, W, C]``."""
    references: tf.Tensor
    """I', of the same shape."""
    targets: tf.Tensor
    """``[N]``."""


class Deletion(NamedTuple):
    """f_c of an image under a mask, and along the path to it."""

    scored: ScoredModel
    steps: int
    """S."""
    noise: float
    """Standard deviation of n_s, in units of that of the image."""
    rows: int
    """How many rows may be differentiated at once."""

    def score(self, masks: tf.Tensor, examples: Blended) -> tf.Tensor:
        """Give f_c(Phi(I, up(M))), ``[N]``."""

        def evaluate(inputs: tuple, targets: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
            del seed
            masks, images, references = inputs
            return self.scored(blend(images, references, masks), targets)

        inputs = (masks, examples.images, examples.references)
        return in_batches(evaluate, self.rows)(inputs, examples.targets, tf.zeros([2], tf.int32))

    def mean_score(self, masks: tf.Tensor, examples: Blended, seed: tf.Tensor) -> tf.Tensor:
        """Give 1/S sum_s f_c(Phi(I, s/S up(M)) + n_s), ``[N]``."""

        def evaluate(
            inputs: tuple, targets: tf.Tensor, seed: tf.Tensor, ks: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor]:
            values = self._along(_copies(inputs[0], ks), inputs, targets, seed, ks)
            return values[..., None], tf.ones(tf.shape(ks), values.dtype)

        return self._mean(evaluate, masks, examples, seed, 1)[:, 0]

    def gradient(
        self, masks: tf.Tensor, examples: Blended, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Give the gradient of `mean_score`, ``[N, h, w]``, and `mean_score` itself, ``[N]``.

        With that of the regulariser it is the total gradient TG (METHODS 5.2).
        """

        def evaluate(
            inputs: tuple, targets: tf.Tensor, seed: tf.Tensor, ks: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor]:
            copies = _copies(inputs[0], ks)
            values = self._along(copies, inputs, targets, seed, ks)
            (gradient,) = connected(tf.gradients(values, [copies]), [copies])
            flat = tf.reshape(gradient, tf.concat([tf.shape(values), [-1]], 0))
            joined = tf.concat([values[..., None], flat], -1)
            return joined, tf.ones(tf.shape(ks), values.dtype)

        both = self._mean(evaluate, masks, examples, seed, 1 + masks.shape[1] * masks.shape[2])
        return tf.reshape(both[:, 1:], tf.shape(masks)), both[:, 0]

    def _along(
        self, copies: tf.Tensor, inputs: tuple, targets: tf.Tensor, seed: tf.Tensor, ks: tf.Tensor
    ) -> tf.Tensor:
        """Give the scores at points s = k + 1 of the path, ``[K, N]``; the images share n_s."""
        _, images, references = inputs
        share = tf.cast(ks + 1, copies.dtype) / self.steps
        shape = tf.concat([tf.shape(copies)[:2], tf.shape(images)[1:]], 0)
        tiled = [tf.broadcast_to(x, shape) for x in (images, references)]
        flat = [
            tf.reshape(x, tf.concat([[-1], tf.shape(x)[2:]], 0))
            for x in (copies * share[:, None, None, None], *tiled)
        ]
        flat_masks, flat_images, flat_references = (
            tf.ensure_shape(x, [None, *like.shape[1:]])
            for x, like in zip(flat, inputs, strict=True)
        )
        points = blend(flat_images, flat_references, flat_masks)
        if self.noise:
            drawn = tf.map_fn(
                lambda k: noise_like(images, self.noise, tf.random.fold_in(seed, k)),
                ks,
                fn_output_signature=tf.TensorSpec(images.shape, images.dtype),
            )
            points += tf.reshape(drawn, tf.shape(points))
        return tf.reshape(self.scored(points, tf.tile(targets, tf.shape(ks))), shape[:2])

    def _mean(
        self, evaluate: Evaluate, masks: tf.Tensor, examples: Blended, seed: tf.Tensor, width: int
    ) -> tf.Tensor:
        mean = estimate(
            evaluate,
            self.steps,
            aggregators.mean(),
            rows=self.rows,
            like=lambda inputs: tf.zeros([tf.shape(inputs[0])[0], width], inputs[0].dtype),
        )
        return mean((masks, examples.images, examples.references), examples.targets, seed).value


def _copies(masks: tf.Tensor, ks: tf.Tensor) -> tf.Tensor:
    """Give a mask for each sample, ``[K, N, h, w]``, so that each has a gradient of its own."""
    return tf.tile(masks[None], [tf.size(ks), 1, 1, 1])
