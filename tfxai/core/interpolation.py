"""Bilinear interpolation as a matrix: one axis of an image times the matrix is resized.

Two conventions say where the pixels lie among the cells; `align_corners` and `half_pixel` are their
names in PyTorch and ONNX (docs/methods.md, I-GOS).
"""

from __future__ import annotations

import numpy as np


def align_corners(size: int, cells: int) -> np.ndarray:
    """Give the matrix that resizes a row of cells to `size` pixels, outer centres on outer centres.

    W_ij = max(0, 1 - |i (cells - 1) / (size - 1) - j|)

    This is PyTorch's ``align_corners=True``; `tf.image.resize` uses half-pixel centres instead.

    Args:
        size: number of pixels, at least 1.
        cells: number of cells, at least 1.

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


def half_pixel(size: int, cells: int) -> np.ndarray:
    """Give the matrix that resizes a row of cells to `size` pixels, with half-pixel centres.

    Beyond the centres of the outer cells the row is mirrored (cell -1 is cell 1), as in
    scikit-image's ``resize``; `tf.image.resize` repeats the outer cells instead.

    Args:
        size: number of pixels, at least 1.
        cells: number of cells, at least 1.

    Returns:
        ``[size, cells]``, float64; its rows sum to 1.

    Example:
        >>> half_pixel(4, 2)
        array([[0.75, 0.25],
               [0.75, 0.25],
               [0.25, 0.75],
               [0.25, 0.75]])
    """
    position = (np.arange(size) + 0.5) * (cells / size) - 0.5
    left = np.floor(position).astype(int)
    matrix = np.zeros((size, cells))
    for cell, weight in ((left, 1 - (position - left)), (left + 1, position - left)):
        reflected = np.where(cell < 0, 1, np.where(cell >= cells, cells - 2, cell))
        np.add.at(matrix, (np.arange(size), np.clip(reflected, 0, cells - 1)), weight)
    return matrix
