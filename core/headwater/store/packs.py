"""Packs: one object in the store that holds many blobs, and can explain itself.

    header · (record header · blob)* · index · trailer

The index at the end, sorted by name, is what readers use: one ranged GET. If
the end is lost, `scan` finds the blobs by their record headers. FORMAT.md is
the law for every byte.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
from operator import itemgetter, lt
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from zlib import crc32

from headwater.errors import DigestMismatchError, FormatError, InvalidInputError
from headwater.model.chunker import decode_chunks
from headwater.model.digest import SIZE, Digest
from headwater.model.keys import check_ulid
from headwater.model.records import BlobKind, BlobRow, SealedPack
from headwater.store import compression as zstd

if TYPE_CHECKING:
    from typing_extensions import Buffer

TARGET_SIZE: Final = 32 * 1024 * 1024
"""A pack is full from this many bytes on."""
MAX_SIZE: Final = 64 * 1024 * 1024
MAX_BLOBS: Final = 8_192
MAX_BLOB: Final = 48 * 1024 * 1024
"""Longest blob, raw bytes."""
FORMAT: Final = 1
"""The newest pack format this code reads, and the one it writes."""

_MAGIC: Final = b"\x89HWP\r\n\x1a\n"
_RECORD: Final = b"\x89HWB"
_HEADER = struct.Struct("<8sI26s6xI")
"""magic, format, pack id, 6 zero bytes, CRC-32 of all before."""
_BLOB = struct.Struct("<4sBBHII32sII")
"""magic, kind, compression, 0, stored, raw, name, CRC-32 of the stored bytes, CRC-32 of all before."""
_ROW = struct.Struct("<32sIIIBBH")
"""name, offset, stored, raw, compression, kind, 0."""
_TRAILER = struct.Struct("<26s2xIIIII8s")
"""pack id, 2 zero bytes, format, number of rows, length of the index, its CRC-32, CRC-32 of all before, magic."""
_KINDS: Final[tuple[BlobKind, ...]] = ("data", "chunks", "page", "root")
_TAIL: Final = 64 * 1024
"""How much of a pack's end `read_index` asks for first: the index of 1,300 blobs."""


class PackWriter:
    """Collects blobs into one pack, in memory. Not thread-safe: one writer, one thread.

    Args:
        pack_id: A new ULID.
        buffer: From `new_buffer`; may be used for another pack once this one's bytes are stored.
    """

    def __init__(self, pack_id: str, buffer: mmap.mmap | None = None) -> None:
        self.pack_id = check_ulid(pack_id)
        self._buffer = memoryview(new_buffer() if buffer is None else buffer)
        self._end = 0
        self._rows: dict[bytes, BlobRow] = {}
        self._append(_sealed(_HEADER, _MAGIC, FORMAT, pack_id.encode()))

    def _append(self, data: Buffer) -> None:
        end = self._end + memoryview(data).nbytes
        self._buffer[self._end : end] = memoryview(data).cast("B")
        self._end = end

    @property
    def size(self) -> int:
        """Bytes so far, with what `finish` will add."""
        return self._end + len(self._rows) * _ROW.size + _TRAILER.size

    @property
    def n_blobs(self) -> int:
        """How many blobs it holds."""
        return len(self._rows)

    @property
    def full(self) -> bool:
        """Whether it is time to `finish`: 32 MiB or 8,192 blobs."""
        return self.size >= TARGET_SIZE or self.n_blobs >= MAX_BLOBS

    def add(self, name: bytes, raw: Buffer, kind: BlobKind = "data", *, compress: bool = True) -> BlobRow:
        """Append a blob; a name that is here already is not added twice.

        Raises:
            InvalidInputError: The blob is over 48 MiB, or the pack cannot take it; nothing was added.
        """
        return self.add_prepared(name, prepare(raw, compress=compress), kind)

    def add_prepared(self, name: bytes, blob: Prepared, kind: BlobKind = "data") -> BlobRow:
        """As `add`, for what another thread has prepared."""
        if name in self._rows:
            return self._rows[name]
        length = memoryview(blob.stored).nbytes
        if len(name) != SIZE or blob.raw > MAX_BLOB:
            raise InvalidInputError(
                what=f"a blob has a name of {SIZE} bytes and up to {MAX_BLOB} bytes, not {len(name)} and {blob.raw}"
            )
        if self.n_blobs >= MAX_BLOBS or self.size + length + _BLOB.size + _ROW.size > MAX_SIZE:
            raise InvalidInputError(what=f"the pack cannot take {length} bytes more", fix="finish it first")
        self._append(_sealed(_BLOB, _RECORD, _KINDS.index(kind), blob.compression, 0, length, blob.raw, name, blob.crc))
        row = BlobRow(
            name=bytes(name), offset=self._end, stored=length, raw=blob.raw, compression=blob.compression, kind=kind
        )
        self._append(blob.stored)
        self._rows[row.name] = row
        return row

    def finish(self) -> tuple[Buffer, SealedPack]:
        """The pack's bytes, ready to PUT, and its rows by offset. The writer must not be used again.

        The bytes are a view of the writer's buffer: page-aligned, so that a file store can write them directly.
        """
        index = b"".join(_pack_row(self._rows[name]) for name in sorted(self._rows))
        self._append(index)
        self._append(_sealed_trailer(self.pack_id, len(self._rows), index))
        sealed = SealedPack(pack_id=self.pack_id, size=self._end, rows=tuple(self._rows.values()))
        return self._buffer[: self._end], sealed


