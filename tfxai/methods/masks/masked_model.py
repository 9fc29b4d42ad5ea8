"""The score of a model as a function of masks, and its gradient along the path to a mask.

Source: Qi et al. 2020 (total gradient; docs/methods.md, I-GOS).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from tfxai.core import batch
from tfxai.core.tracing import in_batches
from tfxai.estimation import aggregators
from tfxai.estimation.estimate import Evaluate, connected, estimate
from tfxai.methods.masks.blending import blend, noise_of_input
from tfxai.methods.masks.mask_cells import Cells, joined, split
from tfxai.methods.masks.masked_inputs import Examples, ScoreParts


class MaskedModel(NamedTuple):
    """The score f_c of examples under masks, and at points of the path to the masks.

    The s-th of the S points of the path is Phi(I, s/S up(M)) + n_s with noise n_s; see `blend`.
    """

    score_parts: ScoreParts
    """f_c."""
    cells: Sequence[Cells]
    """The cells of each masked input's masks."""
    steps: int
    """S."""
    noise: float
    """Standard deviation of n_s, in units of the standard deviation of each example."""
    rows: int
    """How many rows may be differentiated at once."""

    def score(self, masks: tf.Tensor, examples: Examples, targets: tf.Tensor) -> tf.Tensor:
        """Give f_c(Phi(I, up(M))), ``[N]``, for masks M, ``[N, K]``."""

        def evaluate(inputs: tuple, targets: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
            del seed
            masks, examples = inputs
            points = blend(examples, split(masks, self.cells), self.cells)
            return self.score_parts(points, examples.others, targets)

        return in_batches(evaluate, self.rows)((masks, examples), targets, tf.zeros([2], tf.int32))

    def mean_score(
        self, masks: tf.Tensor, examples: Examples, targets: tf.Tensor, seed: tf.Tensor
    ) -> tf.Tensor:
        """Give 1/S sum_s f_c(Phi(I, s/S up(M)) + n_s), ``[N]``."""

        def evaluate(
            inputs: tuple, targets: tf.Tensor, seed: tf.Tensor, ks: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor]:
            masks, examples = inputs
            copies = self._copies(masks, ks)
            scores = self._path_scores(copies, examples, targets, seed, ks)
            return scores[..., None], tf.ones(tf.shape(ks), scores.dtype)

        return self._mean(evaluate, masks, examples, targets, seed, width=1)[:, 0]

    def gradient(
        self, masks: tf.Tensor, examples: Examples, targets: tf.Tensor, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Give the gradient of `mean_score`, ``[N, K]``, and `mean_score` itself, ``[N]``.

        This gradient and the gradient of the regulariser add up to the total gradient TG of
        Qi et al. 2020.
        """

        def evaluate(
            inputs: tuple, targets: tf.Tensor, seed: tf.Tensor, ks: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor]:
            masks, examples = inputs
            copies = self._copies(masks, ks)
            scores = self._path_scores(copies, examples, targets, seed, ks)
            # Each input by itself, so that one on which the score has no slope is found.
            gradients = connected(tf.gradients(scores, copies), examples.inputs)
            rows = tf.reshape(joined(gradients), [*tf.unstack(tf.shape(scores)), masks.shape[1]])
            with_score = tf.concat([scores[..., None], rows], -1)
            return with_score, tf.ones(tf.shape(ks), scores.dtype)

        width = 1 + masks.shape[1]
        mean = self._mean(evaluate, masks, examples, targets, seed, width=width)
        return mean[:, 1:], mean[:, 0]

    def _path_scores(
        self,
        copies: Sequence[tf.Tensor],
        examples: Examples,
        targets: tf.Tensor,
        seed: tf.Tensor,
        ks: tf.Tensor,
    ) -> tf.Tensor:
        """Give the scores at the points s = k + 1 of the path, ``[P, N]``.

        Args:
            copies: the masks M of each input, one copy for each point, ``[P N, ...]``.
            examples: N examples.
            targets: ``[N]``.
            seed: the noise n_s is drawn from it and k, once for all examples.
            ks: the numbers of the points from 0, ``[P]``.
        """
        count, examples_count = tf.size(ks), tf.shape(targets)[0]
        shares = tf.repeat(tf.cast(ks + 1, copies[0].dtype) / self.steps, examples_count)
        masks = [m * tf.reshape(shares, [-1] + [1] * (m.shape.rank - 1)) for m in copies]
        inputs, references = (
            [batch.tiled(x, count) for x in values]
            for values in (examples.inputs, examples.references)
        )
        points = blend(Examples(inputs, references, []), masks, self.cells)
        if self.noise:
            noises = [
                self._noises(examples.inputs, place, seed, ks) for place in range(len(inputs))
            ]
            points = [p + tf.reshape(n, tf.shape(p)) for p, n in zip(points, noises, strict=True)]
        scores = self.score_parts(points, examples.others, batch.tiled(targets, count))
        return tf.reshape(scores, [count, examples_count])

    def _copies(self, masks: tf.Tensor, ks: tf.Tensor) -> list[tf.Tensor]:
        """Copy the masks of each input for each point, ``[P N, ...]``, each with its gradient."""
        return split(batch.tiled(masks, tf.size(ks)), self.cells)

    def _noises(
        self, inputs: Sequence[tf.Tensor], place: int, seed: tf.Tensor, ks: tf.Tensor
    ) -> tf.Tensor:
        """Give the noise n_s of one input at each point of the path, ``[P, N, ...]``."""
        x = inputs[place]
        return tf.map_fn(
            lambda k: noise_of_input(inputs, place, self.noise, tf.random.fold_in(seed, k)),
            ks,
            fn_output_signature=tf.TensorSpec(x.shape, x.dtype),
        )

    def _mean(
        self,
        evaluate: Evaluate,
        masks: tf.Tensor,
        examples: Examples,
        targets: tf.Tensor,
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
        return mean((masks, examples), targets, seed).value
