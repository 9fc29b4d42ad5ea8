"""The images of a dataset: found, cut into shards, and read one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from tfxai.scale import parquet_rows
from tfxai.scale.units import Group, Image, Shard

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".jxl", ".png", ".webp")
"""Of the image files that TensorFlow decodes."""
PARQUET = ".parquet"

Images = str | PathLike[str] | Sequence[str | PathLike[str]]
"""A folder, a file, or a list of files."""


def find(images: Images) -> list[Group]:
    """List all images, in the order of their files' names or as they are given.

    Raises:
        ValueError: nothing is found, or images and Parquet files are mixed.
        OSError: a Parquet file cannot be read.
    """
    files = _files(images)
    kinds = {file.endswith(PARQUET) for file in files}
    if len(kinds) != 1:
        found = "both image and Parquet files" if kinds else "no image and no Parquet file"
        raise ValueError(f"images={_shortened(images)}: {found} ({', '.join(ENDINGS)}, {PARQUET})")
    if kinds == {False}:
        return [Group(file, -1, 0, 1) for file in files]
    groups = [group for file in files for group in parquet_rows.groups(file)]
    if not groups:
        raise ValueError(f"images={_shortened(images)}: no rows")
    return groups


def cut(groups: Sequence[Group], targets: np.ndarray, size: int) -> list[Shard]:
    """Cut images into shards of at most `size`; one of Parquet stays within a row group."""
    found: list[Shard] = []
    if groups[0].number < 0:
        for start in range(0, len(groups), size):
            part = slice(start, start + size)
            files = [group.file for group in groups[part]]
            found.append(Shard(len(found), files, -1, 0, 0, targets[part].tolist()))
        return found
    before = 0
    for file, number, first, rows in groups:
        for skip in range(0, rows, size):
            chosen = targets[before + skip : before + min(skip + size, rows)].tolist()
            found.append(Shard(len(found), [file], number, first, skip, chosen))
        before += rows
    return found


def read(shard: Shard, root: Path, columns: Sequence[str]) -> Iterator[Image]:
    """Read a shard; an image that cannot be read has an error instead of a content.

    Args:
        shard: what to read.
        root: what its files are relative to.
        columns: of Parquet, the images' and, if there is one, the targets'.
    """
    if shard.group < 0:
        for file, target in zip(shard.files, shard.targets, strict=True):
            try:
                yield Image(file, 0, target, (root / file).read_bytes())
            except OSError as error:
                yield Image(file, 0, target, None, error.strerror)
    else:
        yield from parquet_rows.read(shard, root, columns)


def _files(images: Images) -> list[str]:
    if not isinstance(images, str | PathLike):
        return [str(file) for file in images]
    path = Path(images)
    if not path.exists():
        raise ValueError(f"images={str(images)!r}: there is no such folder or file")
    if path.is_file():
        return [str(path)]
    endings = (*ENDINGS, PARQUET)
    return sorted(
        str(file)
        for file in path.rglob("*")
        if file.suffix.lower() in endings and not file.name.startswith(".")
    )


def _shortened(images: Any) -> str:
    text = repr(str(images) if isinstance(images, str | PathLike) else list(images))
    return text if len(text) <= 80 else f"{text[:77]}..."
