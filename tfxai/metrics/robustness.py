"""How much attributions change when the input hardly does."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfxai.core import checks
from tfxai.metrics.scoring import Explain, finite, maps_of, one_array


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
    """Give the largest relative change of the map under small noise on the input.

    SENS_max = max over |d|_inf <= r of |s(x + d) - s(x)| / |s(x)|

    Args:
        explain: (inputs ``[B, ...]``, targets ``[B]``) -> attributions.
        inputs: ``[B, ...]``.
        targets: class indices, ``[B]`` or one for all.
        radius: r, in the inputs' unit.
        samples: draws of d, uniform, the same for all inputs.
        seed: of the draws.
        batch_size: inputs that are explained at once.

    Returns:
        ``[B]``, at least 0; NaN for a map of zeros.

    Raises:
        ValueError: inputs or attributions that are not finite.

    Reference:
        Yeh et al. 2019, definition 3.1, estimated by the largest of `samples` draws, and divided
        by the map's norm as in Captum.

    Example:
        >>> squares = lambda x, targets: 2 * x
        >>> found = max_sensitivity(squares, np.ones((1, 400)), 0, radius=0.1)
        >>> bool(0.055 < found[0] < 0.065)  # uniform noise has a size of r / sqrt(3)
        True
    """
    points = finite("inputs", one_array("inputs", inputs))
    chosen = checks.targets(targets, len(points), None, None)
    reach = checks.real("radius", radius, above=0)
    random = np.random.default_rng(seed)
    before = maps_of(explain, points, chosen, batch_size).reshape(len(points), -1)
    size = np.linalg.norm(before, axis=1)
    most = np.zeros(len(points))
    for _ in range(checks.positive_integer("samples", samples)):
        noise = random.uniform(-reach, reach, points.shape[1:]).astype(points.dtype)
        after = maps_of(explain, points + noise, chosen, batch_size).reshape(before.shape)
        most = np.maximum(most, np.linalg.norm(after - before, axis=1))
    return np.divide(most, size, out=np.full(len(points), np.nan), where=size > 0)
