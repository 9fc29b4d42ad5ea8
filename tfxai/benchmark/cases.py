"""What a benchmark runs over: images one by one, in an order that never changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

from tfxai.core import checks

UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
"""What Pillow raises on damaged or refused files."""


class Case(NamedTuple):
    """One image, as the model takes it."""

    name: str
    inputs: np.ndarray
    """``[H, W, C]``."""
    target: int | None = None
    """The class to explain; None for the predicted one."""
    region: np.ndarray | None = None
    """Where that class is, a mask ``[H, W]``."""


class Broken(NamedTuple):
    """An image that cannot be read."""

    name: str
    reason: str


@dataclass(frozen=True)
class Photos:
    """Image files as cases, read when their turn comes.

    Args:
        files: the images.
        read: a file -> the model's input ``[H, W, C]``.
        targets: classes by file name; none for the predicted ones.
        regions: a file -> a mask ``[H, W]``, of the size of `read`'s.
    """

    files: Sequence[Path]
    read: Callable[[Path], np.ndarray]
    targets: Mapping[str, int] | None = None
    regions: Callable[[Path], np.ndarray] | None = None

    def __iter__(self) -> Iterator[Case | Broken]:
        """Read one after the other."""
        for file in self.files:
            try:
                region = None if self.regions is None else self.regions(file)
                target = None if self.targets is None else self.targets[file.name]
                yield Case(str(file), self.read(file), target, region)
            except UNREADABLE as error:
                yield Broken(str(file), " ".join(str(error).split()))

    def __len__(self) -> int:
        return len(self.files)


class Batch(NamedTuple):
    """Some cases, together."""

    number: int
    names: list[str]
    inputs: np.ndarray
    targets: list[int | None]
    regions: np.ndarray | None
    broken: list[Broken]


def batches(images: Any, targets: Any, regions: Any, size: int) -> Iterator[Batch]:
    """Give the images of a run in batches of up to `size`, the last one smaller.

    Broken ones count, so that a file that is mended changes no other batch.
    """
    cases = iter(_cases(images, targets, regions))
    number = 0
    while part := list(islice(cases, size)):
        good = [c for c in part if isinstance(c, Case)]
        masks = [c.region for c in good if c.region is not None]
        if masks and len(masks) < len(good):
            raise ValueError("regions: some images have one and others have none")
        yield Batch(
            number,
            [c.name for c in good],
            _stacked(good),
            [c.target for c in good],
            np.stack(masks) if masks else None,
            [c for c in part if isinstance(c, Broken)],
        )
        number += 1


def count(images: Any) -> int | None:
    """Give how many images there are, None where that is not known before."""
    if isinstance(images, tf.data.Dataset):
        return None
    return len(images) if hasattr(images, "__len__") else None


def _cases(images: Any, targets: Any, regions: Any) -> Iterable[Case | Broken]:
    if isinstance(images, tf.data.Dataset):
        if targets is not None or regions is not None:
            raise ValueError(
                "targets and regions are for arrays; let the dataset give (images, targets) or "
                "(images, targets, regions)"
            )
        return _of_dataset(images)
    if isinstance(images, np.ndarray) or tf.is_tensor(images):
        return _of_arrays(np.asarray(images), targets, regions)
    if targets is not None or regions is not None:
        raise ValueError("targets and regions are for arrays; a Case has its own")
    return images


def _of_arrays(images: np.ndarray, targets: Any, regions: Any) -> Iterator[Case]:
    if images.ndim != 4 or len(images) == 0:
        raise ValueError(f"images has shape {list(images.shape)}: expected [N, H, W, C]")
    chosen = None if targets is None else checks.targets(targets, len(images), None, None)
    if regions is not None and len(regions) != len(images):
        raise ValueError(f"regions: {len(regions)} for {len(images)} images")
    for i, image in enumerate(images):
        target = None if chosen is None else int(chosen[i])
        yield Case(str(i), image, target, None if regions is None else np.asarray(regions[i]))


def _of_dataset(dataset: tf.data.Dataset) -> Iterator[Case]:
    number = 0
    for element in dataset.as_numpy_iterator():
        images, *more = element if isinstance(element, tuple) else (element,)
        if images.ndim != 4 or len(more) > 2:
            raise ValueError(
                "images: expected a dataset of batches of images [b, H, W, C], alone or with "
                "targets [b] and regions [b, H, W]"
            )
        for i, image in enumerate(images):
            region = more[1][i] if len(more) == 2 else None
            yield Case(str(number), image, int(more[0][i]) if more else None, region)
            number += 1


def _stacked(cases: Sequence[Case]) -> np.ndarray:
    shapes = {np.shape(c.inputs) for c in cases}
    if len(shapes) > 1:
        raise ValueError(f"images: all need the same shape, got {sorted(map(list, shapes))}")
    return np.stack([c.inputs for c in cases]) if cases else np.zeros([0])
