"""References to objects in S3: `s3://bucket/key`, a prefix, a bucket, `?versionId=…`.

Keys are written verbatim, as the AWS command line does: `#`, `?`, `+`, `%41` and
blanks stand for themselves. Only a `?versionId=…` at the very end is no part of
the key; a key that itself ends so is written with an empty one behind it.
"""

from __future__ import annotations

import os.path
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

from headwater.backends.buckets import Address, Opened, Seen
from headwater.backends.clouds import CloudSource
from headwater.backends.s3 import DEFAULTS, S3Client, Settings
from headwater.backends.uris import refuse_signed
from headwater.errors import AccessError, InvalidInputError, NotFoundError, StorageError
from headwater.model.manifest import Pin

PIECE = 1 << 20
"""Bytes yielded at a time."""
_VERSION = "?versionId="
_CHECKSUMS = (("ChecksumSHA256", "sha256"), ("ChecksumCRC64NVME", "crc64nvme"), ("ChecksumCRC32C", "crc32c"),
              ("ChecksumCRC32", "crc32"), ("ChecksumSHA1", "sha1"))  # fmt: skip
"""Strongest first."""
_NO_VERSIONS = {"NotImplemented", "MethodNotAllowed", "XNotImplemented"}
"""How servers that imitate S3 say that they cannot list versions."""


class S3Source(CloudSource):
    """The source for `s3:`. Versions are listed (permission s3:ListBucketVersions), else objects only.

    Where listing versions is denied, ETags are all that holds the references:
    grant it to pin versions.
    """

    def __init__(self, settings: Settings = DEFAULTS) -> None:
        super().__init__(_S3(settings))


class _S3:
    """See `buckets.Cloud`."""

    def __init__(self, settings: Settings) -> None:
        self._client = S3Client(settings)
        self._unversioned: set[str] = set()
        """Buckets whose versions may not be listed."""

    def seeks(self, address: Address) -> bool:
        return self._client.in_byte_order(address.bucket)

    def shows_versions(self, address: Address) -> bool:
        return address.bucket not in self._unversioned and self._client.in_byte_order(address.bucket)

    def parse(self, uri: str) -> Address:
        scheme, _, rest = uri.partition("://")
        bucket, _, key = rest.partition("/")
        if scheme not in ("s3", "s3a", "s3n") or not bucket or "?" in bucket:
            raise InvalidInputError(what=f"{uri!r} names no S3 object", fix="write s3://bucket/key")
        refuse_signed(uri)
        key, _, version = key.rpartition(_VERSION) if _VERSION in key else (key, "", "")
        return Address(f"{scheme}://{bucket}/", bucket, key, version or None)

    def uri(self, address: Address, key: str) -> str:
        return address.root + key + (_VERSION if _VERSION in key else "")

    def look(self, address: Address) -> Seen:
        where = self.uri(address, address.key)
        head = self._ask("head_object", where, address, Key=address.key, ChecksumMode="ENABLED", **_versioned(address))
        pin = Pin(_version(head), _checksum(head), _etag(head), _moment(head["LastModified"]))
        folder = head["ContentLength"] == 0 and (
            address.key.endswith("/") or head.get("ContentType") in ("application/x-directory", "httpd/unix-directory")
        )
        return Seen(address.key, head["ContentLength"], pin, folder=folder)

    def pages(self, address: Address, prefix: str, start: str = "", *, versions: bool = False) -> Iterator[list[Seen]]:
        del versions  # version ids come only with a listing of all versions
        if not self._client.in_byte_order(address.bucket):
            yield from self._pages_by_folder(address, prefix)
            return
        if address.bucket not in self._unversioned:
            try:
                yield from self._version_pages(address, prefix, start)
            except _CannotListVersionsError:
                self._unversioned.add(address.bucket)
            else:
                return
        yield from self._object_pages(address, prefix, start)

    def _pages_by_folder(self, address: Address, prefix: str) -> Iterator[list[Seen]]:
        """For servers whose listing of versions may lack some beyond its first page: objects are the truth.

        Costs twice the requests, and one more for each object whose version is not found.
        """
        for page in self._object_pages(address, prefix, ""):
            yield self._with_versions(address, page) if page else page

    def _with_versions(self, address: Address, page: list[Seen]) -> list[Seen]:
        if address.bucket in self._unversioned:
            return page
        keys = sorted((seen.key for seen in page), key=str.encode)
        try:
            first = next(self._version_pages(address, os.path.commonprefix(keys), keys[0]))  # noqa: RUF071
        except _CannotListVersionsError:
            self._unversioned.add(address.bucket)
            return page
        known = {seen.key: seen for seen in first if seen.current}
        return [known.get(seen.key) or self.look(address._replace(key=seen.key)) for seen in page]

    def open(self, address: Address, etag: str | None, start: int, length: int | None) -> Opened:
        where = self.uri(address, address.key)
        end = "" if length is None else start + length - 1
        wanted: dict[str, Any] = {"Bucket": address.bucket, "Key": address.key, **_versioned(address)}
        if start or length is not None:
            wanted["Range"] = f"bytes={start}-{end}"
        if etag is not None:
            wanted["IfMatch"] = etag
        try:
            answer = self._client.ask("get_object", where, **wanted)
        except StorageError as error:
            # an id of another shape than this service's, or a delete marker: no such version
            if address.version is not None and error.facts.get("status") in (400, 405):
                raise NotFoundError(what=f"no version {address.version}", where=where) from None
            raise
        return Opened(_version(answer), _etag(answer), self._pieces(answer["Body"], where))

    def _pieces(self, body: Any, where: str) -> Iterator[bytes]:
        translate = partial(self._client.translate, where=where)
        try:
            while piece := _once(body.read, translate):
                yield piece
        finally:
            body.close()

    def _version_pages(self, address: Address, prefix: str, start: str) -> Iterator[list[Seen]]:
        wanted = {"Prefix": prefix} | ({"KeyMarker": _just_before(start)} if start else {})
        first = True
        while True:
            try:
                page = self._ask("list_object_versions", address.root + prefix, address, **wanted)
            except (AccessError, StorageError) as error:
                denied = type(error) is AccessError or error.facts.get("name") in _NO_VERSIONS
                if first and denied:
                    raise _CannotListVersionsError from None
                raise
            first = False
            yield sorted(_listed_versions(page), key=lambda seen: (seen.key.encode(), not seen.current))
            if not page.get("IsTruncated"):
                return
            wanted |= {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page.get("NextVersionIdMarker") or ""}
            if not wanted["VersionIdMarker"]:
                del wanted["VersionIdMarker"]

    def _object_pages(self, address: Address, prefix: str, start: str) -> Iterator[list[Seen]]:
        wanted = {"Prefix": prefix} | ({"StartAfter": _just_before(start)} if start else {})
        while True:
            page = self._ask("list_objects_v2", address.root + prefix, address, **wanted)
            yield [_listed(item) for item in page.get("Contents", [])]
            if not page.get("IsTruncated"):
                return
            wanted["ContinuationToken"] = page["NextContinuationToken"]

    def _ask(self, operation: str, where: str, address: Address, **arguments: Any) -> dict[str, Any]:
        return self._client.ask(operation, where, Bucket=address.bucket, **arguments)


