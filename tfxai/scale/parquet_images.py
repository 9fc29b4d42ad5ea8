"""Images in Parquet files, encoded or as arrays of numbers, streamed row by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tfxai.scale.types import Group, Image, Shard

ENCODED, ARRAYS = "encoded images", "arrays of numbers"
READ_AT_ONCE = 16
"""How many rows are held in memory."""


def groups(file: str) -> Iterator[Group]:
    """List the row groups of a file that are not empty.

    Raises:
        OSError: the file is no Parquet file, or cannot be read.
    """
    try:
        metadata = pq.read_metadata(file)
    except pa.ArrowInvalid as error:
        raise OSError(f"{file} is no Parquet file: {error}") from error
    first = 0
    for number in range(metadata.num_row_groups):
        rows = metadata.row_group(number).num_rows
        if rows:
            yield Group(file, number, first, rows)
        first += rows


def check_columns(groups: Sequence[Group], columns: Sequence[str], input_kind: str) -> None:
    """Check that Parquet files have the columns, of types that the model takes.

    Args:
        groups: row groups of Parquet files.
        columns: the column of images, then the column of targets if there is one.
        input_kind: the inputs of the model: "bytes" (encoded images), "uint8" (encoded images or
            arrays) or "tensor" (arrays).

    Raises:
        ValueError: a column is missing, or of another type.
    """
    accepted = {"bytes": [ENCODED], "uint8": [ENCODED, ARRAYS], "tensor": [ARRAYS]}[input_kind]
    for file in dict.fromkeys(group.file for group in groups):
        schema = pq.read_schema(file)
        for column in columns:
            if column not in schema.names:
                raise ValueError(
                    f"{file} has no column {column!r}; it has {', '.join(schema.names)}"
                )
        types = [schema.field(column).type for column in columns]
        if _content_kind(types[0]) not in accepted:
            raise ValueError(
                f"the model takes {' or '.join(accepted)}, the column {columns[0]!r} of {file} is "
                f"{types[0]}"
            )
        if len(types) > 1 and not pa.types.is_integer(types[1]):
            raise ValueError(f"target_column={columns[1]!r} is no column of integers: {types[1]}")


def read(shard: Shard, root: Path, columns: Sequence[str]) -> Iterator[Image]:
    """Read a shard of a Parquet file, as `images.read` does."""
    first = shard.first + shard.skip
    rows = _rows(root / shard.files[0], shard, columns)
    for i, (cells, listed) in enumerate(zip(rows, shard.targets, strict=False)):
        content = content_of(cells[0])
        target = cells[1].as_py() if len(cells) > 1 else listed
        empty = [c for c, v in zip(columns, (content, target), strict=False) if v is None]
        if empty:
            error = f"nothing in the column {empty[0]!r}"
            yield Image(shard.files[0], first + i, -1, None, error)
        else:
            yield Image(shard.files[0], first + i, int(target), content)


def content_of(cell: pa.Scalar) -> bytes | np.ndarray | None:
    """Give the encoded image in a cell, or the numbers of its array, flat; None for null.

    An encoded image may be the field ``bytes`` of a struct, as in Hugging Face's datasets.
    """
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


def _content_kind(column_type: pa.DataType) -> str | None:
    """Say whether a column of this type holds encoded images, arrays or neither."""
    is_extension = isinstance(column_type, pa.BaseExtensionType)
    storage = column_type.storage_type if is_extension else column_type
    if pa.types.is_struct(storage):
        return ENCODED if storage.get_field_index("bytes") >= 0 else None
    if pa.types.is_binary(storage) or pa.types.is_large_binary(storage):
        return ENCODED
    return ARRAYS if pa.types.is_nested(storage) else None


def _rows(path: Path, shard: Shard, columns: Sequence[str]) -> Iterator[list[pa.Scalar]]:
    """Stream a row group from the shard's first row on; rows before it are read and dropped."""
    skip = shard.skip
    with pq.ParquetFile(path, pre_buffer=False) as file:
        batches = file.iter_batches(READ_AT_ONCE, row_groups=[shard.group], columns=list(columns))
        for batch in batches:
            for i in range(min(skip, len(batch)), len(batch)):
                yield [batch[name][i] for name in columns]
            skip -= min(skip, len(batch))
