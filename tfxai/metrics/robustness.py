"""Robustness: how much attributions change when the input hardly does."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfxai.core import checks
from tfxai.metrics.arrays import finite, one_array
from tfxai.metrics.rows import ratio
from tfxai.metrics.scoring import Explain, explain_in_batches


def max_sensitivity(
    explain: Explain,
    inputs: np.ndarray,
    targets: Any,
    *,
    radius: float = 0.02,
    samples: int = 10,
    seed: int = 0,
    batch_size: int = 32,
) -> np.ndarray:
    """Give the largest relative change of a map under small noise on the input.

    SENS_max = max over |d|_inf <= r of |s(x + d) - s(x)| / |s(x)|

    Args:
        explain: maps inputs ``[B, ...]`` and targets ``[B]`` to attributions.
        inputs: ``[B, ...]``.
        targets: class indices, ``[B]`` or one for all.
        radius: r, in the unit of the inputs.
        samples: how many times d is drawn, uniformly; the draws are the same for all inputs.
        seed: draws d.
        batch_size: how many inputs are explained at once.

    Returns:
        ``[B]``, at least 0; NaN for a map of zeros.

    Raises:
        ValueError: inputs or attributions that are not finite.

    Reference:
        Yeh et al. 2019, definition 3.1, estimated by the largest of `samples` draws and divided by
        the norm of the map, as Captum does it.

    Example:
        >>> squares = lambda x, targets: 2 * x
        >>> change = max_sensitivity(squares, np.ones((1, 400)), 0, radius=0.1)
        >>> bool(0.055 < change[0] < 0.065)  # the size of uniform noise is r / sqrt(3)
        True
    """
    inputs = finite("inputs", one_array("inputs", inputs))
    classes = checks.targets(targets, len(inputs), None, None)
    r = checks.real("radius", radius, above=0)
    random = np.random.default_rng(seed)
    maps = explain_in_batches(explain, inputs, classes, batch_size).reshape(len(inputs), -1)
    largest = np.zeros(len(inputs))
    for _ in range(checks.positive_integer("samples", samples)):
        noise = random.uniform(-r, r, inputs.shape[1:]).astype(inputs.dtype)
        moved = explain_in_batches(explain, inputs + noise, classes, batch_size)
        largest = np.maximum(largest, np.linalg.norm(moved.reshape(maps.shape) - maps, axis=1))
    return ratio(largest, np.linalg.norm(maps, axis=1), np.nan)
