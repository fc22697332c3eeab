"""pandas, Polars and Arrow: written as Parquet, read as any of the three.

The file is named for the kind: `dataframe.parquet`, `series.parquet`, `table.parquet`, …

Options: `kind`, the type that was written (`pandas.DataFrame`), and what that
library needs besides. A load without `as_` gives that type again; a load with
one gives that, whoever wrote it: `as_=dict` gives columns, `as_=list` rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from headwater.codecs import arrow_tables, pandas_tables, polars_tables
from headwater.codecs.annotations import candidates, library
from headwater.codecs.files import Files, as_data, as_file, cannot_load, only, wants_path
from headwater.codecs.parquet import Source, parquet_file, read_parquet, write_parquet

_LIBRARIES: dict[str, ModuleType] = {"pandas": pandas_tables, "polars": polars_tables, "pyarrow": arrow_tables}
IN_MEMORY = 16 << 20
"""Bytes of the largest Parquet file that is read into memory before it is read as a table."""
_OFFERED = "pandas, polars or pyarrow tables, dict (columns), list (rows), bytes, Path"


class TableCodec:
    """Tables and columns of one library.

    Args:
        name: The codec's name.
        root: The top-level module whose types it writes.
    """

    def __init__(self, name: str, root: str) -> None:
        self.name = name
        self._library = root
        self._tables = _LIBRARIES[root]

    def handles(self, value_type: Any) -> bool:
        found = candidates(value_type)
        return bool(found) and all(kind_of(kind, self._library) in self._tables.KINDS for kind in found)

    def write(self, value: Any, folder: Path) -> Mapping[str, Any]:
        table, options = self._tables.to_arrow(value)
        write_parquet(table, folder / file_for(str(options["kind"])))
        return dict(options)

    def read(self, folder: Path, options: Mapping[str, Any], as_: Any) -> Any:
        file = parquet_file(folder)
        if found := self._load(file, options, as_) or as_file(
            folder, file.relative_to(folder).as_posix(), candidates(as_)
        ):
            return found[0]
        raise cannot_load(self.name, as_, _OFFERED)

    def in_memory(self, size: int, options: Mapping[str, Any], as_: Any) -> bool:
        """Whether `decode` can give that, at less cost: a LazyFrame scans a file, and a large file is better mapped."""
        kinds = {kind.__name__ for kind in candidates(as_)} or {str(options.get("kind")).rpartition(".")[2]}
        return size <= IN_MEMORY and "LazyFrame" not in kinds and not wants_path(as_)

    def decode(self, files: Files, options: Mapping[str, Any], as_: Any) -> Any:
        """The table, from a file in memory."""
        name, file = only(files, "*.parquet")
        if found := self._load(file, options, as_) or as_data(file, name, candidates(as_)):
            return found[0]
        raise cannot_load(self.name, as_, _OFFERED)

    def _load(self, file: Source, options: Mapping[str, Any], as_: Any) -> tuple[Any] | None:
        """The table as it was, or as the table, dict or list that is wanted; None if something else is."""
        wanted = candidates(as_)
        if not wanted:
            return (self._tables.load(file, options, str(options.get("kind", self._tables.DEFAULT))),)
        for kind in wanted:
            tables = _LIBRARIES.get(library(kind))
            if tables is not None and (named := kind_of(kind, library(kind))) in tables.KINDS:
                same = any(kind_of(one, library(one)) == options.get("kind") for one in wanted)
                kept = str(options["kind"]) if same and tables is self._tables else named
                return (tables.load(file, options, kept),)
        if dict in wanted:
            return (read_parquet(file).to_pydict(),)
        return (read_parquet(file).to_pylist(),) if list in wanted else None


def kind_of(kind: type, root: str) -> str:
    """`pandas.DataFrame` for that class; a subclass within its own library is what it descends from."""
    if library(kind) != root:
        return ""
    names = [f"{root}.{parent.__name__}" for parent in kind.__mro__ if library(parent) == root]
    known = _LIBRARIES[root].KINDS if root in _LIBRARIES else ()
    return next((name for name in names if name in known), names[0])


def file_for(kind: str) -> str:
    """`dataframe.parquet` for `pandas.DataFrame`: equal rows in another kind of table are another content."""
    return kind.rpartition(".")[2].lower().replace("[]", "es") + ".parquet"
