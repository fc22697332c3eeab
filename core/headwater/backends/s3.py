"""Amazon S3 and what speaks its API: the client, its errors, the object store.

Regions, endpoints and credentials are found where boto3 looks for them:
AWS_REGION, AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_S3, AWS_PROFILE, ~/.aws, instance
roles. Without any credentials requests go out unsigned, as public buckets allow.
Plain urllib3 connections, not the CRT: that serves one process per machine.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

from headwater.backends.object_keys import Prefix
from headwater.backends.ranges import Range
from headwater.backends.retrying import PerProcess, Stamp, attempt, retry_after, swap
from headwater.backends.s3_body import Body, body_of, plain_bodies
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
WRITE_ID = "headwater-write-id"


# ------------------------------------------------------------------- the client
class Settings(NamedTuple):
    """What a client cannot learn from its environment."""

    endpoint: str | None = None
    region: str | None = None
    anonymous: bool = False
    requester_pays: bool = False
    """Agree to be charged for requests and traffic."""


DEFAULTS = Settings()
_HOW = {"payload_signing_enabled": False}
"""The signature covers the CRC32 instead of a SHA-256 of every byte: against accidents that is enough, and against
more than accidents what is read is proved by its digest."""


class S3Client:
    """A boto3 client of this process, and what its errors mean."""

    def __init__(self, settings: Settings = DEFAULTS) -> None:
        self._settings = settings
        self._made: PerProcess[tuple[Any, bool]] = PerProcess(partial(_connect, settings))
        self._ordered: dict[str, bool] = {}

    def ask(self, operation: str, where: str, **arguments: Any) -> dict[str, Any]:
        """Send one request, again while that may help; every error is ours, naming `where`."""
        return attempt(lambda: self.once(operation, **arguments), partial(self.translate, where=where))

    def once(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Send one request, once; raises what boto3 raises."""
        client, _ = self._made.get()
        extra: dict[str, Any] = {"RequestPayer": "requester"} if self.requester_pays else {}
        if isinstance(body := arguments.get("Body"), Body):
            extra["Body"] = body.anew()
        answer: dict[str, Any] = getattr(client, operation)(**(arguments | extra))
        return answer

    def translate(self, error: Exception, where: str) -> HeadwaterError:
        """The table of errors, see `translate`; without credentials a refusal is a CredentialsError."""
        return translate(error, where, anonymous=self._made.get()[1] if _is_refusal(error) else False)

    @property
    def requester_pays(self) -> bool:
        """As set, or by HEADWATER_REQUESTER_PAYS in the environment."""
        return self._settings.requester_pays or os.environ.get("HEADWATER_REQUESTER_PAYS", "") not in ("", "0")

    def in_byte_order(self, bucket: str) -> bool:
        """Whether listings come in byte order and may start anywhere. Elsewhere than at AWS one request, once.

        SeaweedFS (4.48) lists folder by folder: `a/x` before `a-b`. What a marker of byte order then skips is
        missing from its pages of versions.
        """
        if self.is_amazon:
            return True
        found = self._ordered.get(bucket)
        if found is None:
            try:
                head = self.ask("head_bucket", f"s3://{bucket}", Bucket=bucket)
                found = not head["ResponseMetadata"]["HTTPHeaders"].get("server", "").startswith("SeaweedFS")
            except (AccessError, NotFoundError):
                return False
            self._ordered[bucket] = found
        return found

    @property
    def is_amazon(self) -> bool:
        """Whether this talks to AWS itself, whose listings are known to be in byte order."""
        host = urlsplit(self._made.get()[0].meta.endpoint_url).hostname or ""
        return host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))


