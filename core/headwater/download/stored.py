"""Bringing stored entries: small files many to a request, large ones by chunks, each verified before it is placed."""

from __future__ import annotations

import contextlib
import os
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol, Self, TypeAlias

from blake3 import blake3

from headwater import disk
from headwater.errors import AccessError, DigestMismatchError, FormatError, StorageError
from headwater.model.chunker import MIN_FILE, chunk_list_name, decode_chunks
from headwater.model.digest import Digest
from headwater.store.cache import copy_bytes
from headwater.store.statcache import is_network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import BinaryIO

    from headwater.download.target import Target
    from headwater.model.manifest import Entry, StoredEntry
    from headwater.store.blobs import BlobStore, Range
    from headwater.store.cache import FileCache

BATCH: Final = 8 << 20
"""Raw bytes asked for together: with the crew's 8 workers, raw and stored, about 150 MB are in flight."""
_SLICE: Final = 2_000
"""Entries whose blobs are looked up together."""
_OPEN: Final = 32
"""Cached files copied by one job: with the crew's jobs, 320 are open at once."""

Report: TypeAlias = "Callable[[Entry, bytes, os.stat_result, int], None]"
"""`report(entry, content digest, stat of the placed file, bytes)`; called from any thread."""


class Parts(Protocol):
    """What of an open repository this needs."""

    @property
    def blobs(self) -> BlobStore: ...
    @property
    def cache(self) -> FileCache | None: ...


class StoredFiles:
    """Places stored entries in a target.

    Args:
        home: The repository.
        target: Begun (`Target.begin`).
        report: Told of each file placed.
        link: Make read-only hard links to the file cache where that is possible.
    """

    def __init__(self, home: Parts, target: Target, report: Report, *, link: bool = False) -> None:
        self._blobs, self._cache = home.blobs, home.cache
        self._target, self._report, self._link = target, report, link
        self.assembling: _Assembly | None = None
        """The large file under way: they are fed one after another."""

    def close(self) -> None:
        """Give up a large file that an error left half done."""
        if self.assembling:
            self.assembling.close()

    def jobs(self, entries: Iterable[StoredEntry]) -> Iterator[Callable[[], Callable[[], None]]]:
        """Jobs for the crew; each gives what the calling thread must then do, in this order."""
        rest = iter(entries)
        while some := list(islice(rest, _SLICE)):
            wanted: list[StoredEntry] = []
            for at in range(0, len(some), _OPEN):
                held = self._held(some[at : at + _OPEN])
                if held:
                    yield partial(self._from_cache, [e for e in some[at : at + _OPEN] if e.digest in held], held)
                wanted += [e for e in some[at : at + _OPEN] if e.digest not in held]
            yield from self._small([e for e in wanted if e.size < MIN_FILE])
            yield from self._large([e for e in wanted if e.size >= MIN_FILE])

    def _held(self, entries: Sequence[StoredEntry]) -> Mapping[bytes, BinaryIO]:
        """What the cache has of these, which costs time when it cannot be used and nothing else."""
        with contextlib.suppress(AccessError, StorageError):
            return self._cache.open_some({e.digest for e in entries if e.size}) if self._cache else {}
        return {}

    # -- small files -------------------------------------------------------------
    def _small(self, entries: Sequence[StoredEntry]) -> Iterator[Callable[[], Callable[[], None]]]:
        batch: dict[bytes, list[StoredEntry]] = {}
        size = 0
        for entry in entries:
            if size + entry.size > BATCH:
                yield from self._requests(batch)
                batch, size = {}, 0
            size += 0 if entry.digest in batch else entry.size
            batch.setdefault(entry.digest, []).append(entry)
        yield from self._requests(batch)

    def _requests(self, batch: dict[bytes, list[StoredEntry]]) -> Iterator[Callable[[], Callable[[], None]]]:
        for group in self._blobs.plan(list(batch)):
            yield partial(self._fetch_small, group, batch)

    def _fetch_small(self, group: Range, batch: dict[bytes, list[StoredEntry]]) -> Callable[[], None]:
        blobs = self._blobs.fetch(group)
        for name, raw in blobs:
            for entry in batch[name]:
                if len(raw) != entry.size:
                    raise FormatError(what=f"{entry.path!r} has {len(raw)} bytes instead of {entry.size}")
                with _Unfinished(self._target, entry) as file:
                    disk.write_all(file.fd, raw)
                    self._finish(file)
        with contextlib.suppress(AccessError, StorageError):
            if self._cache:
                self._cache.add_some({name: raw for name, raw in blobs if raw})
        return _nothing

    # -- large files -------------------------------------------------------------
    def _large(self, entries: Sequence[StoredEntry]) -> Iterator[Callable[[], Callable[[], None]]]:
        lists = {entry.digest: bytes(chunk_list_name(entry.digest)) for entry in entries}
        found = dict(self._blobs.read_many(lists.values()))
        for entry in entries:
            chunks = decode_chunks(found[lists[entry.digest]])
            if sum(size for _, size in chunks) != entry.size:
                raise FormatError(what=f"the chunks of {entry.path!r} do not add up to its size")
            assembly = _Assembly(self, self._target, entry)
            windows = list(_windows(chunks))
            for at, window in enumerate(windows):
                yield partial(self._fetch_window, window, assembly, last=at == len(windows) - 1)

    def _fetch_window(self, window: Sequence[bytes], assembly: _Assembly, *, last: bool) -> Callable[[], None]:
        found: dict[bytes, bytes] = {}
        for group in self._blobs.plan(window):
            found.update(self._blobs.fetch(group))
        return partial(assembly.feed, [found[name] for name in window], last=last)

    # -- finishing ---------------------------------------------------------------
    def _from_cache(self, entries: Sequence[StoredEntry], held: Mapping[bytes, BinaryIO]) -> Callable[[], None]:
        with contextlib.ExitStack() as stack:
            for cached in held.values():
                stack.enter_context(cached)
            for entry in entries:
                if not self._linked(entry):
                    with _Unfinished(self._target, entry) as file:
                        with disk.explained(self._target.root, entry.path):
                            copy_bytes(held[entry.digest].fileno(), file.fd)
                        self._finish(file)
        return _nothing

    def _linked(self, entry: StoredEntry) -> bool:
        if not self._link or self._cache is None or entry.executable:
            return False
        name = self._target.new_hard_link(partial(self._cache.link, entry.digest))
        if name:
            self._report(entry, entry.digest, self._target.place(name, entry.path), entry.size)
        return name is not None

    def finish_large(self, file: _Unfinished) -> None:
        """Its bytes are verified: remember them, and give the file its name."""
        with contextlib.suppress(AccessError, StorageError), os.fdopen(os.dup(file.fd), "rb", buffering=0) as copy:
            if self._cache:
                self._cache.add(file.entry.digest, copy)
        self._finish(file)

    def _finish(self, file: _Unfinished) -> None:
        self._report(file.entry, file.entry.digest, file.place(), file.entry.size)


