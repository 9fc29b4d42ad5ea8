"""The parts of a dataset: images, the groups they are stored in, and the shards they are cut into.

Everywhere, the number of a row group is -1 for image files, and a target is -1 for the predicted
class.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Group(NamedTuple):
    """The rows of a file that are stored together: a row group of Parquet, or one image file."""

    file: str
    number: int
    """The number of the row group; -1 for an image file."""
    first: int
    """The index, in the file, of the group's first row."""
    rows: int
    """How many rows the group has."""


class Shard(NamedTuple):
    """A unit of work: the images that a worker reads, explains and writes into one file."""

    number: int
    """The shard's place among all shards of the dataset."""
    files: list[str]
    """Several image files, or one Parquet file."""
    group: int
    """The number of the row group; -1 for image files."""
    first: int
    """The index, in the file, of the group's first row."""
    skip: int
    """How many rows of the group come before this shard's."""
    targets: list[int]
    """The class to explain for each image of the shard; -1 for the predicted class."""


class Image(NamedTuple):
    """One image, or the reason why it cannot be read."""

    path: str
    row: int
    """The index in a Parquet file; 0 for an image file."""
    target: int
    content: bytes | np.ndarray | None
    """An encoded image, or the numbers of one."""
    error: str | None = None
    """Why the content or the target is missing."""
