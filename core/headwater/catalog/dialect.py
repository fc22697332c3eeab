"""What SQLite and PostgreSQL say differently, and nothing else does.

Everything else in this folder is SQL that both understand: ON CONFLICT, RETURNING,
recursive queries, partial indexes.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

import sqlalchemy
from sqlalchemy import create_engine, event, text
from sqlalchemy.pool import QueuePool, StaticPool

from headwater.errors import StateError, StorageError, not_installed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import URL, Connection, Engine

NETWORK = frozenset(
    "nfs nfs4 cifs smb3 smbfs 9p afs ceph glusterfs lustre beegfs gpfs fuse.sshfs fuse.s3fs".split()  # noqa: SIM905
)
"""File systems on which SQLite's write-ahead log (shared memory) does not work."""


class Dialect(Protocol):
    """One database's accent."""

    name: str
    for_update: str
    """Appended to a SELECT that locks its row."""
    position: str
    """Function of (text, part): where the part begins, 0 for nowhere."""

    def engine(self, url: URL) -> Engine:
        """A new engine with its own connections, for this process."""

    def clock(self, conn: Connection) -> int:
        """Microseconds since 1970 UTC, on the database's clock."""

    def begin_read(self, conn: Connection) -> None:
        """Begin a transaction that sees one moment."""

    def begin_write(self, conn: Connection, lock: int) -> None:
        """Begin a transaction no collector batch can overlap."""

    def begin_collect(self, conn: Connection, lock: int, seconds: float) -> None:
        """Begin a transaction no writer can overlap; a lock error if they do not let it in for so long."""

    def lock_events(self, conn: Connection, lock: int) -> None:
        """Be the only one who adds events, until the transaction ends."""

    def having(self, column: str, values: Sequence[Any]) -> tuple[str, dict[str, Any]]:
        """`column` is one of `values`, as SQL and its parameters."""


class SQLite:
    """A file (or memory). Writers queue at a lock file first, so SQLite's own busy wait is never met."""

    name = "sqlite"
    for_update = ""
    position = "instr"

    def engine(self, url: URL) -> Engine:
        memory = not url.database or url.database == ":memory:"
        engine = create_engine(
            "sqlite://" if memory else _address(str(url.database)),
            isolation_level="AUTOCOMMIT",  # we say BEGIN ourselves: IMMEDIATE for writers
            poolclass=StaticPool if memory else QueuePool,
            connect_args={"check_same_thread": False, "timeout": 60, "cached_statements": 512},
            hide_parameters=True,
            future=True,  # as SQLAlchemy 2 does anyway
            **({} if memory else {"pool_size": 4, "max_overflow": -1}),
        )
        event.listen(engine, "connect", _pragmas if memory or not _is_frozen(str(url.database)) else _reading_pragmas)
        return engine

    def clock(self, conn: Connection) -> int:  # noqa: ARG002
        # SQLite has no clock of its own: a file has one machine, and this is its clock.
        return time.time_ns() // 1000

    def begin_read(self, conn: Connection) -> None:
        conn.exec_driver_sql("BEGIN")

    def begin_write(self, conn: Connection, lock: int) -> None:  # noqa: ARG002
        conn.exec_driver_sql("BEGIN IMMEDIATE")

    def begin_collect(self, conn: Connection, lock: int, seconds: float) -> None:  # noqa: ARG002
        self.begin_write(conn, lock)  # there is one at a time anyway

    def lock_events(self, conn: Connection, lock: int) -> None:
        """Nothing: there is one writer at a time."""

    def having(self, column: str, values: Sequence[Any]) -> tuple[str, dict[str, Any]]:
        if not isinstance(values[0], bytes):  # of which JSON has none
            return f"{column} IN (SELECT value FROM json_each(:in_all))", {"in_all": json.dumps(list(values))}
        # Padded to a power of two: ten statements are compiled and cached, not one for every length.
        padded = list(values) + [values[-1]] * ((1 << (len(values) - 1).bit_length()) - len(values))
        marks = {f"in_{i}": value for i, value in enumerate(padded)}
        return f"{column} IN ({', '.join(':' + mark for mark in marks)})", marks


