"""The images of a dataset: found, cut into shards, and read one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from tfxai.scale import parquet_images
from tfxai.scale.types import Group, Image, Shard

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".jxl", ".png", ".webp")
"""The suffixes of image files that TensorFlow decodes."""
PARQUET_SUFFIX = ".parquet"

Images = str | PathLike[str] | Sequence[str | PathLike[str]]
"""A folder, a file, or a list of files."""


def find(images: Images) -> list[Group]:
    """List the groups of all images; those in a folder in the order of their paths.

    Raises:
        ValueError: there are no images, or both image files and Parquet files.
        OSError: a Parquet file cannot be read.
    """
    files = _files(images)
    kinds = {file.endswith(PARQUET_SUFFIX) for file in files}
    if len(kinds) != 1:
        problem = "both image and Parquet files" if kinds else "no image and no Parquet file"
        suffixes = ", ".join((*IMAGE_SUFFIXES, PARQUET_SUFFIX))
        raise ValueError(f"images={_shortened(images)}: {problem} ({suffixes})")
    if kinds == {False}:
        return [Group(file, -1, 0, 1) for file in files]
    groups = [group for file in files for group in parquet_images.groups(file)]
    if not groups:
        raise ValueError(f"images={_shortened(images)}: no rows")
    return groups


def into_shards(groups: Sequence[Group], targets: np.ndarray, size: int) -> list[Shard]:
    """Cut images into shards.

    Args:
        groups: all groups of the dataset, either image files or row groups of Parquet.
        targets: the class to explain for each image; -1 for the predicted class.
        size: the largest number of images in a shard. A shard of Parquet stays within a row group.
    """
    if groups[0].number < 0:
        return _shards_of_files([group.file for group in groups], targets, size)
    shards: list[Shard] = []
    before = 0
    for file, number, first, rows in groups:
        for skip in range(0, rows, size):
            part = targets[before + skip : before + min(skip + size, rows)].tolist()
            shards.append(Shard(len(shards), [file], number, first, skip, part))
        before += rows
    return shards


def read(shard: Shard, root: Path, columns: Sequence[str]) -> Iterator[Image]:
    """Read a shard; an image that cannot be read has an error in place of its content.

    Args:
        shard: the shard.
        root: the folder that the paths of its files are relative to.
        columns: the Parquet column of images, then the column of targets if there is one.
    """
    if shard.group >= 0:
        yield from parquet_images.read(shard, root, columns)
        return
    for file, target in zip(shard.files, shard.targets, strict=True):
        try:
            yield Image(file, 0, target, (root / file).read_bytes())
        except OSError as error:
            yield Image(file, 0, target, None, error.strerror)


def _shards_of_files(files: Sequence[str], targets: np.ndarray, size: int) -> list[Shard]:
    starts = range(0, len(files), size)
    return [
        Shard(number, list(files[i : i + size]), -1, 0, 0, targets[i : i + size].tolist())
        for number, i in enumerate(starts)
    ]


def _files(images: Images) -> list[str]:
    if not isinstance(images, str | PathLike):
        return [str(file) for file in images]
    path = Path(images)
    if not path.exists():
        raise ValueError(f"images={str(images)!r}: there is no such folder or file")
    if path.is_file():
        return [str(path)]
    suffixes = (*IMAGE_SUFFIXES, PARQUET_SUFFIX)
    return sorted(
        str(file)
        for file in path.rglob("*")
        if file.suffix.lower() in suffixes and not file.name.startswith(".")
    )


def _shortened(images: Any) -> str:
    text = repr(str(images) if isinstance(images, str | PathLike) else list(images))
    return text if len(text) <= 80 else f"{text[:77]}..."
