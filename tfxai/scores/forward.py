"""What a model gives, as scores read it: its outputs, and the logits behind each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tfxai.core import synonyms
from tfxai.core.types import Tensors
from tfxai.scores.advice import no_such_output, several_outputs


class Forward(NamedTuple):
    """What a model gives for inputs; the three fields have one structure."""

    outputs: Tensors
    """The model's outputs."""
    logits: Tensors
    """The outputs before their softmax or sigmoid, where they have one."""
    heads: Any
    """What is between logits and outputs, "softmax", "sigmoid" or None."""

    @classmethod
    def without_heads(cls, outputs: Tensors) -> Forward:
        """Take outputs for logits."""
        return cls(outputs, outputs, tf.nest.map_structure(lambda _: None, outputs))

    def single(self) -> tf.Tensor:
        """Give the logits, or raise a ValueError for a model with several outputs."""
        if not tf.is_tensor(self.outputs):
            raise several_outputs(self.outputs)
        return self.logits

    def at(self, path: Sequence[Any]) -> Forward:
        """Give one output of several, or a structure of some.

        Raises:
            ValueError: there is no such output.
        """
        return Forward(*(at_path(field, path) for field in self))

    def map(self, function: Callable[[tf.Tensor], tf.Tensor]) -> Forward:
        """Apply a function, which leaves the last axis alone, to the output and to its logits.

        Raises:
            ValueError: there are several outputs.
        """
        if not tf.is_tensor(self.outputs):
            raise several_outputs(self.outputs)
        return Forward(function(self.outputs), function(self.logits), self.heads)


def at_path(structure: Any, path: Sequence[Any]) -> Any:
    """Give the part of a structure at a path of keys and places.

    Raises:
        ValueError: the structure has no such part.
    """
    part = structure
    for key in path:
        if not _has(part, key):
            names = list(map(str, part)) if isinstance(part, dict) else []
            raise no_such_output(key, part, synonyms.hint(str(key), names) if names else "")
        part = part[key]
    return part


def _has(part: Any, key: Any) -> bool:
    if isinstance(part, dict):
        return key in part
    is_list = isinstance(part, list | tuple)
    return is_list and isinstance(key, int) and -len(part) <= key < len(part)
