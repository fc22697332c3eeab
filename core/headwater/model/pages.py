"""Pages: runs of entries in canonical bytes, and where one ends and the next begins.

A page is written in columns (all paths, then all kinds, sizes, digests,
references): a third of the time of a row per entry, and zstd finds the paths
undisturbed by the digests, which nothing compresses. FORMAT.md is the law;
`decode_page(data)` succeeds only if `encode_page` of the result is `data`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from operator import lt
from typing import Any, Final
from zlib import crc32

import msgspec
from blake3 import blake3

from headwater.errors import FormatError, InvalidInputError
from headwater.model.digest import SIZE, Digest
from headwater.model.entries import EMPTY, Entry, Pin, ReferenceEntry, StoredEntry
from headwater.model.naming import MAX_PATH, check_path

MAGIC: Final = "headwater.page"
FORMAT: Final = 1
"""The newest page format this code reads, and the one it writes."""

MIN_ENTRIES: Final = 1_024
MAX_ENTRIES: Final = 16_384
MAX_WEIGHT: Final = 2 * 1024 * 1024
"""A page ends once its entries weigh this much, bytes; see `weight`."""
MAX_SIZE: Final = 2**63 - 1
MAX_URI: Final = 16_384
"""Longest URI, and longest field of a pin, UTF-8 bytes."""

_SIEVE: Final = 15
_THRESHOLD: Final = (2**32 * 16) // 3_072
"""1 of 16 paths passes the sieve, and 1 in 192 of those ends a page: 1 in 3,072, after the first 1,023."""

_STORED, _EXECUTABLE, _REFERENCE = 0, 1, 2
_SLICES: Final = tuple(slice(at, at + SIZE) for at in range(0, MAX_ENTRIES * SIZE, SIZE))
_CONTROLS: Final = bytes((*range(10), *range(11, 32), 127))
_DOTS: Final = re.compile(r"(?:^|[/\n])\.\.?(?:$|[/\n])")

_Columns = tuple[str, int, str, bytes, list[int | None], bytes, list[tuple[str, str | None, str | None, str | None, str | None]]]
_decoder = msgspec.msgpack.Decoder(_Columns)
_encoder = msgspec.msgpack.Encoder()


def encode_page(entries: Sequence[Entry]) -> bytes:
    """Write sorted entries in canonical bytes: equal entries, equal bytes, on every machine.

    Raises:
        InvalidInputError: Not 1 to 16,384 entries, unsorted, a path twice, or a value out of range.
    """
    if not 0 < len(entries) <= MAX_ENTRIES:
        raise InvalidInputError(what=f"a page has 1 to {MAX_ENTRIES} entries, not {len(entries)}")
    check_entries(entries)
    stored = [e for e in entries if type(e) is StoredEntry]
    pointed = [e for e in entries if type(e) is ReferenceEntry]
    kinds = bytes([_kind(e) for e in entries]) if pointed else bytes([e.executable for e in stored])
    return _encoder.encode((
        MAGIC,
        FORMAT,
        "\n".join([e.path for e in entries]),
        kinds,
        [e.size for e in entries],
        b"".join([e.digest for e in stored]),
        [(e.uri, e.pin.version, e.pin.checksum, e.pin.etag, e.pin.modified) for e in pointed],
    ))


def _kind(entry: Entry) -> int:
    return _REFERENCE if type(entry) is ReferenceEntry else int(entry.executable)  # type: ignore[union-attr]


def decode_page(data: bytes) -> list[Entry]:
    """Read a page again; every rule of the format is checked, whatever the bytes.

    Raises:
        FormatError: Damaged, not canonical, or written by a newer Headwater.
    """
    columns = decode_array(data, _decoder, MAGIC, FORMAT)
    _, _, text, kinds, sizes, digests, references = columns
    paths = text.split("\n")
    n_pointed = kinds.count(_REFERENCE)
    lengths = (len(kinds), len(sizes), len(digests) // SIZE + n_pointed, len(references) + len(paths) - n_pointed)
    if any(n != len(paths) for n in lengths) or len(digests) % SIZE or len(paths) > MAX_ENTRIES or max(kinds) > _REFERENCE:
        raise FormatError(what="the columns of a page do not fit together")
    entries = _entries(paths, kinds, sizes, digests, references)
    try:
        check_entries(entries)
    except InvalidInputError as error:
        raise FormatError(what=f"a page breaks a rule: {error}") from None
    if _encoder.encode(columns) != data:
        raise FormatError(what="a page is not in canonical form")
    return entries


def _entries(paths: list[str], kinds: bytes, sizes: list[Any], digests: bytes, references: list[Any]) -> list[Entry]:
    names = map(Digest, map(digests.__getitem__, _SLICES[: len(digests) // SIZE]))
    if not references:
        return list(map(StoredEntry, paths, sizes, names, map(bool, kinds)))
    rest = iter(references)
    return [
        _reference(path, size, *next(rest)) if kind == _REFERENCE else StoredEntry(path, size, next(names), kind == 1)
        for path, kind, size in zip(paths, kinds, sizes, strict=True)
    ]


def _reference(path: str, size: int | None, uri: str, *pin: str | None) -> ReferenceEntry:
    return ReferenceEntry(path, size, uri, Pin(*pin))


def decode_array(data: bytes, decoder: msgspec.msgpack.Decoder[Any], magic: str, newest: int) -> Any:
    """Decode a tagged msgpack array `[magic, format, …]`.

    Raises:
        FormatError: Not such an array, or of a newer format; says which.
    """
    try:
        columns = decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
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
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return
    if len(found) == 2 and found[0] == magic and isinstance(found[1], int) and found[1] > newest:
        raise FormatError(
            what=f"a {magic} of format {found[1]} was written by a newer Headwater; this one reads up to {newest}",
            fix="upgrade headwater",
        )


# ----------------------------------------------------------------------- rules
def check_entries(entries: Sequence[Entry]) -> None:
    """Check everything a page promises about its entries, in bulk.

    Raises:
        InvalidInputError: Names the first entry that breaks a rule.
    """
    paths = [e.path for e in entries]
    text = "\n".join(paths)
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        raw = b"\x00"
    padded = f"\n{text}\n"
    suspect = "//" in padded or "\n/" in padded or "\n\n" in padded or len(raw.translate(None, _CONTROLS)) != len(raw)
    dotted = ("/." in padded or "\n." in padded) and _DOTS.search(text) is not None
    if suspect or dotted or len(raw) > MAX_PATH or text.count("\n") != len(paths) - 1:
        for path in paths:
            check_path(path)
    if not all(map(lt, paths, islice(paths, 1, None))):
        raise InvalidInputError(what=f"the paths {_first_unsorted(paths)!r} are not in strictly rising byte order")
    check_collisions(entries)
    for entry in entries:
        if type(entry) is ReferenceEntry:
            _check_reference(entry)
    if "/\n" in padded:
        _check_directories(entries)
    sizes = [e.size for e in entries if e.size is not None]
    if sizes and not 0 <= min(sizes) <= max(sizes) <= MAX_SIZE:
        raise InvalidInputError(what="an entry's size is negative or above 2^63 - 1")


def _first_unsorted(paths: list[str]) -> tuple[str, str]:
    return next((a, b) for a, b in zip(paths, islice(paths, 1, None), strict=False) if not a < b)


def check_collisions(entries: Sequence[Entry]) -> None:
    """Refuse a path that is a file (or an empty directory) and has others below it.

    Raises:
        InvalidInputError: Names both.
    """
    paths = [e.path for e in entries]
    if not any(map(str.startswith, islice(paths, 1, None), paths)):
        return
    files: list[str] = []
    for path in paths:
        while files and not path.startswith(files[-1]):
            files.pop()
        for file in files:
            if path.startswith(file.removesuffix("/") + "/"):
                raise InvalidInputError(what=f"{file!r} cannot be an entry and hold {path!r}", fix="rename one of them")
        files.append(path)


def _check_directories(entries: Sequence[Entry]) -> None:
    for entry in entries:
        if entry.path.endswith("/") and not (
            type(entry) is StoredEntry and entry.size == 0 and entry.digest == EMPTY and not entry.executable
        ):
            raise InvalidInputError(what=f"{entry.path!r} marks an empty directory, so it has no bytes")


def _check_reference(entry: ReferenceEntry) -> None:
    pin = entry.pin
    for text in (entry.uri, pin.version, pin.checksum, pin.etag, pin.modified):
        if text is not None and (not text or len(text.encode()) > MAX_URI):
            raise InvalidInputError(what=f"the reference {entry.path!r} has an empty or overlong URI or pin")


# ------------------------------------------------------------------ boundaries
def weight(entry: Entry) -> int:
    """What an entry counts towards a page's byte cap: 48 and the UTF-8 length of each of its texts."""
    total = 48 + len(entry.path.encode())
    if type(entry) is ReferenceEntry:
        pin = entry.pin
        total += sum(len(t.encode()) for t in (entry.uri, pin.version, pin.checksum, pin.etag, pin.modified) if t)
    return total


def ends_page(path: str) -> bool:
    """Whether a page may end after this path: a fact of the path alone, true for one in 3,072."""
    raw = path.encode()
    return not crc32(raw) & _SIEVE and int.from_bytes(blake3(raw).digest(4), "little") < _THRESHOLD


def split_pages(entries: Iterator[Entry]) -> Iterator[list[Entry]]:
    """Cut a sorted stream of entries into pages, holding one page at a time."""
    page: list[Entry] = []
    total = 0
    for entry in entries:
        page.append(entry)
        total += weight(entry)
        n = len(page)
        if total >= MAX_WEIGHT or n == MAX_ENTRIES or (n >= MIN_ENTRIES and ends_page(entry.path)):
            yield page
            page, total = [], 0
    if page:
        yield page
