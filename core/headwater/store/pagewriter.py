"""From pages to what a commit needs: every page with every pack that holds something below it.

A page that the catalog proves needs nothing else: not its bytes, not a look-up
per file. Only the files of new pages are looked up, in bulk.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple, TypeAlias

from headwater.model.chunker import MIN_FILE, chunk_list_name, encode_chunks
from headwater.model.digest import Digest
from headwater.model.entries import StoredEntry
from headwater.model.manifest import PageRef, ReadPage, Root, decode_page, encode_page
from headwater.model.records import PageUse
from headwater.ports import PackCatalog
from headwater.store.blobwriter import BlobWriter

_TOGETHER: Final = 65_536
"""Entries of pages that are proved together."""

PackSet: TypeAlias = AbstractSet[str]
"""Packs of a file. That of a large file may still grow: the pack of its chunk list is known last."""

Resend: TypeAlias = Callable[[Sequence[StoredEntry]], dict[str, PackSet]]
"""Sends files that the store lacks once more; path → packs."""


class _Page(NamedTuple):
    ref: PageRef
    data: bytes | None
    fresh: dict[str, PackSet]
    """Path → packs, for the entries whose packs are known already."""


class Pages(NamedTuple):
    """What a commit needs to know of a manifest."""

    root: Root
    root_packs: frozenset[str]
    pages: tuple[PageUse, ...]
    chunk_lists: tuple[PageUse, ...]


class PageWriter:
    """Takes the pages of one manifest in order. Not thread-safe.

    Args:
        packs: Proves pages and chunk lists.
        lease: What holds everything relied on.
        writer: Sends what is new.
        resend: Called for files whose digest was known but whose bytes the store lacks.
        read_page: Reads a page that is reused.
    """

    def __init__(self, packs: PackCatalog, lease: str, writer: BlobWriter, resend: Resend, read_page: ReadPage) -> None:
        self._packs, self._lease, self._writer = packs, lease, writer
        self._resend, self._read_page = resend, read_page
        self._noted: deque[tuple[str, PackSet]] = deque()
        self._waiting: list[_Page] = []
        self._n_waiting = 0
        self._refs: list[PageRef] = []
        self._uses: dict[bytes, set[str]] = {}
        self._lists: dict[bytes, set[str]] = {}
        self._late: list[tuple[set[str], PackSet]] = []
        """(a page's packs, those of a large file on it), to be joined at the end."""
        self._root_use: set[str] = set()
        self.flushed = ""
        """The last path whose blobs are all accounted for."""

    def note(self, path: str, packs: PackSet) -> None:
        """An entry that will come (in path order) needs no look-up: its bytes are in these packs."""
        self._noted.append((path, packs))

    def note_chunks(self, file: bytes, chunks: Sequence[tuple[bytes, int]], packs: set[str]) -> PackSet:
        """The chunks of a large file are placed: keep their list; return the packs to note for the file."""
        held = self.known_large(file)
        if held is not None:
            return held
        name = chunk_list_name(Digest(file))
        self._lists[name] = packs
        encoded = encode_chunks([(Digest(chunk), size) for chunk, size in chunks])
        self._writer.add_manifest(name, encoded, "chunks", packs)
        return packs

    def known_large(self, file: bytes) -> PackSet | None:
        """The packs to note for a large file that the store has, or has been given; held from now on."""
        name = chunk_list_name(Digest(file))
        own = self._lists.get(name)
        return own if own is not None else self._packs.hold_proofs([name], self._lease).get(name)

    def add(self, ref: PageRef, data: bytes | None) -> None:
        """The next page; `data` None for one that is reused as it is."""
        fresh = {}
        while self._noted and self._noted[0][0] <= ref.last:
            path, packs = self._noted.popleft()
            fresh[path] = packs
        self._refs.append(ref)
        self._waiting.append(_Page(ref, data, fresh))
        self._n_waiting += ref.n_entries
        if self._n_waiting >= _TOGETHER:
            self.flush()

    def flush(self) -> None:
        """Prove the pages that wait, or send them with what they need."""
        waiting, self._waiting, self._n_waiting = self._waiting, [], 0
        proofs = self._packs.hold_proofs([page.ref.name for page in waiting], self._lease) if waiting else {}
        new = []
        for page in waiting:
            self._uses[page.ref.name] = set(proofs.get(page.ref.name, ()))
            if page.ref.name not in proofs:
                new.append(page)
        self._send(new)
        self.flushed = self._refs[-1].last if self._refs else ""

    def _send(self, pages: list[_Page]) -> None:
        entries = {page.ref.name: self._unproved(page) for page in pages}
        found = self._look_up([entry for group in entries.values() for entry in group])
        for page in pages:
            use = self._uses[page.ref.name]
            for packs in (*page.fresh.values(), *(found[entry.path] for entry in entries[page.ref.name])):
                use |= packs
                if isinstance(packs, set):
                    self._late.append((use, packs))
            data = encode_page(self._read_page(page.ref)) if page.data is None else page.data
            self._writer.add_manifest(page.ref.name, data, "page", use)

    def _unproved(self, page: _Page) -> list[StoredEntry]:
        if len(page.fresh) == page.ref.n_entries - page.ref.n_references:
            return []
        entries = self._read_page(page.ref) if page.data is None else decode_page(page.data)
        return [e for e in entries if isinstance(e, StoredEntry) and e.size and e.path not in page.fresh]

    def _look_up(self, entries: list[StoredEntry]) -> dict[str, PackSet]:
        small = self._writer.held({e.digest for e in entries if e.size < MIN_FILE})
        lists = {chunk_list_name(e.digest) for e in entries if e.size >= MIN_FILE}
        large = self._packs.hold_proofs(lists - self._lists.keys(), self._lease) if lists else {}
        found: dict[str, PackSet] = {}
        absent = []
        for entry in entries:
            name = entry.digest if entry.size < MIN_FILE else chunk_list_name(entry.digest)
            if name in small:
                found[entry.path] = frozenset((small[name],))
            elif name in large or name in self._lists:
                found[entry.path] = large.get(name) or self._lists[name]
            else:
                absent.append(entry)
        return found | self._resend(absent) if absent else found

    def proves(self, refs: Sequence[PageRef]) -> bool:
        """Whether the catalog proves all these pages; then they are the manifest's, as if they had been added."""
        proofs = self._packs.hold_proofs([ref.name for ref in refs], self._lease) if refs else {}
        if len(proofs) < len({ref.name for ref in refs}):
            return False
        self._refs = list(refs)
        self._uses = {name: set(packs) for name, packs in proofs.items()}
        return True

    def close(self) -> Root:
        """No page follows: send the root, unless the store has it."""
        self.flush()
        root = Root(tuple(self._refs))
        held = self._writer.held([root.digest])
        if held:
            self._root_use.update(held.values())
        else:
            self._writer.add_manifest(root.digest, root.encode(), "root", self._root_use)
        return root

    def result(self, root: Root) -> Pages:
        """Everything, once the writer has finished."""
        for use, late in self._late:
            use |= late
        return Pages(root, frozenset(self._root_use), _uses(self._uses), _uses(self._lists))


def _uses(found: dict[bytes, set[str]]) -> tuple[PageUse, ...]:
    return tuple(PageUse(name=bytes(name), packs=frozenset(packs)) for name, packs in found.items())
