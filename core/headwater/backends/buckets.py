"""A bucket or container as a source sees it: what S3, GCS and Azure each say in their own way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from headwater.model.manifest import Pin


class Address(NamedTuple):
    """A parsed URI."""

    root: str
    """The URI up to the key, as it was asked for: `s3://bucket/`."""
    bucket: str
    """What the cloud needs to find the bucket or container."""
    key: str
    """Verbatim; empty for the whole bucket."""
    version: str | None = None
    """The version or generation that the URI itself names."""


class Seen(NamedTuple):
    """One object (or one version of it) as the service tells of it."""

    key: str
    size: int
    pin: Pin
    current: bool = True
    """False: an older version, or one that was deleted."""
    folder: bool = False
    """A marker that stands for a folder: no entry."""


class Opened(NamedTuple):
    """Bytes on their way, and what they are part of, so that a later request continues the same ones."""

    version: str | None
    etag: str | None
    body: Iterator[bytes]


class Cloud(Protocol):
    """What differs between the services. All errors are of `headwater.errors`."""

    def seeks(self, address: Address) -> bool:
        """Whether listings of that bucket come in byte order of key and may start anywhere."""

    def shows_versions(self, address: Address) -> bool:
        """Whether `pages(versions=True)` of that bucket shows older versions; known once it has been listed."""

    def parse(self, uri: str) -> Address:
        """Read a URI; `InvalidInputError` if it is none of this cloud's."""

    def uri(self, address: Address, key: str) -> str:
        """Write the URI of an object in the same bucket, so that `parse` gives the same key again."""

    def look(self, address: Address) -> Seen:
        """The object at the key (that version of it), one request; NotFoundError."""

    def pages(self, address: Address, prefix: str, start: str = "", *, versions: bool = False) -> Iterator[list[Seen]]:
        """Everything whose key starts with `prefix`, from key `start` on, one request a page; NotFoundError.

        With `versions` also what is no longer current, where the service tells.
        """

    def open(self, address: Address, etag: str | None, start: int, length: int | None) -> Opened:
        """Start reading, one request.

        Raises:
            NotFoundError: No such key or version.
            ConflictError: It no longer has that ETag.
        """
