"""A folder of shards, each of which is a complete Parquet file or missing.

``settings.json`` holds the settings that all shards share, and ``part-000012.parquet`` is shard 12.
A worker writes a shard into a hidden file, ``.part-000012.0``, and renames it when it is complete.
A hidden file that is still there was left by a worker that died; the hidden files of a shard count
how often this has happened.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tfxai.core.folders import write_whole
from tfxai.scale.arrow_table import Row, to_rows, to_table
from tfxai.scale.types import Shard

ATTEMPTS = 3
"""How many workers may die over a shard before it is given up."""
READ_AT_ONCE = 16
"""How many rows `read` holds in memory."""
_SETTINGS_FILE = "settings.json"


class GivenUpError(RuntimeError):
    """A shard over which `ATTEMPTS` workers have died."""


def begin_or_resume(out: Path, settings: dict[str, Any]) -> None:
    """Write the settings into a new folder, or check that they are those of an old one.

    What dead workers have left is deleted.

    Raises:
        ValueError: the folder has other settings, or other files.
    """
    path = out / _SETTINGS_FILE
    settings = json.loads(json.dumps(settings))
    if path.exists():
        before = read_settings(out)
        for name, value in settings.items():
            if before.get(name) != value:
                raise ValueError(
                    f"out={str(out)!r} was begun with {name}={before.get(name)!r}, not {value!r}: "
                    "use another folder, or delete this one"
                )
    else:
        others = [p.name for p in out.iterdir() if not p.name.startswith(".")]
        if others:
            raise ValueError(f"out={str(out)!r} has other files, such as {others[0]}")
        write_whole(path, json.dumps(settings, indent=1).encode())
    delete_attempts(out)


def read_settings(out: Path) -> dict[str, Any]:
    """Read the settings that all shards share.

    Raises:
        ValueError: the folder has none.
    """
    try:
        return json.loads((out / _SETTINGS_FILE).read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(f"{out} has no explanations of a dataset") from error


def delete_attempts(out: Path) -> None:
    """Delete what workers that died have left."""
    for path in out.glob(".part-*"):
        path.unlink()


def shard_path(out: Path, number: int) -> Path:
    """Give the file of a shard."""
    return out / f"part-{number:06d}.parquet"


def missing_shards(out: Path, shards: Sequence[Shard]) -> list[Shard]:
    """Give the shards that are not written yet.

    Raises:
        ValueError: a shard is written, but damaged.
    """
    missing = []
    for shard in shards:
        path = shard_path(out, shard.number)
        if not path.exists():
            missing.append(shard)
        elif _row_count(path) != len(shard.targets):
            raise ValueError(f"{path} is damaged; delete it, and it is written again")
    return missing


@contextmanager
def open_shard(out: Path, number: int, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """Open a shard for `write_rows`; its file appears, complete, when the block ends.

    Raises:
        GivenUpError: `ATTEMPTS` workers have died over the shard.
    """
    path = _new_attempt(out, number)
    try:
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            yield writer
        with path.open("r+b") as file:
            os.fsync(file.fileno())
        path.replace(shard_path(out, number))
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def write_rows(writer: pq.ParquetWriter, rows: Sequence[Row]) -> None:
    """Add rows to an open shard."""
    writer.write_table(to_table(rows, writer.schema))


def read(out: str | PathLike[str]) -> Iterator[Row]:
    """Read all explanations of a dataset, one at a time, in the order of the images.

    Args:
        out: a folder that `explain_dataset` has finished.

    Yields:
        For each image a dict with its ``path``, its ``row`` in a Parquet file, and either an
        ``error`` (all other values are None) or its ``target``, ``score``, the method's
        diagnostics and ``attributions``. Arrays are in float32 even where they are stored in
        float16.

    Raises:
        ValueError: the folder has no explanations, or is not finished.

    Example:
        >>> next(read("nowhere"))
        Traceback (most recent call last):
        ValueError: nowhere has no explanations of a dataset
    """
    folder = Path(out)
    count = read_settings(folder)["shards"]
    paths = [shard_path(folder, number) for number in range(count)]
    absent = sum(not path.exists() for path in paths)
    if absent:
        raise ValueError(
            f"{out}: {absent} of {count} shards are not there; call explain_dataset again"
        )
    for path in paths:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size=READ_AT_ONCE):
                yield from to_rows(pa.Table.from_batches([batch]))


def count_errors(out: Path, number: int) -> int:
    """Count the images of a shard that have an error instead of an explanation."""
    errors = pq.read_table(shard_path(out, number), columns=["error"])["error"]
    return len(errors) - errors.null_count


def _new_attempt(out: Path, number: int) -> Path:
    """Make the hidden file that a worker writes a shard into."""
    for attempt in range(ATTEMPTS):
        path = out / f".part-{number:06d}.{attempt}"
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            continue
        return path
    raise GivenUpError(f"{ATTEMPTS} workers have died")


def _row_count(path: Path) -> int:
    try:
        return pq.read_metadata(path).num_rows
    except (OSError, pa.ArrowException):
        return -1
