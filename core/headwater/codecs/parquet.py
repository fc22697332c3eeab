"""Arrow tables as Parquet, cut into pages by content.

One writer for pandas, Polars and Arrow, so that any of them reads what another
wrote. Content-defined chunking (pyarrow 21 and newer) keeps the pages of
unchanged rows identical after an insertion; measured by their authors and
confirmed in `benchmarks/`. Chunks are joined before writing: the bytes follow
from the rows, not from how the table was put together.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, TypeAlias

from headwater.codecs.files import only_file
from headwater.codecs.libraries import load_library
from headwater.errors import FormatError, InvalidInputError

Source: TypeAlias = Path | io.BytesIO
"""A Parquet file, in a folder or in memory."""
ROW_GROUP = 1 << 20
"""Rows of one row group."""
_FIRST_WITH_CDC = 21


def write_parquet(table: Any, file: Path) -> None:
    """Write the Arrow table.

    Raises:
        InvalidInputError: A column has a type that Parquet cannot hold, or two columns share a name.
    """
    pyarrow, parquet = load_library("pyarrow"), load_library("pyarrow.parquet")
    cdc = {"use_content_defined_chunking": True} if int(pyarrow.__version__.split(".")[0]) >= _FIRST_WITH_CDC else {}
    names = table.column_names
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise InvalidInputError(what=f"two columns are called {twice[0]!r}", fix="rename one of them")
    try:
        parquet.write_table(
            table.combine_chunks(),
            file,
            compression="zstd",
            compression_level=1,
            row_group_size=ROW_GROUP,
            **cdc,
        )
    except (pyarrow.ArrowException, NotImplementedError) as problem:
        raise no_parquet(problem) from problem


def no_parquet(problem: Exception) -> InvalidInputError:
    """The error for a table that has no Parquet form."""
    said = " ".join(str(part) for part in problem.args) or str(problem)
    return InvalidInputError(
        what=f"the table cannot be written as Parquet: {said.splitlines()[0]}",
        fix="convert the column, or pass allow_pickle=True",
    )


def parquet_file(folder: Path) -> Path:
    """The Parquet file of a version, whoever wrote it.

    Raises:
        InvalidInputError: There is none, or several.
    """
    return only_file(folder, "*.parquet")


def read_parquet(file: Source) -> Any:
    """The Arrow table again, with the schema it had.

    Raises:
        FormatError: The file is damaged.
    """
    pyarrow, parquet = load_library("pyarrow"), load_library("pyarrow.parquet")
    source = file if isinstance(file, Path) else pyarrow.BufferReader(file.getvalue())
    try:
        return parquet.read_table(source, partitioning=None)
    except (pyarrow.ArrowException, OSError) as problem:
        raise damaged(problem, file) from problem


def damaged(problem: Exception, file: Source) -> FormatError:
    """The error for a file that Parquet's readers refuse."""
    where = {"where": file.name} if isinstance(file, Path) else {}
    return FormatError(what=f"the file is no readable Parquet: {problem}", **where)
