"""One entry as a file that can be read and sought without bringing all of it."""

from __future__ import annotations

import io
import tempfile
from bisect import bisect_right
from collections import OrderedDict
from itertools import accumulate
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from headwater.download.borrowed import Proof, Unreadable, read_pinned
from headwater.download.firstread import FirstReads
from headwater.errors import FormatError, InvalidInputError
from headwater.model.chunker import MIN_FILE, chunk_list_name, decode_chunks
from headwater.model.manifest import Entry, ReferenceEntry, StoredEntry
from headwater.sources import scheme_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Buffer

    from headwater.download.filling import Home

_BUFFER: Final = 1 << 20
_CHUNKS: Final = 8
"""Chunks kept, at most 1 MiB each."""
_AHEAD: Final = 4
"""Chunks fetched together: neighbours lie in one pack, so one request brings them."""
_SPOOL: Final = 16 << 20


def open_entry(home: Home, entry: Entry) -> BinaryIO:
    """The entry's bytes as a seekable file; only the chunks that are read are fetched, each verified.

    A reference of which every range is held (by a version, an ETag; a file by its digest) is read in ranges;
    any other is read whole once, compared with what it held when first read, and kept in a temporary file.
    Not safe between threads: open it twice.

    Raises:
        InvalidInputError: An empty directory.
        MissingBlobError, DigestMismatchError, FormatError: Also while reading.
        ReferenceMissingError, ReferenceChangedError, AccessError, StorageError: Also while reading.
    """
    if entry.path.endswith("/"):
        raise InvalidInputError(what=f"{entry.path!r} is a directory")
    if isinstance(entry, ReferenceEntry):
        return _open_reference(home, entry)
    if entry.size < MIN_FILE:
        data = home.blobs.read(entry.digest) if entry.size else b""
        if len(data) != entry.size:
            raise FormatError(what=f"{entry.path!r} has {len(data)} bytes instead of {entry.size}")
        return io.BytesIO(data)
    return cast("BinaryIO", io.BufferedReader(_Ranged(entry.size, _Chunks(home, entry).pieces), _BUFFER))


def _open_reference(home: Home, entry: ReferenceEntry) -> BinaryIO:
    held = entry.pin.version or entry.pin.etag or (entry.pin.checksum and scheme_of(entry.uri) == "file")
    if entry.size is not None and held:
        read = _Reference(entry).pieces
        return cast("BinaryIO", io.BufferedReader(_Ranged(entry.size, read), _BUFFER))
    spool = tempfile.SpooledTemporaryFile(_SPOOL)  # noqa: SIM115 - the caller closes it
    proof = Proof(entry, FirstReads(home.folder))
    try:
        for piece in read_pinned(entry):
            proof.update(piece)
            spool.write(piece)
        proof.finish()
    except Unreadable as refused:
        spool.close()
        raise refused.error from None
    spool.seek(0)
    return cast("BinaryIO", spool)


class _Ranged(io.RawIOBase):
    """A file of known size whose bytes come from `pieces(start, length)`."""

    def __init__(self, size: int, pieces: Callable[[int, int], Iterator[bytes | memoryview]]) -> None:
        self._size, self._pieces, self._at = size, pieces, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise InvalidInputError(what=f"cannot seek to {start + offset}")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer).cast("B")
        length, done = max(0, min(len(view), self._size - self._at)), 0
        for piece in self._pieces(self._at, length) if length else ():
            view[done : done + len(piece)] = piece
            done += len(piece)
        self._at += done
        return done


class _Chunks:
    """The chunks of one large file, fetched as they are needed; the last few are kept."""

    def __init__(self, home: Home, entry: StoredEntry) -> None:
        self._blobs = home.blobs
        chunks = decode_chunks(self._blobs.read(chunk_list_name(entry.digest)))
        self._names = [bytes(name) for name, _ in chunks]
        self._ends = list(accumulate(size for _, size in chunks))
        if self._ends[-1] != entry.size:
            raise FormatError(what=f"the chunks of {entry.path!r} do not add up to its size")
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()

    def pieces(self, start: int, length: int) -> Iterator[memoryview]:
        """The bytes from `start`, chunk by chunk."""
        at, end = bisect_right(self._ends, start), start + length
        while start < end:
            chunk = memoryview(self._chunk(at, last=bisect_right(self._ends, end - 1)))
            begin = self._ends[at] - len(chunk)
            piece = chunk[start - begin : end - begin]
            yield piece
            start += len(piece)
            at += 1

    def _chunk(self, at: int, last: int) -> bytes:
        name = self._names[at]
        if name not in self._kept:
            wanted = [each for each in self._names[at : min(last + 1, at + _AHEAD)] if each not in self._kept]
            self._kept.update(self._blobs.read_many(wanted))
        self._kept.move_to_end(name)
        while len(self._kept) > _CHUNKS:
            self._kept.popitem(last=False)
        return self._kept[name]


class _Reference:
    """Ranges of a referenced object."""

    def __init__(self, entry: ReferenceEntry) -> None:
        self._entry = entry

    def pieces(self, start: int, length: int) -> Iterator[bytes]:
        try:
            yield from read_pinned(self._entry, start, length)
        except Unreadable as refused:
            raise refused.error from None
