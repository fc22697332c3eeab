"""Pages: runs of entries in canonical bytes, and where one ends and the next begins.

A page is written in columns (all paths, then all kinds, sizes, digests and
references): a third faster than a row per entry, and a tenth smaller in zstd,
which finds the paths undisturbed by digests that nothing compresses. FORMAT.md
is the law; `decode_page(data)` succeeds only if encoding the result gives `data`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate, islice, starmap
from typing import Any, Final, TypeVar
from zlib import crc32

import msgspec
from blake3 import blake3

from headwater.errors import FormatError, InvalidInputError
from headwater.model.digest import SIZE, Digest
from headwater.model.entries import Entry, Pin, ReferenceEntry, StoredEntry
from headwater.model.naming import check_path
from headwater.model.rules import check_entries

MAGIC: Final = "headwater.page"
FORMAT: Final = 1
"""The newest page format this code reads, and the one it writes."""

MIN_ENTRIES: Final = 1_024
MAX_ENTRIES: Final = 16_384
MAX_WEIGHT: Final = 2 * 1024 * 1024
"""A page ends with the entry that brings its weight to this, bytes; see `weight`."""
ENTRY_WEIGHT: Final = 48

_SIEVE: Final = 15
_THRESHOLD: Final = 2**32 // 192
"""1 path of 16 passes the sieve and 1 in 192 of those ends a page: 1 in 3,072, once 1,024 entries are there."""

_STORED: Final = 0
_EXECUTABLE: Final = 1
_REFERENCE: Final = 2
_SLICES: Final = tuple(slice(at, at + SIZE) for at in range(0, MAX_ENTRIES * SIZE, SIZE))
_BATCH: Final = 4_096

_Reference = tuple[str, str | None, str | None, str | None, str | None]
_Columns = tuple[str, int, str, bytes, list[int | None], bytes, list[_Reference]]
_decoder = msgspec.msgpack.Decoder(_Columns)
_encoder = msgspec.msgpack.Encoder()

_T = TypeVar("_T")


def encode_page(entries: Sequence[Entry]) -> bytes:
    """Write sorted entries in canonical bytes: equal entries, equal bytes, on every machine.

    Raises:
        InvalidInputError: Not 1 to 16,384 entries, or they break a rule of the format.
    """
    if not 0 < len(entries) <= MAX_ENTRIES:
        raise InvalidInputError(what=f"a page has 1 to {MAX_ENTRIES} entries, not {len(entries)}")
    check_entries(entries)
    stored = [e for e in entries if type(e) is StoredEntry]
    pointed = [e for e in entries if type(e) is ReferenceEntry]
    return _encoder.encode((
        MAGIC,
        FORMAT,
        "\n".join([e.path for e in entries]),
        bytes([e.executable if type(e) is StoredEntry else _REFERENCE for e in entries]),
        [e.size for e in entries],
        b"".join([e.digest for e in stored]),
        [(e.uri, e.pin.version, e.pin.checksum, e.pin.etag, e.pin.modified) for e in pointed],
    ))  # fmt: skip


def decode_page(data: bytes) -> list[Entry]:
    """Read a page again; every rule of the format is checked, whatever the bytes.

    Raises:
        FormatError: Damaged, not canonical, or written by a newer Headwater.
    """
    columns = decode_array(data, _decoder, MAGIC, FORMAT)
    _, _, text, kinds, sizes, digests, references = columns
    paths = text.split("\n")
    n_stored = kinds.count(_STORED) + kinds.count(_EXECUTABLE)
    expected = (len(paths), len(paths), n_stored * SIZE, len(paths) - n_stored)
    found = (len(kinds), len(sizes), len(digests), len(references))
    if found != expected or len(paths) > MAX_ENTRIES or kinds.count(_REFERENCE) != len(references):
        raise FormatError(what="the columns of a page do not fit together")
    entries = _entries(paths, kinds, sizes, digests, references)
    try:
        check_entries(entries)
    except InvalidInputError as error:
        raise FormatError(what=f"a page breaks a rule: {error}") from None
    if _encoder.encode(columns) != data:
        raise FormatError(what="a page is not in canonical form")
    return entries


def _entries(
    paths: list[str], kinds: bytes, sizes: list[Any], digests: bytes, references: list[_Reference]
) -> list[Entry]:
    names = map(Digest, map(digests.__getitem__, _SLICES[: len(digests) // SIZE]))
    if not references:
        return list(map(StoredEntry, paths, sizes, names, map(bool, kinds)))
    uris = [reference[0] for reference in references]
    pins = starmap(Pin, [reference[1:] for reference in references])
    if not digests:
        return list(map(ReferenceEntry, paths, sizes, uris, pins))
    pointed = zip(uris, pins, strict=True)
    return [
        ReferenceEntry(path, size, *next(pointed))
        if kind == _REFERENCE
        else StoredEntry(path, size, next(names), kind == _EXECUTABLE)
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
def weight(entry: Entry) -> int:
    """What an entry counts towards a page's byte cap: 48, and the UTF-8 length of each of its texts."""
    total = ENTRY_WEIGHT + len(entry.path.encode())
    if type(entry) is ReferenceEntry:
        pin = entry.pin
        total += sum(len(t.encode()) for t in (entry.uri, pin.version, pin.checksum, pin.etag, pin.modified) if t)
    return total


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
        self._weights += [
            ENTRY_WEIGHT + len(path) if type(entry) is StoredEntry else weight(entry)
            for entry, path in zip(entries, raw, strict=True)
        ]
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
        return [check_path(e.path).encode() for e in entries]


def batched(items: Iterator[_T]) -> Iterator[list[_T]]:
    """The items in lists of 4,096, lazily; the last list may be shorter."""
    while batch := list(islice(items, _BATCH)):
        yield batch
