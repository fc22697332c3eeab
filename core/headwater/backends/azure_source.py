"""References to blobs in Azure.

    https://ACCOUNT.blob.core.windows.net/container/blob     percent-encoded, as the portal copies it; ?versionid=…
    az://container/blob                                      verbatim, in the environment's account; ?versionId=…
    abfs://container@ACCOUNT.dfs.core.windows.net/blob       verbatim; abfss:// too

A URL that carries a shared access signature is refused: it would be recorded.
Put the signature into AZURE_STORAGE_SAS_TOKEN.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from headwater.backends.azure import Accounts, Page, default_account
from headwater.backends.buckets import Address, Opened, Seen
from headwater.backends.clouds import CloudSource
from headwater.backends.retrying import attempt
from headwater.backends.uris import refuse_signed
from headwater.errors import (
    ConflictError,
    HeadwaterError,
    InvalidInputError,
    NotFoundError,
    ReferenceChangedError,
    StorageError,
)
from headwater.model.manifest import Pin

PIECE = 16 << 20
"""Bytes asked for at a time; a connection that breaks costs no more than that again."""
_VERSION = "?versionId="
_HOST = re.compile(r"[a-z0-9-]+\.(blob|dfs)\.(core\.[a-z.]+|storage\.azure\.net)\Z")


class AzureSource(CloudSource):
    """The source for Azure's URLs, `az:` and `abfs:`. Version ids where the account keeps versions."""

    def __init__(self) -> None:
        super().__init__(_Azure())


class _Azure:
    """See `buckets.Cloud`. The bucket of an address is the container's URL."""

    def __init__(self) -> None:
        self._accounts = Accounts()
        self._unversioned: set[str] = set()
        """Containers of accounts that cannot list versions (hierarchical namespaces)."""

    def seeks(self, address: Address) -> bool:
        del address
        return False

    def shows_versions(self, address: Address) -> bool:
        return address.bucket not in self._unversioned

    def parse(self, uri: str) -> Address:
        refuse_signed(uri)
        scheme, _, rest = uri.partition("://")
        place, _, key = rest.partition("/")
        if scheme == "https":
            return _parse_url(uri)
        version = ""
        if _VERSION in key:
            key, _, version = key.rpartition(_VERSION)
        if scheme == "az" and place and "@" not in place and "?" not in place:
            return Address(f"az://{place}/", f"{default_account()}/{place}", key, version or None)
        container, _, host = place.partition("@")
        if scheme in ("abfs", "abfss") and container and _HOST.match(host):
            account = f"https://{host.replace('.dfs.', '.blob.', 1)}"
            return Address(f"{scheme}://{place}/", f"{account}/{container}", key, version or None)
        fix = "write https://ACCOUNT.blob.core.windows.net/container/blob, or az://container/blob"
        raise InvalidInputError(what=f"{uri!r} names no blob", fix=fix)

    def uri(self, address: Address, key: str) -> str:
        if address.root.startswith("https:"):
            return address.root + quote(key, safe="~/")
        return address.root + key + (_VERSION if _VERSION in key else "")

    def look(self, address: Address) -> Seen:
        return _seen(self._ask(address, lambda blob: blob.get_blob_properties(**_versioned(address))), exact=True)

    def pages(self, address: Address, prefix: str, start: str = "", *, versions: bool = False) -> Iterator[list[Seen]]:
        del start, versions  # version ids come only with a listing of all versions
        token: str | None = None
        while True:
            items, token = self._page(address, prefix, token)
            yield [_seen(item) for item in items]
            if not token:
                return

    def open(self, address: Address, etag: str | None, start: int, length: int | None) -> Opened:
        try:
            first, found, size = self._piece(address, etag, start, PIECE if length is None else min(PIECE, length))
        except StorageError as error:
            if error.facts.get("status") != 416 or start:
                raise
            return self._open_empty(address, etag)
        end = size if length is None else min(size, start + length)
        held = _quoted(found.etag)
        return Opened(address.version or found.version_id, held, self._body(address, held, start, end, first))

    def _open_empty(self, address: Address, etag: str | None) -> Opened:
        """No range of an empty blob can be satisfied, and the SDK asks for nothing but ranges."""
        pin = self.look(address).pin
        if etag is not None and pin.etag != etag:
            raise ConflictError(what="the blob has changed", where=self.uri(address, address.key))
        return Opened(pin.version, pin.etag, iter(()))

    def _body(self, address: Address, etag: str, at: int, end: int, piece: bytes) -> Iterator[bytes]:
        while piece:
            yield piece
            at += len(piece)
            if at >= end:
                return
            try:
                piece, _, _ = self._piece(address, etag, at, min(PIECE, end - at))
            except (ConflictError, NotFoundError):
                where, found = self.uri(address, address.key), "other bytes, while it was read"
                raise ReferenceChangedError(uri=where, pinned=f"ETag {etag}", found=found) from None

    def _piece(self, address: Address, etag: str | None, start: int, length: int) -> tuple[bytes, Any, int]:
        """Some bytes, the blob's properties, and its whole size."""
        from azure.core import MatchConditions

        held = {} if etag is None else {"etag": etag, "match_condition": MatchConditions.IfNotModified}

        def piece(blob: Any) -> tuple[bytes, Any, int]:
            answer = blob.download_blob(start, length, max_concurrency=1, **held, **_versioned(address))
            told = answer.properties.content_range
            return answer.readall(), answer.properties, int(told.rpartition("/")[2]) if told else answer.size

        found: tuple[bytes, Any, int] = self._ask(address, piece)
        return found

    def _page(self, address: Address, prefix: str, token: str | None) -> Page:
        account, _, name = address.bucket.rpartition("/")

        def page() -> Page:
            include = ["metadata"] if address.bucket in self._unversioned else ["metadata", "versions"]
            listing = self._accounts.container(account, name).list_blobs(
                name_starts_with=prefix or None, include=include, results_per_page=5000
            )
            pages = listing.by_page(token)
            return list(next(pages, ())), pages.continuation_token

        try:
            return attempt(page, partial(self._translate, address=address))
        except StorageError as error:
            if error.facts.get("status") not in (400, 409) or token or address.bucket in self._unversioned:
                raise
            self._unversioned.add(address.bucket)
            return attempt(page, partial(self._translate, address=address))

    def _ask(self, address: Address, call: Any) -> Any:
        account, _, name = address.bucket.rpartition("/")

        def ask() -> Any:
            return call(self._accounts.container(account, name).get_blob_client(address.key))

        try:
            return attempt(ask, partial(self._translate, address=address))
        except StorageError as error:
            if address.version is not None and error.facts.get("status") == 400:  # no version id looks like that
                what = f"there is no version {address.version}"
                raise NotFoundError(what=what, where=self.uri(address, address.key)) from None
            raise

    def _translate(self, error: Exception, address: Address) -> HeadwaterError:
        account = address.bucket.rpartition("/")[0]
        return self._accounts.translate(error, self.uri(address, address.key), account)


