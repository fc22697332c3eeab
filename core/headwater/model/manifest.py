"""Manifests: the entries of one version, cut into pages, under one root.

A version's digest is its root's, and a root names its pages by their digests:
equal entries give equal bytes, whatever the history, so two versions are
compared by comparing names, and only pages that differ are read.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Final, Literal, TypeAlias

import msgspec

from headwater.errors import EntryNotFoundError, InvalidInputError
from headwater.model.digest import Digest
from headwater.model.entries import Entry, Pin, ReferenceEntry, StoredEntry, Strength
from headwater.model.pages import Splitter, batched, decode_page, encode_page, ends_page
from headwater.model.roots import PageRef, Root, seal_page
from headwater.model.seams import Seams

__all__ = [
    "Change", "Entry", "PageRef", "Pin", "ReadPage", "ReferenceEntry", "Root", "StoredEntry", "Strength",
    "absent", "build_pages", "decode_page", "diff_roots", "edit_pages", "encode_page", "entries_below",
    "select_pages",
]  # fmt: skip

ReadPage: TypeAlias = Callable[[PageRef], list[Entry]]

CLOSE: Final = 10_000
"""Entries that are looked at for what a wrong path may have meant."""


class Change(msgspec.Struct, frozen=True, gc=False):
    """One difference between two manifests."""

    kind: Literal["added", "removed", "changed"]
    path: str
    old: Entry | None
    """None if it was added."""
    new: Entry | None
    """None if it was removed."""


def build_pages(entries: Iterable[Entry]) -> Iterator[tuple[PageRef, bytes]]:
    """Encode sorted entries page by page, lazily; holds little more than one page at a time.

    Raises:
        InvalidInputError: Unsorted, a path twice, a path that is both an entry and a folder of others, or
            an entry that the format cannot hold. Pages yielded before are right, but no manifest.
    """
    splitter, seams = Splitter(), Seams()
    full = chain.from_iterable(map(splitter.feed, batched(iter(entries))))
    for page in chain(full, splitter.rest()):
        ref, data = seal_page(page)
        seams.add_new(ref, page)
        yield ref, data


def edit_pages(
    root: Root, read_page: ReadPage, changes: Iterable[tuple[str, Entry | None]]
) -> Iterator[tuple[PageRef, bytes | None]]:
    """Apply changes (path → new entry, None removes it); the same pages as building from scratch.

    Bytes are None for a page that is reused as it is. Reads the pages that a change falls into, those behind
    it until the boundaries are the old ones again (none, unless entries come or go), and seldom one more to
    rule out that a new path is both an entry and a folder. Removing what is not there changes nothing; of
    several changes to one path the last counts.

    Raises:
        InvalidInputError: A change's entry has another path, or the result breaks a rule of `build_pages`.
    """
    known = {page.name for page in root.pages}
    seams = Seams(read_page)
    for old, entries in _edited(root, read_page, _in_order(changes)):
        if old is not None:
            seams.add_old(old)
            yield old, None
            continue
        ref, data = seal_page(entries)
        seams.add_new(ref, entries)
        yield ref, None if ref.name in known else data


def _in_order(changes: Iterable[tuple[str, Entry | None]]) -> list[tuple[str, Entry | None]]:
    last = dict(changes)
    for path, entry in last.items():
        if entry is not None and entry.path != path:
            raise InvalidInputError(what=f"the change of {path!r} brings an entry called {entry.path!r}")
    return sorted(last.items(), key=lambda change: change[0])


def _edited(
    root: Root, read_page: ReadPage, changes: list[tuple[str, Entry | None]]
) -> Iterator[tuple[PageRef | None, list[Entry]]]:
    """Pages of the result: (old page, []) where it stays, (None, entries) where it may be new."""
    splitter = Splitter()
    done = 0
    for at, page in enumerate(root.pages):
        end = bisect_right(changes, page.last, lo=done, key=lambda change: change[0])
        if at == len(root.pages) - 1 and not ends_page(page.last, page.n_entries):
            end = len(changes)  # The last page was ended by the end of the manifest: what comes behind joins it.
        if end == done and splitter.empty:
            yield page, []
            continue
        for entries in batched(_merge(read_page(page), dict(changes[done:end]))):
            yield from ((None, cut) for cut in splitter.feed(entries))
        done = end
    for entries in batched(entry for _, entry in changes[done:] if entry is not None):
        yield from ((None, cut) for cut in splitter.feed(entries))
    yield from ((None, cut) for cut in splitter.rest())


def _merge(entries: list[Entry], changes: dict[str, Entry | None]) -> Iterator[Entry]:
    if not changes:
        return iter(entries)
    kept = [entry for entry in entries if entry.path not in changes]
    kept += [entry for entry in changes.values() if entry is not None]
    return iter(sorted(kept, key=lambda entry: entry.path))


def diff_roots(old: Root, new: Root, read_page: ReadPage) -> Iterator[Change]:
    """What turns `old` into `new`, in path order, lazily; reads only pages that the other one has not."""
    same = {page.name for page in old.pages} & {page.name for page in new.pages}
    before, after = _unlike(old, same, read_page), _unlike(new, same, read_page)
    a, b = next(before, None), next(after, None)
    while a is not None or b is not None:
        if b is None or (a is not None and a.path < b.path):
            assert a is not None  # for the type checker
            yield Change("removed", a.path, a, None)
            a = next(before, None)
        elif a is None or b.path < a.path:
            yield Change("added", b.path, None, b)
            b = next(after, None)
        else:
            if a != b:
                yield Change("changed", a.path, a, b)
            a, b = next(before, None), next(after, None)


def _unlike(root: Root, same: set[Digest], read_page: ReadPage) -> Iterator[Entry]:
    return chain.from_iterable(read_page(page) for page in root.pages if page.name not in same)


def select_pages(root: Root, prefix: str) -> tuple[PageRef, ...]:
    """The pages that may hold paths starting with `prefix`; all pages for an empty one."""
    low = bisect_left(root.pages, prefix, key=lambda page: page.last)
    high = bisect_right(root.pages, prefix, lo=low, key=lambda page: page.first[: len(prefix)])
    return root.pages[low:high]


def entries_below(root: Root, read_page: ReadPage, path: str) -> Iterator[Entry]:
    """The entry at `path` and those below it, in order, lazily; all of them for an empty path."""
    for page in select_pages(root, path):
        for entry in read_page(page):
            if not path or entry.path == path or entry.path.startswith(path + "/"):
                yield entry


def absent(root: Root, read_page: ReadPage, path: str, where: str | None = None) -> EntryNotFoundError:
    """The error for a path that has no entry and none below it; names those it may have meant."""
    close = _closest(root, read_page, path)
    fix = None if close else "`headwater artifact show NAME --files` lists what there is"
    return EntryNotFoundError(path=path, where=where, close=close, fix=fix)


def _closest(root: Root, read_page: ReadPage, path: str) -> list[str]:
    """Up to three paths or folders beside the first part of `path` that is wrong; looks at `CLOSE` entries at most."""
    from difflib import get_close_matches  # only who mistypes needs it

    right = path
    while right:
        right = right.rpartition("/")[0]
        start = right + "/" if right else ""
        below = (e.path for e in islice(entries_below(root, read_page, right), CLOSE) if e.path.startswith(start))
        names = sorted({found[len(start) :].partition("/")[0] for found in below} - {""})
        beside = {name.casefold(): name for name in names}
        if beside:
            wrong = path[len(start) :].partition("/")[0].casefold()
            return [start + beside[name] for name in get_close_matches(wrong, beside)]
    return []
