"""The random parts of an input that infidelity removes: squares, windows, cubes, sets."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tfxai.core import checks
from tfxai.core.layout import Layout


class Parts(NamedTuple):
    """Parts of an input that are removed."""

    masks: np.ndarray
    """Booleans ``[S, *layout.shape]``."""
    layout: Layout
    """The layout of a mask."""


def random_parts(layout: Layout, samples: int, random: np.random.Generator) -> Parts:
    """Draw parts of an input: boxes, or sets of groups or of what has no neighbours.

    Args:
        layout: the layout of a mask.
        samples: S.
        random: draws them.
    """
    count = checks.positive_integer("samples", samples)
    if layout.groups is not None:
        groups = int(layout.groups.max()) + 1
        return Parts(random_sets(groups, count, random)[:, layout.groups], layout)
    if not layout.has_neighbours:
        return Parts(random_sets(layout.positions[0], count, random), layout)
    return Parts(random_boxes(layout.positions, count, random)[..., None], layout)


def random_boxes(shape: tuple[int, ...], samples: int, random: np.random.Generator) -> np.ndarray:
    """Draw masks ``[S, *shape]`` of boxes with equal sides that lie within a shape, e.g. (H, W).

    The side of a box is at least one position, and at most half the shortest side of the shape.
    """
    masks = np.zeros((samples, *shape), bool)
    for mask in masks:
        side = random.integers(1, max(1, min(shape) // 2) + 1)
        corner = [random.integers(n - side + 1) for n in shape]
        mask[tuple(slice(c, c + side) for c in corner)] = True
    return masks


def random_sets(size: int, samples: int, random: np.random.Generator) -> np.ndarray:
    """Draw masks ``[S, size]`` of random sets, of one to half of the members."""
    masks = np.zeros((samples, size), bool)
    for mask in masks:
        members = random.integers(1, max(1, size // 2) + 1)
        mask[random.choice(size, members, replace=False)] = True
    return masks
