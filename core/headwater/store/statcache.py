"""What this machine remembers of files it has hashed, so that an unchanged tree is not read again.

One record per directory (large ones have several): the stat of every child, as
one canonical byte string, and the digests beside it. A directory in which
nothing changed is recognised by comparing two byte strings.

A record is a promise about bytes nobody looks at again, so it is made and
believed carefully (the bug that taught everybody: borgbackup #3536):

- a digest counts only if the file had the same stat before and after hashing, and was
  older than a racy window then: 3 s, 10 s on network mounts (whose ctime is not compared);
- one in a thousand of the files believed is hashed again; a mismatch switches the cache off, loudly.

It is a cache: losing it costs time only. Damaged or unwritable, it is dropped, never an error.
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, TypeVar

from headwater.errors import StateError
from headwater.forks import Solo

T = TypeVar("T")

RACY_NS = 3_000_000_000
RACY_NETWORK_NS = 10_000_000_000
SAMPLE = 0.001
"""Share of believed files that are hashed again."""
_SCHEMA = 1
_FLUSH_BYTES = 16 << 20
_PATIENCE = 0.5
"""How long to wait for another process that writes, seconds; then the write is left out."""

_NETWORKS = frozenset((
    "9p", "afs", "beegfs", "ceph", "cifs", "davfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4",
    "ocfs2", "smb3", "smbfs", "virtiofs",
))  # fmt: skip


class Record(NamedTuple):
    """What is known of one directory."""

    signature: bytes
    """The names and stats of its files, as `store.walk` encodes them."""
    digests: bytes
    """32 bytes per file, in the same order; zeros where unknown."""


class StatCache:
    """Records in a small SQLite file. Safe between threads, processes and over a fork.

    Args:
        path: The file; made with its directory on first use.
        sample: Share of believed files that are hashed again.
        clock: Nanoseconds since the epoch.
    """

    def __init__(self, path: Path, *, sample: float = SAMPLE, clock: Callable[[], int] = time.time_ns) -> None:
        self.path = Path(path)
        self.sample = sample
        self.clock = clock
        self._random = random.SystemRandom()  # the user's own random stream is not ours to advance
        self._pending: dict[str, Record] = {}
        self._pending_bytes = 0
        self._off = False
        self._failures = 0
        self._solo = Solo(self._open, self._start_anew)

    # -- reading -----------------------------------------------------------------
    def find(self, key: str) -> Record | None:
        """The record under `key`, or None."""
        sql = "SELECT signature, digests FROM listing WHERE key = ?"
        row = self._ask(lambda db: db.execute(sql, (key,)).fetchone())
        return Record(*row) if row else None

    def find_tree(self, key: bytes) -> tuple[bytes, bytes] | None:
        """(fingerprint, manifest root) of a whole tree as it was logged last, or None."""
        return self._ask(lambda db: db.execute("SELECT fingerprint, root FROM tree WHERE key = ?", (key,)).fetchone())

    def doubted(self, n: int) -> list[int]:
        """Which of `n` believed files to hash again: each with probability `sample`."""
        expected = n * self.sample
        if not expected:
            return []
        count = int(expected) + (self._random.random() < expected % 1)
        return sorted(self._random.sample(range(n), min(count, n)))

    def settled(self, mtime_ns: int, ctime_ns: int, device: int) -> bool:
        """Whether a file with these times, hashed just now, was old enough for its digest to be believed later."""
        if is_network(device):
            return mtime_ns <= self.clock() - RACY_NETWORK_NS
        return max(mtime_ns, ctime_ns) <= self.clock() - RACY_NS

    # -- writing -----------------------------------------------------------------
    def remember(self, key: str, record: Record) -> None:
        """Keep a record; written with others by `flush`, or before when many have come together."""
        with self._solo.lock:
            self._pending[key] = record
            self._pending_bytes += len(record.signature) + len(record.digests)
            due = self._pending_bytes > _FLUSH_BYTES
        if due:
            self.flush()

    def remember_tree(self, key: bytes, fingerprint: bytes, root: bytes) -> None:
        """Keep what a whole tree looked like and the root it gave."""
        self._ask(lambda db: db.execute("REPLACE INTO tree VALUES (?, ?, ?)", (key, fingerprint, root)), write=True)

    def flush(self) -> None:
        """Write what is pending, in one transaction."""
        with self._solo.lock:
            rows = [(key, *record) for key, record in self._pending.items()]
            self._pending, self._pending_bytes = {}, 0
        if rows:
            self._ask(lambda db: db.executemany("REPLACE INTO listing VALUES (?, ?, ?)", rows), write=True)

    def distrust(self, path: str) -> None:
        """A believed digest was wrong: forget everything, believe nothing more, and say so."""
        warnings.warn(
            f"{path} changed although its size, times and inode did not; the stat cache {self.path} is now off, "
            "so files are read again each time. Remove it to start anew, if you trust this file system.",
            RuntimeWarning,
            stacklevel=2,
        )
        with self._solo.lock:
            self._pending = {}
        self._ask(_switch_off, write=True)
        self._off = True

    @property
    def is_off(self) -> bool:
        """Whether nothing is believed or kept any more (a wrong digest was found, or there is no place to write)."""
        self._ask(lambda _: None)
        return self._off

    def close(self) -> None:
        """Write what is pending and let go of the file."""
        self.flush()
        self._solo.close()

    # -- inside ------------------------------------------------------------------
    def _start_anew(self) -> None:
        """In a forked child: what waits to be written is the parent's to write."""
        self._pending, self._pending_bytes = {}, 0

    def _ask(self, action: Callable[[sqlite3.Connection], T], *, write: bool = False) -> T | None:
        try:
            with self._solo.use() as db:
                if self._off:
                    return None
                if not write:
                    return action(db)
                with db:
                    return action(db)
        except sqlite3.OperationalError as error:
            if not _is_busy(error):
                self._drop()
        except (sqlite3.Error, OSError):
            self._drop()
        except StateError:
            self._off = True
        return None

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(self.path, timeout=_PATIENCE, check_same_thread=False)
        try:
            _prepare(db)
            self._off = db.execute("SELECT 1 FROM mark WHERE name = 'off'").fetchone() is not None
        except BaseException:
            db.close()
            raise
        return db

    def _drop(self) -> None:
        """Remove a damaged cache and start anew; where that fails too, do without until the process ends."""
        with self._solo.lock:
            with contextlib.suppress(sqlite3.Error):
                self._solo.close()
            self._failures += 1
            if self._failures > 1:
                self._off = True
                return
            for suffix in ("", "-wal", "-shm"):
                with contextlib.suppress(OSError):
                    Path(f"{self.path}{suffix}").unlink()