def _parse_url(uri: str) -> Address:
    parts = urlsplit(uri)
    container, _, key = parts.path.removeprefix("/").partition("/")
    query = {name.lower(): value for name, value in parse_qsl(parts.query, keep_blank_values=True)}
    if not _HOST.match(parts.hostname or "") or not container or parts.fragment or query.keys() - {"versionid"}:
        fix = "write https://ACCOUNT.blob.core.windows.net/container/blob, with %23 for # and %3F for ?"
        raise InvalidInputError(what=f"{uri.partition('?')[0]!r} names no blob", fix=fix)
    root = f"https://{parts.hostname}/{container}"
    return Address(root + "/", root, unquote(key), query.get("versionid") or None)


def _seen(found: Any, *, exact: bool = False) -> Seen:
    """What a listing or a look tells; a look at an older version is at what was asked for, so it counts as current."""
    metadata = found.metadata or {}
    marker = metadata.get("hdi_isfolder", "").lower() == "true" or found.name.endswith("/")
    modified = found.last_modified.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    pin = Pin(version=found.version_id, checksum=_checksum(found), etag=_quoted(found.etag), modified=modified)
    current = exact or found.version_id is None or bool(found.is_current_version)
    return Seen(found.name, found.size, pin, current=current, folder=marker and found.size == 0)


def _checksum(found: Any) -> str | None:
    """The MD5 of a block blob; appending to an append blob leaves an old one behind."""
    md5 = found.content_settings.content_md5
    kind = getattr(found.blob_type, "value", found.blob_type)
    return f"md5:{bytes(md5).hex()}" if md5 and kind == "BlockBlob" else None


def _quoted(etag: str) -> str:
    """Listings leave the quotes out."""
    return etag if etag.endswith('"') else f'"{etag}"'


def _versioned(address: Address) -> dict[str, str]:
    return {} if address.version is None else {"version_id": address.version}
