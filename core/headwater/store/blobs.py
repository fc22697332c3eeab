"""Blobs by name: which packs they lie in is the catalog's to know, the bytes are the object store's.

Everything that is read is verified. A pack that is gone when it is asked for
may have been compacted a moment ago, so its blobs are looked up once more
before anybody says that they are lost.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Final, Generic, NamedTuple, TypeVar

from headwater.errors import FormatError, MissingBlobError, NotFoundError
from headwater.model.digest import Digest
from headwater.model.entries import EMPTY, Entry
from headwater.model.manifest import PageRef, Root, decode_page
from headwater.model.records import Location
from headwater.ports import ObjectStore, PackCatalog
from headwater.store.packs import decode_blob

V = TypeVar("V")

GAP: Final = 256 * 1024
"""Neighbours in a pack that are at most this far apart are read together, bytes."""
RANGE: Final = 8 << 20
"""One range request asks for at most about this many bytes."""
BUDGET: Final = 64 << 20
_LOOKUPS: Final = 2_000
_CACHED_ROOTS: Final = 16
_CACHED_ENTRIES: Final = 65_536


class Range(NamedTuple):
    """Blobs that lie close together in one pack: one request reads them."""

    key: str
    """The pack's."""
    start: int
    length: int
    rows: tuple[Location, ...]
    """By offset."""


class BlobStore:
    """Reads blobs. Safe between threads and over a fork; keeps a few decoded roots and pages.

    Args:
        objects: Where the packs are.
        packs: What lies in them.
    """

    def __init__(self, objects: ObjectStore, packs: PackCatalog) -> None:
        self.objects = objects
        self.packs = packs
        self._roots: _Recent[Root] = _Recent(_CACHED_ROOTS, lambda _: 1)
        self._pages: _Recent[list[Entry]] = _Recent(_CACHED_ENTRIES, len)

    def read(self, name: bytes) -> bytes:
        """The bytes of one blob, verified. One look-up, one request.

        Raises:
            MissingBlobError: The store does not hold it.
            DigestMismatchError, FormatError: Its bytes are damaged.
            StorageError, AccessError: The store failed.
        """
        return next(iter(self.read_many([name])))[1]

    def read_many(self, names: Iterable[bytes], *, budget: int = BUDGET) -> Iterator[tuple[bytes, bytes]]:
        """(name, bytes) of each distinct blob, in any order, verified; neighbours in few requests.

        Args:
            names: Which.
            budget: Never asks for more than about this many bytes at a time.

        Raises:
            As `read`; nothing more is given after an error.
        """
        rest = iter(dict.fromkeys(names))
        while batch := list(islice(rest, _LOOKUPS)):
            for group in self.plan(batch, most=min(budget, RANGE)):
                yield from self.fetch(group)

    def plan(self, names: Collection[bytes], *, most: int = RANGE) -> list[Range]:
        """The requests that read these blobs: in pack order, gaps of up to 256 KiB read over.

        Raises:
            MissingBlobError: The catalog knows no pack with one of them.
        """
        wanted = [bytes(name) for name in dict.fromkeys(names) if name != EMPTY]
        found = self.packs.locate(wanted) if wanted else {}
        for name in wanted:
            if name not in found:
                raise self.packs.purged(name) or MissingBlobError(digest=str(Digest(name)), where=self.objects.url)
        ranges = _ranges([found[name] for name in wanted], most)
        return ([Range("", 0, 0, ())] if len(wanted) < len(set(names)) else []) + ranges

    def fetch(self, group: Range) -> list[tuple[bytes, bytes]]:
        """Read one planned range. One request; after a 404 its blobs are looked up once more.

        Raises:
            As `read`.
        """
        if not group.rows:  # no bytes need no request
            return [(EMPTY, b"")]
        return list(chain.from_iterable(self._wherever(group, self._fetch)))

    def pour(self, group: Range, places: Mapping[bytes, Sequence[int]], into: memoryview) -> None:
        """Put the blobs of a planned range to their places in a buffer, NOT verified: the caller proves the whole.

        From a local pack each is read straight to where it belongs; one that is compressed goes by way of `fetch`.

        Raises:
            As `read`.
        """
        self._wherever(group, lambda found: self._pour(found, places, into))

    def _wherever(self, group: Range, read: Callable[[Range], V]) -> list[V]:
        try:
            return [read(group)]
        except NotFoundError:
            names = [place.row.name for place in group.rows]
        out = []
        for again in self.plan(names):
            try:
                out.append(read(again))
            except NotFoundError as error:
                lost = again.rows[0].row.name
                raise MissingBlobError(digest=str(Digest(lost)), where=again.key) from error
        return out

    def _pour(self, group: Range, places: Mapping[bytes, Sequence[int]], into: memoryview) -> None:
        read_into = getattr(self.objects, "read_into", None)
        plain = [place.row for place in group.rows if read_into is not None and not place.row.compression]
        if read_into is not None and plain:
            parts = [(row.offset, into[places[row.name][0] :][: row.stored]) for row in plain]
            read_into(group.key, parts)
        rest = [place for place in group.rows if read_into is None or place.row.compression]
        found = dict(self._fetch(_range(rest))) if rest else {}
        for place in group.rows:
            first, *more = places[place.row.name]
            if place.row.name in found:
                into[first : first + place.row.raw] = found[place.row.name]
            for at in more:
                into[at : at + place.row.raw] = into[first : first + place.row.raw]

    def _fetch(self, group: Range) -> list[tuple[bytes, bytes]]:
        data = memoryview(self.objects.get(group.key, group.start, group.length))
        out = []
        for place in group.rows:
            low = place.row.offset - group.start
            out.append((place.row.name, decode_blob(place.row, data[low : low + place.row.stored], group.key)))
        return out

    # -- manifests ---------------------------------------------------------------
    def read_root(self, digest: bytes) -> Root:
        """A manifest's root. Kept, so that asking again costs nothing.

        Raises:
            As `read`.
        """
        return self._roots.get(digest, lambda: self._decode(digest, Root.decode))

    def read_page(self, page: PageRef) -> list[Entry]:
        """A page's entries: do not change the list, others have it too.

        Raises:
            As `read`.
        """
        return self._pages.get(page.name, lambda: self._decode(page.name, decode_page))

    def _decode(self, name: bytes, decode: Callable[[bytes], V]) -> V:
        data = self.read(name)
        try:
            return decode(data)
        except FormatError as error:
            raise FormatError(**{**error.facts, "where": str(Digest(name))}) from None


