"""A large reference brought in parts: several at once, each by its own range, and none again after a break.

    folder/<key>.part    the bytes, each part at its place
    folder/<key>.done    one byte for each part that is there, written when the part is on disk

Both stay when bringing fails or the process dies, so that the next attempt asks
only for what is missing. Only references that a version id or an ETag holds are
brought so: every range is then of the same bytes. The whole is proved at its end.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from headwater import disk
from headwater.download.selection import key_of
from headwater.errors import StorageError
from headwater.sources import SOURCES

if TYPE_CHECKING:
    from pathlib import Path

    from headwater.model.manifest import ReferenceEntry

LARGE: Final = 64 << 20
"""Bytes from which a reference is brought in parts."""
PART: Final = 16 << 20
"""Bytes asked for with one request."""
FOLDER: Final = "unfinished"
"""Where they lie, in the client's own folder."""
STALE_SECONDS: Final = 7 * 86_400
"""After this time without a new part nobody will go on with it."""
_PIECE: Final = 1 << 20

Read = Callable[["ReferenceEntry", int, int], Iterator[bytes]]
"""`read(entry, start, length)`: the pinned bytes of a range."""


def comes_in_parts(entry: ReferenceEntry) -> bool:
    """Whether a reference is large, held by what holds each of its ranges, and its source gives ranges.

    Costs one request for a file on the web, whose server may ignore ranges.
    """
    held = entry.pin.version is not None or entry.pin.etag is not None
    if entry.size is None or entry.size < LARGE or not held:
        return False
    asked = getattr(SOURCES.find(entry.uri), "gives_ranges", None)
    return asked is not None and bool(asked(entry.uri))


class Parts:
    """The parts of one large reference; safe between threads.

    Args:
        entry: What is brought.
        folder: Where unfinished files lie; made if absent.
        read: Asks the source.
    """

    def __init__(self, entry: ReferenceEntry, folder: Path, read: Read) -> None:
        self.entry, self._read = entry, read
        self._size = entry.size or 0
        self._lock = threading.Lock()
        with disk.explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
            _sweep(folder)
        self.path, self._journal_path = self._claim(folder)
        with disk.explained(self.path):
            self._journal = os.open(self._journal_path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
            done = os.pread(self._journal, self._count, 0)
        self.missing = [n for n in range(self._count) if done[n : n + 1] != b"+"]
        """Numbers of the parts still to be brought, when this was opened."""
        self._left = self._jobs = len(self.missing)
        self.keep = True
        """Whether a later attempt may go on with what is there."""
        self.refused = False
        """Whether the source would not give one of them: the others need not be asked for."""

    @property
    def _count(self) -> int:
        return -(-self._size // PART)

    def _claim(self, folder: Path) -> tuple[Path, Path]:
        """Take the file that an earlier attempt left; while somebody else has it, a file of our own."""
        key = key_of(self.entry).hex()
        for name in (key, f"{key}-{disk.temporary_name()}"):
            path = folder / f"{name}.part"
            with disk.explained(path):
                self.fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
            try:
                with disk.explained(path):
                    disk.take(self.fd, path)
            except StorageError:
                os.close(self.fd)
                if name != key:
                    raise
                continue
            self._ours = name != key
            return path, path.with_suffix(".done")
        raise AssertionError("unreachable: the second name is nobody else's")

    def bring(self, number: int) -> int:
        """Bring one part; return how many are left. Raises what `read` raises."""
        start = at = number * PART
        end = start + self.size_of(number)
        for piece in self._read(self.entry, start, end - start):
            with disk.explained(self.path):
                at += _write_at(self.fd, piece, at)
        if at != end:
            raise StorageError(what=f"{at - start} of {end - start} bytes came", where=self.entry.uri, retryable=True)
        with disk.explained(self.path):
            _sync(self.fd)  # or a power cut leaves holes that the journal calls bytes
            os.pwrite(self._journal, b"+", number)
        with self._lock:
            self._left -= 1
            return self._left

    def refuse(self) -> bool:
        """Give up on all parts; whether this is the first to say so."""
        with self._lock:
            first, self.refused = not self.refused, True
            return first

    def ended(self) -> bool:
        """A job ended, however; whether it was the last, so that nobody uses the file any more."""
        with self._lock:
            self._jobs -= 1
            return self._jobs <= 0

    def size_of(self, number: int) -> int:
        """Bytes of a part."""
        return min(PART, self._size - number * PART)

    def pieces(self) -> Iterator[bytes]:
        """All bytes, to be proved."""
        with disk.explained(self.path):
            for at in range(0, self._size, _PIECE):
                yield os.pread(self.fd, min(_PIECE, self._size - at), at)

    def close(self, *, keep: bool) -> None:
        """Let go of the files; without `keep` they are removed. Idempotent."""
        with self._lock:
            fd, self.fd = self.fd, -1
        if fd < 0:
            return
        if not keep or self._ours:
            for path in (self._journal_path, self.path):
                with contextlib.suppress(OSError):
                    path.unlink()
        os.close(self._journal)
        os.close(fd)


def _write_at(fd: int, piece: bytes, at: int) -> int:
    view = memoryview(piece)
    while view:
        n = os.pwrite(fd, view, at)
        view, at = view[n:], at + n
    return len(piece)


def _sync(fd: int) -> None:
    getattr(os, "fdatasync", os.fsync)(fd)


def _sweep(folder: Path) -> None:
    """Remove what nobody went on with."""
    oldest = time.time() - STALE_SECONDS
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < oldest:
                path.unlink()
