"""References into object storage: what S3, GCS and Azure have in common as sources.

Each of the three says how its URIs are written, how one object is looked at,
how a bucket is listed and how bytes are opened (`buckets.Cloud`). What is
an entry, which path it gets, what a pin allows and what has changed is decided
here, once.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

import msgspec

from headwater.backends.buckets import Address, Cloud, Opened, Seen
from headwater.backends.checking import check_in_bulk
from headwater.backends.proofs import comparable, contrast, describe, digested, provable, proved, same
from headwater.backends.retrying import resumed
from headwater.backends.uris import path_of
from headwater.errors import (
    AccessError,
    ConflictError,
    NotFoundError,
    ReferenceChangedError,
    ReferenceMissingError,
    StorageError,
)
from headwater.model.manifest import Pin
from headwater.ports import Checked, Found

AHEAD = 20_000
"""Objects held back to mend their order: about 20 MB."""


class CloudSource:
    """The `ports.Source` of one cloud."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def walk(self, uri: str, *, pin: bool | Literal["digest"] = True) -> Iterator[Found]:
        """See `ports.Source.walk`.

        Cost: one request for the object itself, else ⌈N/1000⌉ listing requests more (one again where listing
        versions is denied). With `pin="digest"` every object is read once.
        """
        address = self._cloud.parse(uri)
        if pin is False:
            yield Found(path_of(_last_part(address) or address.bucket.rpartition("/")[2]), uri, None, Pin())
            return
        found = 0
        for path, where, seen in in_order(self._walked(address, uri), uri):
            found += 1
            yield self._digested(seen, path, where) if pin == "digest" else Found(path, where, seen.size, seen.pin)
        if not found:
            raise ReferenceMissingError(uri=uri, fix="check its spelling; an empty prefix cannot be tracked")

    def read(self, uri: str, pin: Pin, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See `ports.Source.read`.

        Cost: one request, one more after every cut connection, two more if the pin's version is gone or its ETag
        no longer holds. A whole read ends in an error if the bytes do not have the pin's checksum.
        """
        address = self._cloud.parse(uri)
        proof = provable(pin) and start == 0 and length is None
        first = self._open_pinned(_Request(address, uri, pin, start, length, proof))
        pieces = resumed(_Continuation(self._cloud, address, first, start, length), start)
        return proved(pieces, pin, uri) if proof else pieces

    def gives_ranges(self, uri: str) -> bool:
        """See `ports.RangedSource`. Every cloud does."""
        del uri
        return True

    def check(self, references: Iterable[tuple[str, Pin]]) -> Iterator[Checked]:
        """See `ports.Source.check`.

        *Same* means that the pinned bytes can be had; when a newer version hides them, `found` says so.
        Cost: listing requests, never more than one per reference.
        """
        return check_in_bulk(self._cloud, references)

    def _walked(self, address: Address, uri: str) -> Iterator[tuple[str, str, Seen]]:
        try:
            single = self._single(address)
            refused = None
        except AccessError as error:
            # rights to what is below a prefix need not reach the key that is named like it
            single, refused = None, error
        if single is not None:
            yield path_of(_last_part(address)), uri, single
            return
        found = False
        for item in self._below(address, uri):
            found = True
            yield item
        if refused is not None and not found:
            raise refused

    def _below(self, address: Address, uri: str) -> Iterator[tuple[str, str, Seen]]:
        prefix = address.key + "/" if address.key and not address.key.endswith("/") else address.key
        try:
            for page in self._cloud.pages(address, prefix):
                for seen in page:
                    if seen.current and not seen.folder:
                        yield path_of(seen.key[len(prefix) :]), self._cloud.uri(address, seen.key), seen
        except NotFoundError:
            raise ReferenceMissingError(uri=uri, fix=f"there is no {address.bucket}") from None

    def _single(self, address: Address) -> Seen | None:
        """The object at the key itself, if there is one; None: look below it."""
        if not address.key or (address.key.endswith("/") and address.version is None):
            return None
        try:
            seen = self._cloud.look(address)
        except NotFoundError:
            if address.version is None:
                return None
            where = f"{self._cloud.uri(address, address.key)}, version {address.version}"
            raise ReferenceMissingError(uri=where, fix="check the version; without one, the newest is meant") from None
        return None if seen.folder else seen

    def _digested(self, seen: Seen, path: str, uri: str) -> Found:
        checksum, size = digested(self.read(uri, seen.pin))
        return Found(path, uri, size, msgspec.structs.replace(seen.pin, checksum=checksum))

    def _open_pinned(self, wanted: _Request) -> Opened:
        address, pin = wanted.address, wanted.pin
        version = pin.version or address.version
        if version is None and pin.etag is None and pin.strength != "unverified":
            return self._open_if_same(wanted)
        try:
            etag = None if version else pin.etag
            return self._cloud.open(address._replace(version=version), etag, wanted.start, wanted.length)
        except NotFoundError:
            if version is None or address.version is not None:
                raise ReferenceMissingError(uri=wanted.uri) from None
        except ConflictError:
            pass
        return self._open_if_same(wanted)

    def _open_if_same(self, wanted: _Request) -> Opened:
        """The current object, if it has the pinned bytes by all the service tells, or if reading will prove it."""
        pin = wanted.pin
        try:
            seen = self._cloud.look(wanted.address._replace(version=None))
            if not same(pin, seen.pin) and not (wanted.proof and not comparable(pin, seen.pin)):
                raise ReferenceChangedError(uri=wanted.uri, **contrast(pin, seen.pin))
            address = wanted.address._replace(version=seen.pin.version)
            return self._cloud.open(address, seen.pin.etag, wanted.start, wanted.length)
        except NotFoundError:
            raise ReferenceMissingError(uri=wanted.uri) from None
        except ConflictError:
            raise ReferenceChangedError(uri=wanted.uri, pinned=describe(pin), found="other bytes, just now") from None


class _Request(NamedTuple):
    """What a reader asked for."""

    address: Address
    uri: str
    pin: Pin
    start: int
    length: int | None
    proof: bool
    """Whether the bytes will be proved by their checksum when they have been read."""


class _Continuation:
    """Opens the same bytes again from where a connection broke."""

    def __init__(self, cloud: Cloud, address: Address, first: Opened, start: int, length: int | None) -> None:
        self._cloud, self._start = cloud, start
        self._address = address._replace(version=first.version)
        self._etag = first.etag
        self._end = None if length is None else start + length
        self._first: Iterator[bytes] | None = first.body

    def __call__(self, position: int) -> Iterator[bytes]:
        if self._first is not None:
            body, self._first = self._first, None
            return body
        left = None if self._end is None else self._end - position
        if left == 0:
            return iter(())
        try:
            return self._cloud.open(self._address, self._etag, position, left).body
        except (ConflictError, NotFoundError):
            where = self._cloud.uri(self._address, self._address.key)
            found = "other bytes, while it was read"
            raise ReferenceChangedError(uri=where, pinned=f"ETag {self._etag}", found=found) from None


def in_order(found: Iterator[tuple[str, str, Seen]], uri: str) -> Iterator[tuple[str, str, Seen]]:
    """Sort by path, looking `AHEAD` objects ahead: enough for services that list almost in byte order.

    Out of it are servers that list folder by folder, UTF-16 order, and paths with an encoded part.

    Raises:
        StorageError: The order is further off than that, so it cannot be mended in bounded memory.
    """
    ahead: list[tuple[bytes, int, tuple[str, str, Seen]]] = []
    last = b""
    for number, item in enumerate(found):
        entry = (item[0].encode(), number, item)
        if len(ahead) < AHEAD:
            heapq.heappush(ahead, entry)
            continue
        path, _, smallest = heapq.heappushpop(ahead, entry)
        if path < last:
            fix = f"track it in parts: more than {AHEAD} objects stand between {smallest[0]!r} and its place"
            raise StorageError(what="the service lists out of order", where=uri, fix=fix)
        last = path
        yield smallest
    for path, _, item in sorted(ahead):
        if path < last:
            raise StorageError(what="the service lists out of order", where=uri, fix="track it in parts")
        yield item


def _last_part(address: Address) -> str:
    return address.key.rstrip("/").rpartition("/")[2]
