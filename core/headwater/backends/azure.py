"""Azure Blob Storage: accounts and clients, their errors, the object store.

Accounts and credentials are found where Azure's own tools look for them:
AZURE_STORAGE_CONNECTION_STRING, AZURE_STORAGE_ACCOUNT with AZURE_STORAGE_KEY or
AZURE_STORAGE_SAS_TOKEN, else azure-identity (environment, workload identity,
managed identity, `az login`). Without any, requests go out anonymously, as public
containers allow.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import parse_qsl, urlsplit

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
"""Bytes up to which an object is one request; larger ones are sent in blocks."""
BLOCK = 32 << 20
WRITE_ID = "headwater_write_id"
"""Names of metadata must be C# identifiers here."""
PUBLIC_CLOUD = "https://{}.blob.core.windows.net"
Page: TypeAlias = tuple[list[Any], str | None]
"""What one listing request brings, and the token for the next."""


# ---------------------------------------------------------------------- accounts
class Accounts:
    """Clients of this process, one per account; every error is ours."""

    def __init__(self) -> None:
        self._made: PerProcess[dict[str, tuple[Any, bool]]] = PerProcess(dict)

    def service(self, account: str) -> tuple[Any, bool]:
        """A `BlobServiceClient` for an account's URL, and whether it is anonymous."""
        made = self._made.get()
        found = made.get(account)
        return found if found is not None else made.setdefault(account, _connect(account))

    def container(self, account: str, name: str) -> Any:
        """A `ContainerClient`."""
        return self.service(account)[0].get_container_client(name)

    def translate(self, error: Exception, where: str, account: str) -> HeadwaterError:
        """The table of errors, see `translate`."""
        made = self._made.get().get(account)
        return translate(error, where, anonymous=made is not None and made[1])


def default_account() -> str:
    """The URL of the account that the environment names.

    Raises:
        CredentialsError: It names none.
    """
    settings = _connection_string()
    if settings:
        suffix = settings.get("endpointsuffix", "core.windows.net")
        default = f"https://{settings.get('accountname', '')}.blob.{suffix}"
        return settings.get("blobendpoint", default).rstrip("/")
    name = os.environ.get("AZURE_STORAGE_ACCOUNT") or os.environ.get("AZURE_STORAGE_ACCOUNT_NAME")
    if not name:
        fix = "set AZURE_STORAGE_CONNECTION_STRING or AZURE_STORAGE_ACCOUNT, or write the account into the URI"
        raise CredentialsError(what="no Azure storage account is named", fix=fix)
    return PUBLIC_CLOUD.format(name)


def _connection_string() -> dict[str, str]:
    text = os.environ.get("AZURE_STORAGE_CONNECTION_STRING", "")
    pairs = (part.partition("=") for part in text.split(";") if "=" in part)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _credential(account: str) -> Any:
    """What the environment holds for that account; None: nothing."""
    settings = _connection_string()
    if settings and default_account() == account:
        if settings.get("accountkey"):
            return {"account_name": settings.get("accountname", ""), "account_key": settings["accountkey"]}
        return settings.get("sharedaccesssignature", "").lstrip("?") or None
    name = os.environ.get("AZURE_STORAGE_ACCOUNT") or os.environ.get("AZURE_STORAGE_ACCOUNT_NAME")
    if name and urlsplit(account).netloc.partition(".")[0] != name:
        return _identity(account)
    key = os.environ.get("AZURE_STORAGE_KEY") or os.environ.get("AZURE_STORAGE_ACCOUNT_KEY")
    if key and name:
        return {"account_name": name, "account_key": key}
    return os.environ.get("AZURE_STORAGE_SAS_TOKEN", "").lstrip("?") or _identity(account)


def _identity(account: str) -> Any:
    if not account.startswith("https://"):  # tokens never go over plain HTTP
        return None
    try:
        from azure.identity import DefaultAzureCredential
    except ImportError:
        return None
    credential = DefaultAzureCredential()
    try:
        credential.get_token("https://storage.azure.com/.default")
    except Exception:  # noqa: BLE001 (whatever the reason, there is no token)
        return None
    return credential


