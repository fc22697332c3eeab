"""What a materialization shows: which version, how large, made from what; counts and links, never a manifest."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

import dagster as dg

import headwater as hw

MAX_INPUTS = 50
"""Most inputs listed in one event."""


def materialization_metadata(
    version: hw.Version[Any], run: hw.Run | None, value: Any = None, *, partitioned: bool = False,
    pages: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Metadata of one logged version.

    Args:
        version: It.
        run: That logged it, if one did.
        value: What was logged: tables tell their rows and columns.
        partitioned: The rows are those of one partition.
        pages: Address of Headwater's pages; without, the metadata names commands instead of links.
    """
    record = version.record
    shown: dict[str, Any] = {
        "headwater/artifact": dg.MetadataValue.text(str(version)),
        "headwater/digest": dg.MetadataValue.text(version.digest),
        "headwater/files": dg.MetadataValue.int(record.n_entries),
        "headwater/aliases": dg.MetadataValue.json(sorted(version.aliases)),
        "dagster/uri": dg.MetadataValue.text(f"headwater://{version}"),
    }
    if version.size is not None:
        shown["headwater/size"] = dg.MetadataValue.int(version.size)
    if pages:
        shown["headwater/url"] = dg.MetadataValue.url(page_of(pages, version))
    else:  # nobody answers to a link: the command that shows it
        shown["headwater/show"] = dg.MetadataValue.text(f"headwater artifact show {shlex.quote(str(version))}")
    if run is not None:
        shown["headwater/new_version"] = dg.MetadataValue.bool(record.run_id == run.id)
        text = dg.MetadataValue.text(f"headwater run show {run.id}")
        shown["headwater/run"] = dg.MetadataValue.url(f"{pages}/runs/{run.id}") if pages else text
        inputs = [str(v) for v in run.used_artifacts()]
        more = [f"and {len(inputs) - MAX_INPUTS} more"] if len(inputs) > MAX_INPUTS else []
        shown["headwater/inputs"] = dg.MetadataValue.json(inputs[:MAX_INPUTS] + more)
    return shown | table_metadata(value, partitioned=partitioned)


def page_of(pages: str, version: hw.Version[Any]) -> str:
    """The page about a version."""
    from urllib.parse import quote

    return f"{pages}/{quote(version.name, safe='/')}/{version.version}"


def table_metadata(value: Any, *, partitioned: bool = False) -> dict[str, Any]:
    """Rows and columns of a pandas, Polars or Arrow table, under Dagster's own keys; nothing of other values."""
    reader = _READERS.get(f"{type(value).__module__.partition('.')[0]}.{type(value).__name__}")
    if reader is None:
        return {}
    rows, columns = reader(value)
    shown: dict[str, Any] = {"dagster/column_schema": dg.TableSchema([dg.TableColumn(n, t) for n, t in columns])}
    if rows is not None:
        shown["dagster/partition_row_count" if partitioned else "dagster/row_count"] = rows
    return shown


Columns = tuple[int | None, list[tuple[str, str]]]


def _pandas(frame: Any) -> Columns:
    return len(frame), [(str(name), str(kind)) for name, kind in frame.dtypes.items()]


def _polars(frame: Any) -> Columns:
    return frame.height, [(name, str(kind)) for name, kind in frame.schema.items()]


def _lazy(frame: Any) -> Columns:
    return None, [(name, str(kind)) for name, kind in frame.collect_schema().items()]  # rows would mean computing it


def _arrow(table: Any) -> Columns:
    return table.num_rows, [(field.name, str(field.type)) for field in table.schema]


_READERS: dict[str, Callable[[Any], Columns]] = {
    "pandas.DataFrame": _pandas,
    "polars.DataFrame": _polars,
    "polars.LazyFrame": _lazy,
    "pyarrow.Table": _arrow,
}
