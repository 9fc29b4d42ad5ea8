"""The Arrow table that explanations are written as: its schema, and its rows as Python dicts.

A row has the image's ``path``, its ``row`` in a Parquet file, and either an ``error`` or a
``target``, a ``score``, the method's diagnostics and ``attributions``. Arrays in float16 are
divided by a power of two, which is stored in a column of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

DTYPES = ("float32", "float16")
ATTRIBUTIONS = "attributions"

Row = dict[str, Any]
"""Column -> value; None, or no entry, for null."""


def schema(outputs: Mapping[str, tuple], also: Sequence[str], dtype: str) -> pa.Schema:
    """Give the schema for the outputs of a signature.

    A diagnostic that is one number for each image always has a column. Of the arrays, only the
    attributions and those in `also` have one.

    Args:
        outputs: (shape, type) of each output, by name.
        also: arrays to keep beside the attributions.
        dtype: one of `DTYPES`, the type of arrays.
    """
    fields = [("path", pa.string()), ("row", pa.int64()), ("error", pa.string())]
    fields += [("target", pa.int32()), ("score", pa.type_for_alias(outputs["scores"][1]))]
    for name, (shape, output_type) in outputs.items():
        if name in ("scores", "targets"):
            continue
        if len(shape) == 1:
            fields.append((name, pa.type_for_alias(output_type)))
        elif name == ATTRIBUTIONS or name in also:
            is_half = dtype == "float16"
            value_type = pa.float16() if is_half else pa.type_for_alias(output_type)
            fields.append((name, pa.fixed_shape_tensor(value_type, shape[1:])))
            if is_half:
                fields.append((scale_column(name), pa.float32()))
    return pa.schema(fields)


def array_outputs(outputs: Mapping[str, tuple]) -> list[str]:
    """Give the names of outputs, other than attributions, that are an array for each image."""
    return [name for name, (shape, _) in outputs.items() if len(shape) > 1 and name != ATTRIBUTIONS]


def scale_column(name: str) -> str:
    """Give the name of the column with the factors of an array in float16."""
    return f"{name}_scale"


def to_table(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    """Give rows as a table; arrays for columns in float16 are scaled."""
    halves = [f.name for f in schema if scale_column(f.name) in schema.names]
    rows = [_with_float16(row, halves) for row in rows]
    arrays = []
    for field in schema:
        values = [row.get(field.name) for row in rows]
        if isinstance(field.type, pa.FixedShapeTensorType):
            arrays.append(_tensors(values, field.type))
        else:
            arrays.append(pa.array(values, field.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def to_rows(table: pa.Table) -> list[Row]:
    """Give a table as rows, with arrays in NumPy that are multiplied by their scales."""
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
        for name in [n for n in row if scale_column(n) in row]:
            scale = row.pop(scale_column(name))
            if scale is not None:
                row[name] = row[name].astype(np.float32) * np.float32(scale)
        rows.append(row)
    return rows


def to_float16(values: np.ndarray) -> tuple[np.ndarray, float]:
    """Give values in float16, divided by a power of two so that all are below 2, and that power.

    Attributions are often far below the range of float16. Scaled in this way, those within 2^-15
    of the largest keep 11 bits.
    """
    largest = np.abs(values).max(initial=0)
    exponent = int(np.frexp(largest)[1]) - 1 if largest > 0 else 0
    return np.ldexp(values, -exponent).astype(np.float16), float(np.ldexp(1.0, exponent))


def _with_float16(row: Row, names: Sequence[str]) -> Row:
    row = dict(row)
    for name in names:
        if row.get(name) is not None:
            row[name], row[scale_column(name)] = to_float16(row[name])
    return row


def _tensors(values: list[np.ndarray | None], tensor_type: pa.FixedShapeTensorType) -> pa.Array:
    """Give arrays, some of them None, as a column of tensors with nulls."""
    size = int(np.prod(tensor_type.shape))
    dtype = tensor_type.value_type.to_pandas_dtype()
    flat = [np.zeros(size, dtype) if v is None else np.ravel(v).astype(dtype) for v in values]
    storage = pa.FixedSizeListArray.from_arrays(
        pa.array(np.concatenate([*flat, np.zeros(0, dtype)]), tensor_type.value_type),
        size,
        mask=pa.array([v is None for v in values], pa.bool_()),
    )
    return pa.ExtensionArray.from_storage(tensor_type, storage)
