"""Bilinear interpolation as a matrix (METHODS 5.1)."""

from __future__ import annotations

import numpy as np


def align_corners(size: int, cells: int) -> np.ndarray:
    """Give the matrix that draws a row of cells at `size` pixels, the ends on the ends.

    W_ij = max(0, 1 - |i (cells - 1) / (size - 1) - j|)

    This is PyTorch's ``align_corners=True``; `tf.image.resize` puts pixels at the middles of
    cells instead.

    Returns:
        ``[size, cells]``, float64; its rows sum to 1, and for ``size == cells`` it is the identity.

    Example:
        >>> align_corners(5, 3)
        array([[1. , 0. , 0. ],
               [0.5, 0.5, 0. ],
               [0. , 1. , 0. ],
               [0. , 0.5, 0.5],
               [0. , 0. , 1. ]])
    """
    position = np.arange(size) * ((cells - 1) / max(size - 1, 1))
    return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(cells)))


def mirrored(size: int, cells: int) -> np.ndarray:
    """Give the matrix that draws a row of cells at `size` pixels, pixels at the middles of cells.

    Beyond the outer middles a row goes on as if it were mirrored there (cell -1 is cell 1), as
    scikit-image's ``resize`` does and `tf.image.resize`, which repeats the outer cells, does not.

    Returns:
        ``[size, cells]``, float64; its rows sum to 1.

    Example:
        >>> mirrored(4, 2)
        array([[0.75, 0.25],
               [0.75, 0.25],
               [0.25, 0.75],
               [0.25, 0.75]])
    """
    position = (np.arange(size) + 0.5) * (cells / size) - 0.5
    left = np.floor(position).astype(int)
    matrix = np.zeros((size, cells))
    for cell, share in ((left, 1 - (position - left)), (left + 1, position - left)):
        inside = np.where(cell < 0, 1, np.where(cell >= cells, cells - 2, cell))
        np.add.at(matrix, (np.arange(size), np.clip(inside, 0, cells - 1)), share)
    return matrix
