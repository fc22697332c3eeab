"""Large files: cut into chunks while they are hashed, in one read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from blake3 import blake3

from headwater.errors import SourceChangedError
from headwater.model.chunker import MIN_FILE, split
from headwater.store.listing import Stat
from headwater.store.reading import hashing_reader, opened

PIECE: Final = 4 << 20
"""Chunks are passed on in pieces of about this many bytes."""


class Piece(NamedTuple):
    """Some chunks of a large file, in order."""

    chunks: list[tuple[bytes, memoryview]]


class End(NamedTuple):
    """A large file is read."""

    digest: bytes
    stat: Stat


def read_large(path: str) -> Iterator[Piece | End]:
    """A file of 1 MiB or more as named chunks, then its digest; from one read.

    Raises:
        SourceChangedError: It changed meanwhile.
        AccessError, StorageError: It could not be read.
    """
    with opened(path) as file:
        if file.size < MIN_FILE:
            raise SourceChangedError(where=path)
        read, whole = hashing_reader(file)
        n_read = size = 0
        chunks: list[tuple[bytes, memoryview]] = []
        for chunk in split(read):
            chunks.append((blake3(chunk).digest(), chunk))
            size += len(chunk)
            if size >= PIECE:
                yield Piece(chunks)
                n_read, size, chunks = n_read + size, 0, []
        file.check_unchanged(n_read + size)
        yield Piece(chunks)
        yield End(whole.digest(), file.stat)
