"""References to files on the web: `http://` and `https://`, one URL is one file.

What holds such a reference is what the server says of it: a strong ETag, else the
time it was modified, else nothing. A weak ETag promises only the same meaning,
never the same bytes (RFC 9110 8.8.1), so it pins nothing. `pin="digest"` reads the
file once and proves it ever after.

Proxies come from HTTP_PROXY, HTTPS_PROXY and NO_PROXY, passwords from ~/.netrc.
A redirect is followed, but what was asked for is recorded: where it leads may
change, or be signed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import msgspec

from headwater.backends.proofs import describe, digested, provable, proved, same
from headwater.backends.retrying import PerProcess, attempt, resumed, retry_after
from headwater.backends.streams import pieces_of
from headwater.backends.uris import path_of, recorded, without_secrets
from headwater.errors import (
    AccessError,
    ConflictError,
    CredentialsError,
    HeadwaterError,
    InvalidInputError,
    NotFoundError,
    ReferenceChangedError,
    ReferenceMissingError,
    StorageError,
    not_installed,
)
from headwater.model.manifest import Pin
from headwater.ports import Checked, Found, outcome_of

CONNECTIONS = 32
"""Connections kept open per process."""
TIMEOUT = (10, 60)
"""Seconds to connect, and between two pieces of an answer."""


class HTTPSource:
    """The source for `http:` and `https:`."""

    def __init__(self) -> None:
        self._session: PerProcess[Any] = PerProcess(_connect)

    def walk(self, uri: str, *, pin: bool | Literal["digest"] = True) -> Iterator[Found]:
        """See `ports.Source.walk`. One request, of which only the headers are read.

        A user and password in the URL, or its signature, serve this request and are not recorded; a warning says so.
        """
        clean = recorded(_checked(uri))
        path = path_of(_name(clean))
        if pin is False:
            yield Found(path, clean, None, Pin())
            return
        try:
            answer = self._get(uri)
        except NotFoundError:
            raise ReferenceMissingError(uri=clean, fix="check the URL") from None
        found = _pin(answer)
        try:
            if pin != "digest":
                yield Found(path, clean, _size(answer), found)
                return
        finally:
            answer.close()
        checksum, size = digested(self._pieces(uri, found, 0, None))
        yield Found(path, clean, size, msgspec.structs.replace(found, checksum=checksum))

    def read(self, uri: str, pin: Pin, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """See `ports.Source.read`. One request, one more after every cut connection.

        A whole read ends in an error if the bytes do not have the pin's checksum. So does a range of a file that
        only a checksum holds: then the file is read whole, twice, to prove it before the first byte is given.
        """
        if (start or length is not None) and provable(pin) and pin.etag is None:
            for _ in self.read(uri, pin):
                pass
            return self._pieces(uri, Pin(), start, length)
        if start or length is not None or not provable(pin):
            return self._pieces(uri, pin, start, length)
        try:
            pieces = self._pieces(uri, pin, 0, None)
        except ReferenceChangedError:  # a server that was moved gives the same bytes other ETags and times
            pieces = self._pieces(uri, Pin(), 0, None)
        return proved(pieces, pin, without_secrets(uri))

    def gives_ranges(self, uri: str) -> bool:
        """See `ports.RangedSource`. Asks for one byte: the answer of a server without ranges is the whole file."""
        with self._get(uri, {"Range": "bytes=0-0"}) as answer:
            return bool(answer.status_code == 206)

    def check(self, references: Iterable[tuple[str, Pin]]) -> Iterator[Checked]:
        """See `ports.Source.check`. One request each, of which only the headers are read: the web has no listings."""
        for uri, pin in references:
            try:
                with self._get(uri) as answer:
                    yield _compare(uri, pin, _pin(answer))._replace(size=_size(answer))
            except NotFoundError:
                yield Checked(uri, "missing", None)
            except InvalidInputError as error:
                yield Checked(uri, "missing", str(error))
            except HeadwaterError as error:
                yield Checked(uri, outcome_of(error), str(error))

    def _pieces(self, uri: str, pin: Pin, start: int, length: int | None) -> Iterator[bytes]:
        clean = without_secrets(uri)
        try:
            opened = _Opened(self, uri, pin, start, length)
        except NotFoundError:
            raise ReferenceMissingError(uri=clean) from None
        return resumed(opened, start)

    def _get(self, uri: str, headers: dict[str, str] | None = None) -> Any:
        """Ask for a file; the body is still to be read. Every error is ours and shows no secret."""
        _checked(uri)
        clean = without_secrets(uri)
        # bytes as they are stored: a compression on the way would be other bytes, of another length
        wanted = {"Accept-Encoding": "identity", **(headers or {})}

        def get() -> Any:
            answer = self._session.get().get(uri, headers=wanted, stream=True, timeout=TIMEOUT)
            if answer.status_code >= 300:
                answer.close()
                raise translate_answer(answer, clean)
            return answer

        return attempt(get, partial(translate, where=clean))


class _Opened:
    """Opens the same file again, from where a connection broke."""

    def __init__(self, source: HTTPSource, uri: str, pin: Pin, start: int, length: int | None) -> None:
        self._source, self._uri, self._pin = source, uri, pin
        self._clean = without_secrets(uri)
        self._end = None if length is None else start + length
        self._first: Any = self._ask(start, pin)
        told = _pin(self._first)
        self._held = Pin(etag=told.etag, modified=told.modified)
        """What the first answer said, so that a later one continues the same bytes."""

    def __call__(self, position: int) -> Iterator[bytes]:
        answer, self._first = self._first, None
        if answer is None:
            if self._end == position:
                return iter(())
            self._require_proof()
            answer = self._ask(position, self._held)
        return self._body(answer, position)

    def _require_proof(self) -> None:
        if self._held.strength == "unverified" and not provable(self._pin):
            fix = "read it again from its start: the server gives no ETag by which to go on"
            raise StorageError(what="the connection broke", where=self._clean, fix=fix, retryable=False)

    def _ask(self, position: int, pin: Pin) -> Any:
        headers = {"If-Match": pin.etag} if pin.etag is not None else {}
        if position or self._end is not None:
            last = "" if self._end is None else self._end - 1
            headers["Range"] = f"bytes={position}-{last}"
        try:
            answer = self._source._get(self._uri, headers)  # noqa: SLF001 (two halves of one reader)
        except ConflictError:
            raise self._changed(pin, "another ETag") from None
        # many servers ignore If-Match: what they answer is compared, too
        told = _pin(answer)
        if same(Pin(etag=pin.etag, modified=pin.modified), told) or _may_be_proved(pin, told):
            return answer
        answer.close()
        raise self._changed(pin, describe(told))

    def _changed(self, pin: Pin, found: str) -> ReferenceChangedError:
        return ReferenceChangedError(uri=self._clean, pinned=describe(pin), found=found)

    def _body(self, answer: Any, position: int) -> Iterator[bytes]:
        pieces = pieces_of(answer, partial(translate, where=self._clean))
        if answer.status_code == 206 or (not position and self._end is None):
            return pieces
        return _slice(pieces, position, self._end)


def _may_be_proved(pin: Pin, told: Pin) -> bool:
    """Whether nothing but reading can tell: the pin holds no more than a checksum, or nothing at all."""
    if pin.etag is None and pin.modified is None:
        return True
    # without the headers that were pinned, a checksum decides; without that, nothing does
    return provable(pin) and (told.etag is None if pin.etag is not None else told.modified is None)


def _slice(pieces: Iterator[bytes], start: int, end: int | None) -> Iterator[bytes]:
    """A range of a body, for servers that ignore ranges."""
    at = 0
    for piece in pieces:
        kept = piece[max(0, start - at) : None if end is None else max(0, end - at)]
        at += len(piece)
        if kept:
            yield kept
        if end is not None and at >= end:
            return


# ------------------------------------------------------------------- what is told
def _pin(answer: Any) -> Pin:
    etag, modified = answer.headers.get("ETag"), answer.headers.get("Last-Modified")
    strong = etag if etag is not None and etag.startswith('"') else None
    return Pin(etag=strong, modified=_moment(modified))


def _moment(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        at = parsedate_to_datetime(text).astimezone(UTC)
    except ValueError:
        return None
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")


def _size(answer: Any) -> int | None:
    """Bytes of the file; unknown stays unknown."""
    told = answer.headers.get("Content-Length", "")
    encoded = answer.headers.get("Transfer-Encoding")
    return int(told) if told.isdigit() and encoded is None else None


def _compare(uri: str, pin: Pin, found: Pin) -> Checked:
    if pin.strength == "unverified":
        return Checked(uri, "unverified", describe(found))
    if pin.etag is None and pin.modified is not None:  # a checksum says nothing about headers
        pin = Pin(modified=pin.modified)
    agrees = same(pin, found)
    if agrees is None:
        return Checked(uri, "unverified", f"{describe(found)}: only reading can tell")
    return Checked(uri, "same", None) if agrees else Checked(uri, "changed", describe(found))


def _name(url: str) -> str:
    """The last part of the path, decoded; the host for a site's root."""
    parts = urlsplit(url)
    last = parts.path.rstrip("/").rpartition("/")[2]
    return unquote(last).replace("/", "%2F") or parts.hostname or "index"