def new_buffer() -> mmap.mmap:
    """Memory for one pack, taken from the system page by page as it fills.

    Meant to be used again: fresh memory costs more than the copy into it (measured on a virtual machine,
    32 MiB: 22 ms into fresh memory, 3.5 ms into used).
    """
    if hasattr(mmap, "MAP_PRIVATE"):  # the default is shared with forked children
        return mmap.mmap(-1, MAX_SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return mmap.mmap(-1, MAX_SIZE)


class Prepared(NamedTuple):
    """A blob ready for a pack: everything that costs time is done."""

    compression: int
    raw: int
    """Length before compression, bytes."""
    stored: Buffer
    crc: int
    """CRC-32 of the stored bytes."""


def prepare(raw: Buffer, *, compress: bool = True) -> Prepared:
    """Compress a blob, if that pays, and sum it up. Safe between threads; large blobs let others run."""
    compression, stored = zstd.compress(raw) if compress else (zstd.NONE, raw)
    return Prepared(compression, memoryview(raw).nbytes, stored, crc32(stored))


def _sealed(layout: struct.Struct, *fields: object) -> bytes:
    body = layout.pack(*fields, 0)[:-4]
    return body + struct.pack("<I", crc32(body))


def _pack_row(row: BlobRow) -> bytes:
    return _ROW.pack(row.name, row.offset, row.stored, row.raw, row.compression, _KINDS.index(row.kind), 0)


def _sealed_trailer(pack_id: str, n_rows: int, index: bytes) -> bytes:
    body = _TRAILER.pack(pack_id.encode(), FORMAT, n_rows, len(index), crc32(index), 0, b"")[:-12]
    return body + struct.pack("<I", crc32(body)) + _MAGIC


# ---------------------------------------------------------------------- reading
def decode_blob(row: BlobRow, stored: Buffer, where: str) -> bytes:
    """Unpack and verify one blob; what it returns is what was stored under that name.

    Args:
        row: Its row.
        stored: The `row.stored` bytes at `row.offset`.
        where: The pack's key, for the error.

    Raises:
        DigestMismatchError: The bytes are others.
        FormatError: The bytes do not unpack.
    """
    if memoryview(stored).nbytes != row.stored or row.raw > MAX_BLOB:
        raise FormatError(what=f"a blob has {memoryview(stored).nbytes} bytes instead of {row.stored}", where=where)
    if row.compression not in (zstd.NONE, zstd.ZSTD):
        raise FormatError(what=f"a blob has the unknown compression {row.compression}", where=where)
    raw = zstd.decompress(stored, row.raw, where) if row.compression == zstd.ZSTD else bytes(stored)
    if len(raw) != row.raw:
        raise FormatError(what=f"a blob has {len(raw)} bytes instead of {row.raw}", where=where)
    if row.kind == "chunks":
        decode_chunks(raw)
        return raw
    actual = Digest.of(raw)
    if actual != row.name:
        raise DigestMismatchError(expected=str(Digest(row.name)), actual=str(actual), where=where)
    return raw


def read_index(get_range: Callable[[int, int], bytes], size: int) -> SealedPack:
    """The pack's rows by offset, from its end: one request, two for a pack of over 1,300 blobs.

    Args:
        get_range: `get_range(start, length)` gives that part of the pack.
        size: Length of the whole pack, bytes.

    Raises:
        FormatError: The end is damaged (`scan` may still help) or of a newer format.
    """
    if not _HEADER.size + _TRAILER.size <= size <= MAX_SIZE:
        raise FormatError(what=f"{size} bytes are not a pack")
    start = max(0, size - _TAIL)
    tail = get_range(start, size - start)
    pack_id, n_rows, length, crc = _read_trailer(tail[-_TRAILER.size :])
    first = size - _TRAILER.size - length
    if n_rows * _ROW.size != length or n_rows > MAX_BLOBS or first < _HEADER.size:
        raise FormatError(what="a pack's trailer does not fit the pack", where=pack_id)
    index = tail[first - start : -_TRAILER.size] if first >= start else get_range(first, length)
    if len(index) != length or crc32(index) != crc:
        raise FormatError(what="a pack's index is damaged", where=pack_id)
    return SealedPack(pack_id=pack_id, size=size, rows=_read_rows(index, first))


def _read_trailer(data: bytes) -> tuple[str, int, int, int]:
    if len(data) != _TRAILER.size or data[-8:] != _MAGIC:
        raise FormatError(what="these bytes are not the end of a pack")
    pack_id, version, n_rows, length, crc, own, _ = _TRAILER.unpack(data)
    if own != crc32(data[:-12]):
        raise FormatError(what="a pack's trailer is damaged")
    if version != FORMAT:
        fix = "upgrade headwater" if version > FORMAT else "`headwater repair` rebuilds the index"
        raise FormatError(what=f"a pack has format {version}, this Headwater reads up to {FORMAT}", fix=fix)
    try:
        return check_ulid(pack_id.decode("ascii", "replace")), n_rows, length, crc
    except InvalidInputError as error:
        raise FormatError(what=f"a pack's trailer is damaged: {error}") from None


def _read_rows(index: bytes, end: int) -> tuple[BlobRow, ...]:
    """Rows by offset; checks that names rise and blobs neither overlap nor leave the pack."""
    found = list(_ROW.iter_unpack(index))
    names = [row[0] for row in found]
    found.sort(key=itemgetter(1))
    free = _HEADER.size
    for name, offset, stored, raw, _, kind, zero in found:
        if offset < free + _BLOB.size or offset + stored > end or kind >= len(_KINDS) or raw > MAX_BLOB or zero:
            raise FormatError(what="a pack's index does not fit the pack", where=str(Digest(name)))
        free = offset + stored
    if not all(map(lt, names, names[1:])):
        raise FormatError(what="a pack's index is not in order")
    return tuple(_row(*fields[:-1]) for fields in found)


def _row(*fields: Any) -> BlobRow:
    name, offset, stored, raw, compression, kind = fields
    return BlobRow(name=name, offset=offset, stored=stored, raw=raw, compression=compression, kind=_KINDS[kind])


def scan(data: Buffer) -> tuple[BlobRow, ...]:
    """Rebuild the rows of a damaged or torn pack from its record headers, by offset.

    Gives the records whose header and stored bytes have their CRC, each name once, and goes on behind damage.
    Never raises, whatever the bytes.
    """
    whole = bytes(memoryview(data).cast("B"))
    found: dict[bytes, BlobRow] = {}
    start = whole.find(_RECORD)
    while start >= 0:
        row = _read_record(memoryview(whole), start)
        if row is not None:
            found.setdefault(row.name, row)
        start = whole.find(_RECORD, start + 1 if row is None else row.offset + row.stored)
    return tuple(found.values())


def _read_record(whole: memoryview, start: int) -> BlobRow | None:
    head = whole[start : start + _BLOB.size]
    if len(head) < _BLOB.size:
        return None
    _, kind, compression, zero, stored, raw, name, crc, own = _BLOB.unpack(head)
    offset = start + _BLOB.size
    sound = own == crc32(head[:-4]) and kind < len(_KINDS) and raw <= MAX_BLOB and not zero
    if not sound or offset + stored > len(whole) or crc32(whole[offset : offset + stored]) != crc:
        return None
    return _row(name, offset, stored, raw, compression, kind)
