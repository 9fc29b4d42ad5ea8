"""Robustness: how much attributions change when the input hardly does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfxai.core import checks
from tfxai.core.named_inputs import check_option_names
from tfxai.metrics.explain import Explain, explain_in_batches
from tfxai.metrics.given_inputs import GivenInputs, given_inputs
from tfxai.metrics.rows import ratio


def max_sensitivity(
    explain: Explain,
    inputs: Any,
    targets: Any,
    *,
    radius: Any = 0.02,
    samples: int = 10,
    seed: int = 0,
    batch_size: int = 32,
) -> np.ndarray:
    """Give the largest relative change of a map under small noise on the input.

    SENS_max = max over |d|_inf <= r of |s(x + d) - s(x)| / |s(x)|

    Args:
        explain: maps inputs ``[B, ...]`` and targets ``[B]`` to attributions.
        inputs: ``[B, ...]``, floating-point numbers; of a model of several inputs a dict by name,
            whose maps count together.
        targets: class indices, ``[B]`` or one for all.
        radius: r, in the unit of the inputs; for several inputs that differ a dict by name, in
            which inputs that stay, such as integers, are left out.
        samples: how many times d is drawn, uniformly; the draws are the same for all examples.
        seed: draws d.
        batch_size: how many examples are explained at once.

    Returns:
        ``[B]``, at least 0; NaN for a map of zeros.

    Raises:
        TypeError, ValueError: inputs or attributions that are not finite, or integers that are to
            move.

    Reference:
        Yeh et al. 2019, definition 3.1, estimated by the largest of `samples` draws and divided by
        the norm of the map, as Captum does it.

    Example:
        >>> squares = lambda x, targets: 2 * x
        >>> change = max_sensitivity(squares, np.ones((1, 400)), 0, radius=0.1)
        >>> bool(0.055 < change[0] < 0.065)  # the size of uniform noise is r / sqrt(3)
        True
    """
    given = given_inputs(inputs)
    radii = _radii(radius, given)
    count = len(given.flat[0])
    classes = checks.targets(targets, count, None, None)
    random = np.random.default_rng(seed)
    maps = explain_in_batches(explain, given.structure, classes, batch_size)
    largest = np.zeros(count)
    for _ in range(checks.positive_integer("samples", samples)):
        moved = [_moved(x, r, random) for x, r in zip(given.flat, radii, strict=True)]
        others = explain_in_batches(explain, given.pack(moved), classes, batch_size)
        largest = np.maximum(largest, np.linalg.norm(others - maps, axis=1))
    return ratio(largest, np.linalg.norm(maps, axis=1), np.nan)


def _moved(x: np.ndarray, radius: float | None, random: np.random.Generator) -> np.ndarray:
    """Add noise to inputs, the same to all examples; without a radius they stay."""
    if radius is None:
        return x
    return x + random.uniform(-radius, radius, x.shape[1:]).astype(x.dtype)


def _radii(radius: Any, given: GivenInputs) -> list[float | None]:
    """Give the radius of each input, None for one that stays."""
    if isinstance(radius, Mapping):
        check_option_names("radius", radius, given.names)
        radii = [
            checks.real("radius", radius[name], above=0) if name in radius else None
            for name in given.names
        ]
    else:
        radii = [checks.real("radius", radius, above=0)] * len(given.names)
    for place, (x, r) in enumerate(zip(given.flat, radii, strict=True)):
        if r is not None and x.dtype.kind != "f":
            raise ValueError(
                f"{given.label('inputs', place)} has numbers of the type {x.dtype}, to which no "
                "noise can be added: pass floating-point numbers, or, for several inputs, "
                "radius={name: number} with the names of the inputs that are to move"
            )
    return radii
