"""What a dataset consists of."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Group(NamedTuple):
    """Rows of one file that are read together: a row group of Parquet, or an image."""

    file: str
    number: int
    """Of the row group; -1 for an image."""
    first: int
    """The file's row that it begins with."""
    rows: int


class Shard(NamedTuple):
    """One unit of work: what a worker reads, explains and writes as one file."""

    number: int
    files: list[str]
    """The image files; or one Parquet file."""
    group: int
    """Its row group; -1 for image files."""
    first: int
    """The row of the file that the group begins with."""
    skip: int
    """Rows of the group before those of this shard."""
    targets: list[int]
    """For each image."""


class Image(NamedTuple):
    """One image as it is read."""

    path: str
    row: int
    target: int
    content: bytes | np.ndarray | None
    error: str | None = None
    """Why there is no content, or no target."""
