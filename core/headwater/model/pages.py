"""Pages: runs of entries in canonical bytes, and where one ends and the next begins.

A page is written in columns (all paths, then all kinds, sizes, digests and
references): a third faster than a row per entry, and a tenth smaller in zstd,
which finds the paths undisturbed by digests that nothing compresses. FORMAT.md
is the law; `decode_page(data)` succeeds only if encoding the result gives `data`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate, islice
from typing import Any, Final, TypeVar, cast
from zlib import crc32

import msgspec
from blake3 import blake3

from headwater.errors import FormatError, InvalidInputError
from headwater.model.digest import SIZE, Digest
from headwater.model.entries import Entry, Pin, ReferenceEntry, StoredEntry
from headwater.model.naming import check_path
from headwater.model.rules import EXECUTABLE, REFERENCE, Columns, check_columns

MAGIC: Final = "headwater.page"
FORMAT: Final = 1
"""The newest page format this code reads, and the one it writes."""

MIN_ENTRIES: Final = 1_024
MAX_ENTRIES: Final = 16_384
MAX_WEIGHT: Final = 2 * 1024 * 1024
"""A page ends with the entry that brings its weight to this, bytes; see `_weights`."""
ENTRY_WEIGHT: Final = 48
REFERENCE_WEIGHT: Final = 128

_SIEVE: Final = 15
_THRESHOLD: Final = 2**32 // 192
"""1 path of 16 passes the sieve and 1 in 192 of those ends a page: 1 in 3,072, once 1,024 entries are there."""

_SLICES: Final = tuple(slice(at, at + SIZE) for at in range(0, MAX_ENTRIES * SIZE, SIZE))
_BATCH: Final = 4_096

_decoder = msgspec.msgpack.Decoder(Columns)
_encoder = msgspec.msgpack.Encoder()

_T = TypeVar("_T")


def encode_page(entries: Sequence[Entry]) -> bytes:
    """Write sorted entries in canonical bytes: equal entries, equal bytes, on every machine.

    Raises:
        InvalidInputError: Not 1 to 16,384 entries, or they break a rule of the format.
    """
    if not 0 < len(entries) <= MAX_ENTRIES:
        raise InvalidInputError(what=f"a page has 1 to {MAX_ENTRIES} entries, not {len(entries)}")
    paths: list[str] = []
    try:
        paths += [e.path for e in entries]
        columns = _columns(entries, paths)
        data = _encoder.encode(columns)
        _decoder.decode(data)  # Checks every type and all UTF-8, twenty times as fast as Python can.
    except (msgspec.MsgspecError, TypeError, ValueError, AttributeError, OverflowError) as error:
        for path in paths:
            check_path(path)
        raise InvalidInputError(what=f"an entry has a field of a wrong type: {error}") from None
    check_columns(columns, paths)
    return data


def _columns(entries: Sequence[Entry], paths: list[str]) -> Columns:
    stored, pointed = parted(entries)
    digests = [e.digest for e in stored]
    if not {SIZE}.issuperset(map(len, digests)):
        raise InvalidInputError(what=f"a digest has {SIZE} bytes")
    if pointed:
        kinds = bytes([e.executable if type(e) is StoredEntry else REFERENCE for e in entries])
    else:
        kinds = bytes([e.executable for e in stored])
    pins = [e.pin for e in pointed]
    return (
        MAGIC, FORMAT, "\n".join(paths), kinds, [e.size for e in entries], b"".join(digests),
        [e.uri for e in pointed], [p.version for p in pins], [p.checksum for p in pins],
        [p.etag for p in pins], [p.modified for p in pins],
    )  # fmt: skip


def parted(entries: Sequence[Entry]) -> tuple[Sequence[StoredEntry], list[ReferenceEntry]]:
    """The stored entries and the references; most pages hold only the former, and are not gone through."""
    if {StoredEntry}.issuperset(map(type, entries)):
        return cast("Sequence[StoredEntry]", entries), []
    return [e for e in entries if type(e) is StoredEntry], [e for e in entries if type(e) is ReferenceEntry]


def decode_page(data: bytes) -> list[Entry]:
    """Read a page again; every rule of the format is checked, whatever the bytes.

    Raises:
        FormatError: Damaged, not canonical, or written by a newer Headwater.
    """
    columns: Columns = decode_array(data, _decoder, MAGIC, FORMAT)
    paths = columns[2].split("\n")
    try:
        check_columns(columns, paths)
    except InvalidInputError as error:
        raise FormatError(what=f"a page breaks a rule: {error}") from None
    if len(paths) > MAX_ENTRIES or _encoder.encode(columns) != data:
        raise FormatError(what="a page is too long, or not in canonical form")
    return _entries(columns, paths)


def _entries(columns: Columns, paths: list[str]) -> list[Entry]:
    _, _, _, kinds, sizes, digests, uris, *pin_fields = columns
    names = map(Digest, map(digests.__getitem__, _SLICES[: len(digests) // SIZE]))
    if not uris:
        return list(map(StoredEntry, paths, cast("list[int]", sizes), names, map(bool, kinds)))
    pins = map(Pin, *pin_fields)
    if not digests:
        return list(map(ReferenceEntry, paths, sizes, uris, pins))
    pointed = zip(uris, pins, strict=True)
    return [
        ReferenceEntry(path, size, *next(pointed))
        if kind == REFERENCE
        else StoredEntry(path, cast("int", size), next(names), kind == EXECUTABLE)
        for path, kind, size in zip(paths, kinds, sizes, strict=True)
    ]


def decode_array(data: bytes, decoder: msgspec.msgpack.Decoder[Any], magic: str, newest: int) -> Any:
    """Decode a tagged msgpack array `[magic, format, …]`.

    Raises:
        FormatError: Not such an array, or of a newer format; says which.
    """
    try:
        columns = decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        _refuse_newer(data, magic, newest)
        raise FormatError(what=f"these bytes are not a {magic}: {error}") from None
    if columns[0] != magic or columns[1] != newest:
        _refuse_newer(data, magic, newest)
        raise FormatError(what=f"these bytes are not a {magic} of format {newest}")
    return columns


def _refuse_newer(data: bytes, magic: str, newest: int) -> None:
    try:
        head = msgspec.msgpack.decode(data, type=list[msgspec.Raw])
        found = [msgspec.msgpack.decode(raw) for raw in head[:2]]
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return
    if len(found) == 2 and found[0] == magic and type(found[1]) is int and found[1] > newest:
        raise FormatError(
            what=f"a {magic} of format {found[1]} was written by a newer Headwater; this one reads up to {newest}",
            fix="upgrade headwater",
        )


# ------------------------------------------------------------------ boundaries
def _weights(entries: list[Entry], raw_paths: list[bytes]) -> list[int]:
    """What entries count towards the cap: 48 and the length of the path; references 128 more and that of the URI."""
    weights = [ENTRY_WEIGHT + n for n in map(len, raw_paths)]
    if not {StoredEntry}.issuperset(map(type, entries)):
        for at, entry in enumerate(entries):
            if type(entry) is ReferenceEntry:
                weights[at] += REFERENCE_WEIGHT + len(entry.uri.encode())
    return weights


def ends_page(path: str, n_entries: int) -> bool:
    """Whether a page of `n_entries`, light enough, ends with this path, whatever comes behind."""
    return n_entries >= MAX_ENTRIES or (n_entries >= MIN_ENTRIES and _is_boundary(path.encode()))


def _is_boundary(path: bytes) -> bool:
    return not crc32(path) & _SIEVE and int.from_bytes(blake3(path).digest(4), "little") < _THRESHOLD


class Splitter:
    """Cuts a sorted stream of entries into pages. Where a page ends depends on its own entries alone."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._weights: list[int] = []
        self._boundaries: list[int] = []
        """How many of the entries come up to each path that is a boundary."""

    @property
    def empty(self) -> bool:
        """Whether everything fed so far has come out in whole pages."""
        return not self._entries

    def feed(self, entries: list[Entry]) -> Iterator[list[Entry]]:
        """Take more entries, give the pages that are complete; exhaust it before feeding again.

        Raises:
            InvalidInputError: A path is not valid UTF-8.
        """
        raw = _raw_paths(entries)
        start = len(self._entries)
        # The CRC sieves in a tenth of a microsecond; BLAKE3, five times as long, sees one path in sixteen.
        passed = [at for at, code in enumerate(map(crc32, raw)) if not code & _SIEVE]
        self._boundaries += [start + at + 1 for at in passed if _is_boundary(raw[at])]
        self._weights += _weights(entries, raw)
        self._entries += entries
        while cut := self._next_cut():
            yield self._take(cut)

    def rest(self) -> Iterator[list[Entry]]:
        """The last page, if anything is left for one."""
        if self._entries:
            yield self._take(len(self._entries))

    def _next_cut(self) -> int:
        """How many entries the next page has; 0 while that is not known."""
        cut = next((n for n in self._boundaries if n >= MIN_ENTRIES), MAX_ENTRIES)
        weights = self._weights[: min(cut, MAX_ENTRIES)]
        if sum(weights) >= MAX_WEIGHT:
            return bisect_left(list(accumulate(weights)), MAX_WEIGHT) + 1
        return len(weights) if len(weights) == min(cut, MAX_ENTRIES) else 0

    def _take(self, cut: int) -> list[Entry]:
        page = self._entries[:cut]
        self._entries, self._weights = self._entries[cut:], self._weights[cut:]
        self._boundaries = [n - cut for n in self._boundaries if n > cut]
        return page


def _raw_paths(entries: list[Entry]) -> list[bytes]:
    try:
        return list(map(str.encode, [e.path for e in entries]))
    except (TypeError, UnicodeEncodeError):
        return [check_path(e.path).encode() for e in entries]  # Says which.


def batched(items: Iterator[_T]) -> Iterator[list[_T]]:
    """The items in lists of 4,096, lazily; the last list may be shorter."""
    while batch := list(islice(items, _BATCH)):
        yield batch