def _prepare(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = OFF")
    if _version(db) == _SCHEMA:
        return
    with db:
        db.execute("BEGIN IMMEDIATE")
        if _version(db) == _SCHEMA:  # another process was quicker, and may have written already
            return
        for table in ("listing", "tree", "mark"):
            db.execute(f"DROP TABLE IF EXISTS {table}")
        db.execute("CREATE TABLE listing (key TEXT PRIMARY KEY, signature BLOB, digests BLOB)")
        db.execute("CREATE TABLE tree (key BLOB PRIMARY KEY, fingerprint BLOB, root BLOB)")
        db.execute("CREATE TABLE mark (name TEXT PRIMARY KEY)")
        db.execute(f"PRAGMA user_version = {_SCHEMA}")


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _switch_off(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM listing")
    db.execute("DELETE FROM tree")
    db.execute("REPLACE INTO mark VALUES ('off')")


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


# ---------------------------------------------------------------- network mounts
_mounts: dict[int, bool] = {}


def is_network(device: int) -> bool:
    """Whether a device number belongs to a mount whose times another machine writes; false where nobody can tell."""
    if device not in _mounts:
        with contextlib.suppress(OSError, ValueError, IndexError):
            lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
            _mounts.update(_read_mounts(lines.splitlines()))
        _mounts.setdefault(device, False)
    return _mounts[device]


def _read_mounts(lines: Iterable[str]) -> dict[int, bool]:
    found = {}
    for line in lines:
        fields, _, rest = line.partition(" - ")
        major, minor = fields.split()[2].split(":")
        kind = rest.split()[0]
        found[os.makedev(int(major), int(minor))] = kind in _NETWORKS or kind.startswith("fuse")
    return found
