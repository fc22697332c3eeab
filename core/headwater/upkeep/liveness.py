"""Which blobs the standing versions need: exactly for a page, roughly and in little memory for everything."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from headwater.model.chunker import MIN_FILE, chunk_list_name, decode_chunks
from headwater.model.entries import StoredEntry
from headwater.model.manifest import decode_page
from headwater.upkeep.epochs import caretaker

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from headwater.home import Home
    from headwater.ports import Progress

BITS = 32
"""Bits of memory per blob: with two probes, 4 in 1,000 unneeded blobs are taken for needed ones."""
PAGES = 64
"""Pages read together."""


class Sketch:
    """A set of digests that may say yes where it should say no, never the other way (Bloom 1970).

    Args:
        capacity: How many are expected. Takes 4 bytes for each.
    """

    def __init__(self, capacity: int) -> None:
        self._size = max(1 << 13, capacity * BITS)
        self._bits = bytearray(self._size // 8 + 1)

    def add(self, name: bytes) -> bool:
        """Put it in; whether it was not there before."""
        bits, fresh = self._bits, False
        for at in (0, 8):  # digests are random: parts of them are independent hashes
            byte, bit = divmod(int.from_bytes(name[at : at + 8], "little") % self._size, 8)
            if not bits[byte] >> bit & 1:
                bits[byte] |= 1 << bit
                fresh = True
        return fresh

    def __contains__(self, name: bytes) -> bool:
        """Whether it (or, rarely, another) was put in."""
        for at in (0, 8):
            byte, bit = divmod(int.from_bytes(name[at : at + 8], "little") % self._size, 8)
            if not self._bits[byte] >> bit & 1:
                return False
        return True


def pages_of(home: Home, names: Iterable[bytes]) -> Iterator[tuple[bytes, set[bytes], set[bytes]]]:
    """(page or root, small files' blobs, chunk lists) of each; a root's pages stand for themselves.

    Raises:
        MissingBlobError, IntegrityError: A page cannot be read: nobody knows what it needs.
        StorageError, AccessError
    """
    rest = iter(names)
    while batch := list(islice(rest, PAGES)):
        for group in home.blobs.plan(batch):
            kinds = {place.row.name: place.row.kind for place in group.rows}
            for name, raw in home.blobs.fetch(group):
                stored = decode_page(raw) if kinds.get(name) == "page" else []
                small, lists = set(), set()
                for entry in stored:
                    if isinstance(entry, StoredEntry) and entry.size:
                        if entry.size < MIN_FILE:
                            small.add(bytes(entry.digest))
                        else:
                            lists.add(bytes(chunk_list_name(entry.digest)))
                yield name, small, lists


def chunks_of(home: Home, lists: Iterable[bytes]) -> dict[bytes, set[bytes]]:
    """Chunk list → its chunks."""
    return {bytes(name): {bytes(c) for c, _ in decode_chunks(raw)} for name, raw in home.blobs.read_many(lists)}


def purged_names(home: Home) -> frozenset[bytes]:
    """Files, and lists of chunks, that were removed on purpose."""
    return frozenset(bytes.fromhex(key.partition(":")[2]) for key in caretaker(home).survey.settings("purged:"))


def live_sketch(home: Home, capacity: int, progress: Progress | None = None) -> Sketch:
    """Every blob that a standing version needs, and a few in a thousand that none does. Reads every page once.

    Raises:
        As `pages_of`.
    """
    live, purged = Sketch(capacity), purged_names(home)
    for done, (name, small, lists) in enumerate(pages_of(home, caretaker(home).survey.standing()), 1):
        live.add(name)
        for blob in small:
            live.add(blob)
        for chunks in chunks_of(home, [found for found in lists - purged if live.add(found)]).values():
            for chunk in chunks:
                live.add(chunk)
        if progress:
            progress("pages", done, None)
    return live
