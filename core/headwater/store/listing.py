"""Columns of neighbouring files, and what the stat cache knows of them.

A walk gives *segments*: neighbouring files of one directory, as columns and
not as an object per file, because a million files must neither take memory
nor more than a few microseconds each.
"""
# ruff: noqa: PTH116
# os functions, because a Path object per file would cost more than everything else here

from __future__ import annotations

import os
import stat
import struct
from bisect import bisect_left
from collections.abc import Iterator
from operator import attrgetter, itemgetter
from typing import Final, NamedTuple, TypeAlias, cast

import msgspec

from headwater import disk
from headwater.errors import InvalidInputError, SourceChangedError
from headwater.model.digest import SIZE, Digest
from headwater.model.entries import StoredEntry
from headwater.model.naming import MAX_PATH, check_path
from headwater.store.statcache import Record, StatCache, is_network

Stat: TypeAlias = tuple[int, int, int, int, int, int]
"""(device, inode, size, mtime_ns, ctime_ns, mode); ctime 0 on network mounts."""

read_stat: Final = attrgetter("st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns", "st_mode")

UNKNOWN: Final = bytes(SIZE)
"""Stands where a digest is not known."""
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(tuple[list[str], list[Stat]]).decode
_size, _mode = itemgetter(2), itemgetter(5)
_RAW: Final = struct.Struct(f"{SIZE}s")


class Listing:
    """Files of one directory (or a slice of a large one): names, stats, digests as far as known.

    Args:
        folder: Where they are, absolute.
        prefix: What their paths in the version start with: "" or ends in "/".
        key: Of the record in the stat cache.
        signature: Names and stats, encoded.
        digests: 32 bytes each, zeros where unknown.
    """

    __slots__ = (
        "_rows", "changed", "digests", "doubted", "folder", "key", "network", "prefix", "signature", "unsettled",
    )  # fmt: skip

    def __init__(self, folder: str, prefix: str, key: str, signature: bytes, digests: bytes) -> None:
        self.folder, self.prefix, self.key = folder, prefix, key
        self.signature = signature
        self.digests: bytes | bytearray = digests
        self.doubted: tuple[int, ...] = ()
        """Files whose known digest is to be checked by hashing."""
        self.changed = False
        """Whether the stat cache should hear of it."""
        self.unsettled: list[int] = []
        """Files too young for their digests to be believed later."""
        self.network = False
        self._rows: tuple[list[str], list[Stat]] | None = None

    @property
    def names(self) -> list[str]:
        return self._columns()[0]

    @property
    def stats(self) -> list[Stat]:
        return self._columns()[1]

    def _columns(self) -> tuple[list[str], list[Stat]]:
        if self._rows is None:
            self._rows = _decode(self.signature)
        return self._rows

    def adopt_columns(self, names: list[str], stats: list[Stat]) -> None:
        """Spare the decoding: these are what the signature says."""
        self._rows = (names, stats)

    def forget_columns(self) -> None:
        """Give the memory of names and stats back; they are decoded again when asked for."""
        self._rows = None

    def __len__(self) -> int:
        return len(self.digests) // SIZE

    def digest(self, at: int) -> bytes:
        return bytes(self.digests[at * SIZE : (at + 1) * SIZE])

    def learn(self, at: int, digest: bytes, info: Stat, *, settled: bool) -> None:
        """Write what was found by reading a file."""
        digests = self.digests if isinstance(self.digests, bytearray) else bytearray(self.digests)
        digests[at * SIZE : (at + 1) * SIZE] = digest
        self.digests = digests
        self.stats[at] = (*info[:4], 0, info[5]) if self.network else info
        self.changed = True
        if not settled:
            self.unsettled.append(at)

    def file(self, at: int) -> str:
        return f"{self.folder}/{self.names[at]}"

    def unknown(self, low: int, high: int) -> list[int]:
        """Which of the files from `low` to `high` have no digest yet."""
        if UNKNOWN not in self.digests[low * SIZE : high * SIZE]:
            return []
        return [at for at in range(low, high) if self.digest(at) == UNKNOWN]


