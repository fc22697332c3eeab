"""References to objects in Google Cloud Storage: `gs://bucket/name`, a prefix, a bucket, `#generation`.

Names are written verbatim, as gsutil does: `?`, `+`, `%41` and blanks stand for
themselves. Only `#` and digits at the very end are a generation; a name that
itself ends so is written with one more `#` behind it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from functools import partial
from typing import Any
from urllib.parse import quote

from headwater.backends.buckets import Address, Opened, Seen
from headwater.backends.clouds import CloudSource
from headwater.backends.gcs import GCSClient, moment, object_path
from headwater.backends.streams import pieces_of
from headwater.backends.uris import refuse_signed
from headwater.errors import InvalidInputError, NotFoundError, StorageError
from headwater.model.manifest import Pin

_GENERATION = re.compile(r"(.*)#(\d*)\Z", re.DOTALL)
_FIELDS = "name,generation,size,md5Hash,crc32c,timeCreated,timeDeleted"


class GCSSource(CloudSource):
    """The source for `gs:` and `gcs:`. Every object has a generation; only versioned buckets keep old ones."""

    def __init__(self) -> None:
        super().__init__(_GCS())


class _GCS:
    """See `buckets.Cloud`."""

    def __init__(self) -> None:
        self._client = GCSClient()

    def seeks(self, address: Address) -> bool:
        del address
        return True

    def shows_versions(self, address: Address) -> bool:
        del address
        return True

    def parse(self, uri: str) -> Address:
        scheme, _, rest = uri.partition("://")
        bucket, _, name = rest.partition("/")
        if scheme not in ("gs", "gcs") or not bucket or "#" in bucket or "?" in bucket:
            raise InvalidInputError(what=f"{uri!r} names no GCS object", fix="write gs://bucket/name")
        refuse_signed(uri)
        match = _GENERATION.match(name)
        key, generation = (match[1], match[2]) if match else (name, "")
        return Address(f"{scheme}://{bucket}/", bucket, key, generation or None)

    def uri(self, address: Address, key: str) -> str:
        return address.root + key + ("#" if _GENERATION.match(key) else "")

    def look(self, address: Address) -> Seen:
        where = self.uri(address, address.key)
        params = {"fields": _FIELDS, **_generation(address)}
        found = self._client.ask("GET", object_path(address.bucket, address.key), where, params=params).json()
        return _seen(found)

    def pages(self, address: Address, prefix: str, start: str = "", *, versions: bool = False) -> Iterator[list[Seen]]:
        wanted = {"prefix": prefix, "maxResults": "1000", "fields": f"items({_FIELDS}),nextPageToken"}
        wanted |= ({"startOffset": start} if start else {}) | ({"versions": "true"} if versions else {})
        path = f"/storage/v1/b/{quote(address.bucket, safe='')}/o"
        while True:
            page = self._client.ask("GET", path, address.root + prefix, params=wanted).json()
            yield [_seen(item) for item in page.get("items", [])]
            if not page.get("nextPageToken"):
                return
            wanted["pageToken"] = page["nextPageToken"]

    def open(self, address: Address, etag: str | None, start: int, length: int | None) -> Opened:
        del etag  # generations are stronger
        where = self.uri(address, address.key)
        end = "" if length is None else start + length - 1
        headers = {"Range": f"bytes={start}-{end}"} if start or length is not None else {}
        path = object_path(address.bucket, address.key, media=True)
        params = {"alt": "media", **_generation(address)}
        try:
            answer = self._client.ask("GET", path, where, params=params, headers=headers, stream=True)
        except StorageError as error:
            if address.version is not None and error.facts.get("status") == 400:  # no generation looks like that
                raise NotFoundError(what=f"no generation {address.version}", where=where) from None
            raise
        body = pieces_of(answer, partial(self._client.translate, where=where))
        return Opened(answer.headers.get("x-goog-generation") or address.version, None, body)


def _generation(address: Address) -> dict[str, str]:
    return {} if address.version is None else {"generation": address.version}


def _seen(item: dict[str, Any]) -> Seen:
    key, size = item["name"], int(item["size"])
    # the ETag is left out: it changes with metadata, so it says nothing about bytes
    modified = moment(item["timeCreated"]).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    pin = Pin(version=str(item["generation"]), checksum=_checksum(item), modified=modified)
    return Seen(key, size, pin, current="timeDeleted" not in item, folder=size == 0 and key.endswith("/"))


def _checksum(item: dict[str, Any]) -> str | None:
    """MD5, or CRC32C for composed objects, which have no other."""
    if item.get("md5Hash"):
        return "md5:" + base64.b64decode(item["md5Hash"]).hex()
    return f"crc32c:{item['crc32c']}" if item.get("crc32c") else None
