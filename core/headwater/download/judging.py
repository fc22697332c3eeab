"""What is at a path already, compared with what shall be there. Decides alone what may be replaced or removed."""

from __future__ import annotations

import os
import stat
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from blake3 import blake3

from headwater import disk
from headwater.download.selection import key_of
from headwater.errors import ConflictError
from headwater.model.digest import Digest
from headwater.model.manifest import StoredEntry

if TYPE_CHECKING:
    from pathlib import Path

    from headwater.download.placed import Row
    from headwater.download.target import Target
    from headwater.model.manifest import Entry

PIECE = 1 << 20


class State(Enum):
    """How a path stands to what is wanted there."""

    ABSENT = "absent"
    RIGHT = "right"
    MODE = "right but for its executable bit, and ours"
    OURS = "ours and unmodified: may be replaced"
    FOLDER = "a directory where a file should be"
    FOREIGN = "somebody else's, or modified"


class Judged(NamedTuple):
    """One path, judged."""

    state: State
    content: bytes | None = None
    """Digest of what is there, where it is known."""
    info: os.stat_result | None = None
    settled: bool = True
    """Whether the record already proves the content without reading it."""


class Judge:
    """Judges paths of one target. Safe between threads.

    Args:
        target: The directory.
        everything_is_ours: For a tree that only Headwater writes: whatever is there may be replaced.
    """

    def __init__(self, target: Target, *, everything_is_ours: bool = False) -> None:
        self._target = target
        self._all_ours = everything_is_ours

    def entry(self, entry: Entry, content: bytes | None, row: Row | None, link: str | None = None) -> Judged:
        """Compare what is at the entry's path with the entry.

        Args:
            entry: What is wanted.
            content: Digest of its bytes; None if no one knows (a reference never read).
            row: What is recorded of the path.
            link: For a reference left in place: the text of the symbolic link that is wanted.
        """
        try:
            info = self._target.look(entry.path.rstrip("/"))
        except ConflictError:
            return Judged(State.OURS if self._all_ours else State.FOREIGN)
        if info is None:
            return Judged(State.ABSENT)
        if stat.S_ISDIR(info.st_mode):
            return Judged(State.RIGHT if entry.path.endswith("/") else State.FOLDER, info=info)
        there, settled = self.content(entry.path.rstrip("/"), info, row)
        if entry.path.endswith("/"):
            return Judged(self._whose(there, row), there, info)
        wanted = Digest.of(link.encode()) if link is not None else content
        if link is not None or isinstance(entry, StoredEntry) or content is not None:
            same = there is not None and there == wanted and stat.S_ISLNK(info.st_mode) == (link is not None)
        else:
            same = row is not None and row.key == key_of(entry) and there is not None and there == row.content
        if not same:
            return Judged(self._whose(there, row), there, info)
        return Judged(self._mode(entry, row, info), there, info, settled)

    def content(self, path: str, info: os.stat_result, row: Row | None) -> tuple[bytes | None, bool]:
        """(digest of what is at `path`, whether the record proved it); None for what is neither file nor link."""
        if row is not None and row.trusts(info):
            return row.content, True
        if stat.S_ISLNK(info.st_mode):
            return Digest.of(os.fsencode(self._target.read_link(path))), False
        if not stat.S_ISREG(info.st_mode):
            return None, False
        return hash_file(self._target.read(path), self._target.root / path), False

    def is_ours(self, path: str, row: Row) -> Judged:
        """Whether what is at `path` is what we placed there; ABSENT, OURS or FOREIGN."""
        try:
            info = self._target.look(path)
        except ConflictError:
            return Judged(State.ABSENT)
        if info is None:
            return Judged(State.ABSENT)
        there, _ = self.content(path, info, row)
        return Judged(self._whose(there, row), there, info)

    def _whose(self, there: bytes | None, row: Row | None) -> State:
        ours = row is not None and there is not None and there in (row.content, row.planned)
        return State.OURS if ours or self._all_ours else State.FOREIGN

    def _mode(self, entry: Entry, row: Row | None, info: os.stat_result) -> State:
        if not isinstance(entry, StoredEntry) or entry.executable == bool(info.st_mode & 0o100) or os.name == "nt":
            return State.RIGHT
        return State.MODE if row is not None or self._all_ours else State.FOREIGN


def hash_file(fd: int, where: Path) -> Digest:
    """BLAKE3 of an open file, which is closed."""
    hasher = blake3()
    try:
        with disk.explained(where):
            while piece := os.read(fd, PIECE):
                hasher.update(piece)
    finally:
        os.close(fd)
    return Digest(hasher.digest())
