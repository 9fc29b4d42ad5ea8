"""What the methods that optimise a mask give: the map, the mask, and warnings about both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import tensorflow as tf

from tfxai.core.types import Result, Score
from tfxai.explaining.explanation import Explanation
from tfxai.methods.masks.mask_cells import Cells, split
from tfxai.scores import part, probability

LEAST_PROBABILITY = 0.01
"""The probability of the target below which masks fail (Qi et al. 2020, section 5)."""
UNMOVED = "no change of them lowers the score by more than it costs; lower lambda1 and lambda2"
"""What to try where a map is zero."""
UNMOVED_ABOVE = 1 - 1e-3
"""A mask has hardly moved from 1 if all its cells are above this value."""


def mask_result(
    masks: tf.Tensor, cells: Sequence[Cells], diagnostics: dict[str, tf.Tensor]
) -> Result:
    """Give the maps 1 - up(M) of masks M, ``[B, K]``, and the masks among the diagnostics.

    The mask of groups is given at the resolution of the input, so that all masks have its axes.
    """
    parts = split(masks, cells)
    ups = [c.upsample(m) for c, m in zip(cells, parts, strict=True)]
    shown = [
        up if c.layout.groups is not None else m for c, m, up in zip(cells, parts, ups, strict=True)
    ]
    return Result([1 - up for up in ups], {**diagnostics, "mask": shown})


def mask_warnings(score: Score) -> Callable[[Explanation], list[str]]:
    """Give the warnings of a mask that is optimised for a score."""
    return partial(_warnings, part.innermost(score) is probability)


def _warnings(of_probability: bool, record: Explanation) -> list[str]:
    """Name the examples whose target has too small a probability, and the masks at about 1."""
    messages = []
    weak = np.flatnonzero((record.scores < LEAST_PROBABILITY) & of_probability)
    if weak.size:
        messages.append(
            f"examples {_first_few(weak)} have the target with a probability below "
            f"{LEAST_PROBABILITY}: there is too little to delete for a mask to show what matters"
        )
    is_one = [m.reshape(len(m), -1) > UNMOVED_ABOVE for m in tf.nest.flatten(record.mask)]
    unmoved = np.setdiff1d(np.flatnonzero(np.concatenate(is_one, 1).all(1)), weak)
    if unmoved.size:
        messages.append(
            f"the masks of examples {_first_few(unmoved)} have hardly moved from 1: {UNMOVED}"
        )
    return messages


def _first_few(indices: np.ndarray) -> str:
    return ", ".join(map(str, indices[:10])) + (", ..." if len(indices) > 10 else "")
