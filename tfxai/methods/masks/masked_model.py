"""The score of a model as a function of masks, and its gradient along the path to a mask.

Source: Qi et al. 2020 (total gradient; docs/methods.md, I-GOS).
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfxai.core import batch
from tfxai.core.tracing import in_batches
from tfxai.core.types import ScoredModel
from tfxai.estimation import aggregators
from tfxai.estimation.estimate import Evaluate, connected, estimate
from tfxai.methods.masks.blending import BlendedExamples, blend, noise_like


class MaskedModel(NamedTuple):
    """The score f_c of images under masks, and at points of the path to the masks.

    The s-th of the S points of the path is Phi(I, s/S up(M)) + n_s with noise n_s; see `blend`.
    """

    scored_model: ScoredModel
    """f_c."""
    steps: int
    """S."""
    noise: float
    """Standard deviation of n_s, in units of the standard deviation of each image."""
    rows: int
    """How many rows may be differentiated at once."""

    def score(self, masks: tf.Tensor, examples: BlendedExamples) -> tf.Tensor:
        """Give f_c(Phi(I, up(M))), ``[N]``, for masks M, ``[N, h, w]``."""

        def evaluate(inputs: tuple, targets: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
            del seed
            some_masks, images, references = inputs
            return self.scored_model(blend(images, references, some_masks), targets)

        inputs = (masks, examples.images, examples.references)
        return in_batches(evaluate, self.rows)(inputs, examples.targets, tf.zeros([2], tf.int32))

    def mean_score(self, masks: tf.Tensor, examples: BlendedExamples, seed: tf.Tensor) -> tf.Tensor:
        """Give 1/S sum_s f_c(Phi(I, s/S up(M)) + n_s), ``[N]``."""

        def evaluate(
            inputs: tuple, targets: tf.Tensor, seed: tf.Tensor, ks: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor]:
            scores = self._path_scores(_copies(inputs[0], ks), inputs, targets, seed, ks)
            return scores[..., None], tf.ones(tf.shape(ks), scores.dtype)

        return self._mean(evaluate, masks, examples, seed, width=1)[:, 0]

    def gradient(
        self, masks: tf.Tensor, examples: BlendedExamples, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Give the gradient of `mean_score`, ``[N, h, w]``, and `mean_score` itself, ``[N]``.

        This gradient and the gradient of the regulariser add up to the total gradient TG of
        Qi et al. 2020.
        """

        def evaluate(
            inputs: tuple, targets: tf.Tensor, seed: tf.Tensor, ks: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor]:
            copies = _copies(inputs[0], ks)
            scores = self._path_scores(copies, inputs, targets, seed, ks)
            (gradient,) = connected(tf.gradients(scores, [copies]), [copies])
            flat_gradient = tf.reshape(gradient, tf.concat([tf.shape(scores), [-1]], 0))
            joined = tf.concat([scores[..., None], flat_gradient], -1)
            return joined, tf.ones(tf.shape(ks), scores.dtype)

        width = 1 + masks.shape[1] * masks.shape[2]
        mean = self._mean(evaluate, masks, examples, seed, width=width)
        return tf.reshape(mean[:, 1:], tf.shape(masks)), mean[:, 0]

    def _path_scores(
        self, copies: tf.Tensor, inputs: tuple, targets: tf.Tensor, seed: tf.Tensor, ks: tf.Tensor
    ) -> tf.Tensor:
        """Give the scores at the points s = k + 1 of the path, ``[K, N]``.

        Args:
            copies: the masks M, one copy for each point, ``[K, N, h, w]``.
            inputs: masks, images and baseline images; the masks are used for their shape only.
            targets: ``[N]``.
            seed: the noise n_s is drawn from it and k, once for all images.
            ks: the numbers of the points from 0, ``[K]``.
        """
        _, images, references = inputs
        shares = tf.cast(ks + 1, copies.dtype) / self.steps
        shape = tf.concat([tf.shape(copies)[:2], tf.shape(images)[1:]], 0)
        tiled = [tf.broadcast_to(x, shape) for x in (images, references)]
        flat = [
            tf.reshape(x, tf.concat([[-1], tf.shape(x)[2:]], 0))
            for x in (copies * shares[:, None, None, None], *tiled)
        ]
        flat_masks, flat_images, flat_references = (
            tf.ensure_shape(x, [None, *like.shape[1:]])
            for x, like in zip(flat, inputs, strict=True)
        )
        points = blend(flat_images, flat_references, flat_masks)
        if self.noise:
            noises = tf.map_fn(
                lambda k: noise_like(images, self.noise, tf.random.fold_in(seed, k)),
                ks,
                fn_output_signature=tf.TensorSpec(images.shape, images.dtype),
            )
            points += tf.reshape(noises, tf.shape(points))
        return tf.reshape(self.scored_model(points, batch.tiled(targets, tf.size(ks))), shape[:2])

    def _mean(
        self,
        evaluate: Evaluate,
        masks: tf.Tensor,
        examples: BlendedExamples,
        seed: tf.Tensor,
        *,
        width: int,
    ) -> tf.Tensor:
        """Average what `evaluate` gives over the points of the path, ``[N, width]``."""
        mean = estimate(
            evaluate,
            self.steps,
            aggregators.mean(),
            rows=self.rows,
            like=lambda inputs: tf.zeros([tf.shape(inputs[0])[0], width], inputs[0].dtype),
        )
        return mean((masks, examples.images, examples.references), examples.targets, seed).value


def _copies(masks: tf.Tensor, ks: tf.Tensor) -> tf.Tensor:
    """Copy the masks for each sample, ``[K, N, h, w]``, so that each has a gradient of its own."""
    return tf.tile(masks[None], [tf.size(ks), 1, 1, 1])
