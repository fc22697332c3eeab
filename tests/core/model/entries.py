"""Entries for tests: strategies that draw valid ones, and many at once."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import strategies as st

from headwater.model.digest import Digest
from headwater.model.entries import EMPTY, Entry, Pin, ReferenceEntry, StoredEntry
from headwater.model.manifest import PageRef, Root, build_pages, decode_page

PARTS = ("a", "a-", "a0", "b", "é", "x y", "😀", ".a")
paths = st.builds(
    lambda parts, end: "/".join(parts) + end,
    st.lists(st.sampled_from(PARTS), min_size=1, max_size=3),
    st.sampled_from(("", "", "", "/")),
)
sizes = st.one_of(st.integers(0, 300), st.integers(0, 2**50))
texts = st.one_of(st.none(), st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8))
pins = st.builds(Pin, texts, texts, texts, texts)


def entries_at(path: str) -> st.SearchStrategy[Entry]:
    """Any entry that may stand at `path`."""
    if path.endswith("/"):
        return st.just(StoredEntry(path, 0, EMPTY))
    stored = st.builds(
        StoredEntry, st.just(path), sizes, st.binary(min_size=32, max_size=32).map(Digest), st.booleans()
    )
    uris = st.text("s3:/bé", min_size=1, max_size=12)
    return st.one_of(stored, st.builds(ReferenceEntry, st.just(path), st.one_of(st.none(), sizes), uris, pins))


entries = paths.flatmap(entries_at)


def collide(path: str, other: str) -> bool:
    """Whether two different paths cannot be in one manifest."""
    return path != other and (
        other.startswith(path.removesuffix("/") + "/") or path.startswith(other.removesuffix("/") + "/")
    )


def without_collisions(found: Iterable[Entry]) -> dict[str, Entry]:
    """The entries by path, leaving out those that collide with an earlier one."""
    kept: dict[str, Entry] = {}
    for entry in found:
        if not any(collide(entry.path, path) for path in kept):
            kept[entry.path] = entry
    return kept


manifests = st.lists(entries, max_size=40).map(without_collisions)


def many(n: int, start: int = 0) -> list[Entry]:
    """`n` stored entries, sorted, in directories of 1,000."""
    return [
        StoredEntry(f"train/{i // 1000:05d}/image_{i:08d}.jpg", i, Digest.of(i.to_bytes(8, "big")))
        for i in range(start, start + n)
    ]


class Shelf:
    """Pages by name, counting what is read."""

    def __init__(self) -> None:
        self.pages: dict[bytes, bytes] = {}
        self.read: list[PageRef] = []

    def build(self, found: Iterable[Entry]) -> Root:
        """Build a manifest and keep its pages."""
        refs = []
        for ref, data in build_pages(found):
            self.pages[ref.name] = data
            refs.append(ref)
        return Root(tuple(refs))

    def read_page(self, ref: PageRef) -> list[Entry]:
        """Read a page again."""
        self.read.append(ref)
        return decode_page(self.pages[ref.name])

    def entries(self, root: Root) -> list[Entry]:
        """All entries of a manifest."""
        return [entry for ref in root.pages for entry in decode_page(self.pages[ref.name])]
