"""Localisation data with exact truth: grids of photos in which one cell holds the class.

After the grid pointing game (Böhle et al. 2021, section 4.1), but with the photos made smaller.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfxai.benchmark.cases import Case
from tfxai.core import checks
from tfxai.core.axes import expect_channels_last


@dataclass(frozen=True)
class Compositions:
    """Compose photos of different classes into grids; the class of one cell is explained.

    There is one composition for each photo, whose class is explained in it. The other photos of the
    grid, and the cell of each photo, are drawn for each composition. A model whose inputs have a
    fixed size sees each photo smaller than it is used to: use photos that it still recognises.

    Args:
        photos: ``[N, H, W, C]``, as a channels-last model takes them.
        targets: the classes of the photos, ``[N]``.
        cells: how many photos are along each side of the grid.
        seed: draws the photos and their cells.

    Yields:
        `Case`: the composition ``[H, W, C]``, the class to explain, and where it is, a mask
        ``[H, W]``. Where `cells` does not divide the side of a photo, cells differ by a pixel.

    Raises:
        ValueError: there are not enough classes for a grid in which no two are the same.

    Example:
        >>> photos = np.arange(4.0)[:, None, None, None] + np.zeros((4, 4, 4, 1))
        >>> case = next(iter(Compositions(photos, [7, 8, 9, 10], seed=1)))
        >>> case.target, case.inputs[..., 0].round()
        (7, array([[3., 3., 0., 0.],
                   [3., 3., 0., 0.],
                   [2., 2., 1., 1.],
                   [2., 2., 1., 1.]]))
        >>> case.region.astype(int)
        array([[0, 0, 1, 1],
               [0, 0, 1, 1],
               [0, 0, 0, 0],
               [0, 0, 0, 0]])
    """

    photos: np.ndarray
    targets: Sequence[int]
    cells: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        side = checks.positive_integer("cells", self.cells, least=2)
        if np.ndim(self.photos) != 4 or len(self.photos) != len(self.targets):
            raise ValueError(
                f"photos has shape {list(np.shape(self.photos))} for {len(self.targets)} targets: "
                "expected [N, H, W, C]"
            )
        expect_channels_last("photos", np.asarray(self.photos))
        if len(set(self.targets)) < side**2:
            raise ValueError(
                f"targets: {len(set(self.targets))} classes, but a grid of {side} x {side} needs "
                f"{side**2} different ones"
            )

    def __len__(self) -> int:
        return len(self.photos)

    def __iter__(self) -> Iterator[Case]:
        """Give a composition for each photo."""
        height, width = self.photos.shape[1:3]
        rows = np.linspace(0, height, self.cells + 1).astype(int)
        columns = np.linspace(0, width, self.cells + 1).astype(int)
        for i, target in enumerate(self.targets):
            random = np.random.default_rng([self.seed, i])
            grid = self._grid(i, random)
            image = np.empty_like(self.photos[0])
            region = np.zeros((height, width), bool)
            for cell, photo in enumerate(grid):
                row, column = divmod(cell, self.cells)
                part = np.s_[rows[row] : rows[row + 1], columns[column] : columns[column + 1]]
                image[part] = downsampled(self.photos[photo], image[part].shape[:2])
                region[part] = photo == i
            yield Case(f"composition {i}", image, int(target), region)

    def _grid(self, i: int, random: np.random.Generator) -> np.ndarray:
        """Choose photos of other classes to go with a photo; give the photo of each cell."""
        chosen = [i]
        for j in random.permutation(len(self.targets)):
            if self.targets[j] not in {self.targets[c] for c in chosen}:
                chosen.append(int(j))
            if len(chosen) == self.cells**2:
                break
        return random.permutation(chosen)


def downsampled(photo: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Make a photo ``[H, W, C]`` smaller by averaging the pixels that fall together."""
    return tf.image.resize(photo, size, method="area").numpy()
