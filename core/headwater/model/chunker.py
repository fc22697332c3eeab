"""Where large files are cut, and how the cuts are written down.

Files under 1 MiB are one blob. Larger ones are cut by their content (FastCDC,
Xia et al. 2020), so that an insertion changes only the chunks around it. The
cuts are part of the format: FORMAT.md states the algorithm, the golden vectors
in the tests pin it.

Measured before choosing, on one core: pyfastcdc cuts 4.0 GB/s and lets other
threads run; a NumPy window hash cut 0.9 GB/s, gained nothing from a second
thread, fell to 7 MB/s on zeros, and stored no less.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from headwater.errors import FormatError, InvalidInputError
from headwater.model.digest import SIZE, Digest
from headwater.model.pages import decode_array

if TYPE_CHECKING:
    from typing_extensions import Buffer

    Read: TypeAlias = Callable[[int], Buffer]

MIN_FILE: Final = 1024 * 1024
"""Files of this many bytes and more are cut."""
MIN_CHUNK: Final = 64 * 1024
AVERAGE_CHUNK: Final = 256 * 1024
MAX_CHUNK: Final = 1024 * 1024
CHUNKER: Final = "fastcdc2020/64k/256k/1024k/nc1"
"""Id of the algorithm with its parameters, written in every chunk list; other cuts get another id."""
MAX_CHUNKS: Final = 1_000_000
"""Most chunks of one file: at 320 KiB, which random content averages, a file of 300 GiB."""

MAGIC: Final = "headwater.chunks"
FORMAT: Final = 1
"""The newest chunk-list format this code reads, and the one it writes."""
_LARGEST: Final = 48 * 1024 * 1024
"""Largest chunk that a list of any chunker may name, bytes."""
_BLOCK: Final = 4 * MAX_CHUNK


def split(source: Read | Buffer) -> Iterator[memoryview]:
    """Cut a buffer, or the stream that `read(n)` gives until it gives nothing, into chunks.

    The chunks, joined, are the input; an empty input has none. `read` may return less than it was asked for, but
    must not write over what it returned earlier.
    Chunks are views: of the buffer given, of what `read` gave, or of a copy where two of its answers meet; at most
    two blocks of 4 MiB are held at a time. Other threads run while a cut is sought. The cuts depend on the content
    alone.
    """
    return _split_stream(source) if callable(source) else _cut(memoryview(source).cast("B"))


def _split_stream(read: Read) -> Iterator[memoryview]:
    rest, ended = memoryview(b""), False
    while not ended:
        block, ended = _fill(read)
        start = 0
        if rest:
            # Long enough for every chunk that starts in the rest; the block itself is not copied.
            for chunk in _cut(memoryview(b"".join((rest, block[:MAX_CHUNK])))):
                yield chunk
                start += len(chunk)
                if start >= len(rest):
                    break
            start -= len(rest)
        rest = block[:0]
        for chunk in _cut(block[start:]):
            # Nearer to the block's end than the longest chunk, the end rather than the content may have made the cut.
            if not ended and len(block) - start < MAX_CHUNK:
                rest = block[start:]
                break
            yield chunk
            start += len(chunk)


def _fill(read: Read) -> tuple[memoryview, bool]:
    """A block of the stream, and whether it is the last one. One full answer of `read` is not copied."""
    pieces: list[Buffer] = []
    missing = _BLOCK
    while missing > 0:
        piece = read(missing)
        length = memoryview(piece).nbytes
        if not length:
            return memoryview(b"".join(pieces)), True
        pieces.append(piece)
        missing -= length
    return memoryview(pieces[0] if len(pieces) == 1 else b"".join(pieces)).cast("B"), False


def _cut(view: memoryview) -> Iterator[memoryview]:
    return (view[chunk.offset : chunk.offset + chunk.length] for chunk in _cutter().cut_buf(view))


def _cutter() -> Any:
    # One for each use: the object is not made for two threads.
    return _algorithm()(AVERAGE_CHUNK, min_size=MIN_CHUNK, max_size=MAX_CHUNK, normalized_chunking=1)


@cache
def _algorithm() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ours, below, says what to do.
        import pyfastcdc  # only who stores large files needs it
    if pyfastcdc.FastCDC.__module__.startswith("pyfastcdc.py"):
        warnings.warn(
            "pyfastcdc was installed without its compiled part: large files are cut correctly, but at a few MB/s; "
            "reinstall it from a wheel, or with a C compiler and PYFASTCDC_REQUIRE_CYTHON=1",
            RuntimeWarning,
            stacklevel=2,
        )
    return pyfastcdc.FastCDC


def chunk_list_name(file: Digest) -> Digest:
    """The name of a file's chunk list: derived, so that whoever knows the file's digest can ask for it."""
    return Digest.of(f"{MAGIC}\n{CHUNKER}\n".encode() + file)


_decoder = msgspec.msgpack.Decoder(tuple[str, int, str, bytes, list[int]])


def encode_chunks(chunks: Sequence[tuple[Digest, int]]) -> bytes:
    """Write (digest, size) of a file's chunks, in order, followed by the digest of what was written.

    Raises:
        InvalidInputError: Not 1 to 1,000,000 chunks, or one that is empty or above the maximum.
    """
    sizes = [size for _, size in chunks]
    if not 0 < len(chunks) <= MAX_CHUNKS or not 0 < min(sizes) <= max(sizes) <= MAX_CHUNK:
        raise InvalidInputError(what=f"a file has 1 to {MAX_CHUNKS} chunks of 1 to {MAX_CHUNK} bytes")
    if not {SIZE}.issuperset(len(name) for name, _ in chunks):
        raise InvalidInputError(what=f"a digest has {SIZE} bytes")
    body = msgspec.msgpack.encode((MAGIC, FORMAT, CHUNKER, b"".join(name for name, _ in chunks), sizes))
    return body + Digest.of(body)


def decode_chunks(data: bytes) -> list[tuple[Digest, int]]:
    """Read a chunk list again.

    Raises:
        FormatError: Damaged, or written by a newer Headwater.
    """
    body, seal = data[:-SIZE], data[-SIZE:]
    if Digest.of(body) != seal:
        raise FormatError(what="a chunk list is damaged")
    columns = decode_array(body, _decoder, MAGIC, FORMAT)
    _, _, _, names, sizes = columns
    if not sizes or len(names) != SIZE * len(sizes) or not 0 < min(sizes) <= max(sizes) <= _LARGEST:
        raise FormatError(what="the columns of a chunk list do not fit together")
    if msgspec.msgpack.encode(columns) != body:
        raise FormatError(what="a chunk list is not in canonical form")
    return [(Digest(names[at * SIZE : (at + 1) * SIZE]), size) for at, size in enumerate(sizes)]
