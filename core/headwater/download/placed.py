"""What Headwater placed in a target, and what the files looked like then: only those may be replaced or removed.

One SQLite file per target directory in the client's own state, named by the
digest of the target's path. Before the first change it is told what is about
to be placed, so that a call after `kill -9` knows the files of the one that
died. Losing it is safe: files then count as somebody else's.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from headwater import disk
from headwater.errors import StorageError
from headwater.forks import Solo
from headwater.model.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

RACY_NS: Final = 3_000_000_000
"""A stat proves nothing about a file that changed this shortly before it was taken."""
_PATIENCE: Final = 3600.0
"""How long to wait for another process that fills the same target, seconds."""
_SCHEMA: Final = 1
_PLACED: Final = (
    "INSERT INTO file VALUES (:path, :key, :content, NULL, :stat, :at) ON CONFLICT (path) DO UPDATE SET "
    "key = :key, content = :content, planned = NULL, stat = :stat, at = :at"
)
_PLANNED: Final = "INSERT INTO file VALUES (?1, NULL, NULL, ?2, NULL, 0) ON CONFLICT (path) DO UPDATE SET planned = ?2"


class Row(NamedTuple):
    """What is recorded of one path. A directory that we made has a path ending in `/`."""

    path: str
    key: bytes | None
    """Which entry was placed: the digest of a stored one, the key of a reference."""
    content: bytes | None
    """Digest of the bytes placed (of the text, for a symbolic link)."""
    planned: bytes | None
    """Digest that a call meant to place and never reported done."""
    stat: str | None
    at: int
    """When `stat` was taken, nanoseconds."""

    def trusts(self, info: os.stat_result) -> bool:
        """Whether the file surely still has the content recorded, without reading it."""
        return (
            self.content is not None
            and self.stat == pack_stat(info)
            and info.st_nlink == 1
            and max(info.st_mtime_ns, info.st_ctime_ns) <= self.at - RACY_NS
        )


def pack_stat(info: os.stat_result) -> str:
    """The stat signature as text."""
    return ",".join(map(str, (*disk.signature(info), info.st_mode)))


class Placed:
    """The records of one target; one process at a time has them open (`open_placed`)."""

    def __init__(self, path: Path) -> None:
        self._solo = Solo(lambda: _connect(path))

    def between(self, first: str, last: str) -> dict[str, Row]:
        """Rows with first ≤ path ≤ last, by path."""
        sql = "SELECT * FROM file WHERE path BETWEEN ? AND ?"
        with self._solo.use() as db:
            return {row[0]: Row(*row) for row in db.execute(sql, (first, last))}

    def all(self) -> Iterator[Row]:
        """Every row in byte order of path; the records may be changed meanwhile."""
        after = ""
        sql = "SELECT * FROM file WHERE path > ? ORDER BY path LIMIT 4096"
        while rows := self._after(sql, after):
            yield from (Row(*row) for row in rows)
            after = rows[-1][0]

    def _after(self, sql: str, path: str) -> list[tuple[Any, ...]]:
        with self._solo.use() as db:
            return db.execute(sql, (path,)).fetchall()

    def plan(self, wanted: Iterable[tuple[str, bytes | None]]) -> None:
        """Record what is about to be placed: (path, content digest if known)."""
        with self._solo.use() as db, db:
            db.executemany(_PLANNED, wanted)

    def done(self, placed: Iterable[tuple[str, bytes, bytes, os.stat_result]]) -> None:
        """Record files placed or found right: (path, key, content digest, stat)."""
        at = time.time_ns()
        rows = [
            {"path": path, "key": bytes(key), "content": bytes(content), "stat": pack_stat(info), "at": at}
            for path, key, content, info in placed
        ]
        with self._solo.use() as db, db:
            db.executemany(_PLACED, rows)

    def made(self, folders: Iterable[str]) -> None:
        """Record directories that we made."""
        with self._solo.use() as db, db:
            db.executemany(
                "INSERT OR IGNORE INTO file VALUES (?, NULL, NULL, NULL, NULL, 0)", [(folder,) for folder in folders]
            )

    def forget(self, paths: Iterable[str]) -> None:
        """Drop rows."""
        with self._solo.use() as db, db:
            db.executemany("DELETE FROM file WHERE path = ?", [(path,) for path in paths])

    def close(self) -> None:
        """Let go of the file."""
        self._solo.close()


@contextmanager
def open_placed(folder: Path, target: Path) -> Iterator[Placed]:
    """The records of `target` below the state directory `folder`, locked against other processes.

    Raises:
        StorageError: Another process has been filling the same target for an hour, or the records cannot be kept.
        AccessError: The state directory cannot be written.
    """
    place = folder / "placed"
    name = Digest.of(os.fsencode(target)).hex()
    with disk.explained(place):
        place.mkdir(parents=True, exist_ok=True)
    with disk.locked(place / f"{name}.lock", patience=_PATIENCE):
        try:
            placed = Placed(place / f"{name}.sqlite")
            try:
                yield placed
            finally:
                placed.close()
        except sqlite3.Error as error:
            raise StorageError(what=f"the records of placed files said: {error}", where=str(place)) from error


def _connect(path: Path) -> sqlite3.Connection:
    try:
        return _prepare(path)
    except sqlite3.DatabaseError:  # damaged: its files count as somebody else's from now on
        for suffix in ("", "-journal", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        return _prepare(path)


def _prepare(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=10, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = OFF")  # a lost record is safe, a wrong one cannot come of it
        if db.execute("PRAGMA user_version").fetchone()[0] != _SCHEMA:
            db.execute("DROP TABLE IF EXISTS file")
            db.execute(
                "CREATE TABLE file (path TEXT PRIMARY KEY, key BLOB, content BLOB, planned BLOB, stat TEXT, at INTEGER)"
                " WITHOUT ROWID"
            )
            db.execute(f"PRAGMA user_version = {_SCHEMA}")
            db.commit()
    except BaseException:
        db.close()
        raise
    return db


def forget_placed(folder: Path, target: Path) -> None:
    """Remove the records of a target that is no more."""
    name = Digest.of(os.fsencode(target.resolve())).hex()
    for suffix in (".sqlite", ".sqlite-wal", ".sqlite-shm", ".lock"):
        (folder / "placed" / f"{name}{suffix}").unlink(missing_ok=True)
