"""The mark of a score that is a function of the logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import tensorflow as tf

from tfxai.core.types import Score

_S = TypeVar("_S", bound=Callable[..., tf.Tensor])


def on_logits(score: _S) -> _S:
    """Mark a score as a function of the logits: a softmax or sigmoid head is bypassed before it.

    Example:
        >>> @on_logits
        ... def first_logit(outputs, targets):
        ...     return outputs[:, 0]
        >>> expects_logits(first_logit)
        True
    """
    score.on_logits = True  # type: ignore[attr-defined]
    return score


def expects_logits(score: Score) -> bool:
    """Whether `score` was marked by `on_logits`, or is a part's whose inner score was."""
    return getattr(score, "on_logits", False)
