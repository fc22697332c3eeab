"""Whole files by digest, under a hard quota: what was fetched once from far away is not fetched again.

    root/files/4f/<hex>     the files, read-only
    root/tmp/               what is being written
    root/index.sqlite       size, stat signature and last use of each file

Uses are recorded in the index: a file system's atime is coarse, or off. A
place is reserved before the first byte is written, so the quota also holds
while several processes write; the quota covers the index and unfinished files
as well. Losing the index, or all of the cache, costs time only.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, TypeVar

from blake3 import blake3

from headwater import disk
from headwater.errors import DigestMismatchError, StorageError
from headwater.forks import Solo
from headwater.model.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Callable

LEFTOVER_SECONDS: Final = 6 * 3600
"""An unfinished file this old belongs to a process that died."""
INDEX_RESERVE: Final = 64 * 1024
"""Kept free of files for the index, and 512 bytes more per file."""
PER_FILE: Final = 512
_FLUSH: Final = 256
_PIECE: Final = 1 << 20
_SCHEMA: Final = 1
_ADD: Final = "REPLACE INTO file VALUES (?, ?, ?, ?, ?, ?)"

T = TypeVar("T")


class FileCache:
    """A disposable directory of whole files. Safe between threads, processes and over a fork.

    Args:
        root: Where; made on first use. Nothing else may live there.
        quota_bytes: Never exceeded by what the cache has on disk.
    """

    def __init__(self, root: Path, quota_bytes: int) -> None:
        self.root = Path(root)
        self.quota_bytes = quota_bytes
        self._start_anew()
        self._solo = Solo(self._open, self._start_anew)

    def _start_anew(self) -> None:
        """Also in a forked child: uses not written yet are the parent's to write."""
        self._used: dict[bytes, int] = {}
        self._swept = False

    # -- reading -----------------------------------------------------------------
    def open(self, digest: bytes) -> BinaryIO | None:
        """The file with that digest, open for reading (so that eviction cannot take it away), or None.

        Its stat is compared with the recorded one; on any difference, and always for a file with
        several hard links, it is hashed again. A damaged file is removed.

        Raises:
            AccessError, StorageError: The cache is there but cannot be read.
        """
        row = self._ask(lambda db: db.execute("SELECT stat FROM file WHERE digest = ?", (digest,)).fetchone())
        if row is None:
            return None
        path = self._path(digest)
        with disk.explained(path):
            try:
                file = path.open("rb", buffering=0)
            except FileNotFoundError:
                self._forget(digest)
                return None
            try:
                good = self._is_good(file.fileno(), digest, row[0])
            except BaseException:
                file.close()
                raise
        if not good:
            file.close()
            self._remove(digest)
            return None
        self._use(digest)
        return file

    def link(self, digest: bytes, name: str, folder: int) -> bool:
        """Make `name` in the directory open as `folder` a hard link of the file; False if that cannot be done."""
        file = self.open(digest)
        if file is None:
            return False
        file.close()
        try:
            os.link(self._path(digest), name, dst_dir_fd=folder)
        except OSError:  # another file system, too many links, evicted just now: copy instead
            return False
        return True

    def __contains__(self, digest: bytes) -> bool:
        file = self.open(digest)
        if file is not None:
            file.close()
        return file is not None

    @property
    def size(self) -> int:
        """Bytes on disk that the quota counts: files, places reserved for them, and the index."""
        total, n = self._ask(lambda db: db.execute("SELECT coalesce(sum(size), 0), count(*) FROM file").fetchone())
        return int(total) + INDEX_RESERVE + PER_FILE * int(n)

    # -- writing -----------------------------------------------------------------
    def add(self, digest: bytes, source: BinaryIO | Path) -> bool:
        """Copy a file in (sharing its bytes where the file system can), unless it is here or too large.

        Evicts what was used longest ago to make room. False if the cache does not take it.

        Raises:
            DigestMismatchError: The file has other bytes.
            AccessError, StorageError: Writing failed; nothing was added.
        """
        if digest in self:
            return True
        with disk.explained(self.root), contextlib.ExitStack() as stack:
            file = stack.enter_context(source.open("rb", buffering=0)) if isinstance(source, Path) else source
            size = os.fstat(file.fileno()).st_size
            if not self._reserve(digest, size):
                return False
            try:
                self._place(digest, file)
            except BaseException:
                self._remove(digest)
                raise
        return True

    def prune(self, to_bytes: int = 0) -> int:
        """Remove what was used longest ago until `size` is at most `to_bytes`; return the bytes freed.

        To 0 removes every file and unfinished file, whoever is using it (open files stay readable).
        """
        self.flush()
        before = self.size
        self._sweep(0 if to_bytes == 0 else LEFTOVER_SECONDS)
        self._evict(to_bytes)
        return before - self.size

    def flush(self) -> None:
        """Write the uses recorded so far; happens by itself every 256 uses."""
        with self._solo.lock:
            used, self._used = self._used, {}
        if used:
            sql = "UPDATE file SET used = ? WHERE digest = ?"
            self._ask(lambda db: db.executemany(sql, [(at, digest) for digest, at in used.items()]))

    def close(self) -> None:
        """Write the uses and let go of the index."""
        self.flush()
        self._solo.close()

    # -- inside: files -----------------------------------------------------------
    def _path(self, digest: bytes) -> Path:
        name = digest.hex()
        return self.root / "files" / name[:2] / name

    def _is_good(self, fd: int, digest: bytes, recorded: bytes) -> bool:
        info = os.fstat(fd)
        if _pack(info) == recorded and info.st_nlink == 1:
            return True
        if not stat.S_ISREG(info.st_mode) or _hash(fd) != digest:
            return False
        sql = "UPDATE file SET stat = ? WHERE digest = ?"
        self._ask(lambda db: db.execute(sql, (_pack(info), digest)))
        return True

    def _place(self, digest: bytes, file: BinaryIO) -> None:
        path = self._path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.root / "tmp" / disk.temporary_name()
        temporary.parent.mkdir(exist_ok=True)
        try:
            with temporary.open("xb", buffering=0) as copy:
                copy_bytes(file.fileno(), copy.fileno())
            actual = _hash_path(temporary)
            if actual != digest:
                raise DigestMismatchError(expected=str(Digest(digest)), actual=str(Digest(actual)), where=str(path))
            temporary.chmod(0o444)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        info = path.stat()
        row = (info.st_size, time.time_ns(), _pack(info), time.time_ns(), digest)
        self._ask(lambda db: self._ready(db, row, path))

    @staticmethod
    def _ready(db: sqlite3.Connection, row: tuple[object, ...], path: Path) -> None:
        """The file is there; unless another writer of it was quicker and its place was given away since."""
        if db.execute(
            "UPDATE file SET size = ?, used = ?, stat = ?, ready = 1, made = ? WHERE digest = ?", row
        ).rowcount:
            return
        path.unlink(missing_ok=True)  # without a row it would escape the quota

    # -- inside: room ------------------------------------------------------------
    def _reserve(self, digest: bytes, size: int) -> bool:
        """Take `size` bytes of the quota; evicts inside the same transaction, so that two writers cannot both win."""
        if size + PER_FILE + INDEX_RESERVE > self.quota_bytes:
            return False
        self.flush()
        if not self._swept:
            self._swept = True
            self._sweep(LEFTOVER_SECONDS)
        now = time.time_ns()
        return bool(self._evict(self.quota_bytes - size - PER_FILE, (digest, size, now, b"", 0, now)))

    def _evict(self, to_bytes: int, add: tuple[object, ...] | None = None) -> bool:
        def work(db: sqlite3.Connection) -> tuple[bool, list[bytes]]:
            total, n = db.execute("SELECT coalesce(sum(size), 0), count(*) FROM file").fetchone()
            excess = total + INDEX_RESERVE + PER_FILE * n - to_bytes
            gone: list[bytes] = []
            for digest, size in db.execute("SELECT digest, size FROM file WHERE ready ORDER BY used").fetchall():
                if excess <= 0:
                    break
                gone.append(digest)
                excess -= size + PER_FILE
            if add is not None and excess > 0:  # the rest is reserved by other writers
                return False, []
            for digest in gone:  # before the rows: a file without a row would escape the quota
                self._path(digest).unlink(missing_ok=True)
            db.executemany("DELETE FROM file WHERE digest = ?", [(digest,) for digest in gone])
            if add is not None:
                db.execute(_ADD, add)
            return True, gone

        with disk.explained(self.root):
            return self._ask(work)[0]

    def _sweep(self, seconds: float) -> None:
        """Remove unfinished files, reservations and files without a row left by processes that died."""
        oldest = time.time() - seconds
        with disk.explained(self.root):
            for path in [*self.root.glob("tmp/*"), *self._strays()]:
                with contextlib.suppress(FileNotFoundError):
                    if path.stat().st_mtime <= oldest:
                        path.unlink()
        self._ask(lambda db: db.execute("DELETE FROM file WHERE NOT ready AND made <= ?", (int(oldest * 1e9),)))

    def _strays(self) -> list[Path]:
        known = {row[0].hex() for row in self._ask(lambda db: db.execute("SELECT digest FROM file").fetchall())}
        return [path for path in self.root.glob("files/*/*") if path.name not in known]

    def _remove(self, digest: bytes) -> None:
        with disk.explained(self.root):
            self._path(digest).unlink(missing_ok=True)
        self._forget(digest)

    def _forget(self, digest: bytes) -> None:
        self._ask(lambda db: db.execute("DELETE FROM file WHERE digest = ?", (digest,)))

    def _use(self, digest: bytes) -> None:
        with self._solo.lock:
            self._used[digest] = time.time_ns()
            due = len(self._used) >= _FLUSH
        if due:
            self.flush()

    # -- inside: index -----------------------------------------------------------
    def _ask(self, action: Callable[[sqlite3.Connection], T]) -> T:
        """Run `action` in one transaction; a damaged index is dropped with all files, then once more."""
        with self._solo.lock:
            try:
                return self._run(action)
            except sqlite3.DatabaseError as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                    raise _explained(error, self.root) from error
                self._drop()
            try:
                return self._run(action)
            except sqlite3.Error as error:
                raise _explained(error, self.root) from error

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

    def _open(self) -> sqlite3.Connection:
        with disk.explained(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(self.root / "index.sqlite", timeout=30, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode = TRUNCATE")  # a WAL may grow past any small quota
            db.execute("PRAGMA synchronous = OFF")
            if db.execute("PRAGMA user_version").fetchone()[0] != _SCHEMA:
                _lay_out(db)
        except BaseException:
            db.close()
            raise
        return db

    def _drop(self) -> None:
        self._solo.close()
        with disk.explained(self.root):
            for name in ("files", "index.sqlite", "index.sqlite-journal"):
                disk.remove_tree(self.root / name)


def _lay_out(db: sqlite3.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")
    if db.execute("PRAGMA user_version").fetchone()[0] == _SCHEMA:  # another process was quicker
        db.execute("COMMIT")
        return
    db.execute("DROP TABLE IF EXISTS file")
    db.execute(
        "CREATE TABLE file"
        " (digest BLOB PRIMARY KEY, size INTEGER, used INTEGER, stat BLOB, ready INTEGER, made INTEGER)"
    )
    db.execute("CREATE INDEX by_use ON file (used)")
    db.execute(f"PRAGMA user_version = {_SCHEMA}")
    db.execute("COMMIT")


def _explained(error: sqlite3.Error, root: Path) -> StorageError:
    busy = getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return StorageError(what=f"the file cache's index said: {error}", where=str(root), retryable=busy)


def _pack(info: os.stat_result) -> bytes:
    return ",".join(map(str, disk.signature(info))).encode()


def copy_bytes(source: int, target: int) -> None:
    """Give the empty file `target` all bytes of `source`: shared where the file system can, else copied."""
    if disk.reflink(source, target):
        return
    at = 0
    while piece := os.pread(source, _PIECE, at):
        disk.write_all(target, piece)
        at += len(piece)


def _hash(fd: int) -> bytes:
    hasher, at = blake3(), 0
    while piece := os.pread(fd, _PIECE, at):
        hasher.update(piece)
        at += len(piece)
    return hasher.digest()


def _hash_path(path: Path) -> bytes:
    with path.open("rb", buffering=0) as file:
        return _hash(file.fileno())
