"""A whole catalog in one portable file, and back: the same file for SQLite and PostgreSQL.

The file is a zstd stream of msgpack values: a head, then `[table, columns, rows]`
slices in an order in which foreign keys find what they name, then a tail with the
number of rows. Leases and holds are left out: whoever held them is gone by then.
"""

from __future__ import annotations

import sys
from typing import IO, TYPE_CHECKING, Any

import msgspec
from sqlalchemy import inspect, select

from headwater.catalog.tables import SCHEMA, metadata
from headwater.errors import ConflictError, FormatError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headwater.catalog.engine import Tx

MAGIC = "headwater.catalog"
FORMAT = 1
LEFT_OUT = frozenset({"leases", "holds"})
SLICE = 1000
RESTORED = "restored"
"""The setting that makes a catalog refuse writers and collectors until `repair` has looked at every pack."""


def dump(tx: Tx, out: IO[bytes]) -> dict[str, int]:
    """Write every table as of this transaction's moment; rows by table. Memory: one slice."""
    counts: dict[str, int] = {}
    encode = msgspec.msgpack.Encoder().encode
    with zstd.open(out, "wb") as stream:

        def write(value: Any) -> None:
            data = encode(value)
            stream.write(len(data).to_bytes(4, "big") + data)

        write([MAGIC, FORMAT, SCHEMA, tx.now])
        for table in metadata.sorted_tables:
            if table.name in LEFT_OUT:
                continue
            name = str(table.name)
            counts[name] = 0
            ordered = select(*table.columns).order_by(*table.primary_key.columns)
            found = tx.conn.execute(ordered, execution_options={"stream_results": True, "max_row_buffer": SLICE})
            while rows := found.fetchmany(SLICE):
                counts[name] += len(rows)
                write([name, [str(c.name) for c in table.columns], [list(row) for row in rows]])
        write(["end", counts])
    return counts


def _values(source: IO[bytes]) -> Iterator[Any]:
    try:
        with zstd.open(source, "rb") as stream:
            while head := stream.read(4):
                length = int.from_bytes(head, "big")
                data = stream.read(length)
                if len(data) != length:
                    raise FormatError(what="the backup is cut short")
                yield msgspec.msgpack.decode(data)
    except (zstd.ZstdError, EOFError, msgspec.MsgspecError) as error:
        raise FormatError(what=f"the backup is damaged: {error}") from None


def load(tx: Tx, source: IO[bytes]) -> dict[str, int]:
    """Put a dump into a database that has no repository, or one in which nothing was ever recorded.

    Raises:
        ConflictError: Something is in it.
        FormatError: The dump is damaged, or of a newer Headwater.
    """
    _make_room(tx)
    values = _values(source)
    head = next(values, None)
    if not isinstance(head, list) or head[:1] != [MAGIC]:
        raise FormatError(what="this is no backup of a catalog")
    if head[1] > FORMAT or head[2] > SCHEMA:
        raise FormatError(
            what=f"the backup has schema {head[2]}, this Headwater knows {SCHEMA}", fix="upgrade headwater"
        )
    counts: dict[str, int] = {}
    later: list[tuple[int, int]] = []
    for value in values:
        if value[0] == "end":
            if counts != {name: n for name, n in value[1].items() if n}:
                raise FormatError(what="the backup lacks rows")
            _finish(tx, later)
            return counts
        table, columns, rows = value
        if table == "versions":
            later += _without_self_links(columns, rows)
        tx.conn.execute(metadata.tables[table].insert(), [dict(zip(columns, row)) for row in rows])
        counts[table] = counts.get(table, 0) + len(rows)
    raise FormatError(what="the backup is cut short")


def _make_room(tx: Tx) -> None:
    if not inspect(tx.conn).has_table("settings"):
        metadata.create_all(tx.conn)
        tx.conn.exec_driver_sql(
            "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL,"
            " CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
        )
        tx.conn.exec_driver_sql(f"INSERT INTO alembic_version (version_num) VALUES ('{SCHEMA}')")
        return
    for table in metadata.sorted_tables:
        if table.name != "settings" and tx.value(f"SELECT 1 FROM {table.name} LIMIT 1") is not None:
            raise ConflictError(what="that catalog is not empty", where=table.name, fix="restore into a new one")
    tx.run("DELETE FROM settings")


def _without_self_links(columns: list[str], rows: list[list[Any]]) -> list[tuple[int, int]]:
    """Take `became` out: it may name a version that comes later. (id, became) of those taken."""
    at, key = columns.index("became"), columns.index("id")
    taken = [(row[key], row[at]) for row in rows if row[at] is not None]
    for row in rows:
        row[at] = None
    return taken


def _finish(tx: Tx, later: list[tuple[int, int]]) -> None:
    tx.run_many("UPDATE versions SET became = :became WHERE id = :id", [{"id": a, "became": b} for a, b in later])
    if tx.dialect.name == "postgresql":  # its counters know nothing of rows that brought their keys along
        for table in metadata.sorted_tables:
            if "id" in table.columns:
                tx.value(
                    f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'),"
                    f" (SELECT coalesce(max(id), 0) + 1 FROM {table.name}), false)"
                )
