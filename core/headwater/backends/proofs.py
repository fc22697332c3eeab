"""Comparing pins, and proving bytes by the checksum a source told us."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from blake3 import blake3

from headwater.errors import ReferenceChangedError
from headwater.model.manifest import Pin


class _Crc32:
    """`zlib.crc32` with the face of hashlib."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


def _hex(raw: bytes) -> str:
    return raw.hex()


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


_KINDS: dict[str, tuple[Callable[[], Any], Callable[[bytes], str]]] = {
    "blake3": (blake3, _hex),
    "md5": (lambda: hashlib.md5(usedforsecurity=False), _hex),
    "sha1": (lambda: hashlib.sha1(usedforsecurity=False), _base64),
    "sha256": (hashlib.sha256, _base64),
    "crc32": (_Crc32, _base64),
}
"""Checksums that can be computed here. CRC32C and CRC64NVME need native code; the services check those themselves."""


def provable(pin: Pin) -> bool:
    """Whether reading the bytes can prove them."""
    return pin.checksum is not None and pin.checksum.partition(":")[0] in _KINDS


def proved(pieces: Iterator[bytes], pin: Pin, uri: str) -> Iterator[bytes]:
    """Pass the whole content on; whoever sees the end without an error has the pinned bytes.

    Raises:
        ReferenceChangedError: At the end, if the checksum is another.
    """
    kind, _, wanted = (pin.checksum or "").partition(":")
    make, write = _KINDS[kind]
    state = make()
    for piece in pieces:
        state.update(piece)
        yield piece
    found = write(state.digest())
    if found != wanted:
        raise ReferenceChangedError(uri=uri, pinned=pin.checksum, found=f"{kind}:{found}")


def digested(pieces: Iterator[bytes]) -> tuple[str, int]:
    """Read to the end: the checksum `blake3:<hex>`, and how many bytes it were."""
    state, size = blake3(), 0
    for piece in pieces:
        state.update(piece)
        size += len(piece)
    return f"blake3:{state.hexdigest()}", size


def same(pinned: Pin, found: Pin) -> bool | None:
    """Whether both tell of the same bytes, by the strongest fact that both have; None: nothing to compare by.

    A version says yes but not no: the same bytes put again are a new version of them.
    """
    if pinned.version is not None and pinned.version == found.version:
        return True
    if comparable(pinned, found):
        return pinned.checksum == found.checksum
    if pinned.etag is not None and found.etag is not None:
        return pinned.etag == found.etag
    if pinned.version is not None:
        return False if found.version is not None else None
    # a checksum nobody can compare here is not outvoted by a time
    if pinned.modified is not None and found.modified is not None and pinned.checksum is None and pinned.etag is None:
        return pinned.modified == found.modified
    return None


def comparable(pinned: Pin, found: Pin) -> bool:
    """Whether both have a checksum of the same kind."""
    return _kind(pinned) == _kind(found) != ""


def describe(pin: Pin) -> str:
    """What a pin says, in words: its strongest fact."""
    if pin.version is not None:
        return f"version {pin.version}"
    if pin.checksum is not None:
        return pin.checksum
    if pin.etag is not None:
        return f"ETag {pin.etag}"
    return f"modified {pin.modified}" if pin.modified is not None else "unverified"


def contrast(pinned: Pin, found: Pin) -> dict[str, str]:
    """What differs, in words for an error: `pinned` and `found`, of the same kind where both have it."""
    if comparable(pinned, found):
        return {"pinned": str(pinned.checksum), "found": str(found.checksum)}
    if pinned.etag is not None and found.etag is not None:
        return {"pinned": f"ETag {pinned.etag}", "found": f"ETag {found.etag}"}
    return {"pinned": describe(pinned), "found": describe(found)}


def _kind(pin: Pin) -> str:
    return (pin.checksum or "").partition(":")[0]
