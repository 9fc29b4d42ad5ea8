"""The shapes of the few ideas that everything else is built from (no code of their own)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import tensorflow as tf

Tensors = Any
"""One tensor, or a dict, tuple or list of tensors; all share the leading batch axis ``B``."""


class Score(Protocol):
    """What is explained: one number per example, out of a model's outputs."""

    def __call__(self, outputs: tf.Tensor, targets: tf.Tensor, /) -> tf.Tensor:
        """Map outputs ``[B, ...]`` and targets ``[B]`` to scores ``[B]``."""


class ScoredModel(Protocol):
    """A model and a score in one: what the methods differentiate."""

    def __call__(self, inputs: Tensors, targets: tf.Tensor, /) -> tf.Tensor:
        """Map inputs ``[B, ...]`` and targets ``[B]`` to scores ``[B]``."""


class Classifier(Protocol):
    """A model that ends in the logits of classes."""

    def __call__(self, inputs: Tensors, targets: tf.Tensor, /) -> tuple[tf.Tensor, tf.Tensor]:
        """Map inputs ``[B, ...]`` and targets ``[B]`` to logits ``[B, C]`` and targets ``[B]``."""


class Result(NamedTuple):
    """What an attribution gives for a batch of examples."""

    attributions: Tensors
    """The maps, of the inputs' structure."""
    diagnostics: dict[str, Tensors]
    """What is known of the maps' accuracy: name -> an array whose first axis is the batch."""


class Attribution(Protocol):
    """A method that is ready to run: pure, traceable, without Python state."""

    def __call__(self, inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor, /) -> Result:
        """Map inputs ``[B, ...]``, targets ``[B]`` and a seed ``[2]`` to a `Result`."""


class Sample(NamedTuple):
    """One draw of a sampler, each field of the inputs' structure except ``weight``."""

    point: Tensors
    """Where the attribution is evaluated, ``[B, ...]``."""
    scale: Tensors
    """What its value there is multiplied by; of the inputs' rank, broadcast to them."""
    weight: tf.Tensor
    """Its share in the mean, a scalar."""


class Sampler(Protocol):
    """Where to evaluate an attribution."""

    def __call__(self, inputs: Tensors, k: tf.Tensor, seed: tf.Tensor, /) -> Sample:
        """Give the ``k``-th sample; ``seed [2]`` is this sample's own."""


class Aggregator(NamedTuple):
    """A running statistic of one tensor, as pure functions."""

    init: Callable[[tf.Tensor], tuple[tf.Tensor, ...]]
    """A value's like ``[B, ...]`` -> state."""
    update: Callable[[tuple[tf.Tensor, ...], tf.Tensor, tf.Tensor], tuple[tf.Tensor, ...]]
    """State, value ``[B, ...]``, weight -> state."""
    result: Callable[[tuple[tf.Tensor, ...]], Any]
    """State -> the statistic."""
