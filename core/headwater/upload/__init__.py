"""The journey down: an artifact becomes blobs in packs, pages and a root; the commit is the caller's.

    walk, stat cache → units → read, hash, cut (pool) → what is missing → packs → PUT (pool) → pages → root

Everything flows in path order and in bounded memory: at most `WINDOW` units are
read ahead, and at most three packs are full or being PUT, about 200 MB in all.
Threads read and send; the catalog is asked from the caller's thread alone.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from headwater.errors import MissingBlobError, SourceChangedError
from headwater.model.chunker import MIN_FILE
from headwater.model.digest import Digest
from headwater.model.entries import Entry, StoredEntry
from headwater.model.manifest import Root, build_pages, edit_pages
from headwater.model.records import PageUse, SealedPack
from headwater.store.blobs import BlobStore
from headwater.store.blobwriter import BlobWriter
from headwater.store.intake import Given, Item
from headwater.store.listing import UNKNOWN, Segment, Stat, keep
from headwater.store.packs import Prepared, prepare
from headwater.store.pagewriter import PackSet, PageWriter
from headwater.store.reading import Habit, Whole, read_whole
from headwater.upload.drafting import Overlay
from headwater.upload.large import End, Piece, cut_bytes, cut_file, read_large
from headwater.upload.threads import Pools
from headwater.upload.unchanged import TreeWatch
from headwater.upload.units import UNIT_FILES, Read, Unit, units

if TYPE_CHECKING:
    from headwater.artifact import Artifact
    from headwater.ports import Catalog, Progress
    from headwater.store.statcache import StatCache

WINDOW: Final = 6
"""Units being read, or read and waiting for their turn."""


class Home(Protocol):
    """What an upload needs of an open repository."""

    @property
    def catalog(self) -> Catalog: ...
    @property
    def blobs(self) -> BlobStore: ...
    @property
    def statcache(self) -> StatCache | None: ...


class Uploaded(NamedTuple):
    """What is durable now, and what the commit must know to make it a version."""

    root: Digest
    root_packs: frozenset[str]
    pages: tuple[PageUse, ...]
    chunk_lists: tuple[PageUse, ...]
    seals: tuple[SealedPack, ...]
    """Packs that were PUT and wait to be sealed by the commit."""
    n_entries: int
    stored_size: int
    referenced_size: int | None
    sent_bytes: int
    """Bytes of the packs that were PUT."""
    sent_blobs: int
    n_puts: int


def upload(artifact: Artifact, home: Home, lease: str, *, progress: Progress | None = None) -> Uploaded:
    """Make everything that `artifact` shall contain durable, sending only what the store does not have.

    Idempotent: called again (after a crash, a lost pack, or for an unchanged tree) it sends what is missing then,
    often nothing. Every source byte is read once, files that the stat cache knows not at all.

    Args:
        artifact: What the version shall contain.
        home: Its `catalog`, `blobs` and `statcache` are used.
        lease: Holds every pack relied on, until the commit.
        progress: Told "reading", bytes of entries done, total unknown; from this thread.

    Raises:
        SourceChangedError: A file changed while it was read; names it.
        ConflictError: Two contents for one path.
        InvalidInputError: A name or link in a directory that cannot be logged.
        MissingBlobError: An entry of another version whose bytes this repository does not have.
        AccessError, StorageError: A file could not be read, a pack not be PUT.
    """
    with Pools() as pools:
        return _Upload(artifact, home, lease, pools, progress).run()


class _Upload:
    """One call of `upload`."""

    def __init__(self, artifact: Artifact, home: Home, lease: str, pools: Pools, progress: Progress | None) -> None:
        self._artifact, self._pools, self._progress = artifact, pools, progress
        self._cache = home.statcache if home.statcache is not None and not home.statcache.is_off else None
        packs = home.catalog.packs
        self._writer = BlobWriter(home.blobs.objects, packs, lease, pools.send)
        self._pages = PageWriter(packs, lease, self._writer, self._resend, home.blobs.read_page)
        self._behind: deque[Segment] = deque()
        """Segments whose pages are not accounted for yet: files that must be sent again are found here."""
        self._n_bytes = 0

    def run(self) -> Uploaded:
        watch = TreeWatch(self._artifact.contents.only_tree, self._cache)
        items = watch.look(self._artifact.items(self._cache))
        known = watch.root()
        if known is None or not self._pages.proves(known.pages):
            self._send(watch.watch(items))
        root = self._pages.close()
        seals = self._writer.finish()
        if self._cache is not None:
            watch.remember(root)
            self._cache.flush()
        return self._result(root, seals)

    def _send(self, items: Iterator[Item]) -> None:
        draft = self._artifact.draft
        ready = self._ready(items)
        if draft is None:
            entries = chain.from_iterable(map(_entries, ready))
            for ref, page in build_pages(entries):
                self._pages.add(ref, page)
            return
        overlay = Overlay(*draft, self._artifact.contents.removed)
        changes = overlay.changes((entry, item.overwrite) for item in ready for entry in _entries(item))
        for old_or_new, data in edit_pages(*draft, changes):
            self._pages.add(old_or_new, data)

    def _result(self, root: Root, seals: tuple[SealedPack, ...]) -> Uploaded:
        found, writer = self._pages.result(root), self._writer
        return Uploaded(
            root.digest, found.root_packs, found.pages, found.chunk_lists, seals, root.n_entries, root.stored_size,
            root.referenced_size, writer.sent_bytes, writer.sent_blobs, writer.n_puts,
        )  # fmt: skip

    # -- reading ahead, placing in order -------------------------------------------
    def _ready(self, items: Iterator[Item]) -> Iterator[Item]:
        """The items in order, once every digest in them is known and its bytes have a place."""
        window: deque[tuple[Unit, Any]] = deque()
        found = units(items)
        first, second = next(found, None), next(found, None)
        if first is not None and second is None and first.large is None:
            yield from self._place(first, first.read())
            return
        for unit in (u for u in chain((first, second), found) if u is not None):
            window.append((unit, self._begin(unit)))
            if len(window) >= WINDOW:
                yield from self._end(*window.popleft())
        while window:
            yield from self._end(*window.popleft())

    def _begin(self, unit: Unit) -> Any:
        if isinstance(unit.large, Given):
            return self._pools.read(unit.large.entry)
        if unit.large is not None:
            return self._pools.read_large(cut_file(unit.large.file))
        return self._pools.read(unit.read) if unit.new else None

    def _end(self, unit: Unit, begun: Any) -> Iterator[Item]:
        if isinstance(unit.large, Given):
            self._place_content(unit.large, begun.result())
            return self._done(unit)
        if unit.large is not None:
            end, packs = self._place_large(begun, unit.large.size)
            assert end.stat is not None
            self._learn(unit.large, end.digest, end.stat)
            self._pages.note(unit.large.path, packs)
            return self._done(unit)
        return self._place(unit, begun.result() if begun else [])

    def _place_content(self, given: Given, entry: StoredEntry) -> None:
        """Large content in memory: hashing it is cheap, so it is only cut where the store does not have it."""
        packs = self._pages.known_large(entry.digest)
        if packs is None:
            assert isinstance(given.content, bytes)
            pieces = self._pools.read_large(cut_bytes(given.content), entry.digest)
            _, packs = self._place_large(pieces, given.size)
        self._pages.note(given.first, packs)

    def _place(self, unit: Unit, read: list[Whole]) -> Iterator[Item]:
        blobs: dict[bytes, Prepared] = {}
        names: list[tuple[str, bytes]] = []
        rest = iter(read)
        for thing in unit.new:
            if isinstance(thing, Given):
                entry = thing.entry()
                assert isinstance(thing.content, bytes)
                assert isinstance(entry, StoredEntry)
                path, digest, blob = thing.first, entry.digest, prepare(thing.content)
            else:
                whole = next(rest)
                self._learn(thing, whole.digest, whole.stat)
                path, digest, blob = thing.path, Digest(whole.digest), whole.blob
            if blob.raw:
                blobs[digest] = blob
                names.append((path, digest))
        if blobs:
            placed = self._writer.place(blobs)
            alone = {pack: frozenset((pack,)) for pack in placed.values()}  # one for all files of a pack
            for path, name in names:
                self._pages.note(path, alone[placed[name]])
        return self._done(unit)

    def _place_large(self, pieces: Iterator[Piece | End], size: int) -> tuple[End, PackSet]:
        chunks: list[tuple[bytes, int]] = []
        packs: set[str] = set()
        done = 0
        for piece in pieces:
            if isinstance(piece, End):
                return piece, self._pages.note_chunks(piece.digest, chunks, packs)
            packs.update(self._writer.place(dict(piece.chunks)).values())
            chunks += [(name, len(chunk)) for name, chunk in piece.chunks]
            done += sum(len(chunk) for _, chunk in piece.chunks)
            self._tell(self._n_bytes + min(done, size))
        raise AssertionError("unreachable: a read ends with End or an error")

    def _learn(self, read: Read, digest: bytes, info: Stat) -> None:
        listing, at, cache = read.segment.listing, read.at, self._cache
        if cache is None:
            listing.learn(at, digest, info, settled=True)
            return
        if listing.doubted and listing.digest(at) not in (UNKNOWN, digest) and listing.stats[at][:4] == info[:4]:
            cache.distrust(read.file)
        listing.learn(at, digest, info, settled=cache.settled(info[3], info[4], info[0]))

    def _done(self, unit: Unit) -> Iterator[Item]:
        for item in unit.items:
            if isinstance(item, Segment):
                self._behind.append(item)
                listing = item.listing
                if self._cache is not None and listing.changed and item.high == len(listing):
                    keep(listing, self._cache)
            self._n_bytes += item.size
        while self._behind and self._behind[0].last <= self._pages.flushed:
            self._behind.popleft()
        self._tell(self._n_bytes)
        return iter(unit.items)

    def _tell(self, done: int) -> None:
        if self._progress is not None:
            self._progress("reading", done, None)

    # -- what the store has lost, or never had ---------------------------------------
    def _resend(self, entries: Sequence[StoredEntry]) -> dict[str, PackSet]:
        segments = list(self._behind)
        firsts = [segment.first for segment in segments]
        found: dict[str, PackSet] = {}
        batch: dict[str, Whole] = {}
        habit = Habit()
        for entry in entries:
            segment = segments[bisect_right(firsts, entry.path) - 1] if segments else None
            file = segment.file_at(entry.path) if segment is not None else None
            if file is None:
                raise MissingBlobError(
                    digest=str(entry.digest), where=entry.path, fix="its bytes are in no pack: add the file itself"
                )
            if entry.size >= MIN_FILE:
                end, packs = self._place_large(read_large(file), entry.size)
                digest, found[entry.path] = end.digest, packs
            else:
                batch[entry.path] = read_whole(file, habit)
                digest = batch[entry.path].digest
            if digest != entry.digest:
                raise SourceChangedError(where=file)
            if len(batch) >= UNIT_FILES:
                found |= self._place_batch(batch)
                batch = {}
        return found | self._place_batch(batch)

    def _place_batch(self, batch: dict[str, Whole]) -> dict[str, PackSet]:
        placed = self._writer.place({whole.digest: whole.blob for whole in batch.values()})
        return {path: frozenset((placed[whole.digest],)) for path, whole in batch.items()}


def _entries(item: Item) -> Iterator[Entry]:
    return iter((item.entry(),)) if isinstance(item, Given) else item.entries()