class PostgreSQL:
    """A server, through psycopg 3. READ COMMITTED with advisory locks (design, section 7; race tests)."""

    name = "postgresql"
    for_update = " FOR UPDATE"
    position = "strpos"

    def engine(self, url: URL) -> Engine:
        if find_spec("psycopg") is None:
            raise not_installed("postgresql://", "psycopg", "postgres")
        if sqlalchemy.__version__ < "2":
            raise StateError(
                what=f"a catalog in PostgreSQL needs SQLAlchemy 2, this is {sqlalchemy.__version__}",
                fix="upgrade what holds it back: Airflow 3.0 does, 3.1 does not",
            )
        return create_engine(
            url.set(drivername="postgresql+psycopg"),
            isolation_level="AUTOCOMMIT",
            pool_size=4,
            max_overflow=16,
            pool_recycle=1800,
            connect_args={**_LIVELY, **{name: value for name, value in url.query.items() if name in _LIVELY}},
            hide_parameters=True,
        )

    def clock(self, conn: Connection) -> int:
        return int(conn.execute(_CLOCK).scalar_one())

    def begin_read(self, conn: Connection) -> None:
        conn.exec_driver_sql("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def begin_write(self, conn: Connection, lock: int) -> None:
        # One round trip. A writer that stalls holds collectors up, so it may not idle inside.
        conn.exec_driver_sql(
            "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL idle_in_transaction_session_timeout = '60s';"
            f" SELECT pg_advisory_xact_lock_shared({lock})"
        )

    def begin_collect(self, conn: Connection, lock: int, seconds: float) -> None:
        conn.exec_driver_sql(
            f"BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '{seconds * 1000:.0f}ms';"
            f" SET LOCAL idle_in_transaction_session_timeout = '60s'; SELECT pg_advisory_xact_lock({lock})"
        )

    def lock_events(self, conn: Connection, lock: int) -> None:
        conn.exec_driver_sql(f"SELECT pg_advisory_xact_lock({lock ^ 1})")

    def having(self, column: str, values: Sequence[Any]) -> tuple[str, dict[str, Any]]:
        return f"{column} = ANY(:in_all)", {"in_all": list(values)}


_LIVELY = {
    "application_name": "headwater",
    "connect_timeout": "10",
    # a server that vanished without a word (power, network) is noticed in half a minute, not in two hours
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "4",
    "tcp_user_timeout": "30000",
}

_CLOCK = text("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)")


def _is_frozen(path: str) -> bool:
    """Whether this user may read the catalog and change nothing around it, as on a read-only mount.

    SQLite cannot open a WAL database there, because it must make files beside it; without a log
    beside it, the file is whole and can be read as one that never changes.
    """
    file = Path(path)
    return file.exists() and not os.access(file.parent, os.W_OK) and not Path(f"{path}-wal").exists()


def _address(path: str) -> str:
    return f"sqlite:///file:{quote(path)}?immutable=1&uri=true" if _is_frozen(path) else f"sqlite:///{path}"


def _pragmas(connection: sqlite3.Connection, record: Any) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
    _reading_pragmas(connection, record)


def _reading_pragmas(connection: sqlite3.Connection, _: Any) -> None:
    cursor = connection.cursor()
    for pragma in ("temp_store = MEMORY", "cache_size = -16000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def refuse_network(path: Path) -> None:
    """Raise StorageError if `path` lies on a network file system (asked of /proc; elsewhere nothing is known)."""
    kind = filesystem(path)
    if kind in NETWORK:
        raise StorageError(
            what=f"a SQLite catalog cannot live on a network file system ({kind})", where=str(path),
            fix="put the catalog on a local disk, or use PostgreSQL",
        )  # fmt: skip


def filesystem(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str | None:
    """The kind of file system that `path` lies on, None if unknown."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return None
    found, best = None, -1
    here = os.path.realpath(path.parent)
    for line in lines:
        left, _, right = line.partition(" - ")
        mount = left.split()[4].encode().decode("unicode_escape")
        if (here + "/").startswith(mount.rstrip("/") + "/") and len(mount) >= best:
            found, best = right.split()[0], len(mount)
    return found