class _CannotListVersionsError(Exception):
    """Denied, or a server that has no such listing."""


def _once(read: Any, translate: Any) -> bytes:
    try:
        piece: bytes = read(PIECE)
    except Exception as error:  # noqa: BLE001 (`translate` has a row for everything)
        raise translate(error) from None
    return piece


def _listed_versions(page: dict[str, Any]) -> Iterator[Seen]:
    # delete markers stand in a list of their own: what they hide is not the latest, so they need no look
    return (_listed(item) for item in page.get("Versions", []))


def _listed(item: dict[str, Any]) -> Seen:
    key, size = item["Key"], item["Size"]
    pin = Pin(version=_version(item), etag=_etag(item), modified=_moment(item["LastModified"]))
    return Seen(key, size, pin, current=item.get("IsLatest", True), folder=size == 0 and key.endswith("/"))


def _version(answer: dict[str, Any]) -> str | None:
    """The version id; "null" is what a bucket without versioning overwrites, so it holds nothing."""
    found = answer.get("VersionId")
    return None if found in (None, "", "null") else found


def _etag(told: dict[str, Any]) -> str | None:
    """SeaweedFS lists empty objects with an empty ETag, which is none."""
    found: str = told.get("ETag", "")
    return found if found.strip('"') else None


def _versioned(address: Address) -> dict[str, str]:
    return {} if address.version is None else {"VersionId": address.version}


def _checksum(head: dict[str, Any]) -> str | None:
    """A checksum of the whole object; one that was composed of its parts' checksums proves no bytes."""
    if head.get("ChecksumType") == "COMPOSITE":
        return None
    for name, kind in _CHECKSUMS:
        value = head.get(name)
        if value and "-" not in value:
            return f"{kind}:{value}"
    return None


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _just_before(key: str) -> str:
    """The greatest key that S3 can have before `key` in byte order, for markers that exclude themselves."""
    head, last = key[:-1], ord(key[-1])
    if last == 0:
        return head
    before = 0xD7FF if last == 0xE000 else last - 1
    return head + chr(before) + "\U0010ffff"
