"""A folder of shards, each a Parquet file that is whole or not there.

``settings.json`` says what the shards are of, ``part-000012.parquet`` is one of them. A worker
writes into a hidden file, ``.part-000012.0``, and renames it. Such a file that is still there was
left by a process that died, and counts how often that has happened.
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
from tfxai.scale.table import Row, as_rows, as_table
from tfxai.scale.units import Shard

ATTEMPTS = 3
"""How many workers may die over a shard before it is given up."""
_SETTINGS = "settings.json"


class GivenUpError(RuntimeError):
    """A shard at which workers have died before."""


def begin(out: Path, settings: dict[str, Any]) -> None:
    """Note what the shards are of, or check that they are of this; drop what is half-written.

    Raises:
        ValueError: the folder has something else.
    """
    path = out / _SETTINGS
    settings = json.loads(json.dumps(settings))
    if path.exists():
        before = settings_of(out)
        for name, value in settings.items():
            if before.get(name) != value:
                raise ValueError(
                    f"out={str(out)!r} was begun with {name}={before.get(name)!r}, not {value!r}: "
                    "use another folder, or delete this one"
                )
    else:
        strangers = [p.name for p in out.iterdir() if not p.name.startswith(".")]
        if strangers:
            raise ValueError(f"out={str(out)!r} has other files, such as {strangers[0]}")
        write_whole(path, json.dumps(settings, indent=1).encode())
    drop_attempts(out)


def settings_of(out: Path) -> dict[str, Any]:
    """Read what the shards are of.

    Raises:
        ValueError: the folder has none.
    """
    try:
        return json.loads((out / _SETTINGS).read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(f"{out} has no explanations of a dataset") from error


def drop_attempts(out: Path) -> None:
    """Delete what workers that died have left."""
    for path in out.glob(".part-*"):
        path.unlink()


def path_of(out: Path, number: int) -> Path:
    """Give the file of a shard."""
    return out / f"part-{number:06d}.parquet"


def missing(out: Path, shards: Sequence[Shard]) -> list[Shard]:
    """Give the shards that are not written yet.

    Raises:
        ValueError: one is written, but damaged.
    """
    left = []
    for shard in shards:
        path = path_of(out, shard.number)
        if not path.exists():
            left.append(shard)
        elif _rows_in(path) != len(shard.targets):
            raise ValueError(f"{path} is damaged; delete it, and it is written again")
    return left


@contextmanager
def writing(out: Path, number: int, schema: pa.Schema) -> Iterator[Any]:
    """Open a shard; what is written to it (`write` below) is there as a whole at the end.

    Raises:
        GivenUpError: workers have died over it `ATTEMPTS` times.
    """
    path = _attempt(out, number)
    try:
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            yield writer
        with path.open("r+b") as file:
            os.fsync(file.fileno())
        path.replace(path_of(out, number))
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def write(writer: pq.ParquetWriter, rows: Sequence[Row]) -> None:
    """Add rows to an open shard."""
    writer.write_table(as_table(rows, writer.schema))


def read(out: str | PathLike[str]) -> Iterator[Row]:
    """Read all explanations of a dataset, one at a time, in the order of the images.

    Args:
        out: a folder that `explain_dataset` has finished.

    Yields:
        For each image its ``path`` and ``row``, and either an ``error`` (the rest is None) or its
        ``target``, ``score``, the method's numbers and ``attributions``, arrays in float32 also
        where they are stored in float16.

    Raises:
        ValueError: the folder has no explanations, or is not finished.

    Example:
        >>> next(read("nowhere"))
        Traceback (most recent call last):
        ValueError: nowhere has no explanations of a dataset
    """
    folder = Path(out)
    count = settings_of(folder)["shards"]
    parts = [path_of(folder, number) for number in range(count)]
    absent = sum(not part.exists() for part in parts)
    if absent:
        raise ValueError(
            f"{out}: {absent} of {count} shards are not there; call explain_dataset again"
        )
    for part in parts:
        with pq.ParquetFile(part, pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size=16):
                yield from as_rows(pa.Table.from_batches([batch]))


def errors(out: Path, number: int) -> int:
    """Count the images of a shard that have an error instead of an explanation."""
    column = pq.read_table(path_of(out, number), columns=["error"])["error"]
    return len(column) - column.null_count


def _attempt(out: Path, number: int) -> Path:
    for attempt in range(ATTEMPTS):
        path = out / f".part-{number:06d}.{attempt}"
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            continue
        return path
    raise GivenUpError(f"{ATTEMPTS} workers have died")


def _rows_in(path: Path) -> int:
    try:
        return pq.read_metadata(path).num_rows
    except (OSError, pa.ArrowException):
        return -1
