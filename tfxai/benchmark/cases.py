"""What a benchmark runs over: images, one by one, in an order that never changes."""

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
"""What a function that reads images raises for a damaged or refused file."""


class Case(NamedTuple):
    """One image with the class to explain, as the model takes it."""

    name: str
    inputs: np.ndarray
    """``[H, W, C]``."""
    target: int | None = None
    """The class to explain; None for the predicted one."""
    region: np.ndarray | None = None
    """Where the class is in the image, a mask ``[H, W]``."""


class Broken(NamedTuple):
    """An image that cannot be read."""

    name: str
    reason: str


@dataclass(frozen=True)
class Photos:
    """Image files as cases; each is read when its turn comes.

    Args:
        files: the image files.
        read: maps a file to the model's input ``[H, W, C]``. A file for which it raises an OSError
            or a ValueError becomes a `Broken`.
        targets: file name -> class; None explains the predicted classes.
        regions: maps a file to a mask ``[H, W]`` of the size of the input.
    """

    files: Sequence[Path]
    read: Callable[[Path], np.ndarray]
    targets: Mapping[str, int] | None = None
    regions: Callable[[Path], np.ndarray] | None = None

    def __iter__(self) -> Iterator[Case | Broken]:
        """Read one file after the other."""
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
    """Several cases together."""

    number: int
    """The place of the batch in the run, from 0."""
    names: list[str]
    inputs: np.ndarray
    """``[B, H, W, C]`` in the order of the model's inputs; ``[0]`` if all images are broken."""
    targets: list[int | None]
    regions: np.ndarray | None
    """``[B, H, W]``."""
    broken: list[Broken]
    """The images that cannot be read; they are not among the B cases."""


def batches(images: Any, targets: Any, regions: Any, size: int) -> Iterator[Batch]:
    """Give the images of a run in batches of `size`; the last batch may be smaller.

    Broken images count, so that a file that is mended changes no other batch.

    Args:
        images: as in `run`.
        targets: as in `run`.
        regions: as in `run`.
        size: how many images a batch has.
    """
    cases = iter(_cases(images, targets, regions))
    number = 0
    while part := list(islice(cases, size)):
        readable = [c for c in part if isinstance(c, Case)]
        masks = [c.region for c in readable if c.region is not None]
        if masks and len(masks) < len(readable):
            raise ValueError("regions: some images have one and others have none")
        yield Batch(
            number,
            [c.name for c in readable],
            _stacked(readable),
            [c.target for c in readable],
            np.stack(masks) if masks else None,
            [c for c in part if isinstance(c, Broken)],
        )
        number += 1


def count(images: Any) -> int | None:
    """Give the number of images, or None where it is not known in advance."""
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
        return _dataset_cases(images)
    if isinstance(images, np.ndarray) or tf.is_tensor(images):
        return _array_cases(np.asarray(images), targets, regions)
    if targets is not None or regions is not None:
        raise ValueError("targets and regions are for arrays; a Case has its own")
    return images


def _array_cases(images: np.ndarray, targets: Any, regions: Any) -> Iterator[Case]:
    if images.ndim != 4 or len(images) == 0:
        raise ValueError(f"images has shape {list(images.shape)}: expected [N, H, W, C]")
    classes = None if targets is None else checks.targets(targets, len(images), None, None)
    if regions is not None and len(regions) != len(images):
        raise ValueError(f"regions: {len(regions)} for {len(images)} images")
    for i, image in enumerate(images):
        target = None if classes is None else int(classes[i])
        yield Case(str(i), image, target, None if regions is None else np.asarray(regions[i]))


def _dataset_cases(dataset: tf.data.Dataset) -> Iterator[Case]:
    number = 0
    for element in dataset.as_numpy_iterator():
        images, *labels = element if isinstance(element, tuple) else (element,)
        if images.ndim != 4 or len(labels) > 2:
            raise ValueError(
                "images: expected a dataset of batches of images [b, H, W, C], alone or with "
                "targets [b] and regions [b, H, W]"
            )
        for i, image in enumerate(images):
            region = labels[1][i] if len(labels) == 2 else None
            yield Case(str(number), image, int(labels[0][i]) if labels else None, region)
            number += 1


def _stacked(cases: Sequence[Case]) -> np.ndarray:
    """Stack the inputs of cases, ``[B, H, W, C]``; they must have the same shape."""
    shapes = {np.shape(c.inputs) for c in cases}
    if len(shapes) > 1:
        raise ValueError(f"images: all need the same shape, got {sorted(map(list, shapes))}")
    return np.stack([c.inputs for c in cases]) if cases else np.zeros([0])
