"""`output`: the score of one output of several."""

from __future__ import annotations

from typing import Any

import keras

from tfxai.core.types import Score
from tfxai.scores.forward import Forward, at_path
from tfxai.scores.of_classes import logit
from tfxai.scores.part import Part, whole


def output(key: Any, score: Score = logit) -> Output:
    """Explain one output of a model that has several.

    Args:
        key: the key of a dict, the place in a list (from 0), or a tuple of both for an output in
            a nested structure.
        score: what is explained of this output, (outputs, targets) -> ``[B]``. For a score of the
            logits, the softmax or sigmoid of this very output is bypassed.

    Returns:
        A score, which can be saved.

    Example:
        >>> import tensorflow as tf
        >>> both = {"mask": tf.zeros([1, 4, 4, 3]), "label": tf.constant([[2.0, 7.0]])}
        >>> output("label")(both, tf.constant([1])).numpy().round(4)
        array([7.], dtype=float32)
    """
    return Output(key, score)


@keras.saving.register_keras_serializable("tfxai")
class Output(Part):
    """The score that `output` makes."""

    def __init__(self, key: Any, score: Score):
        super().__init__(score)
        keys = key if isinstance(key, tuple | list) else (key,)
        if not keys or any(isinstance(k, bool) or not isinstance(k, str | int) for k in keys):
            raise TypeError(
                f"key={key!r}: expected the key of an output, its place, or a tuple of both"
            )
        self.path = tuple(keys)

    def part(self, forward: Forward) -> Forward:
        """Give this output alone."""
        return forward.at(self.path)

    def part_spec(self, spec: Any) -> Any:
        """Give the TensorSpec of this output."""
        return at_path(spec, self.path)

    def whole(self, forward: Forward) -> Forward:
        """Give this output."""
        return whole(self.inner, self.part(forward))

    def options(self) -> dict[str, Any]:
        """Give the key."""
        return {"key": list(self.path)}

    def __repr__(self) -> str:
        key = repr(self.path[0] if len(self.path) == 1 else self.path)
        return self.described("output", key)
