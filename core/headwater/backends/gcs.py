"""Google Cloud Storage: the client, its errors, the object store.

Credentials, project and endpoint are found where google-cloud-storage looks for
them: GOOGLE_APPLICATION_CREDENTIALS, gcloud's own, the machine's service account,
STORAGE_EMULATOR_HOST. Without any credentials requests go out anonymously, as
public buckets allow. The client's session speaks the JSON API, so that every
request is one of ours, with its checksum, precondition and retry.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlsplit
from uuid import uuid4

from headwater.backends.object_keys import Prefix
from headwater.backends.ranges import Range
from headwater.backends.retrying import PerProcess, Stamp, attempt, retry_after, swap
from headwater.errors import (
    AccessError,
    ConflictError,
    CredentialsError,
    HeadwaterError,
    InvalidInputError,
    NotFoundError,
    StorageError,
    not_installed,
)
from headwater.ports import ObjectInfo

if TYPE_CHECKING:
    from typing_extensions import Buffer

CONNECTIONS = 64
"""Connections kept open per process."""
ONE_PUT = 64 << 20
"""Bytes up to which an object is one request; larger ones are sent in parts of this size."""
TIMEOUT = (10, 120)
"""Seconds to connect, and between two pieces of an answer."""
GO_ON = 308
"""What a resumable upload answers to every part but the last."""
WRITE_ID = "headwater-write-id"


# ------------------------------------------------------------------- the client
class Connection(NamedTuple):
    """This process's way to the service."""

    session: Any
    """A `requests` session that signs."""
    endpoint: str
    project: str | None
    anonymous: bool


class GCSClient:
    """Sends requests to the JSON API; every error is ours."""

    def __init__(self) -> None:
        self._made: PerProcess[Connection] = PerProcess(_connect)

    @property
    def connection(self) -> Connection:
        """This process's own."""
        return self._made.get()

    def ask(self, method: str, path: str, where: str, **options: Any) -> Any:
        """Send one request, again while that may help; return the `requests` response.

        Args:
            method: HTTP method.
            path: Below the endpoint, encoded; or a whole URL that the service gave us.
            where: What errors name.
            **options: `params`, `headers`, `data`, `stream` of `requests`.
        """
        return attempt(lambda: self.once(method, path, where, **options), partial(self.translate, where=where))

    def once(self, method: str, path: str, where: str, **options: Any) -> Any:
        """Send one request, once; raises our errors for answers, foreign ones for broken connections."""
        connection = self.connection
        params = {**options.pop("params", {}), **_payer(connection)}
        headers = {"Accept-Encoding": "gzip", **options.pop("headers", {})}
        url = path if "://" in path else connection.endpoint + path
        response = connection.session.request(method, url, params=params, headers=headers, timeout=TIMEOUT, **options)
        if response.status_code >= 300 and response.status_code != GO_ON:
            try:
                raise translate_answer(response, where, anonymous=connection.anonymous)
            finally:
                response.close()
        return response

    def translate(self, error: Exception, where: str) -> HeadwaterError:
        """The table of errors, see `translate`."""
        return translate(error, where)


def _payer(connection: Connection) -> dict[str, str]:
    """Requester pays: HEADWATER_REQUESTER_PAYS holds the project to charge, or 1 for the client's own."""
    asked = os.environ.get("HEADWATER_REQUESTER_PAYS", "")
    if asked in ("", "0"):
        return {}
    return {"userProject": (connection.project or "") if asked == "1" else asked}


def _connect() -> Connection:
    try:
        from google.auth.exceptions import DefaultCredentialsError
        from google.cloud.storage import Client
    except ImportError:
        raise not_installed("gs://", "google-cloud-storage", "gcs") from None

    try:
        client = Client()
    except DefaultCredentialsError:
        client = Client.create_anonymous_client()
    except Exception as error:  # noqa: BLE001 (`translate` has a row for everything)
        raise translate(error, "the Google Cloud configuration") from None
    session = client._http  # noqa: SLF001 (the signing session has no public name)
    anonymous = "Anonymous" in type(session.credentials).__name__
    for scheme in ("https://", "http://"):
        session.mount(scheme, type(session.get_adapter(scheme))(pool_connections=4, pool_maxsize=CONNECTIONS))
    return Connection(session, client.api_endpoint.rstrip("/"), client.project, anonymous)


def object_path(bucket: str, key: str, *, media: bool = False) -> str:
    """The path of an object's metadata, or of its bytes."""
    return f"{'/download' if media else ''}/storage/v1/b/{quote(bucket, safe='')}/o/{quote(key, safe='')}"


# -------------------------------------------------------------------- its errors
_CREDENTIALS_FIX = "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS"


