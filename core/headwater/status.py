"""A directory beside a version: what was added, changed or removed there, read only where it must be.

The stat cache answers for files it knows, so comparing an unchanged tree reads
no file; what has to be read is remembered for the next time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from blake3 import blake3

from headwater.model.digest import Digest
from headwater.model.manifest import Entry, ReferenceEntry, StoredEntry
from headwater.model.patterns import Ignore
from headwater.store.listing import UNKNOWN, Listing, Segment, keep
from headwater.store.reading import local_folder, opened
from headwater.store.walk import Walk

if TYPE_CHECKING:
    from headwater.ports import Progress
    from headwater.store.statcache import StatCache
    from headwater.version import Version

_BLOCK = 4 << 20


class FolderStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The difference between a version and a directory; paths in byte order."""

    added: tuple[str, ...]
    """Only in the directory."""
    changed: tuple[str, ...]
    """Other content, or the mode bit differs."""
    removed: tuple[str, ...]
    """Only in the version."""
    unverified: tuple[str, ...]
    """References without a digest: a file of the right size is there, its bytes cannot be proved."""
    same: int
    """Entries that are as recorded."""

    def __bool__(self) -> bool:
        """Whether anything differs."""
        return bool(self.added or self.changed or self.removed)


def compare_folder(
    version: Version[Any], folder: str | Path, *, ignore: Iterable[str] = (), progress: Progress | None = None
) -> FolderStatus:
    """Compare what `folder` holds now with the version; changes nothing.

    Args:
        version: With what.
        folder: An existing directory.
        ignore: Patterns of files that do not count, as in `Artifact.add_dir`.
        progress: Told `reading`, bytes read so far, None.

    Raises:
        NotFoundError: There is no such directory.
        SourceChangedError: A file changed while it was read.
        InvalidInputError, AccessError, StorageError: As `Artifact.add_dir`.
    """
    cache = version.home.statcache
    walk = Walk(local_folder(folder), "", Ignore(ignore), cache)
    outcome: dict[str, list[str]] = {"added": [], "changed": [], "removed": [], "unverified": [], "same": []}
    same = 0
    for entry, local in _side_by_side(version.entries(), _local_files(walk, cache, progress)):
        kind, path = _judge(entry, local)
        if kind == "same":
            same += 1
        else:
            outcome[kind].append(path)
    if cache is not None:
        cache.flush()
    paths = {kind: tuple(found) for kind, found in outcome.items() if kind != "same"}
    return FolderStatus(same=same, **paths)


def _judge(entry: Entry | None, local: StoredEntry | None) -> tuple[str, str]:
    if entry is None:
        assert local is not None
        return "added", local.path
    if local is None:
        return "removed", entry.path
    if isinstance(entry, StoredEntry):
        alike = entry.digest == local.digest and entry.executable == local.executable
        return "same" if alike else "changed", entry.path
    return _judge_reference(entry, local), entry.path


def _judge_reference(entry: ReferenceEntry, local: StoredEntry) -> str:
    checksum = entry.pin.checksum or ""
    if checksum.startswith("blake3:"):
        return "same" if checksum == str(Digest(local.digest)) else "changed"
    return "unverified" if entry.size in (None, local.size) else "changed"


def _side_by_side(
    entries: Iterator[Entry], files: Iterator[StoredEntry]
) -> Iterator[tuple[Entry | None, StoredEntry | None]]:
    """Both in path order (text sorts as its UTF-8 bytes do); what one side lacks is None."""
    entry, local = next(entries, None), next(files, None)
    while entry is not None or local is not None:
        if local is None or (entry is not None and entry.path < local.path):
            yield entry, None
            entry = next(entries, None)
        elif entry is None or local.path < entry.path:
            yield None, local
            local = next(files, None)
        else:
            yield entry, local
            entry, local = next(entries, None), next(files, None)


def _local_files(walk: Walk, cache: StatCache | None, progress: Progress | None) -> Iterator[StoredEntry]:
    n_read = 0
    for item in walk:
        if isinstance(item, Segment):
            for at in item.unread():
                n_read += _read(item.listing, at, cache)
                if progress:
                    progress("reading", n_read, None)
            yield from item.entries()
            if cache is not None and item.high == len(item.listing):
                keep(item.listing, cache)
        else:
            empty = item.entry()
            assert isinstance(empty, StoredEntry), "a walk finds files and empty directories"
            yield empty


def _read(listing: Listing, at: int, cache: StatCache | None) -> int:
    """Hash one file and remember its digest; return its size."""
    with opened(listing.file(at)) as file:
        whole, n_read = blake3(), 0
        while data := os.read(file.fd, _BLOCK):
            whole.update(data)
            n_read += len(data)
        file.check_unchanged(n_read)
        device, _, _, mtime, ctime, _ = file.stat
    known, digest = listing.digest(at), whole.digest()
    if known not in (UNKNOWN, digest) and listing.stats[at][:5] == file.stat[:5] and cache is not None:
        cache.distrust(file.path)
    settled = cache is not None and cache.settled(mtime, ctime, device)
    listing.learn(at, digest, file.stat, settled=settled)
    return n_read
