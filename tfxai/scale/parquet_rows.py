"""Images in Parquet files: encoded, or as arrays of numbers, streamed row by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tfxai.scale.units import Group, Image, Shard

ENCODED, ARRAYS = "encoded images", "arrays of numbers"


def groups(file: str) -> Iterator[Group]:
    """List the row groups of a file, but for empty ones.

    Raises:
        OSError: it cannot be read.
    """
    try:
        layout = pq.read_metadata(file)
    except pa.ArrowInvalid as error:
        raise OSError(f"{file} is no Parquet file: {error}") from error
    first = 0
    for number in range(layout.num_row_groups):
        rows = layout.row_group(number).num_rows
        if rows:
            yield Group(file, number, first, rows)
        first += rows


def check_columns(groups: Sequence[Group], columns: Sequence[str], kind: str) -> None:
    """Raise a ValueError for Parquet without the columns, or with others than are wanted.

    Args:
        groups: of Parquet files.
        columns: the images' and, if there is one, the targets'.
        kind: what the model takes, "bytes", "uint8" (encoded images or arrays) or "tensor".
    """
    wanted = {"bytes": [ENCODED], "uint8": [ENCODED, ARRAYS], "tensor": [ARRAYS]}[kind]
    for file in dict.fromkeys(group.file for group in groups):
        schema = pq.read_schema(file)
        for column in columns:
            if column not in schema.names:
                raise ValueError(
                    f"{file} has no column {column!r}; it has {', '.join(schema.names)}"
                )
        types = [schema.field(column).type for column in columns]
        if _holds(types[0]) not in wanted:
            raise ValueError(
                f"the model takes {' or '.join(wanted)}, the column {columns[0]!r} of {file} is "
                f"{types[0]}"
            )
        if len(types) > 1 and not pa.types.is_integer(types[1]):
            raise ValueError(f"target_column={columns[1]!r} is no column of integers: {types[1]}")


def read(shard: Shard, root: Path, columns: Sequence[str]) -> Iterator[Image]:
    """Read a shard, as `images.read`."""
    first = shard.first + shard.skip
    rows = _rows(root / shard.files[0], shard, columns)
    for i, (cells, target) in enumerate(zip(rows, shard.targets, strict=False)):
        content = content_of(cells[0])
        chosen = cells[1].as_py() if len(cells) > 1 else target
        empty = [c for c, v in zip(columns, (content, chosen), strict=False) if v is None]
        problem = f"nothing in the column {empty[0]!r}" if empty else None
        kept = None if empty else content
        yield Image(shard.files[0], first + i, -1 if empty else int(chosen), kept, problem)


def content_of(cell: pa.Scalar) -> bytes | np.ndarray | None:
    """Give an encoded image (also in a struct with ``bytes``), or the flat numbers of an array."""
    if isinstance(cell, pa.StructScalar):
        cell = cell["bytes"]
    if isinstance(cell, pa.ExtensionScalar):
        cell = cell.value
    if cell is None or not cell.is_valid:
        return None
    if not hasattr(cell, "values"):
        return cell.as_py()
    values = cell.values
    while hasattr(values, "flatten") and pa.types.is_nested(values.type):
        values = values.flatten()
    return values.to_numpy(zero_copy_only=False)


def _holds(kind: pa.DataType) -> str | None:
    stored = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    if pa.types.is_struct(stored):
        return ENCODED if stored.get_field_index("bytes") >= 0 else None
    if pa.types.is_binary(stored) or pa.types.is_large_binary(stored):
        return ENCODED
    return ARRAYS if pa.types.is_nested(stored) else None


def _rows(path: Path, shard: Shard, columns: Sequence[str]) -> Iterator[list[pa.Scalar]]:
    """Stream the rows of a shard; those before it in the group are skipped, never kept."""
    skip = shard.skip
    with pq.ParquetFile(path, pre_buffer=False) as file:
        for part in file.iter_batches(16, row_groups=[shard.group], columns=list(columns)):
            for i in range(min(skip, len(part)), len(part)):
                yield [part[name][i] for name in columns]
            skip -= min(skip, len(part))
