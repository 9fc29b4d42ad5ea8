"""What both callbacks check of their explainers, and how they log their time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from tfxai.explaining.explainer import Explainer

SECONDS = "explanation_seconds"
"""The name in Keras's logs of the seconds that the callbacks take."""


def checked_explainers(explainers: Mapping[str, Explainer]) -> dict[str, Explainer]:
    """Give explainers by title, or raise a TypeError."""
    if not isinstance(explainers, Mapping) or not explainers:
        raise TypeError("explainers: expected a dict from titles to explainers, at least one")
    for title, explainer in explainers.items():
        if not isinstance(explainer, Explainer):
            raise TypeError(f"explainers[{title!r}]: expected an Explainer, got {explainer!r}")
    return dict(explainers)


def check_same_model(explainers: Mapping[str, Explainer], model: keras.Model) -> None:
    """Raise a ValueError for an explainer of another model than the one that is trained."""
    for title, explainer in explainers.items():
        if explainer.model is not model:
            raise ValueError(
                f"explainers[{title!r}] explains another model, {explainer.model.name}, than the "
                f"one that is trained, {model.name}"
            )


def log_seconds(logs: dict[str, Any], seconds: float) -> None:
    """Add seconds to those that other callbacks have logged for the epoch."""
    logs[SECONDS] = logs.get(SECONDS, 0.0) + seconds
