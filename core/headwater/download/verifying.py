"""Comparing a directory with a manifest, by content."""

from __future__ import annotations

import os
import stat
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from headwater import disk
from headwater.download.borrowed import content_of
from headwater.download.crew import Crew
from headwater.download.filling import Home, walk_files
from headwater.download.firstread import FirstReads
from headwater.download.judging import hash_file
from headwater.download.selection import Selection
from headwater.download.target import TEMPORARY, Target
from headwater.errors import ConflictError
from headwater.model.manifest import StoredEntry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from headwater.model.digest import Digest
    from headwater.model.manifest import Entry

Finding: TypeAlias = Literal["same", "missing", "changed", "mode", "unverified"]
_SOME = 128


class VerifyReport(NamedTuple):
    """How a directory compares with a version."""

    n_same: int
    missing: tuple[str, ...]
    changed: tuple[str, ...]
    """Other bytes, or another kind of thing."""
    mode: tuple[str, ...]
    """The right bytes with another executable bit."""
    unverified: tuple[str, ...]
    """References whose pins prove no bytes and that this client never read: there, but nobody knows if right."""
    extra: tuple[str, ...]
    """Files that the version does not have."""

    @property
    def ok(self) -> bool:
        """Whether the directory holds exactly the version."""
        return not (self.missing or self.changed or self.mode or self.unverified or self.extra)


def verify_tree(home: Home, root: Digest, target: Path) -> VerifyReport:
    """Read every file below `target` and compare it with the manifest; changes nothing.

    Raises:
        AccessError, StorageError: The directory cannot be read.
    """
    selection = Selection(home.blobs, home.blobs.read_root(root))
    found: dict[Finding, list[str]] = {"missing": [], "changed": [], "mode": [], "unverified": []}
    same, first = 0, FirstReads(home.folder)
    if not target.is_dir():
        return VerifyReport(0, tuple(selection.paths()), (), (), (), ())
    with Target(target, create=False) as place, Crew(2) as crew:
        for page in selection:
            parts = [page[at : at + _SOME] for at in range(0, len(page), _SOME)]
            for part, findings in zip(parts, crew.run(partial(_compare_some, place, part, first) for part in parts)):
                for entry, finding in zip(part, findings):
                    if finding == "same":
                        same += 1
                    else:
                        found[finding].append(entry.path)
        extra = tuple(_extra(place.root, selection))
    return VerifyReport(
        n_same=same, missing=tuple(found["missing"]), changed=tuple(found["changed"]), mode=tuple(found["mode"]),
        unverified=tuple(found["unverified"]), extra=extra,
    )  # fmt: skip


def _compare_some(target: Target, entries: list[Entry], first: FirstReads) -> list[Finding]:
    return [_compare(target, entry, first) for entry in entries]


def _compare(target: Target, entry: Entry, first: FirstReads) -> Finding:
    try:
        info = target.look(entry.path.rstrip("/"))
    except ConflictError:  # a file or a link is where a directory should be
        return "changed"
    if info is None:
        return "missing"
    if entry.path.endswith("/"):
        return "same" if stat.S_ISDIR(info.st_mode) else "changed"
    if stat.S_ISLNK(info.st_mode) and not isinstance(entry, StoredEntry):
        return _compare_link(target, entry, first)
    return _compare_file(target, entry, info, content_of(entry, first))


def _compare_file(target: Target, entry: Entry, info: os.stat_result, content: Digest | None) -> Finding:
    if not stat.S_ISREG(info.st_mode) or (entry.size is not None and info.st_size != entry.size):
        return "changed"
    if content is None:
        return "unverified"
    if hash_file(target.read(entry.path), target.root / entry.path) != content:
        return "changed"
    wrong = isinstance(entry, StoredEntry) and entry.executable != bool(info.st_mode & 0o100) and os.name != "nt"
    return "mode" if wrong else "same"


def _compare_link(target: Target, entry: Entry, first: FirstReads) -> Finding:
    """A reference left in place: the link must lead to the file referenced, and that must still be right."""
    path = target.read_link(entry.path)
    if isinstance(entry, StoredEntry) or disk.uri_of(path) != entry.uri:
        return "changed"
    content = content_of(entry, first)
    try:
        with disk.explained(path):
            fd = os.open(path, os.O_RDONLY)
    except OSError:
        return "missing"
    if content is None:
        os.close(fd)
        return "unverified"
    return "same" if hash_file(fd, target.root / entry.path) == content else "changed"


def _extra(root: Path, selection: Selection) -> Iterator[str]:
    """Files beside the manifest's: both sides are in byte order."""
    wanted = selection.paths()
    current = next(wanted, None)
    for path in walk_files(root):
        while current is not None and current < path:
            current = next(wanted, None)
        if current != path and not path.startswith(TEMPORARY + "/"):
            yield path
