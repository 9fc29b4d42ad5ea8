"""The prices and the steps of I-GOS for masks of any number of cells (docs/methods.md, I-GOS)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tfxai.methods.masks.mask_cells import Cells

PRESETS = {7: (0.03, 0.06), 14: (0.1, 0.25), 28: (0.1, 1.0), 112: (0.1, 16.0), 224: (0.3, 64.0)}
"""Cells of a mask for each side -> lambda1, lambda2, found by examples/reproduce/igos_parts.py."""
LONGEST_STEPS = {"gradient": 200.0, "proximal": 400.0}
"""Descent -> alpha_u, the first step that is tried, for a mask of 28 x 28 cells."""
SHORTEST_STEP = 1e-5
"""alpha_l, the step that is taken without a tolerance where the line search accepts no other."""


def preset_lambdas(size: Sequence[int]) -> tuple[float, float]:
    """Give lambda1 and lambda2 for a mask of `size`, the numbers of cells along each axis.

    Between the presets they are interpolated linearly in the logarithms of lambda1, lambda2 and the
    number of cells along an axis (of several axes its geometric mean); beyond the presets they are
    constant.
    """
    side = np.log(math.prod(size)) / len(size)
    preset_sides = np.log(sorted(PRESETS))
    log_lambdas = np.log([PRESETS[cells] for cells in sorted(PRESETS)])
    lambda1, lambda2 = (float(np.exp(np.interp(side, preset_sides, x))) for x in log_lambdas.T)
    return lambda1, lambda2


def prices(
    cells: Sequence[Cells], lambda1: Sequence[float | None], lambda2: Sequence[float | None]
) -> tuple[list[float], list[float]]:
    """Give lambda1 and lambda2 of each input: what is given, else the preset of its cells."""
    presets = [preset_lambdas(c.grid or (c.size,)) for c in cells]
    return (
        [p[0] if given is None else given for given, p in zip(lambda1, presets, strict=True)],
        [p[1] if given is None else given for given, p in zip(lambda2, presets, strict=True)],
    )


def longest_of(cells: Sequence[Cells], descent: str) -> float:
    """Give the first step of a descent: in proportion to the number of cells."""
    return LONGEST_STEPS[descent] * sum(c.size for c in cells) / 28**2


def trial_steps(longest: float, decay: float, *, fallback: bool) -> list[float]:
    """Give the steps alpha_u, eta alpha_u, eta^2 alpha_u ... above alpha_l.

    With `fallback`, alpha_l follows as the last one.
    """
    count = 1 + int(np.log(longest / SHORTEST_STEP) / -np.log(decay))
    steps = [s for k in range(count) if (s := longest * decay**k) > SHORTEST_STEP]
    return [*steps, SHORTEST_STEP] if fallback else steps
