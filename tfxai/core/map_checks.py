"""Warnings of maps that say nothing or are inaccurate; the same for every way of running.

A map that is the same everywhere ranks nothing: an order that an eye or a metric reads from it is
only the order of its rows and columns.
"""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np

from tfxai.core.types import Tensors

LARGE_MAP_ERROR = 0.3
"""A map whose stated relative L2 error is larger than this is not to be trusted."""
LARGE_COMPLETENESS_GAP = 0.5
"""A map whose completeness gap is larger than this is not to be trusted, unless by chance: the gap
is relative to the score's change, and large where the score hardly changes."""
NEGLIGIBLE_GAP = 0.02
"""A gap is large by chance where what the map's sum misses is at most this share of the map's L1
norm ..."""
SMALL_MAP_ERROR = 0.05
"""... and the stated error of the map is at most this."""
ROUNDING = 4 * np.finfo(np.float32).eps
"""Relative differences up to this are rounding: maps are computed in single precision."""


def is_constant(maps: Tensors) -> np.ndarray:
    """Tell which examples' maps are the same for all features, booleans ``[B]``.

    A map that is not finite is not constant. A map of a single feature is constant if it is 0.

    Args:
        maps: ``[B, ...]``, or a structure of such arrays, whose features count together.

    Example:
        >>> is_constant(np.array([[0.0, 0.0], [2.0, 2.0], [1.0, 2.0]])).tolist()
        [True, True, False]
    """
    parts = _rows(maps)
    low = np.min([p.min(1) for p in parts], 0).astype(np.float64)
    high = np.max([p.max(1) for p in parts], 0).astype(np.float64)
    largest = np.maximum(np.abs(low), np.abs(high))
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        same = high - low <= ROUNDING * largest
    features = sum(p.shape[1] for p in parts)
    return np.where(features > 1, same, largest == 0)


def constant_warnings(maps: Tensors, remedy: str) -> list[str]:
    """Say how many maps are zero everywhere, or the same everywhere, and what to try."""
    constant = is_constant(maps)
    zero = constant & ~np.any([p.any(1) for p in _rows(maps)], 0)
    return [
        f"{_maps_are(affected)} {value}, without an order to see or to measure: {remedy}"
        for value, affected in (
            ("zero everywhere", zero),
            ("the same everywhere", constant & ~zero),
        )
        if affected.any()
    ]


def path_warnings(
    maps: Tensors, diagnostics: Mapping[str, np.ndarray], *, tolerance: float | None, complete: bool
) -> list[str]:
    """Say which integrals along a path are farther from their limit than a reader may trust.

    Args:
        maps: the attributions.
        diagnostics: a record's ``map_error``, ``steps`` and, if `complete`, ``completeness_gap``.
        tolerance: the relative error that was asked for; None for `LARGE_MAP_ERROR`.
        complete: whether the attributions should sum to the score's change along the path.
    """
    messages = []
    error = diagnostics["map_error"]
    inaccurate = error > (LARGE_MAP_ERROR if tolerance is None else tolerance)
    if inaccurate.any():
        steps = int(np.max(diagnostics["steps"]))
        asked = "" if tolerance is None else f", above tolerance={tolerance}"
        remedy = "steps" if tolerance is None else "max_steps"
        messages.append(
            f"{_maps_are(inaccurate)} not converged after {steps} steps, with a stated error "
            f"(map_error) of up to {error[inaccurate].max():.3g}{asked}: raise {remedy}"
        )
    if complete and (incomplete := _incomplete(maps, diagnostics)).any():
        worst = diagnostics["completeness_gap"][incomplete].max()
        messages.append(
            f"{_maps_are(incomplete)} far from complete: their sums miss the score's change from "
            f"the baseline by up to {worst:.0%} (completeness_gap). Raise steps; where that does "
            "not help, the score jumps or hardly changes on the path, as it does from a baseline "
            "of zero to a network that normalises its input: take another baseline, or "
            "expected_gradients"
        )
    return messages


def _incomplete(maps: Tensors, diagnostics: Mapping[str, np.ndarray]) -> np.ndarray:
    """Tell which maps miss much of the score's change, and not by chance, ``[B]``.

    With g = |change - sum| / |change|, where the sum is smaller than the change, the sum misses
    g |sum| / |1 - g|.
    """
    gap = diagnostics["completeness_gap"]
    parts = _rows(maps)
    total = np.abs(np.sum([p.sum(1, dtype=np.float64) for p in parts], 0))
    size = np.sum([np.abs(p).sum(1, dtype=np.float64) for p in parts], 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        missed = gap * total / np.abs(1 - gap)
    by_chance = (missed <= NEGLIGIBLE_GAP * size) & (diagnostics["map_error"] <= SMALL_MAP_ERROR)
    return (gap > LARGE_COMPLETENESS_GAP) & ~by_chance


def solver_warnings(diagnostics: Mapping[str, np.ndarray]) -> list[str]:
    """Say which solutions of an optimisation are less accurate than a reader may trust."""
    error = diagnostics["residual"]
    inaccurate = ~(error <= LARGE_MAP_ERROR)
    if not inaccurate.any():
        return []
    return [
        f"{_maps_are(inaccurate)} not solved for, with a stated error (residual) of up to "
        f"{error[inaccurate].max():.3g}: raise margin, max_iterations or rank, or take a model of "
        "more digits"
    ]


def sampling_warnings(diagnostics: Mapping[str, np.ndarray], tolerance: float) -> list[str]:
    """Say which sampled maps have not reached the tolerance that was asked for."""
    error = diagnostics["pooled_error"]
    inaccurate = error > tolerance
    if not inaccurate.any():
        return []
    samples = int(np.max(diagnostics["samples"]))
    return [
        f"{_maps_are(inaccurate)} not converged after {samples} samples, with a stated error "
        f"(pooled_error) of up to {error[inaccurate].max():.3g}, above tolerance={tolerance}: "
        "raise max_samples"
    ]


def _maps_are(affected: np.ndarray) -> str:
    """Begin a message: "the map is", or "the maps of N of M examples (...) are"."""
    places = np.flatnonzero(affected)
    if len(affected) == 1:
        return "the map is"
    first = ", ".join(map(str, places[:5])) + (", ..." if len(places) > 5 else "")
    return f"the maps of {len(places)} of {len(affected)} examples ({first}) are"


def _rows(maps: Tensors) -> list[np.ndarray]:
    """Give the features of each map of a structure, ``[B, F]``, without a copy."""
    parts = [np.asarray(m) for m in keras.tree.flatten(maps)]
    return [m.reshape(len(m), -1) for m in parts]
