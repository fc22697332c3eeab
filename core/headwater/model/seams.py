"""Collisions across pages: a path that is an entry on one page and a folder on a later one.

Inside one page `check_entries` sees them. Across pages this watches the seams,
using that paths are sorted: whatever lies between the entry `a` and the path
`a/b` starts with `a` as well, and so do the last path before a seam between
them and the first behind it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import NoReturn

from headwater.errors import InvalidInputError
from headwater.model.entries import Entry
from headwater.model.roots import PageRef
from headwater.model.rules import refuse_collision


class Seams:
    """Takes the pages of a manifest in order, and refuses disorder and collisions between them.

    Old pages come from one valid manifest, so two of them never collide, and seldom need to be read.

    Args:
        read_page: Reads an old page.
    """

    def __init__(self, read_page: Callable[[PageRef], list[Entry]] = lambda _: []) -> None:
        self._read = read_page
        self._last = ""
        self._old: list[PageRef] = []
        self._open: list[str] = []
        """Paths of entries on new pages that start the last path so far: they may still collide."""

    def add_new(self, page: PageRef, entries: list[Entry]) -> None:
        """The next page, whose content may be new.

        Raises:
            InvalidInputError: It does not follow the page before, or collides with an earlier one.
        """
        if self._last and self._last >= page.first:
            _refuse_order(self._last, page.first)
        paths = [entry.path for entry in entries]
        for folder in self._suspects(page.first):
            below = _below(paths, folder)
            if below is not None and (folder in self._open or self._is_old_entry(folder)):
                refuse_collision(folder, below)
        self._step(page.last)
        own = _prefixes(page.last)
        self._open += [path for path in own if paths[bisect_left(paths, path) % len(paths)] == path]

    def add_old(self, page: PageRef) -> None:
        """The next page, reused as it is.

        Raises:
            InvalidInputError: It collides with an earlier new one.
        """
        for folder in self._open:
            inside = folder.removesuffix("/") + "/"
            if page.first.startswith(inside):
                refuse_collision(folder, page.first)
            if page.first < inside <= page.last:
                below = _below([entry.path for entry in self._read(page)], folder)
                if below is not None:
                    refuse_collision(folder, below)
        self._step(page.last)
        self._old.append(page)

    def _step(self, last: str) -> None:
        self._open = [path for path in self._open if last.startswith(path)]
        self._last = last

    def _suspects(self, first: str) -> Iterator[str]:
        """Paths that may be an entry before this seam and a folder behind it."""
        for path in _prefixes(first):
            if not self._last.startswith(path):
                return
            if not self._last.startswith(path.removesuffix("/") + "/") or path == self._last:
                yield path

    def _is_old_entry(self, path: str) -> bool:
        at = bisect_left(self._old, path, key=lambda page: page.last)
        if at == len(self._old) or path < self._old[at].first:
            return False
        page = self._old[at]
        return path in (page.first, page.last) or any(entry.path == path for entry in self._read(page))


def _prefixes(path: str) -> list[str]:
    return [path[:end] for end in range(1, len(path) + 1)]


def _below(paths: list[str], folder: str) -> str | None:
    inside = folder.removesuffix("/") + "/"
    at = bisect_left(paths, inside)
    if at < len(paths) and paths[at] == folder:
        at += 1
    return paths[at] if at < len(paths) and paths[at].startswith(inside) else None


def _refuse_order(before: str, after: str) -> NoReturn:
    raise InvalidInputError(what=f"the paths {before!r} and {after!r} are not in strictly rising byte order")
