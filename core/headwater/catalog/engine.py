"""Connections and transactions: who may write when, what is tried again, and how a database's errors become ours.

One `Database` serves all threads of a process and survives fork(): the child
starts with no connections (what it inherited is left alone, never closed) and
new locks.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias, TypeVar

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from headwater.catalog.dialect import Dialect, PostgreSQL, SQLite, refuse_network
from headwater.catalog.failures import is_crowded, is_gone, is_transient, translate
from headwater.catalog.tables import WRITER
from headwater.catalog.urls import file_of, parse_url
from headwater.errors import (
    AccessError,
    FormatError,
    HeadwaterError,
    StateError,
    StorageError,
)
from headwater.forks import Gate, remember
from headwater.model.digest import Digest
from headwater.model.keys import format_ulid

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, TextClause

T = TypeVar("T")
Row: TypeAlias = Any
"""A row of a result: columns by position and by name. SQLAlchemy types only rows of statements that it built."""

TRIES = 8
"""How often a transaction is tried before its failure is the caller's."""
PATIENCE = 60.0
"""For how many seconds a server that was there before is waited for: a restart, or a fail-over to its stand-by. So long
a collector tries to get between writers, too."""
SLICE = 512
"""How many values one statement compares with."""


def turn_seconds(tried: int) -> float:
    """For how long a collector stands in the way of new writers, waiting for the present ones to end.

    A tenth of a second, or one slow writer and a waiting collector would stall everybody. But a dozen writers that
    queue for one artifact take longer than that to end, and would never let it in: who has failed `TRIES` times
    waits longer, and pauses twice as long after it.
    """
    return min(1.6, math.ldexp(0.1, max(0, tried - TRIES)))


@lru_cache(maxsize=1024)
def _sql(statement: str) -> TextClause:
    return text(statement)


