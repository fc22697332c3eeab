"""From one repository's store to another's: only the blobs that the other does not have, nothing is unpacked to disk.

Pages that the target proves are not even read. Of the others, the blobs that the target
lacks are read in coalesced ranges, verified, and put into packs of the target.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from headwater.model.chunker import MIN_FILE, chunk_list_name, decode_chunks
from headwater.model.digest import Digest
from headwater.model.entries import StoredEntry
from headwater.store.blobs import BlobStore
from headwater.store.blobwriter import BlobWriter
from headwater.store.pagewriter import PackSet, PageWriter
from headwater.upload import Home, Uploaded
from headwater.upload.threads import Pools

if TYPE_CHECKING:
    from headwater.ports import Progress

_AHEAD: Final = 4
"""Ranges being read, or read and waiting."""
_TOGETHER: Final = 1024
"""Blobs that are looked up and planned together."""


def transfer(root: Digest, source: BlobStore, home: Home, lease: str, *, progress: Progress | None = None) -> Uploaded:
    """Make everything below a manifest's root durable in `home`, as `upload` does; the commit is the caller's.

    Idempotent: called again it sends what is missing then.

    Args:
        root: The manifest, in `source`.
        source: Where its bytes are.
        home: Where they shall be.
        lease: Of `home`; holds every pack relied on, until the commit.
        progress: Told "sending", bytes of blobs sent so far, total unknown.

    Raises:
        MissingBlobError, IntegrityError: The source is damaged; nothing wrong is passed on.
        StorageError, AccessError: One of the two stores failed.
    """
    with Pools() as pools:
        return _Transfer(source, home, lease, pools, progress).run(root)


class _Transfer:
    """One call of `transfer`."""

    def __init__(self, source: BlobStore, home: Home, lease: str, pools: Pools, progress: Progress | None) -> None:
        self._source, self._pools, self._progress = source, pools, progress
        packs = home.catalog.packs
        self._writer = BlobWriter(home.blobs.objects, packs, lease, pools.send)
        self._pages = PageWriter(packs, lease, self._writer, self._send, source.read_page)
        self._done = 0

    def run(self, digest: Digest) -> Uploaded:
        for page in self._source.read_root(digest).pages:
            self._pages.add(page, None)
        root = self._pages.close()
        seals = self._writer.finish()
        found, writer = self._pages.result(root), self._writer
        return Uploaded(
            root.digest, found.root_packs, found.pages, found.chunk_lists, seals, root.n_entries, root.stored_size,
            root.referenced_size, writer.sent_bytes, writer.sent_blobs, writer.n_puts,
        )  # fmt: skip

    def _send(self, entries: Sequence[StoredEntry]) -> dict[str, PackSet]:
        small = dict.fromkeys(bytes(e.digest) for e in entries if e.size < MIN_FILE)
        placed = self._move(small)
        found: dict[str, PackSet] = {
            e.path: frozenset((placed[bytes(e.digest)],)) for e in entries if e.size < MIN_FILE
        }
        for entry in entries:
            if entry.size >= MIN_FILE:
                found[entry.path] = self._send_large(entry)
        return found

    def _send_large(self, entry: StoredEntry) -> PackSet:
        chunks = decode_chunks(self._source.read(chunk_list_name(entry.digest)))
        packs = set(self._move(bytes(name) for name, _ in chunks).values())
        return self._pages.note_chunks(bytes(entry.digest), chunks, packs)

    def _move(self, names: Iterable[bytes]) -> dict[bytes, str]:
        """See that the target has these blobs; name → pack."""
        found: dict[bytes, str] = {}
        rest = iter(dict.fromkeys(names))
        while batch := list(islice(rest, _TOGETHER)):
            found.update(self._writer.held(batch))
            for blobs in self._read([name for name in batch if name not in found]):
                found.update(self._writer.place({name: memoryview(raw) for name, raw in blobs}))
                self._done += sum(len(raw) for _, raw in blobs)
                if self._progress is not None:
                    self._progress("sending", self._done, None)
        return found

    def _read(self, names: Sequence[bytes]) -> Iterator[list[tuple[bytes, bytes]]]:
        reading: deque[Any] = deque()
        for group in self._source.plan(names) if names else ():
            reading.append(self._pools.read(partial(self._source.fetch, group)))
            if len(reading) >= _AHEAD:
                yield reading.popleft().result()
        while reading:
            yield reading.popleft().result()
