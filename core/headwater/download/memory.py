"""Files of a version in memory, for values that need no folder; only where the packs are near.

From far away a shared tree is better: it is fetched once for every step on this machine.
"""

from __future__ import annotations

import io
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from blake3 import blake3

from headwater.download.crew import crew_for
from headwater.errors import DigestMismatchError, FormatError
from headwater.model.chunker import MIN_FILE, chunk_list_name, decode_chunks
from headwater.model.digest import Digest
from headwater.model.manifest import StoredEntry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from headwater.model.manifest import Root
    from headwater.store.blobs import BlobStore, Range
    from headwater.store.cache import FileCache

MOST_FILES: Final = 64
"""A value of more files is no small thing: its codec reads them one by one from a folder."""


class Parts(Protocol):
    """What of an open repository this needs."""

    @property
    def blobs(self) -> BlobStore: ...
    @property
    def cache(self) -> FileCache | None: ...


def files_in_memory(home: Parts, root: Digest) -> dict[str, io.BytesIO] | None:
    """Path → the file's bytes, each file verified as a whole; None where a shared tree serves better.

    Raises:
        MissingBlobError, DigestMismatchError, FormatError, StorageError, AccessError
    """
    if home.cache is not None:  # the packs are far away
        return None
    entries = _stored(home.blobs, home.blobs.read_root(root))
    if entries is None:
        return None
    small = dict(home.blobs.read_many(entry.digest for entry in entries if entry.size < MIN_FILE))
    return {
        entry.path: _small(entry, small) if entry.size < MIN_FILE else _large(home.blobs, entry) for entry in entries
    }


def _stored(blobs: BlobStore, root: Root) -> list[StoredEntry] | None:
    """All entries, if they are few files of ours and nothing else."""
    if root.n_entries > MOST_FILES:
        return None
    found = [entry for page in root.pages for entry in blobs.read_page(page)]
    files = [entry for entry in found if isinstance(entry, StoredEntry) and not entry.path.endswith("/")]
    return files if len(files) == len(found) else None


def _small(entry: StoredEntry, found: Mapping[bytes, bytes]) -> io.BytesIO:
    data = found[entry.digest]
    if len(data) != entry.size:
        raise FormatError(what=f"{entry.path!r} has {len(data)} bytes instead of {entry.size}")
    return io.BytesIO(data)


def _large(blobs: BlobStore, entry: StoredEntry) -> io.BytesIO:
    """A file put together from its chunks by a few threads, hashed as a whole while they go on."""
    chunks = decode_chunks(blobs.read(chunk_list_name(entry.digest)))
    places: dict[bytes, list[int]] = {}
    at = 0
    for name, size in chunks:
        places.setdefault(bytes(name), []).append(at)
        at += size
    if at != entry.size:
        raise FormatError(what=f"the chunks of {entry.path!r} do not add up to its size")

    def begin(group: Range) -> int:
        return min(at for place in group.rows for at in places[place.row.name])

    groups = sorted(blobs.plan(list(places)), key=begin)
    # Nobody else has these bytes, so they become the file's own. Huge pages (MADV_HUGEPAGE) were tried: 40 ms less for
    # 100 MiB on a machine with free memory, 200 ms more on a busy one, which must first clear them.
    file = io.BytesIO(bytes(entry.size))
    with file.getbuffer() as view:
        actual = _fill(blobs, view, groups, places, [*map(begin, groups[1:]), entry.size])
    if actual != entry.digest:
        for group in groups:
            blobs.fetch(group)  # which names the damaged chunk and its pack
        raise DigestMismatchError(expected=str(Digest(entry.digest)), actual=str(actual), where=entry.path)
    return file


def _fill(
    blobs: BlobStore, view: memoryview, groups: Sequence[Range], places: Mapping[bytes, Sequence[int]],
    ends: Sequence[int],
) -> Digest:  # fmt: skip
    """Bring the chunks to their places; up to `ends[n]` the bytes are there once the first n + 1 groups are."""
    whole, done = blake3(), 0
    with crew_for(blobs.objects.url) as crew:
        for end, _ in zip(ends, crew.run(partial(blobs.pour, group, places, view) for group in groups)):
            whole.update(view[done:end])
            done = end
    return Digest(whole.digest())
