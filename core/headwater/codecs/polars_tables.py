"""Polars frames and series; a LazyFrame is collected on the way in and scans the file on the way out."""

from __future__ import annotations

from typing import Any

from headwater.codecs.libraries import load_library
from headwater.codecs.parquet import Source, damaged, no_parquet
from headwater.errors import InvalidInputError

KINDS = ("polars.DataFrame", "polars.LazyFrame", "polars.Series")
DEFAULT = "polars.DataFrame"


def to_arrow(value: Any) -> tuple[Any, dict[str, Any]]:
    """The value as an Arrow table, and its kind.

    Raises:
        InvalidInputError: A column has no Arrow form (Object, Int128).
    """
    polars, pyarrow = load_library("polars"), load_library("pyarrow")
    options: dict[str, Any] = {"kind": KINDS[0]}
    if isinstance(value, polars.LazyFrame):
        value, options = value.collect(), {"kind": KINDS[1]}
    elif isinstance(value, polars.Series):
        value, options = value.to_frame(), {"kind": KINDS[2]}
    for name, kind in value.schema.items():
        if kind == polars.Object:
            raise InvalidInputError(
                what=f"the column {name!r} holds Python objects", fix="convert it, or pass allow_pickle=True"
            )
    try:
        return value.to_arrow(), options
    except (pyarrow.ArrowException, polars.exceptions.PolarsError) as problem:
        raise no_parquet(problem) from problem


def load(file: Source, options: dict[str, Any], kind: str) -> Any:
    """The Parquet file as `kind`; a column of a pandas index comes as an ordinary one.

    Raises:
        InvalidInputError: A series is wanted, and there are more columns.
    """
    polars = load_library("polars")
    if kind == KINDS[1]:
        return polars.scan_parquet(file)
    try:
        frame = polars.read_parquet(file, hive_partitioning=False)
    except (polars.exceptions.PolarsError, OSError) as problem:
        raise damaged(problem, file) from problem
    if kind == KINDS[0]:
        return frame
    if frame.width != 1:
        raise InvalidInputError(what=f"the table has {frame.width} columns, not one", fix="as_=polars.DataFrame")
    return frame.to_series()
