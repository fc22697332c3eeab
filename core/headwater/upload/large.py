"""Large files and contents: cut into chunks and hashed, in two stages that two threads may run.

    read, cut → name every chunk, hash the whole

The second stage costs about as much as the first, and both let other threads run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, TypeAlias

from blake3 import blake3

from headwater.errors import SourceChangedError
from headwater.model.chunker import MIN_FILE, split
from headwater.store.listing import Stat
from headwater.store.reading import checking_reader, opened

PIECE: Final = 4 << 20
"""Chunks are passed on in pieces of about this many bytes."""
_WHOLE_PIECE: Final = 32 << 20
"""The same where all bytes are in memory anyway: fewer look-ups."""


class Piece(NamedTuple):
    """Some chunks of a large file, in order."""

    chunks: list[tuple[bytes, memoryview]]


class End(NamedTuple):
    """A large file is read."""

    digest: bytes
    stat: Stat | None
    """What it looked like; None for what was in memory."""


Cut: TypeAlias = list[memoryview] | Stat
"""Some chunks without their names; at the end of a file its stat."""


def read_large(path: str) -> Iterator[Piece | End]:
    """A file of 1 MiB or more as named chunks, then its digest; from one read, in this thread.

    Raises:
        SourceChangedError: It changed meanwhile.
        AccessError, StorageError: It could not be read.
    """
    return name_chunks(cut_file(path))


def cut_file(path: str) -> Iterator[Cut]:
    """The first stage for a file; raises as `read_large`."""
    with opened(path) as file:
        if file.size < MIN_FILE:
            raise SourceChangedError(where=path)
        size = 0
        for chunks in _grouped(split(checking_reader(file)), PIECE):
            size += sum(map(len, chunks))
            yield chunks
        file.check_unchanged(size)
        yield file.stat


def cut_bytes(content: bytes) -> Iterator[Cut]:
    """The first stage for what is in memory: views of it."""
    return _grouped(split(content), _WHOLE_PIECE)


def _grouped(chunks: Iterable[memoryview], most: int) -> Iterator[list[memoryview]]:
    group: list[memoryview] = []
    size = 0
    for chunk in chunks:
        group.append(chunk)
        size += len(chunk)
        if size >= most:
            yield group
            group, size = [], 0
    if group:
        yield group


def name_chunks(cut: Iterable[Cut], digest: bytes | None = None) -> Iterator[Piece | End]:
    """The second stage.

    Args:
        cut: What the first one gave.
        digest: Of the whole, where it is known.
    """
    whole, stat = blake3(), None
    for chunks in cut:
        if isinstance(chunks, tuple):
            stat = chunks
            continue
        named = []
        for chunk in chunks:
            named.append((blake3(chunk).digest(), chunk))
            if digest is None:
                whole.update(chunk)  # it is still in the processor's cache
        yield Piece(named)
    yield End(digest or whole.digest(), stat)
