"""The table that a dataset's explanations are written as: its columns, and rows as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

DTYPES = ("float32", "float16")
ATTRIBUTIONS = "attributions"

Row = dict[str, Any]
"""Column -> value. What is missing is null."""


def columns(outputs: Mapping[str, tuple], also: Sequence[str], dtype: str) -> pa.Schema:
    """Give the columns for what a signature gives, by name: (shape, type).

    Numbers of an image are always kept, arrays of numbers only the attributions and those in
    `also`.
    """
    fields = [("path", pa.string()), ("row", pa.int64()), ("error", pa.string())]
    fields += [("target", pa.int32()), ("score", pa.type_for_alias(outputs["scores"][1]))]
    for name, (shape, kind) in outputs.items():
        if name in ("scores", "targets"):
            continue
        if len(shape) == 1:
            fields.append((name, pa.type_for_alias(kind)))
        elif name == ATTRIBUTIONS or name in also:
            half = dtype == "float16"
            value = pa.float16() if half else pa.type_for_alias(kind)
            fields.append((name, pa.fixed_shape_tensor(value, shape[1:])))
            if half:
                fields.append((scale_of(name), pa.float32()))
    return pa.schema(fields)


def arrays(outputs: Mapping[str, tuple]) -> list[str]:
    """Give the outputs that are arrays for each image, beside the attributions."""
    return [name for name, (shape, _) in outputs.items() if len(shape) > 1 and name != ATTRIBUTIONS]


def scale_of(name: str) -> str:
    """Give the column of the factor that an array in float16 is to be multiplied by."""
    return f"{name}_scale"


def as_table(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    """Give rows as columns; arrays for columns in float16 are scaled."""
    halves = [f.name for f in schema if scale_of(f.name) in schema.names]
    rows = [_halved(row, halves) for row in rows]
    arrays = []
    for field in schema:
        values = [row.get(field.name) for row in rows]
        if isinstance(field.type, pa.FixedShapeTensorType):
            arrays.append(_tensors(values, field.type))
        else:
            arrays.append(pa.array(values, field.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def as_rows(table: pa.Table) -> list[Row]:
    """Give columns as rows, with arrays in NumPy and the scales multiplied in."""
    rows = []
    for i in range(len(table)):
        row: Row = {}
        for name in table.schema.names:
            cell = table[name][i]
            if not cell.is_valid:
                row[name] = None
            elif isinstance(cell, pa.FixedShapeTensorScalar):
                row[name] = cell.to_numpy()
            else:
                row[name] = cell.as_py()
        for name in [n for n in row if scale_of(n) in row]:
            scale = row.pop(scale_of(name))
            if scale is not None:
                row[name] = row[name].astype(np.float32) * np.float32(scale)
        rows.append(row)
    return rows


def halved(values: np.ndarray) -> tuple[np.ndarray, float]:
    """Give values in float16 below 2 and a power of two to multiply them by.

    Attributions are often far below what float16 holds; so scaled, those within 2^-15 of the
    largest keep 11 bits.
    """
    largest = np.abs(values).max(initial=0)
    exponent = int(np.frexp(largest)[1]) - 1 if largest > 0 else 0
    return np.ldexp(values, -exponent).astype(np.float16), float(np.ldexp(1.0, exponent))


def _halved(row: Row, names: Sequence[str]) -> Row:
    row = dict(row)
    for name in names:
        if row.get(name) is not None:
            row[name], row[scale_of(name)] = halved(row[name])
    return row


def _tensors(values: list[np.ndarray | None], kind: pa.FixedShapeTensorType) -> pa.Array:
    size = int(np.prod(kind.shape))
    dtype = kind.value_type.to_pandas_dtype()
    flat = [np.zeros(size, dtype) if v is None else np.ravel(v).astype(dtype) for v in values]
    storage = pa.FixedSizeListArray.from_arrays(
        pa.array(np.concatenate([*flat, np.zeros(0, dtype)]), kind.value_type),
        size,
        mask=pa.array([v is None for v in values], pa.bool_()),
    )
    return pa.ExtensionArray.from_storage(kind, storage)