def _connect(settings: Settings) -> tuple[Any, bool]:
    try:
        import boto3
        from botocore import UNSIGNED
        from botocore.config import Config
    except ImportError:
        raise not_installed("s3://", "boto3", "s3") from None

    session = boto3.session.Session()
    try:
        anonymous = settings.anonymous or session.get_credentials() is None
        config = Config(
            retries={"total_max_attempts": 1, "mode": "standard"},
            max_pool_connections=CONNECTIONS,
            connect_timeout=10,
            read_timeout=60,
            tcp_keepalive=True,
            signature_version=UNSIGNED if anonymous else None,
            s3=_HOW,
        )
        make = partial(session.client, "s3", endpoint_url=settings.endpoint, region_name=settings.region)
        client = make(config=config)
        if not re.search(r"\.(amazonaws\.com(\.cn)?|api\.aws)$", urlsplit(client.meta.endpoint_url).hostname or ""):
            client = make(config=config.merge(Config(s3={**_HOW, "addressing_style": "path"})))
        plain_bodies(client)
    except Exception as error:  # noqa: BLE001 (`translate` has a row for everything)
        raise translate(error, "the AWS configuration", anonymous=True) from None
    return client, anonymous


# -------------------------------------------------------------------- its errors
_MISSING = {"NoSuchKey", "NoSuchBucket", "NoSuchVersion", "NoSuchUpload", "NotFound", "404"}
_CONFLICT = {"PreconditionFailed", "412"}
_RETRYABLE = {
    "BadDigest", "BandwidthLimitExceeded", "ConditionalRequestConflict", "IncompleteBody", "InternalError",
    "OperationAborted", "PriorRequestNotComplete", "RequestTimeout", "RequestTimeoutException", "ServiceUnavailable",
    "SlowDown", "Throttling", "ThrottlingException", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch",
}  # fmt: skip
_REFUSED = {
    "AccessDenied", "AccountProblem", "AllAccessDisabled", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken",
    "RequestExpired", "RequestTimeTooSkewed", "SignatureDoesNotMatch", "TokenRefreshRequired", "UnauthorizedAccess",
}  # fmt: skip
_NO_CREDENTIALS = {
    "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound",
    "TokenRetrievalError", "SSOTokenLoadError", "UnauthorizedSSOTokenError", "MetadataRetrievalError",
    "LoginTokenLoadError", "LoginRefreshRequired",
}  # fmt: skip
_INVALID = {"ParamValidationError", "InvalidBucketName", "InvalidRegionError", "InvalidEndpointConfigurationError"}
_FINAL = {"SSLError", "NoRegionError", "ConfigParseError", "UnknownEndpointError"}


def translate(error: Exception, where: str, *, anonymous: bool = False) -> HeadwaterError:
    """Make an exception of boto3, botocore or urllib3 ours."""
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):
        return _translate_answer(response, where, anonymous=anonymous)
    kind = type(error).__name__
    if kind in _NO_CREDENTIALS:
        return CredentialsError(what=f"no AWS credentials can be had ({kind})", where=where, fix=_CREDENTIALS_FIX)
    if kind in _INVALID or isinstance(error, ValueError):
        return InvalidInputError(what=f"S3 cannot be asked that ({kind})", where=where, fix=str(error).split("\n")[0])
    if kind in _FINAL:
        return StorageError(what=f"S3 cannot be reached ({kind})", where=where, fix=str(error).split("\n")[0])
    # what is left are connections: refused, reset, timed out, bodies cut short, checksums damaged on the way
    return StorageError(what=f"the connection to S3 failed ({kind})", where=where, retryable=True)


_CREDENTIALS_FIX = "set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or log in with `aws sso login`"


def _translate_answer(response: Mapping[str, Any], where: str, *, anonymous: bool) -> HeadwaterError:
    facts, meta = response.get("Error", {}), response.get("ResponseMetadata", {})
    code, status = str(facts.get("Code", "")), int(meta.get("HTTPStatusCode", 0))
    said = f"S3 answered {status} {code}".rstrip()
    if code in _CONFLICT or status == 412:
        return ConflictError(what=f"{said}: somebody else wrote it", where=where, fix="read it again")
    if code in _RETRYABLE or status in (408, 409, 429, 500, 502, 503, 504):
        patience = retry_after(meta.get("HTTPHeaders", {}).get("retry-after"))
        return StorageError(what=said, where=where, retryable=True, retry_after=patience)
    if code in _MISSING or status == 404:
        return NotFoundError(what=said, where=where, name=code)
    if code in _REFUSED or status in (401, 403):
        if anonymous:
            return CredentialsError(what=f"{said}, and no credentials were found", where=where, fix=_CREDENTIALS_FIX)
        return AccessError(what=said, where=where, fix=str(facts.get("Message", "")) or None)
    return StorageError(what=said, where=where, fix=str(facts.get("Message", "")) or None, status=status, name=code)


