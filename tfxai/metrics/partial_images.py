"""Images of which only some pixels are known: the others are interpolated between those.

Also how much information such an image holds, as the size of its file.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from tfxai.core import checks


def random_pixels(random: np.random.Generator, shape: tuple[int, ...], share: float) -> np.ndarray:
    """Give a mask ``[H, W]`` of a share of the pixels, drawn at random, and of the corners."""
    count = int(shape[0] * shape[1] * checks.real("share", share, above=0, below=1))
    mask = np.zeros(shape, bool)
    mask.flat[random.choice(mask.size, count, replace=False)] = True
    mask[np.ix_([0, -1], [0, -1])] = True
    return mask


def interpolated(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Fill the pixels outside a mask linearly between those inside it, and round.

    Args:
        pixels: ``[H, W, C]``, 0 to 255.
        mask: the pixels that stay as they are, ``[H, W]``; the corners are among them.

    Returns:
        ``[H, W, C]``, 0 to 255.
    """
    # Matplotlib finds the triangles of pixels on a grid fast; SciPy's search is slowed down by the
    # many neighbours on one circle. Slow to import, so not before it is needed.
    from matplotlib.tri import Triangulation

    if mask.all():
        return pixels
    row, column = np.nonzero(mask)
    y, x = np.nonzero(~mask)
    triangles = Triangulation(column, row)
    corners = triangles.triangles[np.asarray(triangles.get_trifinder()(x, y))]
    a, b, c = np.moveaxis(np.stack([column, row], -1)[corners], 1, 0)
    point = np.stack([x, y], -1)
    # The areas are whole numbers, so their sums are exact, and so is what is rounded.
    areas = np.stack([_area(b, c, point), _area(c, a, point), _area(a, b, point)], 1)
    sums = (areas[..., None] * pixels[mask].astype(np.int64)[corners]).sum(1)
    whole = areas.sum(1)[:, None]
    filled = pixels.copy()
    filled[~mask] = (2 * sums + whole) // (2 * whole)
    return filled


def _area(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Give twice the signed area of triangles with corners ``[N, 2]``."""
    ab, ac = b - a, c - a
    return ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]


def file_size(pixels: np.ndarray) -> int:
    """Give the bytes of an image ``[H, W, 1 | 3]`` as a lossless WebP file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(
        buffer, "webp", lossless=True, quality=100
    )
    return buffer.tell()


def to_pixels(images: np.ndarray, bounds: tuple[Any, Any]) -> np.ndarray:
    """Bring images between bounds to 0 to 255, as whole numbers."""
    low, high = (np.asarray(b, np.float64) for b in bounds)
    return np.clip(np.round((images - low) / (high - low) * 255), 0, 255).astype(np.uint8)


def from_pixels(pixels: np.ndarray, bounds: tuple[Any, Any], dtype: Any) -> np.ndarray:
    """Bring pixels from 0 to 255 back between bounds."""
    low, high = (np.asarray(b, np.float64) for b in bounds)
    return (low + pixels / 255 * (high - low)).astype(dtype)
