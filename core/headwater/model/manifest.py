"""Manifests: the entries of one version, cut into pages, under one root.

A version's digest is its root's, and a root names its pages by their digests:
equal entries give equal bytes, whatever the history, so two versions are
compared by comparing names, and only pages that differ are read.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain
from typing import Final, Literal, TypeAlias

import msgspec

from headwater.errors import FormatError, InvalidInputError
from headwater.model.digest import SIZE, Digest
from headwater.model.entries import Entry, Pin, ReferenceEntry, StoredEntry
from headwater.model.pages import decode_array, decode_page, encode_page, split_pages

__all__ = [
    "Change", "Entry", "PageRef", "Pin", "ReadPage", "ReferenceEntry", "Root", "StoredEntry",
    "build_pages", "decode_page", "diff_roots", "edit_pages", "encode_page", "select_pages",
]  # fmt: skip

MAGIC: Final = "headwater.root"
FORMAT: Final = 1


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


ReadPage: TypeAlias = Callable[[PageRef], list[Entry]]


class Root(msgspec.Struct, frozen=True, dict=True):
    """The top of a manifest: its pages, in path order."""

    pages: tuple[PageRef, ...] = ()

    @property
    def n_entries(self) -> int:
        """How many entries the manifest has."""
        return sum(page.n_entries for page in self.pages)

    @property
    def stored_size(self) -> int:
        """Bytes of all stored entries, before deduplication and compression."""
        return sum(page.stored_size for page in self.pages)

    @property
    def referenced_size(self) -> int | None:
        """Bytes of all references; None if the size of any is unknown."""
        return _total(page.referenced_size for page in self.pages)

    @property
    def n_references(self) -> int:
        """How many of the entries are references."""
        return sum(page.n_references for page in self.pages)

    @cached_property
    def _encoded(self) -> bytes:
        return msgspec.msgpack.encode((MAGIC, FORMAT, [_row(page) for page in self.pages]))

    def encode(self) -> bytes:
        """The canonical bytes."""
        return self._encoded

    @cached_property
    def digest(self) -> Digest:
        """The version's digest."""
        return Digest.of(self._encoded)

    @classmethod
    def decode(cls, data: bytes) -> Root:
        """Read a root again.

        Raises:
            FormatError: Damaged, not canonical, or written by a newer Headwater.
        """
        _, _, rows = decode_array(data, _decoder, MAGIC, FORMAT)
        root = cls(tuple(PageRef(Digest(name), *rest) for name, *rest in rows))
        texts = [path for page in root.pages for path in (page.first, page.last)]
        fits = all(
            len(p.name) == SIZE and p.first <= p.last and 0 <= p.n_references <= p.n_entries and p.n_entries > 0
            and p.stored_size >= 0 and (p.referenced_size is None or p.referenced_size >= 0)
            for p in root.pages
        )  # fmt: skip
        if not fits or texts != sorted(texts) or any(a.last >= b.first for a, b in _pairs(root.pages)):
            raise FormatError(what="the pages of a root do not follow one another")
        if root.encode() != data:
            raise FormatError(what="a root is not in canonical form")
        return root


_Row = tuple[bytes, str, str, int, int, int | None, int]
_decoder = msgspec.msgpack.Decoder(tuple[str, int, list[_Row]])


def _row(page: PageRef) -> _Row:
    return (bytes(page.name), *msgspec.structs.astuple(page)[1:])  # type: ignore[return-value]


def _pairs(pages: Sequence[PageRef]) -> Iterator[tuple[PageRef, PageRef]]:
    return zip(pages, pages[1:], strict=False)


def _total(sizes: Iterable[int | None]) -> int | None:
    known = list(sizes)
    return None if None in known else sum(known)  # type: ignore[arg-type]


class Change(msgspec.Struct, frozen=True, gc=False):
    """One difference between two manifests."""

    kind: Literal["added", "removed", "changed"]
    path: str
    old: Entry | None
    new: Entry | None


# --------------------------------------------------------------------- building
def build_pages(entries: Iterable[Entry]) -> Iterator[tuple[PageRef, bytes]]:
    """Encode sorted entries page by page; holds one page at a time.

    Raises:
        InvalidInputError: Unsorted, a path twice, or a file that other entries lie below.
    """
    last: PageRef | None = None
    for page in split_pages(iter(entries)):
        ref, data = _seal(page)
        if last is not None and last.last >= ref.first:
            raise InvalidInputError(what=f"the paths {(last.last, ref.first)!r} are not in strictly rising byte order")
        yield ref, data
        last = ref


def _seal(page: list[Entry]) -> tuple[PageRef, bytes]:
    data = encode_page(page)
    stored = [e.size for e in page if type(e) is StoredEntry]
    pointed = [e.size for e in page if type(e) is ReferenceEntry]
    ref = PageRef(
        Digest.of(data), page[0].path, page[-1].path, len(page), sum(stored), _total(pointed), len(pointed)
    )  # fmt: skip
    return ref, data


def edit_pages(
    root: Root, read_page: ReadPage, changes: Iterable[tuple[str, Entry | None]]
) -> Iterator[tuple[PageRef, bytes | None]]:
    """Apply changes (path → new entry, None removes it); the same pages as building from scratch.

    Bytes are None for a page that is reused as it is. Reads only pages that a change touches.

    Raises:
        InvalidInputError: A change does not match its path, or the result breaks a rule of `build_pages`.
    """
    wanted = dict(changes)
    merged: dict[str, Entry] = {e.path: e for page in root.pages for e in read_page(page)}
    for path, entry in wanted.items():
        if entry is None:
            merged.pop(path, None)
        else:
            merged[path] = entry
    known = {page.name for page in root.pages}
    for ref, data in build_pages(merged[path] for path in sorted(merged)):
        yield ref, None if ref.name in known else data


# -------------------------------------------------------------------- comparing
def diff_roots(old: Root, new: Root, read_page: ReadPage) -> Iterator[Change]:
    """What turns `old` into `new`, by path; reads only pages that differ."""
    same = {page.name for page in old.pages} & {page.name for page in new.pages}
    before = _stream(old, same, read_page)
    after = _stream(new, same, read_page)
    a, b = next(before, None), next(after, None)
    while a is not None or b is not None:
        if b is None or (a is not None and a.path < b.path):
            assert a is not None
            yield Change("removed", a.path, a, None)
            a = next(before, None)
        elif a is None or b.path < a.path:
            yield Change("added", b.path, None, b)
            b = next(after, None)
        else:
            if a != b:
                yield Change("changed", a.path, a, b)
            a, b = next(before, None), next(after, None)


def _stream(root: Root, skip: set[Digest], read_page: ReadPage) -> Iterator[Entry]:
    return chain.from_iterable(read_page(page) for page in root.pages if page.name not in skip)


def select_pages(root: Root, prefix: str) -> tuple[PageRef, ...]:
    """The pages that may hold paths starting with `prefix`; all for an empty one."""
    if not prefix:
        return root.pages
    low = bisect_left(root.pages, prefix, key=lambda page: page.last)
    high = bisect_right(root.pages, prefix, key=lambda page: page.first[: len(prefix)])
    return root.pages[low:high]
