"""Degradation: the score as patches lose their detail, the most important first.

Schwarzenberg and Castle 2020, section 5 and Fig. 3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tfxai.core import checks
from tfxai.core.layout import Layout, checked_covering, checked_sizes
from tfxai.core.types import Score
from tfxai.metrics.curves import Curve, curve_from_scores, nan_where_constant
from tfxai.metrics.scored_inputs import score_perturbed, scored_inputs
from tfxai.metrics.units import (
    Units,
    group_means,
    grouped,
    layouts,
    most_important,
    patch_means,
    patch_numbers,
    with_channels,
)

PATCH = 9
"""The published side of a patch, for what has neighbours."""


def degradation(
    model: Callable,
    inputs: Any,
    attributions: Any,
    targets: Any,
    *,
    patch: Any = None,
    most: int = 100,
    groups: Any = None,
    substrate: Any = None,
    score: Score | None = None,
    batch_size: int = 32,
    bounds: tuple[Any, Any] | None = None,
    data_format: str | None = None,
) -> Curve:
    """Replace patches by their mean colour, the most important first: the score should fall fast.

    The importance of a patch is the mean over its pixels of the attributions, which are summed over
    channels with their signs.

    Args:
        model: maps inputs ``[N, ...]`` to outputs ``[N, classes]``.
        inputs: as in `deletion`; of a sequence windows in time are degraded, of a volume blocks, of
            a table features.
        attributions: ``[B, H, W, C]`` or ``[B, H, W, 1]``, and of the other inputs likewise; of
            several inputs a dict by name, as in `deletion`.
        targets: class indices, ``[B]`` or one for all.
        patch: the side of a patch in positions, or one for each axis. None takes 9, as published,
            and single features of tables. Where it does not divide the side of the image, the
            patches at the right and lower edges are smaller.
        most: how many patches are degraded, or all if the image has fewer.
        groups: what is degraded together instead of patches, as in `deletion`. Groups of single
            channels, ``[H, W, C]``, need maps of all channels, and a substrate.
        substrate: None replaces each patch by its mean colour, as published; otherwise as in
            `deletion`. Tables need one, since a feature has no neighbours whose mean it could be.
        score: as in `deletion`.
        batch_size: how many examples the model is given at once.
        bounds: for a substrate by name, as in `deletion`.
        data_format: as in `deletion`.

    Returns:
        A `Curve` from the intact image to `most` degraded patches; its `fractions` are shares of
        all patches.

    Raises:
        TypeError, ValueError: shapes or names that do not fit, values that are not finite, or
            a mean that is not defined.

    Reference:
        Schwarzenberg and Castle 2020, section 5, as described there: the published code never
        degrades the most important patch, and leaves channels whose mean is negative as they are
        (docs/methods.md, Degradation).

    Example:
        >>> image = np.array([[[[1.0], [3.0], [7.0], [9.0]]]])
        >>> degradation(lambda x: x[:, 0, 0], image, -image, 0, patch=2).scores
        array([[1., 2., 2.]])
    """
    labels = checked_covering(False, groups)
    if labels is not None and patch is not None:
        raise ValueError("groups with patch: the groups are the patches; leave out patch")
    sides = checked_sizes("patch", patch)
    most = checks.positive_integer("most", most)
    scored = scored_inputs(model, inputs, attributions, targets, score, data_format)
    plain = zip(scored.labels, scored.maps, scored.inputs, layouts(scored, labels), strict=True)
    parts = [_patches(label, maps, x, layout, sides) for label, maps, x, layout in plain]
    units = [part.units for part in parts]
    if substrate is None:
        degraded = [_means(part, x) for part, x in zip(parts, scored.inputs, strict=True)]
    else:
        degraded = scored.baselines("substrate", substrate, bounds)
    chosen, count = most_important(units)
    counts = np.arange(min(most, count) + 1)

    def perturb(indices: np.ndarray, taken: np.ndarray) -> list[np.ndarray]:
        shares = [u.spread(c) for u, c in zip(units, chosen(indices, taken), strict=True)]
        return [
            np.where(share, instead[indices], x[indices])
            for share, instead, x in zip(shares, degraded, scored.inputs, strict=True)
        ]

    scores = score_perturbed(scored, perturb, counts, batch_size)
    scores = nan_where_constant(scores, [part.maps for part in parts])
    return curve_from_scores(counts / count, scores, "degradation")


class _Patches(NamedTuple):
    """The patches of one input, or the groups that take their place."""

    units: Units
    maps: np.ndarray
    """What is averaged over each patch, ``[B, ...]``."""
    layout: Layout
    numbers: np.ndarray
    """The number of each element's patch, of the layout's shape."""
    sides: Any
    """The sides of the patches; None for groups."""


def _patches(label: str, maps: np.ndarray, x: np.ndarray, layout: Layout, sides: Any) -> _Patches:
    """Give the patches of an input, or the groups that take their place."""
    whole = with_channels(label, maps, x, layout)
    if layout.channels == 1:
        whole = whole.sum(-1)
    if layout.groups is not None:
        units = grouped(label, whole, x, layout, layout.groups)
        return _Patches(units, whole, layout, layout.groups, None)
    if sides is None:
        sides = PATCH if layout.has_neighbours else 1
    numbers = patch_numbers(layout, sides)
    values = patch_means(whole[..., None], layout, sides)[..., 0]
    return _Patches(Units(values, lambda c: c[:, numbers]), whole, layout, numbers, sides)


def _means(part: _Patches, x: np.ndarray) -> np.ndarray:
    """Give what inputs show where all patches are degraded: the mean of each channel in each."""
    if part.layout.channels != 1:
        raise ValueError(
            "substrate=None replaces patches by their mean, which "
            + ("groups of single channels" if part.layout.channels else "features of a table")
            + " do not have: pass what takes their place, e.g. substrate=0.0"
        )
    numbers = part.numbers[..., 0]
    if part.sides is None:
        means = group_means(x.reshape(len(x), -1, x.shape[-1]), numbers.reshape(-1))
    else:
        means = patch_means(x, part.layout, part.sides)
    return means[:, numbers]
