"""What a manifest consists of: bytes we keep, and bytes we point at.

A stored entry is proved by its digest; a reference is held by a pin, which is
everything the source told us about the bytes.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from headwater.model.digest import Digest

Strength: TypeAlias = Literal["version", "checksum", "etag", "stat", "unverified"]

EMPTY = Digest.of(b"")
"""Digest of no bytes: of an empty file, and of the mark of an empty directory."""


# gc=False: instances hold only text, numbers, bytes and each other, so they can never be part of a cycle;
# a list of a million of them costs the garbage collector nothing.
class Pin(msgspec.Struct, frozen=True, gc=False):
    """What a source told us about referenced bytes, strongest first; all None is *unverified*."""

    version: str | None = None
    """Version id or generation: these bytes and no others, for as long as the source keeps them."""
    checksum: str | None = None
    """`kind:value`, the kind always written: `md5:<hex>`, `crc32c:<base64>`, `blake3:<hex>`."""
    etag: str | None = None
    """Opaque: compared, never interpreted."""
    modified: str | None = None
    """RFC 3339, UTC. Proves something only together with the entry's size."""

    @property
    def strength(self) -> Strength:
        """The strongest thing this pin has."""
        if self.version is not None:
            return "version"
        if self.checksum is not None:
            return "checksum"
        if self.etag is not None:
            return "etag"
        return "stat" if self.modified is not None else "unverified"


class StoredEntry(msgspec.Struct, frozen=True, gc=False):
    """A file whose bytes the store keeps, or the mark of an empty directory.

    A path that ends in `/` marks an empty directory: size 0, digest of no bytes.
    """

    path: str
    size: int
    """Bytes."""
    digest: Digest
    """Of the whole content, however it is chunked."""
    executable: bool = False

    @property
    def is_directory(self) -> bool:
        """Whether this marks an empty directory."""
        return self.path.endswith("/")


class ReferenceEntry(msgspec.Struct, frozen=True, gc=False):
    """A file whose bytes stay where they are."""

    path: str
    size: int | None
    """Bytes; None if the source did not say."""
    uri: str
    """No credentials, no signature, no redirect target."""
    pin: Pin


Entry: TypeAlias = StoredEntry | ReferenceEntry


def entry_json(entry: Entry) -> dict[str, Any]:
    """An entry as plain values, for JSON documents; a pin without what the source did not tell."""
    if isinstance(entry, ReferenceEntry):
        pin = {name: value for name, value in msgspec.to_builtins(entry.pin).items() if value is not None}
        return {"path": entry.path, "size": entry.size, "uri": entry.uri, "pin": pin, "strength": entry.pin.strength}
    return {"path": entry.path, "size": entry.size, "digest": str(entry.digest), "executable": entry.executable}