class _Assembly:
    """A large file being put together from its chunks, hashed as a whole on the way."""

    def __init__(self, files: StoredFiles, target: Target, entry: StoredEntry) -> None:
        self._files, self._target, self._entry = files, target, entry
        self._file: _Unfinished | None = None
        self._hasher = blake3()

    def feed(self, pieces: Sequence[bytes], *, last: bool) -> None:
        """Append; the last call verifies the whole and places the file."""
        if self._file is None:
            self._file, self._files.assembling = _Unfinished(self._target, self._entry), self
            self._file.reserve()
        for piece in pieces:
            self._hasher.update(piece)
            with disk.explained(self._target.root, self._entry.path):
                disk.write_all(self._file.fd, piece)
        if last:
            actual = Digest(self._hasher.digest())
            if actual != self._entry.digest:
                expected = str(Digest(self._entry.digest))
                raise DigestMismatchError(expected=expected, actual=str(actual), where=self._entry.path)
            self._files.finish_large(self._file)
            self.close()

    def close(self) -> None:
        """Let go of the file; removed unless it was placed."""
        if self._file:
            self._file.close()
        self._files.assembling = None


class _Unfinished:
    """A temporary file for one entry; closing it without `place` removes it."""

    def __init__(self, target: Target, entry: StoredEntry) -> None:
        self._target, self.entry = target, entry
        self._name, self.fd = target.new_file(executable=entry.executable)
        self._placed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def reserve(self) -> None:
        """Take the room at once: a full disk is found now, and writing is faster (see `disk.write_new`)."""
        if hasattr(os, "posix_fallocate") and not is_network(os.fstat(self.fd).st_dev):
            with disk.explained(self._target.root, self.entry.path):
                os.posix_fallocate(self.fd, 0, self.entry.size)

    def place(self) -> os.stat_result:
        """Give it its final name."""
        info = self._target.place(self._name, self.entry.path)
        self._placed = True
        return info

    def close(self) -> None:
        """Close it; remove it if it was not placed."""
        if self.fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self.fd)
            self.fd = -1
            if not self._placed:
                self._target.drop(self._name)


def _windows(chunks: Sequence[tuple[bytes, int]]) -> Iterator[list[bytes]]:
    window: list[bytes] = []
    size = 0
    for name, length in chunks:
        if window and size + length > BATCH:
            yield window
            window, size = [], 0
        window.append(name)
        size += length
    if window:
        yield window


def _nothing() -> None:
    """What is left to do after a job that did everything."""
