"""The top of a manifest: the list of its pages, whose digest is the version's."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from itertools import pairwise
from typing import Final

import msgspec

from headwater.errors import FormatError, InvalidInputError
from headwater.model.digest import SIZE, Digest
from headwater.model.entries import Entry
from headwater.model.pages import MAX_ENTRIES, decode_array, encode_page, parted
from headwater.model.rules import MAX_SIZE

MAGIC: Final = "headwater.root"
FORMAT: Final = 1
"""The newest root format this code reads, and the one it writes."""


class PageRef(msgspec.Struct, frozen=True, gc=False):
    """One page as its root lists it."""

    name: Digest
    """Digest of the page's canonical bytes."""
    first: str
    """Its first path."""
    last: str
    """Its last path."""
    n_entries: int
    stored_size: int
    """Bytes of its stored entries."""
    referenced_size: int | None
    """Bytes of its references; None if the size of any is unknown."""
    n_references: int


class Root(msgspec.Struct, frozen=True, dict=True):
    """The pages of a manifest, in path order; no pages is the empty manifest."""

    pages: tuple[PageRef, ...] = ()

    @property
    def n_entries(self) -> int:
        """How many entries the manifest has."""
        return sum(page.n_entries for page in self.pages)

    @property
    def n_references(self) -> int:
        """How many of the entries are references."""
        return sum(page.n_references for page in self.pages)

    @property
    def stored_size(self) -> int:
        """Bytes of all stored entries, before deduplication and compression."""
        return sum(page.stored_size for page in self.pages)

    @property
    def referenced_size(self) -> int | None:
        """Bytes of all references; None if the size of any is unknown."""
        return _total(page.referenced_size for page in self.pages)

    @cached_property
    def _encoded(self) -> bytes:
        return msgspec.msgpack.encode((MAGIC, FORMAT, [_row(page) for page in self.pages]))

    @cached_property
    def _digest(self) -> Digest:
        return Digest.of(self._encoded)

    @property
    def digest(self) -> Digest:
        """The version's digest."""
        return self._digest

    def encode(self) -> bytes:
        """The canonical bytes: equal manifests, equal bytes."""
        return self._encoded

    @classmethod
    def decode(cls, data: bytes) -> Root:
        """Read a root again; every rule of the format is checked, whatever the bytes.

        Raises:
            FormatError: Damaged, not canonical, or written by a newer Headwater.
        """
        _, _, rows = decode_array(data, _decoder, MAGIC, FORMAT)
        root = cls(tuple(PageRef(Digest(name), *rest) for name, *rest in rows))
        if not all(map(_sound, root.pages)) or any(a.last >= b.first for a, b in pairwise(root.pages)):
            raise FormatError(what="the pages of a root do not follow one another")
        if root.encode() != data:
            raise FormatError(what="a root is not in canonical form")
        return root


_Row = tuple[bytes, str, str, int, int, int | None, int]
_decoder = msgspec.msgpack.Decoder(tuple[str, int, list[_Row]])


def _row(page: PageRef) -> _Row:
    # bytes(): msgspec writes plain bytes only.
    return (
        bytes(page.name), page.first, page.last, page.n_entries, page.stored_size, page.referenced_size,
        page.n_references,
    )  # fmt: skip


def _sound(page: PageRef) -> bool:
    counts = 0 < page.n_entries <= MAX_ENTRIES and 0 <= page.n_references <= page.n_entries
    sizes = 0 <= page.stored_size <= MAX_SIZE and 0 <= (page.referenced_size or 0) <= MAX_SIZE
    paths = page.first == page.last if page.n_entries == 1 else page.first < page.last
    return len(page.name) == SIZE and counts and sizes and paths and page.first != ""


def seal_page(entries: list[Entry]) -> tuple[PageRef, bytes]:
    """Encode a page and describe it as its root will.

    Raises:
        InvalidInputError: The entries break a rule of the format.
    """
    data = encode_page(entries)
    stored, pointed = parted(entries)
    stored_size, referenced_size = sum([e.size for e in stored]), _total(e.size for e in pointed)
    if stored_size > MAX_SIZE or (referenced_size or 0) > MAX_SIZE:
        raise InvalidInputError(what=f"the sizes of the entries from {entries[0].path!r} add up to over {MAX_SIZE}")
    ref = PageRef(
        name=Digest.of(data), first=entries[0].path, last=entries[-1].path, n_entries=len(entries),
        stored_size=stored_size, referenced_size=referenced_size, n_references=len(pointed),
    )  # fmt: skip
    return ref, data


def _total(sizes: Iterable[int | None]) -> int | None:
    total = 0
    for size in sizes:
        if size is None:
            return None
        total += size
    return total
