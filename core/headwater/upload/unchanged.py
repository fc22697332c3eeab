"""Recognising a directory in which nothing changed, without making an entry of any of its files.

The stats of all files, hashed, are compared with those of the last log of the
same directory; if they are equal and the stat cache believes every digest, the
manifest's root is the one remembered. Every file's stat is taken; nothing else is.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Final

import msgspec
from blake3 import blake3

from headwater.errors import FormatError, SourceChangedError
from headwater.model.manifest import Root
from headwater.store.intake import Given, Item
from headwater.store.listing import Segment
from headwater.store.reading import digest_of
from headwater.store.statcache import StatCache

if TYPE_CHECKING:
    from headwater.contents import Tree

MOST: Final = 150_000
"""Files that are held back (120 bytes each) until the last one is seen; larger trees are streamed from the start."""


class TreeWatch:
    """Watches one log of one directory.

    Args:
        tree: The directory, if it is all that is logged; else nothing is remembered.
        cache: Remembers.
    """

    def __init__(self, tree: Tree | None, cache: StatCache | None) -> None:
        self._cache = cache if tree is not None else None
        self._key = b""
        if tree is not None:
            self._key = blake3(msgspec.msgpack.encode((tree.source, tree.prefix, tree.ignore.patterns))).digest()
        self._hash = blake3()
        self._root: Root | None = None

    def look(self, items: Iterator[Item]) -> Iterator[Item]:
        """Look ahead, as long as nothing has changed; return the same items. `root` knows more afterwards."""
        memory = self._cache.find_tree(self._key) if self._cache else None
        if memory is None:
            return items
        held: list[Item] = []
        state = blake3()
        n_files = 0
        for item in items:
            held.append(item)
            n_files += len(item)
            _note(state, item)
            if n_files > MOST or (isinstance(item, Segment) and _has_changed(item)):
                return chain(_released(held), items)
        if state.digest() == memory[0] and all(map(_proves_true, held)):
            self._root = _decode(memory[1])
        return _released(held)

    def root(self) -> Root | None:
        """The manifest, if nothing changed."""
        return self._root

    def watch(self, items: Iterator[Item]) -> Iterator[Item]:
        """Pass the items on, noting what there is."""
        if self._cache is None:
            return items
        return self._noting(items)

    def _noting(self, items: Iterator[Item]) -> Iterator[Item]:
        for item in items:
            _note(self._hash, item)
            yield item

    def remember(self, root: Root) -> None:
        """The log is done: this is the manifest."""
        if self._cache is not None and self._root is None:
            self._cache.remember_tree(self._key, self._hash.digest(), root.encode())


def _released(held: list[Item]) -> Iterator[Item]:
    """The items, each let go of once it is passed on."""
    held.reverse()
    while held:
        yield held.pop()


def _note(state: blake3, item: Item) -> None:
    if isinstance(item, Given):
        state.update(f"\0{item.first}\0".encode())
    elif item.low == 0:
        listing = item.listing
        state.update(f"{listing.prefix}\0{len(listing.signature)}\0".encode())
        state.update(listing.signature)


def _has_changed(item: Segment) -> bool:
    item.listing.forget_columns()
    return item.listing.changed or bool(item.listing.unknown(item.low, item.high))


def _proves_true(item: Item) -> bool:
    """Hash the few files that are picked out to be checked."""
    if isinstance(item, Given):
        return True
    listing = item.listing
    try:
        return all(digest_of(listing.file(at))[1] == listing.digest(at) for at in item.doubted())
    except SourceChangedError:
        return False


def _decode(data: bytes) -> Root | None:
    try:
        return Root.decode(data)
    except FormatError:
        return None
