"""The types of the few ideas that everything else is built from; this file has no code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import tensorflow as tf

Tensors = Any
"""One tensor, or a dict, tuple or list of tensors; all share the leading batch axis ``B``."""


class Score(Protocol):
    """What is explained: one number for each example, computed from a model's outputs."""

    def __call__(self, outputs: tf.Tensor, targets: tf.Tensor, /) -> tf.Tensor:
        """Map outputs ``[B, ...]`` and targets ``[B]`` to scores ``[B]``."""


class ScoredModel(Protocol):
    """A model followed by a score: the function that the methods differentiate."""

    def __call__(self, inputs: Tensors, targets: tf.Tensor, /) -> tf.Tensor:
        """Map inputs ``[B, ...]`` and targets ``[B]`` to scores ``[B]``."""


class Classifier(Protocol):
    """A model whose outputs are the logits of the classes."""

    def __call__(self, inputs: Tensors, targets: tf.Tensor, /) -> tuple[tf.Tensor, tf.Tensor]:
        """Map inputs ``[B, ...]`` and targets ``[B]`` to logits ``[B, C]`` and targets ``[B]``."""


class Result(NamedTuple):
    """What an attribution gives for a batch of examples."""

    attributions: Tensors
    """The maps, in the structure of the inputs."""
    diagnostics: dict[str, Tensors]
    """What is known of the maps' accuracy: name -> an array whose first axis is the batch."""


class Attribution(Protocol):
    """A method that is ready to run: pure, traceable, without Python state."""

    def __call__(self, inputs: Tensors, targets: tf.Tensor, seed: tf.Tensor, /) -> Result:
        """Map inputs ``[B, ...]``, targets ``[B]`` and a seed ``[2]`` to a `Result`."""


class Sample(NamedTuple):
    """One draw of a sampler; ``point`` and ``scale`` have the structure of the inputs."""

    point: Tensors
    """Where the attribution is evaluated, ``[B, ...]``."""
    scale: Tensors
    """The factor of the attribution there; it has the inputs' rank and broadcasts to them."""
    weight: tf.Tensor
    """The sample's weight in the mean, a scalar."""


class Sampler(Protocol):
    """Chooses the points at which an attribution is evaluated."""

    def __call__(self, inputs: Tensors, k: tf.Tensor, seed: tf.Tensor, /) -> Sample:
        """Give the ``k``-th sample; ``seed [2]`` serves this sample alone."""


class Aggregator(NamedTuple):
    """A running statistic of one tensor, as pure functions."""

    init: Callable[[tf.Tensor], tuple[tf.Tensor, ...]]
    """An array of the values' shape ``[B, ...]`` -> the state before the first value."""
    update: Callable[[tuple[tf.Tensor, ...], tf.Tensor, tf.Tensor], tuple[tf.Tensor, ...]]
    """State, value ``[B, ...]``, weight -> the state after this value."""
    result: Callable[[tuple[tf.Tensor, ...]], Any]
    """State -> the statistic."""
