"""Where large files are cut, and how the cuts are written down.

Files under 1 MiB are one blob. Larger ones are cut by their content, so that an
insertion changes only the chunks around it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec
from pyfastcdc import FastCDC

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

MAGIC: Final = "headwater.chunks"
FORMAT: Final = 1
_BLOCK: Final = 8 * MAX_CHUNK


def split(source: Read | Buffer) -> Iterator[bytes]:
    """Cut a buffer, or what `read(n)` returns until it returns nothing, into chunks.

    Holds at most 9 MiB of a stream. Joined, the chunks are the input; an empty input has none.
    """
    read = source if callable(source) else _reader(memoryview(source))
    pending = b""
    ended = False
    while not ended:
        piece = read(_BLOCK)
        ended = not piece
        pending += bytes(piece)
        cuts = [bytes(chunk.data) for chunk in _chunker().cut_buf(pending)] if pending else []
        # The last chunk may have been ended by the end of the block rather than by its content.
        while cuts and (ended or len(pending) >= MAX_CHUNK and len(cuts) > 1):
            yield cuts[0]
            pending = pending[len(cuts.pop(0)) :]


def _reader(view: memoryview) -> Read:
    at = 0

    def read(n: int) -> memoryview:
        nonlocal at
        at += n
        return view[at - n : at]

    return read


def _chunker() -> FastCDC:
    return FastCDC(AVERAGE_CHUNK, min_size=MIN_CHUNK, max_size=MAX_CHUNK, normalized_chunking=1)


def chunk_list_name(file: Digest) -> Digest:
    """The name of the chunk list of a file: derived, so that whoever knows the file's digest can ask for it."""
    return Digest.of(f"{MAGIC}\n{CHUNKER}\n".encode() + file)


_decoder = msgspec.msgpack.Decoder(tuple[str, int, str, bytes, list[int]])


def encode_chunks(chunks: Sequence[tuple[Digest, int]]) -> bytes:
    """Write (digest, size) of a file's chunks, in order, followed by the digest of what was written.

    Raises:
        InvalidInputError: No chunks, or one that is empty or above the maximum.
    """
    sizes = [size for _, size in chunks]
    if not chunks or not 0 < min(sizes) <= max(sizes) <= MAX_CHUNK:
        raise InvalidInputError(what=f"a chunk list has chunks of 1 to {MAX_CHUNK} bytes")
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
    if not sizes or len(names) != SIZE * len(sizes) or not 0 < min(sizes) <= max(sizes) <= MAX_CHUNK:
        raise FormatError(what="the columns of a chunk list do not fit together")
    if msgspec.msgpack.encode(columns) != body:
        raise FormatError(what="a chunk list is not in canonical form")
    return [(Digest(names[at * SIZE : (at + 1) * SIZE]), size) for at, size in enumerate(sizes)]
