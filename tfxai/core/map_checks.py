"""What tells a reader that maps say nothing, or not yet: one check for every way of running.

A map that is the same everywhere ranks nothing: whatever is made of its order, by an eye or by a
metric, is an order of rows and columns.
"""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np

from tfxai.core.types import Tensors

MAP_ERROR = 0.3
"""The stated relative L2 error beyond which a map is not to be trusted."""
GAP = 0.5
"""The same of the completeness gap; by chance it is large where the score hardly changes."""
LEAST_GAP = 0.02
"""By chance, what is missed is no more than this share of the map's size ..."""
SURE = 0.05
"""... and the stated error no more than this."""
ROUNDING = 4 * np.finfo(np.float32).eps
"""Relative differences that are none: maps are computed in single precision."""


def is_constant(maps: Tensors) -> np.ndarray:
    """Tell which examples' maps are the same for all features, booleans ``[B]``.

    Args:
        maps: ``[B, ...]``, or a structure of such, of which all features are looked at. One that
            is not finite is not constant; a single feature is if it is 0.

    Example:
        >>> is_constant(np.array([[0.0, 0.0], [2.0, 2.0], [1.0, 2.0]])).tolist()
        [True, True, False]
    """
    parts = _rows(maps)
    low = np.min([p.min(1) for p in parts], 0).astype(np.float64)
    high = np.max([p.max(1) for p in parts], 0).astype(np.float64)
    largest = np.maximum(np.abs(low), np.abs(high))
    with np.errstate(invalid="ignore"):  # infinite less infinite
        same = high - low <= ROUNDING * largest
    features = sum(p.shape[1] for p in parts)
    return np.where(features > 1, same, largest == 0)


def constant(maps: Tensors, remedy: str) -> list[str]:
    """Say how many maps are zero, or the same, everywhere, and what to try."""
    same = is_constant(maps)
    zero = same & ~np.any([p.any(1) for p in _rows(maps)], 0)
    found = {"zero everywhere": zero, "the same everywhere": same & ~zero}
    return [
        f"{_of(which)} {words}, without an order to see or to measure: {remedy}"
        for words, which in found.items()
        if which.any()
    ]


def unconverged(
    maps: Tensors, diagnostics: Mapping[str, np.ndarray], *, tolerance: float | None, complete: bool
) -> list[str]:
    """Say which integrals along a path are farther from their limit than a reader may trust.

    Args:
        maps: attributions.
        diagnostics: of a record: ``map_error``, ``steps`` and, if `complete`, ``completeness_gap``.
        tolerance: what was asked for; None for `MAP_ERROR`.
        complete: whether the attributions should sum to the score's change.
    """
    messages = []
    error = diagnostics["map_error"]
    worse = error > (MAP_ERROR if tolerance is None else tolerance)
    if worse.any():
        steps = int(np.max(diagnostics["steps"]))
        asked = "" if tolerance is None else f", above tolerance={tolerance}"
        remedy = "steps" if tolerance is None else "max_steps"
        messages.append(
            f"{_of(worse)} not converged after {steps} steps, with a stated error (map_error) of "
            f"up to {error[worse].max():.3g}{asked}: raise {remedy}"
        )
    if complete and (far := _incomplete(maps, diagnostics)).any():
        worst = diagnostics["completeness_gap"][far].max()
        messages.append(
            f"{_of(far)} far from complete: their sums miss the score's change from the "
            f"baseline by up to {worst:.0%} (completeness_gap). Raise steps; where that does not "
            "help, the score jumps or hardly changes on the path, as it does from a baseline of "
            "zero to a network that normalises its input: take another baseline, or "
            "expected_gradients"
        )
    return messages


def _incomplete(maps: Tensors, diagnostics: Mapping[str, np.ndarray]) -> np.ndarray:
    """Tell which maps miss much of the score's change, and not by chance, ``[B]``.

    A sum that falls short of the change by the share g of it misses g |sum| / |1 - g|.
    """
    gap = diagnostics["completeness_gap"]
    parts = _rows(maps)
    total = np.abs(np.sum([p.sum(1, dtype=np.float64) for p in parts], 0))
    size = np.sum([np.abs(p).sum(1, dtype=np.float64) for p in parts], 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        missed = gap * total / np.abs(1 - gap)
    by_chance = (missed <= LEAST_GAP * size) & (diagnostics["map_error"] <= SURE)
    return (gap > GAP) & ~by_chance


def unsolved(diagnostics: Mapping[str, np.ndarray]) -> list[str]:
    """Say which solutions of an optimisation are farther from it than a reader may trust."""
    error = diagnostics["residual"]
    worse = ~(error <= MAP_ERROR)
    if not worse.any():
        return []
    return [
        f"{_of(worse)} not solved for, with a stated error (residual) of up to "
        f"{error[worse].max():.3g}: raise margin, max_iterations or rank, or take a model of more "
        "digits"
    ]


def missed(diagnostics: Mapping[str, np.ndarray], tolerance: float) -> list[str]:
    """Say which sampled maps have not come as close to their limit as they were asked to."""
    error = diagnostics["pooled_error"]
    worse = error > tolerance
    if not worse.any():
        return []
    return [
        f"{_of(worse)} not converged after {int(np.max(diagnostics['samples']))} samples, with a "
        f"stated error (pooled_error) of up to {error[worse].max():.3g}, above "
        f"tolerance={tolerance}: raise max_samples"
    ]


def _of(which: np.ndarray) -> str:
    """Name the maps that are meant."""
    places = np.flatnonzero(which)
    if len(which) == 1:
        return "the map is"
    some = ", ".join(map(str, places[:5])) + (", ..." if len(places) > 5 else "")
    return f"the maps of {len(places)} of {len(which)} examples ({some}) are"


def _rows(maps: Tensors) -> list[np.ndarray]:
    """Give the features of each map of a structure, ``[B, F]``, without a copy."""
    parts = [np.asarray(m) for m in keras.tree.flatten(maps)]
    return [m.reshape(len(m), -1) for m in parts]