def translate(error: Exception, where: str) -> HeadwaterError:
    """Make an exception of google.auth, requests or urllib3 ours."""
    kind = type(error).__name__
    if kind in ("DefaultCredentialsError", "RefreshError", "UserAccessTokenError", "MalformedError"):
        return CredentialsError(what=f"no Google credentials can be had ({kind})", where=where, fix=_CREDENTIALS_FIX)
    if kind in ("SSLError", "InvalidURL", "InvalidSchema"):
        return StorageError(what=f"GCS cannot be reached ({kind})", where=where)
    if isinstance(error, ValueError) and not isinstance(error, OSError):
        return InvalidInputError(what=f"GCS cannot be asked that ({kind})", where=where)
    # what is left are connections: refused, reset, timed out, bodies cut short
    return StorageError(what=f"the connection to GCS failed ({kind})", where=where, retryable=True)


def translate_answer(response: Any, where: str, *, anonymous: bool) -> HeadwaterError:
    """Make an answer of 300 or more ours (codes: the JSON API's page of HTTP status codes)."""
    status, reason = response.status_code, _reason(response)
    said = f"GCS answered {status} {reason}".rstrip()
    if status in (401, 403):
        return _refusal(said, where, anonymous=anonymous)
    if status == 400 and "user project" in reason.lower():
        fix = "set HEADWATER_REQUESTER_PAYS to the project that pays"
        return AccessError(what=f"{said}: the requester pays", where=where, fix=fix)
    if status == 404:
        return NotFoundError(what=said, where=where, bucket_missing="bucket does not exist" in reason)
    if status == 412:
        return ConflictError(what=f"{said}: somebody else wrote it", where=where, fix="read it again")
    retryable = status in (408, 429, 500, 502, 503, 504)
    patience = retry_after(response.headers.get("Retry-After"))
    return StorageError(what=said, where=where, retryable=retryable, retry_after=patience, status=status)


def _refusal(said: str, where: str, *, anonymous: bool) -> AccessError:
    if anonymous:
        return CredentialsError(what=f"{said}, and no credentials were found", where=where, fix=_CREDENTIALS_FIX)
    return AccessError(what=said, where=where)


def _reason(response: Any) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError, OSError):
        return str(response.reason or "")