def _is_refusal(error: Exception) -> bool:
    return isinstance(getattr(error, "response", None), Mapping)


# -------------------------------------------------------------- the object store
class S3Store:
    """Objects in a bucket, below a prefix.

    Safe between threads and over forks: each process connects for itself. Every
    byte sent carries a CRC32 that the service verifies.
    """

    def __init__(self, url: str) -> None:
        """Open `s3://bucket/prefix?endpoint=…&region=…&requester_pays=1&anonymous=1`; asks nobody yet.

        Raises:
            InvalidInputError: Not such a URL; credentials have no place in it.
        """
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query))
        if parts.scheme != "s3" or not parts.hostname or "@" in parts.netloc or options.keys() - set(Settings._fields):
            fix = "write s3://bucket/prefix, with ?endpoint= and &region= where the SDK does not know them"
            raise InvalidInputError(what=f"{parts.scheme}://…{parts.path} is not the place of a store", fix=fix)
        flags = {name: options.get(name, "") not in ("", "0") for name in ("anonymous", "requester_pays")}
        self._bucket = parts.netloc
        self._prefix = Prefix(parts.path)
        self._client = S3Client(Settings(options.get("endpoint"), options.get("region"), **flags))

    @property
    def url(self) -> str:
        """`s3://bucket/prefix`."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def put(self, key: str, data: Buffer) -> None:
        """See `ports.ObjectStore.put`. Over 64 MiB in parts of 64 MiB, one after the other."""
        view = memoryview(data).cast("B")
        if view.nbytes <= ONE_PUT:
            self._ask("put_object", key, **body_of(view))
        else:
            self._put_parts(key, view)

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """See `ports.ObjectStore.get`. Reading nothing costs a HEAD, which knows where the end is."""
        wanted = Range(key, start, length, self.url)
        return wanted.get(lambda: self._read(key, wanted.header), lambda: self._size(key))

    def delete(self, key: str) -> None:
        """See `ports.ObjectStore.delete`."""
        try:
            self._ask("delete_object", key)
        except NotFoundError as error:
            if error.facts.get("name") == "NoSuchBucket":
                raise

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See `ports.ObjectStore.list`. 1,000 keys a request.

        Servers that imitate S3 may list a folder `a/` before `a-b`, where byte order has it the other way round:
        there everything is listed first and then sorted (300 bytes of memory a key).
        """
        found = self._listed(prefix)
        return found if self._client.is_amazon else iter(sorted(found))

    def read_marker(self, key: str) -> tuple[bytes, str] | None:
        """See `ports.ObjectStore.read_marker`. The token is the ETag."""
        try:
            return attempt(lambda: self._whole(key, {}), partial(self._client.translate, where=self._at(key)))
        except NotFoundError as error:
            if error.facts.get("name") == "NoSuchBucket":
                raise
            return None

    def swap_marker(self, key: str, data: bytes, expect: str | None) -> str:
        """See `ports.ObjectStore.swap_marker`. A lost answer is told from a conflict by a write id in the metadata."""
        condition = {"IfNoneMatch": "*"} if expect is None else {"IfMatch": expect}

        def write(write_id: str) -> str:
            body = body_of(memoryview(data)) | condition | {"Metadata": {WRITE_ID: write_id}}
            try:
                answer = self._client.once("put_object", Bucket=self._bucket, Key=self._prefix.key(key), **body)
            except Exception as error:  # noqa: BLE001 (`translate` has a row for everything)
                ours = self._client.translate(error, self._at(key))
                # If-Match on an object that is gone answers 404
                raise self._lost_race(key) if isinstance(ours, NotFoundError) and expect is not None else ours from None
            return str(answer["ETag"])

        return swap(write, lambda: self._stamp(key))

    def expiring_rules(self) -> tuple[str, ...]:
        """Lifecycle rules of the bucket that delete objects below the prefix, in words.

        Raises:
            AccessError, StorageError: They could not be asked for.
        """
        try:
            found = self._client.ask("get_bucket_lifecycle_configuration", self.url, Bucket=self._bucket)
        except NotFoundError as error:
            if error.facts.get("name") == "NoSuchBucket":
                raise
            return ()
        rules = []
        for rule in found.get("Rules", []):
            expiry, inside = rule.get("Expiration", {}), _prefix_of(rule)
            ends = next((f"{k.lower()} {expiry[k]}" for k in ("Days", "Date") if expiry.get(k)), None)
            if rule.get("Status") == "Enabled" and ends and self._prefix.meets(inside):
                rules.append(f"rule {rule.get('ID', 'without a name')!r} on {inside or 'everything'} after {ends}")
        return tuple(rules)

    def _lost_race(self, key: str) -> ConflictError:
        return ConflictError(what="the marker is gone", where=self._at(key), fix="read it again")

    def _stamp(self, key: str) -> Stamp | None:
        try:
            head = self._ask("head_object", key)
        except NotFoundError:
            return None
        return Stamp(head.get("Metadata", {}).get(WRITE_ID), head["ETag"])

    def _read(self, key: str, wanted: dict[str, str]) -> bytes:
        return attempt(lambda: self._whole(key, wanted)[0], partial(self._client.translate, where=self._at(key)))

    def _whole(self, key: str, wanted: dict[str, str]) -> tuple[bytes, str]:
        answer = self._client.once("get_object", Bucket=self._bucket, Key=self._prefix.key(key), **wanted)
        return answer["Body"].read(), answer["ETag"]

    def _size(self, key: str) -> int:
        return int(self._ask("head_object", key)["ContentLength"])

    def _listed(self, prefix: str) -> Iterator[ObjectInfo]:
        wanted = {"Bucket": self._bucket, "Prefix": self._prefix.start(prefix)}
        while True:
            page = self._client.ask("list_objects_v2", self.url, **wanted)
            for item in page.get("Contents", []):
                yield ObjectInfo(self._prefix.without(item["Key"]), item["Size"], item["LastModified"])
            if not page.get("IsTruncated"):
                return
            wanted["ContinuationToken"] = page["NextContinuationToken"]

    def _put_parts(self, key: str, view: memoryview) -> None:
        mine = uuid4().hex
        made = self._ask("create_multipart_upload", key, ChecksumAlgorithm="CRC32", Metadata={WRITE_ID: mine})
        upload = {"UploadId": made["UploadId"]}
        try:
            parts = [
                self._put_part(key, upload, number, view[at : at + ONE_PUT])
                for number, at in enumerate(range(0, view.nbytes, ONE_PUT), start=1)
            ]
            self._ask("complete_multipart_upload", key, **upload, MultipartUpload={"Parts": parts})
        except NotFoundError:
            # an upload that was completed is gone: the answer to the first attempt got lost, if the object is ours
            stamp = self._stamp(key)
            if stamp is None or stamp.write_id != mine:
                raise StorageError(what="the upload in parts was lost", where=self._at(key), retryable=True) from None
        except BaseException:
            self._abandon(key, upload)
            raise

    def _put_part(self, key: str, upload: dict[str, str], number: int, part: memoryview) -> dict[str, Any]:
        body = body_of(part)
        answer = self._ask("upload_part", key, **upload, PartNumber=number, **body)
        return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumCRC32": body["ChecksumCRC32"]}

    def _abandon(self, key: str, upload: dict[str, str]) -> None:
        try:
            self._ask("abort_multipart_upload", key, **upload)
        except HeadwaterError:
            return  # the parts cost money until a lifecycle rule removes them; the first error matters more

    def _ask(self, operation: str, key: str, **arguments: Any) -> dict[str, Any]:
        where = self._at(key)
        return self._client.ask(operation, where, Bucket=self._bucket, Key=self._prefix.key(key), **arguments)

    def _at(self, key: str) -> str:
        return f"{self.url}/{key}"


def _prefix_of(rule: Mapping[str, Any]) -> str:
    where = rule.get("Filter", {})
    return str(rule.get("Prefix") or where.get("Prefix") or where.get("And", {}).get("Prefix") or "")
