"""What makes masks small and smooth: the regulariser of I-GOS, and its proximal operator."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfxai.methods.masks.mask_cells import Cells, along_grid, joined, split


class Regulariser(NamedTuple):
    """g(M) = lambda1 mean|1 - M| + lambda2 TV(M), for masks in [0, 1] (Qi et al. 2020).

    For several inputs it is the sum of what the masks of each of them cost.
    """

    cells: Sequence[Cells]
    """The cells of each input's masks."""
    lambda1: tf.Tensor
    """The price of what is deleted of each of I inputs, ``[N, I]`` or ``[I]``."""
    lambda2: Sequence[float]
    """The price of differences between neighbours, for each input."""
    beta: int
    """The power of the differences in TV(M), see `total_variation`."""

    def __call__(self, masks: tf.Tensor) -> tf.Tensor:
        """Map masks M, ``[N, K]``, to g(M), ``[N]``."""
        parts = split(masks, self.cells)

        def price(place: int) -> tf.Tensor:
            mask = parts[place]
            deleted = tf.reduce_mean(tf.abs(1 - mask), range(1, mask.shape.rank))
            variation = total_variation(mask, self.beta, len(self.cells[place].grid))
            return self.lambda1[..., place] * deleted + self.lambda2[place] * variation

        return functools.reduce(tf.add, [price(place) for place in range(len(parts))])


def total_variation(masks: tf.Tensor, beta: int, axes: int) -> tf.Tensor:
    """Give TV(M), the sum over axes of the mean of |M_next - M|^beta, ``[N]``.

    For images it is mean |M_i+1,j - M_ij|^beta + mean |M_i,j+1 - M_ij|^beta. An axis of one cell
    has no differences and adds nothing.

    Args:
        masks: M, ``[N, ...]``.
        beta: the power.
        axes: how many of the axes after the first have neighbours.
    """
    total = tf.zeros_like(tf.reduce_sum(masks, range(1, masks.shape.rank)))
    for axis in range(1, axes + 1):
        if masks.shape[axis] > 1:
            before = [slice(None)] * axis
            step = masks[(*before, slice(1, None))] - masks[(*before, slice(-1))]
            powers = step * step if beta == 2 else tf.abs(step) ** beta
            total += tf.reduce_mean(powers, range(1, masks.shape.rank))
    return total


def proximal(
    cells: Sequence[Cells],
    values: tf.Tensor,
    step: tf.Tensor,
    lambda1: tf.Tensor,
    lambda2: Sequence[float],
) -> tf.Tensor:
    """Give argmin_M |M - X|^2 / 2 + alpha (lambda1 mean(1 - M) + lambda2 TV(M)), ``[N, K]``.

    TV has beta = 2, so that TV(M) = M' D M / 2 for a matrix D, and the minimum is
    M = (I + alpha lambda2 D)^-1 (X + alpha lambda1 / n) for n cells. D is the sum of a matrix for
    each axis of the grid, so the products of their eigenvectors make D diagonal. This step is ours
    (docs/methods.md, I-GOS).

    Args:
        cells: the cells of each of I inputs' masks.
        values: X, ``[N, K]``.
        step: alpha, ``[N]``.
        lambda1: ``[N, I]``.
        lambda2: one for each input.
    """
    parts = split(values, cells)
    return joined(
        [
            _proximal(c, x, step, lambda1[:, place], lambda2[place])
            for place, (c, x) in enumerate(zip(cells, parts, strict=True))
        ]
    )


def _proximal(
    cells: Cells, values: tf.Tensor, step: tf.Tensor, lambda1: tf.Tensor, lambda2: float
) -> tf.Tensor:
    """Give the proximal step of one input's masks, ``[N, *cells.shape]``."""

    def each(numbers: tf.Tensor) -> tf.Tensor:
        return tf.reshape(numbers, [-1] + [1] * len(cells.shape))

    raised = values + each(step * lambda1 / cells.size)
    if not cells.grid:
        return raised
    found = [_squared_differences(n) for n in cells.grid]
    vectors = [tf.constant(v, values.dtype) for _, v in found]
    curvature = tf.constant(lambda2 * _eigenvalues(cells, [e for e, _ in found]), values.dtype)
    coefficients = along_grid(raised, [tf.transpose(v) for v in vectors])
    solution = coefficients / (1 + each(step) * curvature)
    return along_grid(solution, vectors)


def _eigenvalues(cells: Cells, along: Sequence[np.ndarray]) -> np.ndarray:
    """Give the eigenvalues of D, of the shape of the grid with one more axis.

    Args:
        cells: the cells of a mask.
        along: the eigenvalues of the squared differences along each axis.
    """
    total = np.zeros(())
    for axis, eigenvalues in enumerate(along):
        n = cells.grid[axis]
        differences = max((n - 1) * (cells.size // n), 1)
        shape = [n if a == axis else 1 for a in range(len(along))]
        total = total + 2 * eigenvalues.reshape(shape) / differences
    return total[..., None]


def _squared_differences(cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Give the eigenvalues and eigenvectors of the quadratic form sum_i (m_i+1 - m_i)^2."""
    differences = np.diff(np.eye(cells), axis=0)
    return np.linalg.eigh(differences.T @ differences)