# -------------------------------------------------------------- the object store
class GCSStore:
    """Objects in a bucket, below a prefix.

    Safe between threads and over forks: each process connects for itself. Every
    object carries a CRC32C that the service verifies. Tokens of markers are
    generations, so they never come back.
    """

    def __init__(self, url: str) -> None:
        """Open `gs://bucket/prefix`; asks nobody yet.

        Raises:
            InvalidInputError: Not such a URL.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("gs", "gcs") or not parts.hostname or "@" in parts.netloc or parts.query:
            what = f"{parts.scheme}://…{parts.path} is not the place of a store"
            raise InvalidInputError(what=what, fix="write gs://bucket/prefix")
        self._bucket = parts.netloc
        self._prefix = Prefix(parts.path)
        self._client = GCSClient()

    @property
    def url(self) -> str:
        """`gs://bucket/prefix`."""
        return f"gs://{self._bucket}/{self._prefix}".rstrip("/")

    def put(self, key: str, data: Buffer) -> None:
        """See `ports.ObjectStore.put`. Over 64 MiB by a resumable upload, in parts of 64 MiB."""
        view = memoryview(data).cast("B")
        if view.nbytes <= ONE_PUT:
            attempt(lambda: self._insert(key, view), partial(self._client.translate, where=self._at(key)))
        else:
            attempt(lambda: self._insert_large(key, view), partial(self._client.translate, where=self._at(key)))

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """See `ports.ObjectStore.get`. Reading nothing costs a look at the metadata, which knows where the end is."""
        wanted = Range(key, start, length, self.url)
        return wanted.get(lambda: self._read(key, wanted.header)[0], lambda: self._size(key))

    def delete(self, key: str) -> None:
        """See `ports.ObjectStore.delete`."""
        try:
            self._ask("DELETE", key)
        except NotFoundError as error:
            if error.facts.get("bucket_missing"):
                raise

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See `ports.ObjectStore.list`. 1,000 keys a request."""
        wanted = {"prefix": self._prefix.start(prefix), "fields": "items(name,size,timeCreated),nextPageToken"}
        path = f"/storage/v1/b/{quote(self._bucket, safe='')}/o"
        while True:
            page = self._client.ask("GET", path, self.url, params=wanted).json()
            for item in page.get("items", []):
                yield ObjectInfo(self._prefix.without(item["name"]), int(item["size"]), moment(item["timeCreated"]))
            if not page.get("nextPageToken"):
                return
            wanted["pageToken"] = page["nextPageToken"]

    def read_marker(self, key: str) -> tuple[bytes, str] | None:
        """See `ports.ObjectStore.read_marker`. The token is the generation."""
        try:
            data, headers = self._read(key, {})
        except NotFoundError as error:
            if error.facts.get("bucket_missing"):
                raise
            return None
        return data, headers["x-goog-generation"]

    def swap_marker(self, key: str, data: bytes, expect: str | None) -> str:
        """See `ports.ObjectStore.swap_marker`. A lost answer is told from a conflict by a write id in the metadata."""

        def write(write_id: str) -> str:
            try:
                facts = {"metadata": {WRITE_ID: write_id}, "cacheControl": "no-store"}
                return str(self._insert(key, memoryview(data), expect=expect or "0", facts=facts)["generation"])
            except NotFoundError as error:
                raise error if expect is None else self._lost_race(key) from None
            except HeadwaterError:
                raise
            except Exception as error:  # noqa: BLE001 (`translate` has a row for everything)
                raise translate(error, self._at(key)) from None

        return swap(write, lambda: self._stamp(key))

    def expiring_rules(self) -> tuple[str, ...]:
        """Lifecycle rules of the bucket that delete objects below the prefix, in words.

        Raises:
            AccessError, StorageError: They could not be asked for.
        """
        path = f"/storage/v1/b/{quote(self._bucket, safe='')}"
        found = self._client.ask("GET", path, self.url, params={"fields": "lifecycle"}).json()
        rules = []
        for rule in found.get("lifecycle", {}).get("rule", []):
            condition = rule.get("condition", {})
            inside = condition.get("matchesPrefix") or [""]
            deletes = rule.get("action", {}).get("type") == "Delete" and condition.get("isLive") is not False
            if deletes and any(self._prefix.meets(prefix) for prefix in inside):
                rules.append(f"a rule on {', '.join(filter(None, inside)) or 'everything'}: {condition}")
        return tuple(rules)

    def _lost_race(self, key: str) -> ConflictError:
        return ConflictError(what="the marker is gone", where=self._at(key), fix="read it again")

    def _stamp(self, key: str) -> Stamp | None:
        try:
            found = self._ask("GET", key).json()
        except NotFoundError:
            return None
        return Stamp(found.get("metadata", {}).get(WRITE_ID), str(found["generation"]))

    def _insert(
        self, key: str, view: memoryview, *, expect: str | None = None, facts: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """One request: metadata and bytes as multipart/related; the service compares the CRC32C."""
        described = {"name": self._prefix.key(key), "crc32c": crc32c(view), **(facts or {})}
        boundary = uuid4().hex
        head = f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{json.dumps(described)}\r\n"
        head += f"--{boundary}\r\nContent-Type: application/octet-stream\r\n\r\n"
        params = {"uploadType": "multipart"} | ({} if expect is None else {"ifGenerationMatch": expect})
        path = f"/upload/storage/v1/b/{quote(self._bucket, safe='')}/o"
        headers = {"Content-Type": f"multipart/related; boundary={boundary}"}
        body = b"".join((head.encode(), view, f"\r\n--{boundary}--\r\n".encode()))
        answer = self._client.once("POST", path, self._at(key), params=params, headers=headers, data=body)
        stored: dict[str, Any] = answer.json()
        return stored

    def _insert_large(self, key: str, view: memoryview) -> None:
        """A resumable upload, part by part; begun anew if one of them fails."""
        where, total = self._at(key), view.nbytes
        described = json.dumps({"name": self._prefix.key(key), "crc32c": crc32c(view)})
        path = f"/upload/storage/v1/b/{quote(self._bucket, safe='')}/o"
        headers = {"Content-Type": "application/json; charset=UTF-8"}
        params = {"uploadType": "resumable"}
        begun = self._client.once("POST", path, where, params=params, headers=headers, data=described.encode())
        for at in range(0, total, ONE_PUT):
            part = bytes(view[at : at + ONE_PUT])
            headers = {"Content-Range": f"bytes {at}-{at + len(part) - 1}/{total}"}
            self._client.once("PUT", begun.headers["Location"], where, headers=headers, data=part)

    def _read(self, key: str, headers: dict[str, str]) -> tuple[bytes, Mapping[str, str]]:
        path, where = object_path(self._bucket, self._prefix.key(key), media=True), self._at(key)

        def whole() -> tuple[bytes, Mapping[str, str]]:
            answer = self._client.once("GET", path, where, params={"alt": "media"}, headers=headers)
            return answer.content, answer.headers

        return attempt(whole, partial(self._client.translate, where=where))

    def _size(self, key: str) -> int:
        return int(self._ask("GET", key).json()["size"])

    def _ask(self, method: str, key: str) -> Any:
        return self._client.ask(method, object_path(self._bucket, self._prefix.key(key)), self._at(key))

    def _at(self, key: str) -> str:
        return f"{self.url}/{key}"


def crc32c(data: Buffer) -> str:
    """Base64 of the big-endian CRC32C, as the JSON API writes it."""
    import google_crc32c

    return base64.b64encode(google_crc32c.value(bytes(data)).to_bytes(4, "big")).decode()


def moment(text: str) -> datetime:
    """Read a time of the JSON API."""
    return datetime.fromisoformat(text)