def _connect(account: str) -> tuple[Any, bool]:
    try:
        from azure.core.pipeline.transport import RequestsTransport
        from azure.storage.blob import BlobServiceClient
    except ImportError:
        raise not_installed("Azure", "azure-storage-blob", "azure") from None

    transport = RequestsTransport(connection_timeout=10, read_timeout=60)
    transport.open()
    session = transport.session
    for scheme in ("https://", "http://"):
        adapter = session.get_adapter(scheme)
        session.mount(scheme, type(adapter)(pool_maxsize=CONNECTIONS, max_retries=adapter.max_retries))
    credential = _credential(account)
    client = BlobServiceClient(
        account,
        credential=credential,
        transport=transport,
        retry_total=0,
        max_single_put_size=ONE_PUT,
        max_block_size=BLOCK,
        max_single_get_size=ONE_PUT,
    )
    return client, credential is None


# -------------------------------------------------------------------- its errors
_CREDENTIALS_FIX = "set AZURE_STORAGE_CONNECTION_STRING or AZURE_STORAGE_SAS_TOKEN, or log in with `az login`"
_CONFLICT = {"BlobAlreadyExists", "ConditionNotMet", "TargetConditionNotMet"}


def translate(error: Exception, where: str, *, anonymous: bool = False) -> HeadwaterError:
    """Make an exception of azure.core or azure.storage ours."""
    kind, response = type(error).__name__, getattr(error, "response", None)
    if response is not None and getattr(error, "status_code", None) is not None:
        return _translate_answer(error, response, where, anonymous=anonymous)
    if kind in ("ClientAuthenticationError", "CredentialUnavailableError", "AzureSigningError"):
        what = f"no Azure credentials can be had ({kind})"
        return CredentialsError(what=what, where=where, fix=_CREDENTIALS_FIX)
    if isinstance(error, ValueError):
        return InvalidInputError(what=f"Azure cannot be asked that ({kind})", where=where)
    # what is left are connections: refused, reset, timed out, bodies cut short
    return StorageError(what=f"the connection to Azure failed ({kind})", where=where, retryable=True)


def _translate_answer(error: Any, response: Any, where: str, *, anonymous: bool) -> HeadwaterError:
    status = int(error.status_code)
    code = str(getattr(error.error_code, "value", error.error_code) or response.headers.get("x-ms-error-code") or "")
    said = f"Azure answered {status} {code}".rstrip()
    # a private container does not exist for who comes without credentials
    if (
        status in (401, 403)
        or code in ("PublicAccessNotPermitted", "NoAuthenticationInformation")
        or (anonymous and code == "ResourceNotFound")
    ):
        if anonymous:
            return CredentialsError(what=f"{said}, and no credentials were found", where=where, fix=_CREDENTIALS_FIX)
        return AccessError(what=said, where=where)
    if code in _CONFLICT or status == 412:
        return ConflictError(what=f"{said}: somebody else wrote it", where=where, fix="read it again")
    if status == 404:
        return NotFoundError(what=said, where=where, name=code)
    retryable = status in (408, 409, 429, 500, 502, 503, 504) or code == "Md5Mismatch"
    patience = retry_after(response.headers.get("Retry-After"))
    return StorageError(what=said, where=where, retryable=retryable, retry_after=patience, status=status, name=code)


