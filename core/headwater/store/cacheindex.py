"""The index of the file cache, in SQLite: what is there, when it was last used, how much of the quota is taken.

Uses are recorded here: a file system's atime is coarse, or off. A place is
reserved before the first byte is written, so the quota also holds while several
processes write. What is held in all is a row of its own, kept by triggers:
counting all files anew for each that comes makes the n-th cost n, and took 200 s
for 20,000 of 8 KiB.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, Final, TypeVar

from headwater import disk
from headwater.errors import StorageError
from headwater.forks import Solo

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Collection, Iterable, Mapping
    from pathlib import Path

INDEX_RESERVE: Final = 64 * 1024
"""Kept free of files for the index, and 512 bytes more per file."""
PER_FILE: Final = 512
_FLUSH: Final = 256
_SCHEMA: Final = 2
_COLUMNS: Final = "digest BLOB PRIMARY KEY, size INTEGER NOT NULL, used INTEGER, stat BLOB, ready INTEGER, made INTEGER"
_TRIGGER: Final = (
    "CREATE TRIGGER file_{0} AFTER {0} ON file BEGIN UPDATE held SET bytes = bytes {1}, files = files {2}; END"
)
_TABLES: Final = (
    "DROP TABLE IF EXISTS file",
    "DROP TABLE IF EXISTS held",
    f"CREATE TABLE file ({_COLUMNS})",
    "CREATE INDEX by_use ON file (used)",
    "CREATE TABLE held (bytes INTEGER, files INTEGER)",
    "INSERT INTO held VALUES (0, 0)",
    _TRIGGER.format("INSERT", "+ new.size", "+ 1"),
    _TRIGGER.format("DELETE", "- old.size", "- 1"),
)

T = TypeVar("T")


class CacheIndex:
    """What the cache in one directory holds. Safe between threads, processes and over a fork.

    Args:
        root: The cache's directory; made on first use.
    """

    def __init__(self, root: Path) -> None:
        self._root, self._files = root, root / "files"
        self._start_anew()
        self._solo = Solo(self._open, self._start_anew)

    def _start_anew(self) -> None:
        """Also in a forked child: uses not written yet are the parent's to write."""
        self._used: dict[bytes, int] = {}

    def path(self, digest: bytes) -> Path:
        """Where the file with that digest belongs."""
        name = digest.hex()
        return self._files / f"{name[:2]}/{name}"

    # -- asking ------------------------------------------------------------------
    @property
    def size(self) -> int:
        """Bytes that the quota counts: files, places reserved for them, and this index."""
        return self.ask(_size)

    def stats(self, digests: Collection[bytes]) -> dict[bytes, bytes]:
        """Digest → recorded stat, of those files that are there."""
        sql = "SELECT digest, stat FROM file WHERE digest = ? AND ready"

        def work(db: sqlite3.Connection) -> dict[bytes, bytes]:
            rows = (db.execute(sql, (bytes(digest),)).fetchone() for digest in digests)
            return dict(row for row in rows if row)

        return self.ask(work)

    def digests(self) -> list[bytes]:
        """All files, places reserved for them included."""
        return self.ask(lambda db: [digest for (digest,) in db.execute("SELECT digest FROM file")])

    # -- recording ---------------------------------------------------------------
    def use(self, digest: bytes) -> None:
        """Record a use; written with the next place that is reserved, or after 256 of them."""
        with self._solo.lock:
            self._used[bytes(digest)] = time.time_ns()
            due = len(self._used) >= _FLUSH
        if due:
            self.flush()

    def flush(self) -> None:
        """Write the uses recorded so far."""
        with self._solo.lock:
            used, self._used = self._used, {}
        if used:
            sql = "UPDATE file SET used = ? WHERE digest = ?"
            self.ask(lambda db: db.executemany(sql, [(at, digest) for digest, at in used.items()]))

    def restat(self, digest: bytes, info: os.stat_result) -> None:
        """The file was hashed again and is right: this is what it looks like now."""
        row = (pack_stat(info), digest)
        self.ask(lambda db: db.execute("UPDATE file SET stat = ? WHERE digest = ?", row))

    def ready(self, placed: Mapping[bytes, os.stat_result]) -> None:
        """These files are there now.

        Where another writer of the same file was quicker and its place has been given away since, the
        file goes: without a row it would escape the quota.
        """
        sql = "UPDATE file SET used = ?, stat = ?, ready = 1, made = ? WHERE digest = ?"

        def work(db: sqlite3.Connection) -> None:
            for digest, info in placed.items():
                now = time.time_ns()
                if not db.execute(sql, (now, pack_stat(info), now, digest)).rowcount:
                    self.path(digest).unlink(missing_ok=True)

        self.ask(work)

    def forget(self, digests: Iterable[bytes]) -> None:
        """These files are not there, or not any more."""
        rows = [(bytes(digest),) for digest in digests]
        self.ask(lambda db: db.executemany("DELETE FROM file WHERE digest = ?", rows))

    def forget_unfinished(self, before: float) -> None:
        """Give up places that were reserved before that time, seconds, and never filled."""
        self.ask(lambda db: db.execute("DELETE FROM file WHERE NOT ready AND made <= ?", (int(before * 1e9),)))

    # -- the quota ---------------------------------------------------------------
    def reserve(self, sizes: Mapping[bytes, int], quota: int) -> list[bytes]:
        """Take places for these files; what was used longest ago makes room, in the same transaction.

        Returns:
            Those that got one: not what is there already, nor what exceeds the quota even alone; none
            if others have reserved the rest of it. End each with `ready` or `forget`.
        """
        room, wanted = quota - INDEX_RESERVE, {}
        for digest, size in sizes.items():
            if size + PER_FILE <= room:
                wanted[bytes(digest)] = size
                room -= size + PER_FILE
        if not wanted:
            return []
        self.flush()
        now = time.time_ns()

        def work(db: sqlite3.Connection) -> list[bytes]:
            # a place that nobody filled is ours to fill
            db.executemany("DELETE FROM file WHERE digest = ? AND NOT ready", [(digest,) for digest in wanted])
            if self._make_room(db, quota - sum(wanted.values()) - PER_FILE * len(wanted)) > 0:
                return []
            sql = "INSERT INTO file VALUES (?, ?, ?, x'', 0, ?) ON CONFLICT DO NOTHING"
            return [digest for digest, size in wanted.items() if db.execute(sql, (digest, size, now, now)).rowcount]

        return self.ask(work)

    def evict(self, to_bytes: int) -> None:
        """Remove what was used longest ago until `size` is at most that."""
        self.flush()
        self.ask(lambda db: self._make_room(db, to_bytes, as_far_as_possible=True))

    def _make_room(self, db: sqlite3.Connection, to_bytes: int, *, as_far_as_possible: bool = False) -> int:
        """Remove files; return how many bytes too many there are still, for then nothing is removed unless asked."""
        excess, gone = _size(db) - to_bytes, []
        if excess > 0:
            with closing(db.execute("SELECT digest, size FROM file WHERE ready ORDER BY used")) as longest_unused:
                for digest, size in longest_unused:
                    gone.append(digest)
                    excess -= size + PER_FILE
                    if excess <= 0:
                        break
        if excess <= 0 or as_far_as_possible:
            for digest in gone:  # before the rows: a file without a row would escape the quota
                self.path(digest).unlink(missing_ok=True)
            db.executemany("DELETE FROM file WHERE digest = ?", [(digest,) for digest in gone])
        return excess

    # -- SQLite ------------------------------------------------------------------
    def ask(self, action: Callable[[sqlite3.Connection], T]) -> T:
        """Run `action` in one transaction; a damaged index is dropped with all files, then once more.

        Raises:
            AccessError, StorageError
        """
        with self._solo.lock, disk.explained(self._root):
            try:
                return self._run(action)
            except sqlite3.DatabaseError as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                    raise self._explained(error) from error
                self._drop()
            try:
                return self._run(action)
            except sqlite3.Error as error:
                raise self._explained(error) from error

    def _run(self, action: Callable[[sqlite3.Connection], T]) -> T:
        with self._solo.use() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                result = action(db)
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")
            return result

    def _explained(self, error: sqlite3.Error) -> StorageError:
        busy = getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
        return StorageError(what=f"the file cache's index said: {error}", where=str(self._root), retryable=busy)

    def _open(self) -> sqlite3.Connection:
        self._root.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(self._root / "index.sqlite", timeout=30, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode = TRUNCATE")  # a WAL may grow past any small quota
            db.execute("PRAGMA synchronous = OFF")
            if _version(db) != _SCHEMA:
                self._lay_out(db)
        except BaseException:
            db.close()
            raise
        return db

    def _lay_out(self, db: sqlite3.Connection) -> None:
        db.execute("BEGIN IMMEDIATE")
        found = _version(db)
        if found == _SCHEMA:  # another process was quicker
            db.execute("COMMIT")
            return
        if found:  # of another release: what it holds would escape the quota
            disk.remove_tree(self._root / "files")
        for statement in _TABLES:
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {_SCHEMA}")
        db.execute("COMMIT")

    def _drop(self) -> None:
        self._solo.close()
        for name in ("files", "index.sqlite", "index.sqlite-journal"):
            disk.remove_tree(self._root / name)

    def close(self) -> None:
        """Write the uses and let go of the file."""
        self.flush()
        self._solo.close()


def pack_stat(info: os.stat_result) -> bytes:
    """What tells a file that is as it was placed."""
    return ",".join(map(str, disk.signature(info))).encode()


def _size(db: sqlite3.Connection) -> int:
    held, files = db.execute("SELECT bytes, files FROM held").fetchone()
    return int(held) + INDEX_RESERVE + PER_FILE * int(files)


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])