class Tx:
    """One transaction: run statements, remember events for its end."""

    def __init__(self, conn: Connection, dialect: Dialect, clock: Callable[[], int] | None) -> None:
        self.conn = conn
        self.dialect = dialect
        self.events: list[dict[str, Any]] = []
        self._clock = clock
        self._now: int | None = None

    def ulid(self) -> str:
        """A new public id."""
        return format_ulid(self.now // 1000, os.urandom(10))

    @property
    def now(self) -> int:
        """Microseconds on the database's clock, the same throughout the transaction."""
        if self._now is None:
            self._now = self._clock() if self._clock else self.dialect.clock(self.conn)
        return self._now

    def rows(self, statement: str, **values: Any) -> Sequence[Row]:
        """All rows of a query."""
        return self.conn.execute(_sql(statement), values).fetchall()

    def row(self, statement: str, **values: Any) -> Row | None:
        """The first row of a query, or None."""
        return self.conn.execute(_sql(statement), values).fetchone()

    def value(self, statement: str, **values: Any) -> Any:
        """The first column of the first row, or None."""
        found = self.row(statement, **values)
        return None if found is None else found[0]

    def run(self, statement: str, **values: Any) -> int:
        """Execute; how many rows it touched."""
        return self.conn.execute(_sql(statement), values).rowcount

    def run_many(self, statement: str, rows: Sequence[dict[str, Any]]) -> None:
        """Execute once per row; nothing for no rows."""
        if rows:
            self.conn.execute(_sql(statement), rows)

    def tuples(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        """As `rows`, past SQLAlchemy's rows: three times faster where there are very many."""
        result = self.conn.execute(_sql(statement), values)
        found = result.cursor.fetchall()
        result.close()
        return list(found)

    def rows_having(self, statement: str, column: str, members: Sequence[Any], **values: Any) -> Iterator[Row]:
        """Plain tuples of `statement`, whose `{having}` restricts `column` to `members`, however many they are."""
        for start in range(0, len(members), SLICE):
            having, marks = self.dialect.having(column, members[start : start + SLICE])
            yield from self.tuples(statement.replace("{having}", having), **values, **marks)


class Database:
    """A database at a URL: `read` and `write` run a function in a transaction.

    Args:
        url: `sqlite:////path`, `sqlite://` (memory) or `postgresql://…`.
        clock: Microseconds, instead of the database's clock; for tests.
    """

    def __init__(self, url: str, clock: Callable[[], int] | None = None) -> None:
        self._url = parse_url(url)
        self._clock = clock
        self.dialect: Dialect = SQLite() if self._url.drivername == "sqlite" else PostgreSQL()
        self.path = file_of(self._url)
        self.where = str(self.path or self._url.set(username=None, password=None, query={}))
        self.memory = self.dialect.name == "sqlite" and self.path is None
        self.lock_key = 0
        self._engine: Engine | None = None
        self._met = False
        """Whether this database has ever answered: then it is worth waiting for."""
        self._abandoned: list[Engine] = []
        self._refusal: str | None = None
        self._still = True
        self._lock_file: IO[bytes] | None = None
        self._renew_locks()
        if self.path is not None:
            refuse_network(self.path)
        remember(self)

    def __repr__(self) -> str:
        return f"Database({self.where!r})"

    def serve(self, repository_id: str) -> None:
        """Lock by this repository's id from now on (several may share one server)."""
        self.lock_key = int.from_bytes(Digest.of(repository_id.encode())[:8], "big", signed=True) & ~1

    def clock(self) -> int:
        """Microseconds on this machine's clock (or the test's): for ids, never for leases."""
        return self._clock() if self._clock else time.time_ns() // 1000

    def read(self, work: Callable[[Tx], T]) -> T:
        """Run `work` on one moment of the database; tried again if the connection fails."""
        return self._attempts(lambda _: self._reading(work), idempotent=True)

    def write(self, work: Callable[[Tx], T], *, idempotent: bool = True) -> T:
        """Run `work` and commit it: all or nothing, durable on return.

        `work` may run several times (serialization failures, lost connections).
        With `idempotent=False` it is not run again once its COMMIT may have arrived.

        Raises:
            StorageError: The database failed, or cannot be reached.
            FormatError: The catalog only takes newer writers.
        """
        return self._attempts(lambda _: self._writing(work, self._begin_write), idempotent=idempotent)

    def collect(self, work: Callable[[Tx], T]) -> T:
        """Like `write`, alone: no writer's transaction overlaps it. Keep the batch short."""
        return self._attempts(lambda tried: self._writing(work, self._begin_collect(tried)), idempotent=True)

    def define(self, work: Callable[[Tx], T]) -> T:
        """Like `write`, for making or upgrading the schema: alone, and whoever wrote last."""
        return self._attempts(lambda tried: self._alone(work, self._begin_collect(tried)), idempotent=True)

    def close(self) -> None:
        """Close this process's connections; the next use opens new ones (memory is gone)."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None

    # ------------------------------------------------------------ one attempt
    def _begin_write(self, conn: Connection) -> None:
        self.dialect.begin_write(conn, self.lock_key)

    def _begin_collect(self, tried: int) -> Callable[[Connection], None]:
        return lambda conn: self.dialect.begin_collect(conn, self.lock_key, turn_seconds(tried))

    def _reading(self, work: Callable[[Tx], T]) -> T:
        self._check_mine()
        with self._gate.entered(), self._mine if self.memory else contextlib.nullcontext():
            return self._once(work, self.dialect.begin_read)

    def _writing(self, work: Callable[[Tx], T], begin: Callable[[Connection], None]) -> T:
        return self._alone(lambda tx: self._guarded(tx, work), begin)

    def _alone(self, work: Callable[[Tx], T], begin: Callable[[Connection], None]) -> T:
        self._check_mine()
        in_turn = self._mine if self.path or self.memory else contextlib.nullcontext()
        with self._gate.entered(), in_turn, self._queue():
            return self._once(work, begin)

    def _guarded(self, tx: Tx, work: Callable[[Tx], T]) -> T:
        refuse_old_writer(tx)
        result = work(tx)
        if tx.events:
            self._append_events(tx)
        return result

    def _once(self, work: Callable[[Tx], T], begin: Callable[[Connection], None]) -> T:
        with self._connections().connect() as conn:
            begin(conn)
            try:
                result = work(Tx(conn, self.dialect, self._clock))
            except BaseException:
                _rollback(conn)
                raise
            try:
                conn.exec_driver_sql("COMMIT")
            except DBAPIError as error:
                _rollback(conn)
                raise _UnsureError(error) from error
            return result

    def _append_events(self, tx: Tx) -> None:
        """Number the events and insert them, under a lock held to the end: no cursor appears late."""
        self.dialect.lock_events(tx.conn, self.lock_key)
        last = tx.row("SELECT cursor, at FROM events ORDER BY cursor DESC LIMIT 1") or (0, 0)
        at = max(tx.now, last[1])
        for step, line in enumerate(tx.events, 1):
            line.update(cursor=last[0] + step, at=at)
        tx.run_many(
            "INSERT INTO events (cursor, at, kind, project, artifact, version, run, actor, label, details) VALUES"
            " (:cursor, :at, :kind, :project, :artifact, :version, :run, :actor, :label, :details)",
            tx.events,
        )

    @contextlib.contextmanager
    def _queue(self) -> Iterator[None]:
        """Wait for the lock file: writers of all processes one after another, without SQLite's busy loop."""
        if self.path is None:
            yield
            return
        if self._lock_file is None:
            self._lock_file = _open_lock(self.path)
        fcntl.flock(self._lock_file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._lock_file, fcntl.LOCK_UN)

    # --------------------------------------------------------------- attempts
    def _attempts(self, attempt: Callable[[int], T], *, idempotent: bool) -> T:
        tried, deadline = 0, 0.0
        while True:
            tried += 1
            try:
                result = attempt(tried)
            except HeadwaterError:
                raise
            except _UnsureError as unsure:
                error: SQLAlchemyError = unsure.error
                gone = is_gone(error)
                again = is_transient(error) or (idempotent and gone)
            except SQLAlchemyError as failed:
                error = failed
                gone = is_gone(error)
                again = is_transient(error) or gone
            else:
                self._met = True
                return result
            crowded = is_crowded(error)
            if (gone or crowded) and not deadline:
                deadline = time.monotonic() + (PATIENCE if self._met or crowded else 0.0)
            if not again or (tried >= TRIES and time.monotonic() > deadline):
                raise translate(error, self.where) from error
            if gone:
                self._drop_connections()
            pause = 2 * turn_seconds(tried) if crowded else min(1.0, 0.01 * 2**tried)
            time.sleep(pause * (0.5 + random.random() / 2))

    def _drop_connections(self) -> None:
        """The server went away, or is a stand-by now: what the pool still holds leads nowhere."""
        with self._starting:
            if self._engine is not None and not self.memory:
                self._engine.dispose()

    # -------------------------------------------------------------- processes
    def _check_mine(self) -> None:
        if self._refusal is not None:
            raise StateError(what=self._refusal, where=self.where, fix="use it where it was opened, or fork earlier")

    def _connections(self) -> Engine:
        with self._starting:
            if self._engine is None:
                self._engine = self.dialect.engine(self._url)
            return self._engine

    def _renew_locks(self) -> None:
        self._mine = threading.RLock()  # threads of this process, in front of the lock file
        self._starting = threading.Lock()
        self._gate = Gate()
        self._lock_file = None

    # See forks.py for why.
    def before_fork(self) -> None:
        """Close connections to a file, when the transactions of other threads have ended."""
        self._still = self._gate.shut() if self.path is not None else True
        if self.path is not None and self._still:
            self.close()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._gate.open()

    def after_fork_in_child(self) -> None:
        """Forget the parent's connections and locks; they are neither used nor closed here."""
        if self._engine is not None:
            self._abandoned.append(self._engine)
            if self.memory:
                self._refusal = "a repository in memory belongs to the process that made it"
            elif not self._still:
                self._refusal = "the process forked in the middle of a long transaction"
        self._engine = None
        self._renew_locks()


class _UnsureError(Exception):
    """COMMIT failed: it is unknown whether it happened."""

    def __init__(self, error: SQLAlchemyError) -> None:
        self.error = error


def refuse_old_writer(tx: Tx) -> None:
    """Raise FormatError if the catalog only takes newer writers than this code; StateError if it wants repair first."""
    found = dict(tx.rows("SELECT key, value FROM settings WHERE key IN ('min_writer', 'restored')"))
    floor = found.get("min_writer")
    if "restored" in found:
        raise StateError(
            what=f"this catalog was restored from backup {found['restored']} and does not know its packs yet",
            fix="run `headwater repair`",
        )
    if floor is not None and int(floor) > WRITER:
        raise FormatError(
            what=f"this catalog takes writers of generation {floor} and later, this is {WRITER}",
            fix="upgrade headwater on this machine",
        )


def _open_lock(path: Path) -> IO[bytes]:
    try:
        return path.with_name(f"{path.name}.lock").open("ab")
    except PermissionError as error:
        raise AccessError(what="the catalog cannot be written to", where=str(path)) from error
    except OSError as error:
        what = f"the catalog's lock file cannot be opened: {error.strerror}"
        raise StorageError(what=what, where=str(path)) from error


def _rollback(conn: Connection) -> None:
    with contextlib.suppress(SQLAlchemyError):
        conn.exec_driver_sql("ROLLBACK")