def _checked(uri: str) -> str:
    """Raise InvalidInputError unless it is a URL with a host."""
    try:
        parts = urlsplit(uri)
        fits = parts.scheme.lower() in ("http", "https") and bool(parts.hostname) and not set(uri) & set("\r\n\t ")
    except ValueError:
        fits = False
    if not fits:
        fix = "write https://host/path, with %20 for blanks"
        raise InvalidInputError(what=f"{uri.partition('?')[0].rpartition('@')[2]!r} is not a URL", fix=fix)
    return uri


def _connect() -> Any:
    try:
        import requests
        from requests.adapters import HTTPAdapter
    except ImportError:
        raise not_installed("http://", "requests", "http") from None
    session = requests.Session()
    session.headers["User-Agent"] = "headwater"
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=CONNECTIONS))
    return session


# -------------------------------------------------------------------- its errors
_INVALID = {"InvalidURL", "InvalidSchema", "MissingSchema", "LocationParseError", "UnicodeError", "InvalidHeader"}
_FINAL = {"SSLError", "TooManyRedirects"}


def translate(error: Exception, where: str) -> HeadwaterError:
    """Make an exception of requests or urllib3 ours; its text may hold the URL with its secrets, so it is left out."""
    kind = type(error).__name__
    if kind in _INVALID:
        return InvalidInputError(what=f"no server can be asked that ({kind})", where=where)
    if kind in _FINAL:
        return StorageError(what=f"the server cannot be reached ({kind})", where=where)
    # what is left are connections: refused, reset, timed out, bodies cut short
    return StorageError(what=f"the connection failed ({kind})", where=where, retryable=True)


def translate_answer(answer: Any, where: str) -> HeadwaterError:
    """Make an answer of 300 or more ours (RFC 9110 15)."""
    status = answer.status_code
    said = f"the server answered {status} {answer.reason or ''}".rstrip()
    if status in (404, 410):
        return NotFoundError(what=said, where=where)
    if status == 401 and "Authorization" not in answer.request.headers:
        what = f"{said}, and no credentials were found"
        return CredentialsError(what=what, where=where, fix="put them into ~/.netrc")
    if status in (401, 402, 403, 407, 451):
        return AccessError(what=said, where=where)
    if status == 412:
        return ConflictError(what=said, where=where)
    retryable = status in (408, 425, 429, 500, 502, 503, 504)
    patience = retry_after(answer.headers.get("Retry-After"))
    return StorageError(what=said, where=where, retryable=retryable, retry_after=patience, status=status)
