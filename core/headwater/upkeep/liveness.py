"""Which blobs the standing versions need: exactly for a page, roughly and in little memory for everything."""

from __future__ import annotations

from itertools import islice
from struct import Struct
from typing import TYPE_CHECKING, TypeAlias

from headwater.errors import IntegrityError
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
_parts = Struct("<QQ").unpack_from

Damaged: TypeAlias = dict[bytes, IntegrityError]
"""Blobs that cannot be read, and what was found instead."""


class Sketch:
    """A set of digests that may say yes where it should say no, never the other way (Bloom 1970).

    Digests are random: parts of them are independent hashes. The loops are written out, for they run a million times.

    Args:
        capacity: How many are expected. Takes 4 to 8 bytes for each.
    """

    def __init__(self, capacity: int) -> None:
        size = 1 << max(13, (capacity * BITS - 1).bit_length())
        self._mask = size - 1
        self._bits = bytearray(size >> 3)

    def add_all(self, names: Iterable[bytes]) -> None:
        """Put digests in."""
        bits, mask = self._bits, self._mask
        for name in names:
            one, two = _parts(name)
            one, two = one & mask, two & mask
            bits[one >> 3] |= 1 << (one & 7)
            bits[two >> 3] |= 1 << (two & 7)

    def add(self, name: bytes) -> bool:
        """Put one in; whether it was not there before."""
        fresh = not self.among([(name, 0, 0)])
        self.add_all([name])
        return fresh

    def among(self, rows: Iterable[tuple[bytes, int, int]]) -> list[tuple[bytes, int, int]]:
        """Those rows whose digest (or, rarely, another) was put in."""
        bits, mask, found = self._bits, self._mask, []
        for row in rows:
            one, two = _parts(row[0])
            one, two = one & mask, two & mask
            if bits[one >> 3] >> (one & 7) & 1 and bits[two >> 3] >> (two & 7) & 1:
                found.append(row)
        return found


def pages_of(
    home: Home, names: Iterable[bytes], damaged: Damaged | None = None
) -> Iterator[tuple[bytes, set[bytes], set[bytes]]]:
    """(page or root, small files' blobs, chunk lists) of each; a root's pages stand for themselves.

    Args:
        home: The repository.
        names: Of pages and roots.
        damaged: What cannot be read is put here and left out, for nobody knows what it needs; by default it raises.

    Raises:
        MissingBlobError, IntegrityError: A page cannot be read.
        StorageError, AccessError
    """
    for name, kind, raw in _read(home, names, damaged):
        try:
            entries = decode_page(raw) if kind == "page" else []
        except IntegrityError as error:
            _note(damaged, name, error)
            continue
        small, lists = set(), set()
        for entry in entries:
            if isinstance(entry, StoredEntry) and entry.size:
                if entry.size < MIN_FILE:
                    small.add(bytes(entry.digest))
                else:
                    lists.add(bytes(chunk_list_name(entry.digest)))
        yield name, small, lists


def chunks_of(home: Home, lists: Iterable[bytes], damaged: Damaged | None = None) -> dict[bytes, set[bytes]]:
    """Chunk list → its chunks. `damaged` and errors as of `pages_of`."""
    found: dict[bytes, set[bytes]] = {}
    for name, _, raw in _read(home, lists, damaged):
        try:
            found[name] = {bytes(c) for c, _ in decode_chunks(raw)}
        except IntegrityError as error:
            _note(damaged, name, error)
    return found


def _read(home: Home, names: Iterable[bytes], damaged: Damaged | None) -> Iterator[tuple[bytes, str, bytes]]:
    """(name, kind, bytes) of blobs, read together; one by one where something among them is damaged."""
    rest = iter(names)
    while batch := dict.fromkeys(islice(rest, PAGES)):
        try:
            for group in home.blobs.plan(batch):
                kinds = {place.row.name: place.row.kind for place in group.rows}
                for name, raw in home.blobs.fetch(group):
                    del batch[name]
                    yield name, kinds.get(name, ""), raw
        except IntegrityError as error:
            if damaged is None:
                raise
            if len(batch) == 1:
                damaged.update(dict.fromkeys(batch, error))
            else:
                for name in batch:
                    yield from _read(home, [name], damaged)


def _note(damaged: Damaged | None, name: bytes, error: IntegrityError) -> None:
    if damaged is None:
        raise error
    damaged[name] = error


def purged_names(home: Home) -> frozenset[bytes]:
    """Files, and lists of chunks, that were removed on purpose."""
    return frozenset(bytes.fromhex(key.partition(":")[2]) for key in caretaker(home).survey.settings("purged:"))


def live_sketch(home: Home, capacity: int, damaged: Damaged, progress: Progress | None = None) -> Sketch:
    """Every blob that a standing version needs, and a few in a thousand that none does. Reads every page once.

    Args:
        home: The repository.
        capacity: How many blobs are expected.
        damaged: Gets the pages of which nobody knows what they need; what they name is not in the sketch.
        progress: Told `pages`, how many were read.

    Raises:
        StorageError, AccessError
    """
    live, purged = Sketch(capacity), purged_names(home)
    unread: Damaged = {}
    """Chunk lists, each looked at once."""
    for done, (name, small, lists) in enumerate(pages_of(home, caretaker(home).survey.standing(), damaged), 1):
        live.add_all([name])
        live.add_all(small)
        for chunks in chunks_of(home, [found for found in lists - purged if live.add(found)], unread).values():
            live.add_all(chunks)
        for found in lists & unread.keys():
            damaged[name] = unread[found]
        if progress:
            progress("pages", done, None)
    return live
