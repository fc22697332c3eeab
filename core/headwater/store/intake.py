"""What goes down: items from several places, merged in path order, conflicts found.

An item is a segment of files, a mark of an empty directory, or something given
(bytes, or an entry that needs no bytes). Where two places claim one path, the
last one that may overwrite wins; otherwise both must have the same content.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from headwater.errors import ConflictError
from headwater.model.digest import Digest
from headwater.model.entries import EMPTY, Entry, StoredEntry
from headwater.store.listing import UNKNOWN, Segment
from headwater.store.reading import digest_of


class Given:
    """One item that is here already: bytes, or an entry (of another version, or a reference)."""

    __slots__ = ("_entry", "content", "first", "overwrite")

    def __init__(self, path: str, content: bytes | Entry) -> None:
        self.first = path
        self.content = content
        self.overwrite = False
        self._entry = None if isinstance(content, bytes) else content

    @property
    def last(self) -> str:
        """Its path."""
        return self.first

    @property
    def paths(self) -> list[str]:
        """Its path."""
        return [self.first]

    @property
    def is_mark(self) -> bool:
        """Whether it marks an empty directory."""
        return self.first.endswith("/")

    def __len__(self) -> int:
        return 1

    def cut(self, path: str) -> tuple[Given | None, Given | None]:
        """As `Segment.cut`."""
        return (self, None) if self.first < path else (None, self)

    def part(self, low: int, high: int) -> Given | None:
        """As `Segment.part`."""
        return self if low == 0 < high else None

    @property
    def size(self) -> int:
        """Bytes; 0 for a reference."""
        if isinstance(self.content, bytes):
            return len(self.content)
        return self.content.size if isinstance(self.content, StoredEntry) else 0

    def entry(self) -> Entry:
        """What the manifest will say; bytes are hashed once."""
        if self._entry is None:
            assert isinstance(self.content, bytes)
            self._entry = StoredEntry(self.first, len(self.content), Digest.of(self.content))
        return self._entry


Item: TypeAlias = Segment | Given


def empty_folder(path: str) -> Given:
    """The mark of an empty directory; `path` ends in `/`."""
    return Given(path, StoredEntry(path, 0, EMPTY))


class Stream:
    """What holds for all items from one place.

    Args:
        overwrite: Whether they win against places that were added before.
    """

    def __init__(self, *, overwrite: bool = False) -> None:
        self.overwrite = overwrite
        self.without: list[str] = []
        """Paths removed again, with all below them."""

    def of(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items, marked, without what was removed."""
        for item in items:
            item.overwrite = item.overwrite or self.overwrite
            yield from leave_out(item, self.without) if self.without else (item,)


def leave_out(item: Item, removed: Iterable[str]) -> list[Item]:
    """What is left of `item` without the `removed` paths and what is below them."""
    left: list[Item] = [item]
    for path in removed:
        left = [rest for piece in left for rest in _without(piece, path) if rest is not None]
    return left


def _without(item: Item, path: str) -> Iterator[Item | None]:
    before, rest = item.cut(path)
    yield before
    if rest is not None and rest.first == path:
        rest = rest.part(1, len(rest))
    if rest is not None:
        between, rest = rest.cut(path + "/")
        yield between
    if rest is not None:
        yield rest.cut(path + "0")[1]  # "0" follows "/"


class _Head:
    """A stream and the item it has come to."""

    def __init__(self, stream: Iterable[Item]) -> None:
        self._rest = iter(stream)
        self.item: Item | None = next(self._rest, None)

    def take(self, count: int) -> Item:
        """Take the first `count` entries of the item."""
        assert self.item is not None
        taken, self.item = self.item.part(0, count), self.item.part(count, len(self.item))
        self.item = self.item or next(self._rest, None)
        assert taken is not None
        return taken

    def take_before(self, limit: str | None) -> Item:
        """Take what comes before the path `limit`."""
        item = self.item
        assert item is not None
        if limit is None or item.last < limit:
            self.item = next(self._rest, None)
            return item
        before, _ = item.cut(limit)
        assert before is not None
        return self.take(len(before))


def merge(streams: Iterable[Iterable[Item]]) -> Iterator[Item]:
    """All items in path order; a later stream stands for what was added later.

    Raises:
        ConflictError: Two contents for one path.
        InvalidInputError, AccessError, StorageError: From the streams.
    """
    return _drop_marks(_merge(streams))


def _merge(streams: Iterable[Iterable[Item]]) -> Iterator[Item]:
    heads = [head for head in map(_Head, streams) if head.item is not None]
    while heads:
        firsts = [head.item.first for head in heads if head.item is not None]
        low = min(firsts)
        at = [head for head, first in zip(heads, firsts) if first == low]
        if len(at) == 1:
            others = [first for first in firsts if first != low]
            yield at[0].take_before(min(others) if others else None)
        else:
            yield _agreed([head.take(1) for head in at])
        heads = [head for head in heads if head.item is not None]


def _drop_marks(items: Iterator[Item]) -> Iterator[Item]:
    """An empty directory in one place may have content in another."""
    mark: Item | None = None
    for item in items:
        if mark is not None and not item.first.startswith(mark.first):
            yield mark
        is_mark = isinstance(item, Given) and item.is_mark
        mark = item if is_mark else None
        if not is_mark:
            yield item
    if mark is not None:
        yield mark


def _agreed(claims: list[Item]) -> Item:
    """The one item that several claims of one path come to."""
    start = max((at for at, claim in enumerate(claims) if claim.overwrite), default=0)
    contents = [_content(claim) for claim in claims[start:]] if len(claims) - start > 1 else []
    if any(content != contents[0] for content in contents):
        raise conflict(claims[0].first)
    return claims[-1] if start else claims[0]


def conflict(path: str) -> ConflictError:
    """Two contents for one path."""
    return ConflictError(
        what=f"{path!r} was added twice with different content",
        fix="remove one, or add the later one with overwrite=True",
    )


def _content(item: Item) -> object:
    """Equal for equal content, whatever the path; reads a file whose digest is not known."""
    if isinstance(item, Given):
        entry = item.entry()
        return (entry.size, bytes(entry.digest)) if isinstance(entry, StoredEntry) else (entry.uri, entry.pin)
    listing, at = item.listing, item.low
    known = listing.digest(at)
    if known == UNKNOWN:
        return digest_of(listing.file(at))
    return (listing.stats[at][2], known)
