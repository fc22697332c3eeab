"""Arrow tables, record batches (one, a list of them, a reader) and arrays."""

from __future__ import annotations

from typing import Any

from headwater.codecs.libraries import load_library
from headwater.codecs.parquet import Source, no_parquet, read_parquet
from headwater.errors import InvalidInputError

KINDS = ("pyarrow.Table", "pyarrow.RecordBatch", "pyarrow.RecordBatchReader", "pyarrow.Array", "pyarrow.ChunkedArray")
BATCHES = "pyarrow.RecordBatch[]"
DEFAULT = "pyarrow.Table"
COLUMN = "value"


def to_arrow(value: Any) -> tuple[Any, dict[str, Any]]:
    """The value as one table, and its kind. A reader is read to its end, into memory.

    Raises:
        InvalidInputError: Batches of different schemas.
    """
    pyarrow = load_library("pyarrow")
    try:
        if isinstance(value, pyarrow.Table):
            return value, {"kind": KINDS[0]}
        if isinstance(value, pyarrow.RecordBatch):
            return pyarrow.Table.from_batches([value]), {"kind": KINDS[1]}
        if isinstance(value, pyarrow.RecordBatchReader):
            return value.read_all(), {"kind": KINDS[2]}
        if isinstance(value, list | tuple):
            return pyarrow.Table.from_batches(list(value)), {"kind": BATCHES}
        kind = KINDS[4] if isinstance(value, pyarrow.ChunkedArray) else KINDS[3]
        return pyarrow.table({COLUMN: value}), {"kind": kind}
    except pyarrow.ArrowException as problem:
        raise no_parquet(problem) from problem


def load(file: Source, options: dict[str, Any], kind: str) -> Any:
    """The Parquet file as `kind`.

    Raises:
        InvalidInputError: One column is wanted, and there are more.
    """
    pyarrow = load_library("pyarrow")
    table = read_parquet(file)
    if kind == KINDS[0]:
        return table
    if kind == KINDS[2]:
        return table.to_reader()
    if kind == BATCHES:
        return table.to_batches()
    if kind == KINDS[1]:
        batches = table.combine_chunks().to_batches()
        return batches[0] if batches else pyarrow.RecordBatch.from_pylist([], schema=table.schema)
    if table.num_columns != 1:
        raise InvalidInputError(what=f"the table has {table.num_columns} columns, not one", fix="as_=pyarrow.Table")
    column = table.column(0)
    return column if kind == KINDS[4] else column.combine_chunks()
