"""Changes to a manifest: what was added and removed, as the edits of its pages."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator

from headwater.model.entries import Entry, StoredEntry
from headwater.model.manifest import ReadPage, Root, select_pages
from headwater.store.intake import conflict


class Overlay:
    """Lays entries over an older manifest; reads only the pages they touch.

    Args:
        root: The older manifest.
        read_page: Reads its pages.
        removed: Paths taken out, with all below them, before anything is added.
    """

    def __init__(self, root: Root, read_page: ReadPage, removed: Iterable[str]) -> None:
        self._root, self._read_page = root, read_page
        self._removed = sorted(set(removed))

    def changes(self, entries: Iterable[tuple[Entry, bool]]) -> Iterator[tuple[str, Entry | None]]:
        """The edits, in path order.

        Args:
            entries: In path order, each with whether it may replace other content.

        Raises:
            ConflictError: The older manifest has other content at a path.
        """
        gone = self._gone()
        lost = next(gone, None)
        for path, entry in self._added(entries):
            while lost is not None and lost < path:
                yield lost, None
                lost = next(gone, None)
            if lost == path:
                lost = next(gone, None)
            yield path, entry
        while lost is not None:
            yield lost, None
            lost = next(gone, None)

    def _gone(self) -> Iterator[str]:
        last = ""
        for path in self._removed:
            for page in select_pages(self._root, path):
                for entry in self._read_page(page):
                    if entry.path > last and (entry.path == path or entry.path.startswith(path + "/")):
                        last = entry.path
                        yield last

    def _added(self, entries: Iterable[tuple[Entry, bool]]) -> Iterator[tuple[str, Entry | None]]:
        folders: list[str] = []
        for entry, overwrite in entries:
            above = _folders(entry.path)
            for folder in above:
                if folder not in folders and self._find(folder) is not None:
                    yield folder, None  # it was marked as empty
            folders = above
            old = None if overwrite else self._find(entry.path)
            if old is not None and not self._is_removed(entry.path) and _content(old) != _content(entry):
                raise conflict(entry.path)
            yield entry.path, entry

    def _find(self, path: str) -> Entry | None:
        pages = self._root.pages
        at = bisect_left(pages, path, key=lambda page: page.last)
        if at == len(pages) or path < pages[at].first:
            return None
        page = self._read_page(pages[at])
        place = bisect_left(page, path, key=lambda entry: entry.path)
        return page[place] if place < len(page) and page[place].path == path else None

    def _is_removed(self, path: str) -> bool:
        return any(path == gone or path.startswith(gone + "/") for gone in self._removed)


def _folders(path: str) -> list[str]:
    return [path[: at + 1] for at, c in enumerate(path[:-1]) if c == "/"]


def _content(entry: Entry) -> object:
    return (entry.size, bytes(entry.digest)) if isinstance(entry, StoredEntry) else (entry.uri, entry.pin)