class Segment:
    """Files `low` to `high` of a listing, or one file under a path of its own."""

    __slots__ = ("_paths", "high", "listing", "low", "overwrite")

    def __init__(self, listing: Listing, low: int, high: int, paths: list[str] | None = None) -> None:
        self.listing, self.low, self.high, self._paths = listing, low, high, paths
        self.overwrite = False

    @property
    def paths(self) -> list[str]:
        if self._paths is None:
            prefix, names = self.listing.prefix, self.listing.names
            if self.low == 0 and self.high == len(names):
                return [prefix + name for name in names]
            return [prefix + name for name in names[self.low : self.high]]
        return self._paths

    @property
    def first(self) -> str:
        return self._paths[0] if self._paths else self.listing.prefix + self.listing.names[self.low]

    @property
    def last(self) -> str:
        return self._paths[-1] if self._paths else self.listing.prefix + self.listing.names[self.high - 1]

    def __len__(self) -> int:
        return self.high - self.low

    def cut(self, path: str) -> tuple[Segment | None, Segment | None]:
        """The parts before `path` and from it on."""
        paths = self.paths
        at = bisect_left(paths, path)
        return self.part(0, at), self.part(at, len(self))

    def part(self, low: int, high: int) -> Segment | None:
        if low >= high:
            return None
        paths = self._paths[low:high] if self._paths else None
        part = Segment(self.listing, self.low + low, self.low + high, paths)
        part.overwrite = self.overwrite
        return part

    def unread(self) -> list[int]:
        """Places in the listing of the files that have to be read: digest unknown, or to be checked."""
        unknown = self.listing.unknown(self.low, self.high)
        doubted = self.doubted()
        return sorted({*unknown, *doubted}) if doubted else unknown

    def doubted(self) -> list[int]:
        """Places in the listing of the files whose known digest is to be checked."""
        return [at for at in self.listing.doubted if self.low <= at < self.high]

    def file_at(self, path: str) -> str | None:
        """The file that is logged as `path`, if it is one of these."""
        paths = self.paths
        at = bisect_left(paths, path)
        return self.listing.file(self.low + at) if at < len(paths) and paths[at] == path else None

    def entries(self) -> Iterator[StoredEntry]:
        """The manifest's entries; every digest must be known by now."""
        listing, low, high = self.listing, self.low, self.high
        stats = listing.stats[low:high]
        # Plain bytes are equal to a Digest and encode alike; making a million Digests takes half a second.
        names = cast("list[Digest]", [raw for (raw,) in _RAW.iter_unpack(listing.digests[low * SIZE : high * SIZE])])
        modes = [bool(mode & stat.S_IXUSR) for mode in map(_mode, stats)]
        return map(StoredEntry, self.paths, map(_size, stats), names, modes)

    @property
    def size(self) -> int:
        """Bytes of its files, by their stats."""
        return sum(map(_size, self.listing.stats[self.low : self.high]))


class Place(NamedTuple):
    """Where the files of a listing are."""

    folder: str
    """Absolute."""
    prefix: str
    key: str
    """Of the record in the stat cache."""
    network: bool
    """On a mount whose times another machine writes."""


# ------------------------------------------------------------- with the stat cache
def recall(cache: StatCache | None, place: Place, names: list[str], stats: list[Stat]) -> Listing:
    """A listing with the digests that the cache still believes."""
    folder, prefix, key, network = place
    try:
        signature = _encode((names, stats))
    except UnicodeEncodeError:
        _check(prefix, names, stats, folder)
        raise
    record = cache.find(key) if cache else None
    if record is not None and record.signature == signature:
        listing = Listing(folder, prefix, key, signature, record.digests)
    else:
        _check(prefix, names, stats, folder)
        known = _still_true(record, names, stats) if record else bytes(SIZE * len(names))
        listing = Listing(folder, prefix, key, signature, known)
        listing.changed = True
    if 4 * len(prefix) + 1_024 > MAX_PATH:
        for name in names:
            check_path(prefix + name)
    listing.adopt_columns(names, stats)
    listing.network = network
    if cache and cache.sample and record is not None:
        listing.doubted = tuple(i for i in cache.doubted(len(names)) if listing.digest(i) != UNKNOWN)
    return listing


def _still_true(record: Record, names: list[str], stats: list[Stat]) -> bytes:
    """The digests of those files that are in the record with the same stat."""
    old_names, old_stats = _decode(record.signature)
    old = {name: (info, at) for at, (name, info) in enumerate(zip(old_names, old_stats, strict=True))}
    out = []
    for name, info in zip(names, stats, strict=True):
        was, at = old.get(name, (None, 0))
        out.append(record.digests[at * SIZE : (at + 1) * SIZE] if was == info else UNKNOWN)
    return b"".join(out)


def _check(prefix: str, names: list[str], stats: list[Stat], folder: str) -> None:
    """Names of a directory that is seen for the first time, or changed; an unchanged one was checked then."""
    for name in names:
        if not (name.isascii() and name.isprintable()):
            check_path(prefix + name)
    for name, info in zip(names, stats, strict=True):
        if not stat.S_ISREG(info[5]):
            raise SourceChangedError(where=f"{folder}/{name}")


def single(source: str, path: str, cache: StatCache | None) -> Segment:
    """One file, to be logged as `path`.

    Raises:
        InvalidInputError: It is no regular file.
        AccessError, StorageError, SourceChangedError: It cannot be looked at, or is gone.
    """
    with disk.explained(source):
        try:
            info = os.stat(source)
        except FileNotFoundError:
            raise SourceChangedError(where=source, fix="it is gone since it was added") from None
    if not stat.S_ISREG(info.st_mode):
        raise InvalidInputError(what="only regular files can be logged", where=source)
    network = is_network(info.st_dev)
    found: Stat = read_stat(info)
    if network:
        found = (*found[:4], 0, found[5])
    folder, _, name = source.rpartition("/")
    listing = recall(cache, Place(folder, "", f"{source}\0", network), [name], [found])
    return Segment(listing, 0, 1, [path])


def keep(listing: Listing, cache: StatCache) -> None:
    """Tell the cache what was learned about a listing."""
    if listing.changed:
        digests = bytearray(listing.digests)
        for at in listing.unsettled:
            digests[at * SIZE : (at + 1) * SIZE] = UNKNOWN
        cache.remember(listing.key, Record(_encode((listing.names, listing.stats)), bytes(digests)))
        listing.changed = False