def _ranges(places: list[Location], most: int) -> list[Range]:
    out: list[Range] = []
    group: list[Location] = []
    for place in sorted(places, key=lambda p: (p.key, p.row.offset)):
        if group and not _joins(group, place, most):
            out.append(_range(group))
            group = []
        group.append(place)
    return [*out, _range(group)] if group else out


def _joins(group: list[Location], place: Location, most: int) -> bool:
    end = group[-1].row.offset + group[-1].row.stored
    near = group[0].key == place.key and place.row.offset - end <= GAP
    return near and place.row.offset + place.row.stored - group[0].row.offset <= most


def _range(group: list[Location]) -> Range:
    start, last = group[0].row.offset, group[-1].row
    return Range(group[0].key, start, last.offset + last.stored - start, tuple(group))


class _Recent(Generic[V]):
    """The values asked for last, up to a total weight. Values are immutable facts, so a fork may keep them."""

    def __init__(self, most: int, weigh: Callable[[V], int]) -> None:
        self._most, self._weigh = most, weigh
        self._values: OrderedDict[bytes, V] = OrderedDict()
        self._weight = 0
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def get(self, name: bytes, make: Callable[[], V]) -> V:
        if self._pid != os.getpid():  # the lock may have been held by a thread that the fork left behind
            self._lock, self._pid = threading.Lock(), os.getpid()
        with self._lock:
            value = self._values.get(name)
            if value is not None:
                self._values.move_to_end(name)
                return value
        value = make()
        with self._lock:
            if name not in self._values:
                self._values[bytes(name)] = value
                self._weight += self._weigh(value)
            while self._weight > self._most and len(self._values) > 1:
                self._weight -= self._weigh(self._values.popitem(last=False)[1])
        return value