# -------------------------------------------------------------- the object store
class AzureStore:
    """Objects in a container, below a prefix.

    Safe between threads and over forks: each process connects for itself. Every
    byte sent carries an MD5 that the service verifies.
    """

    def __init__(self, url: str) -> None:
        """Open `az://container/prefix?account=NAME`; without an account the environment's. Asks nobody yet.

        Raises:
            InvalidInputError: Not such a URL.
        """
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query))
        if parts.scheme != "az" or not parts.hostname or "@" in parts.netloc or options.keys() - {"account"}:
            what = f"{parts.scheme}://…{parts.path} is not the place of a store"
            raise InvalidInputError(what=what, fix="write az://container/prefix, with ?account=NAME")
        self._named = PUBLIC_CLOUD.format(options["account"]) if "account" in options else None
        self._container = parts.netloc
        self._prefix = Prefix(parts.path)
        self._accounts = Accounts()

    @property
    def url(self) -> str:
        """`az://container/prefix`."""
        return f"az://{self._container}/{self._prefix}".rstrip("/")

    def put(self, key: str, data: Buffer) -> None:
        """See `ports.ObjectStore.put`. Over 64 MiB in blocks of 32 MiB, one after the other."""
        view = memoryview(data).cast("B")
        body = bytes(view)
        self._ask(key, lambda blob: blob.upload_blob(body, overwrite=True, validate_content=True))

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """See `ports.ObjectStore.get`. Reading nothing costs a look at the properties, which know where the end is."""
        wanted = Range(key, start, length, self.url)

        def read() -> bytes:
            return bytes(self._ask(key, lambda blob: _download(blob, start, length)[0]))

        return wanted.get(read, lambda: self._size(key))

    def delete(self, key: str) -> None:
        """See `ports.ObjectStore.delete`."""
        try:
            self._ask(key, lambda blob: blob.delete_blob())
        except NotFoundError as error:
            if error.facts.get("name") == "ContainerNotFound":
                raise

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See `ports.ObjectStore.list`. 5,000 keys a request."""
        token: str | None = None
        while True:
            items, token = self._page(self._prefix.start(prefix), token)
            for item in items:
                yield ObjectInfo(self._prefix.without(item.name), item.size, item.last_modified)
            if not token:
                return

    def read_marker(self, key: str) -> tuple[bytes, str] | None:
        """See `ports.ObjectStore.read_marker`. The token is the ETag, which is never used again."""
        try:
            found: tuple[bytes, str] = self._ask(key, lambda blob: _download(blob, 0, None))
        except NotFoundError as error:
            if error.facts.get("name") == "ContainerNotFound":
                raise
            return None
        return found

    def swap_marker(self, key: str, data: bytes, expect: str | None) -> str:
        """See `ports.ObjectStore.swap_marker`. A lost answer is told from a conflict by a write id in the metadata."""

        def write(write_id: str) -> str:
            try:
                return str(self._conditional_put(key, bytes(data), expect, write_id)["etag"])
            except Exception as error:  # noqa: BLE001 (`translate` has a row for everything)
                ours = self._translate(error, key)
                if isinstance(ours, NotFoundError) and expect is not None and ours.facts["name"] == "BlobNotFound":
                    ours = ConflictError(what="the marker is gone", where=self._at(key), fix="read it again")
                raise ours from None

        return swap(write, lambda: self._stamp(key))

    def _conditional_put(self, key: str, data: bytes, expect: str | None, write_id: str) -> dict[str, Any]:
        from azure.core import MatchConditions

        condition = MatchConditions.IfMissing if expect is None else MatchConditions.IfNotModified
        stored: dict[str, Any] = self._blob(key).upload_blob(
            data,
            overwrite=True,
            validate_content=True,
            metadata={WRITE_ID: write_id},
            match_condition=condition,
            **({} if expect is None else {"etag": expect}),
        )
        return stored

    def _stamp(self, key: str) -> Stamp | None:
        try:
            found = self._ask(key, lambda blob: blob.get_blob_properties())
        except NotFoundError:
            return None
        return Stamp(found.metadata.get(WRITE_ID), found.etag)

    def _page(self, prefix: str, token: str | None) -> Page:
        def page() -> Page:
            container = self._accounts.container(self._account, self._container)
            pages = container.list_blobs(name_starts_with=prefix or None, results_per_page=5000).by_page(token)
            return list(next(pages, ())), pages.continuation_token

        return attempt(page, partial(self._translate, key=""))

    def _size(self, key: str) -> int:
        return int(self._ask(key, lambda blob: blob.get_blob_properties().size))

    def _ask(self, key: str, call: Any) -> Any:
        return attempt(lambda: call(self._blob(key)), partial(self._translate, key=key))

    def _blob(self, key: str) -> Any:
        return self._accounts.container(self._account, self._container).get_blob_client(self._prefix.key(key))

    @property
    def _account(self) -> str:
        return self._named or default_account()

    def _translate(self, error: Exception, key: str) -> HeadwaterError:
        if isinstance(error, HeadwaterError):
            return error
        return self._accounts.translate(error, self._at(key), self._account)

    def _at(self, key: str) -> str:
        return f"{self.url}/{key}"


def _download(blob: Any, start: int, length: int | None) -> tuple[bytes, str]:
    span = {} if start == 0 and length is None else {"offset": start, "length": length}
    answer = blob.download_blob(max_concurrency=1, **span)
    return answer.readall(), answer.properties.etag
