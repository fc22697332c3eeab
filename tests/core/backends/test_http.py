"""HTTPSource against a small real server that behaves as badly as the web does."""

from __future__ import annotations

import hashlib
import itertools
import os
import pickle
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.backends.http import HTTPSource
from headwater.backends.retrying import retry_after
from headwater.backends.uris import path_of, without_secrets
from headwater.errors import (
    AccessError,
    CredentialsError,
    InvalidInputError,
    ReferenceChangedError,
    ReferenceMissingError,
    StorageError,
)
from headwater.model.manifest import Pin
from headwater.model.naming import check_path
from tests.contracts.source_contract import SourceContract, read
from tests.servers import web
from tests.servers.web import Page

_NUMBERS = itertools.count()
WHEN = 1_790_000_000.0


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setattr("headwater.backends.retrying.FIRST_PAUSE", 0.001)


@pytest.fixture
def site() -> web.WebServer:
    server = web.running()
    server.requests.clear()
    return server


def page(site: web.WebServer, body: bytes = b"0123456789", name: str = "file.bin", **manners: Any) -> str:
    return site.put(f"/{next(_NUMBERS)}/{name}", Page(body, **manners))


def only(source: HTTPSource, uri: str, **options: Any) -> Any:
    (found,) = source.walk(uri, **options)
    return found


class Site:
    """Files with strong ETags."""

    def __init__(self, server: web.WebServer) -> None:
        self.server, self.root = server, f"/site{next(_NUMBERS)}/"

    def put(self, key: str, data: bytes) -> None:
        self.server.put(self.root + quote(key), Page(data, etag=f'"{hashlib.sha256(data).hexdigest()}"'))

    def delete(self, key: str) -> None:
        del self.server.pages[self.root + quote(key)]

    def uri(self, key: str) -> str:
        return self.server.url + self.root + quote(key)


class TestHTTPSource(SourceContract):
    has_folders = False

    @pytest.fixture
    def source(self) -> HTTPSource:
        return HTTPSource()

    @pytest.fixture
    def world(self, site: web.WebServer) -> Site:
        return Site(site)


class TestPins:
    def test_a_strong_etag_holds(self, site: web.WebServer) -> None:
        found = only(HTTPSource(), page(site, etag='"abc"', modified=WHEN))
        assert found.pin == Pin(etag='"abc"', modified="2026-09-21T14:13:20Z")
        assert found.pin.strength == "etag" and found.size == 10

    def test_a_weak_etag_proves_nothing(self, site: web.WebServer) -> None:
        assert only(HTTPSource(), page(site, etag='W/"abc"', modified=WHEN)).pin.strength == "stat"
        assert only(HTTPSource(), page(site, etag='W/"abc"')).pin.strength == "unverified"

    def test_unknown_size_stays_unknown(self, site: web.WebServer) -> None:
        found = only(HTTPSource(), page(site, length=False))
        assert found.size is None
        assert read(HTTPSource(), found) == b"0123456789"

    def test_a_time_that_changed_is_a_change(self, site: web.WebServer) -> None:
        uri = page(site, modified=WHEN)
        found = only(HTTPSource(), uri)
        site.pages[uri.removeprefix(site.url)].modified = WHEN + 60
        with pytest.raises(ReferenceChangedError):
            read(HTTPSource(), found)

    def test_servers_that_ignore_if_match_are_caught_by_what_they_answer(self, site: web.WebServer) -> None:
        uri = page(site, etag='"abc"', honours_if_match=False)
        found = only(HTTPSource(), uri)
        site.pages[uri.removeprefix(site.url)].etag = '"other"'
        with pytest.raises(ReferenceChangedError):
            read(HTTPSource(), found)

    def test_a_digest_holds_what_no_header_does(self, site: web.WebServer) -> None:
        uri = page(site)
        found = only(HTTPSource(), uri, pin="digest")
        assert found.pin.strength == "checksum" and found.size == 10
        assert b"".join(HTTPSource().read(uri, found.pin, 2, 3)) == b"234"
        site.pages[uri.removeprefix(site.url)].body = b"9876543210"
        for span in ((0, None), (2, 3)):
            with pytest.raises(ReferenceChangedError):
                b"".join(HTTPSource().read(uri, found.pin, *span))

    def test_a_server_that_was_moved_gives_the_same_bytes_another_etag(self, site: web.WebServer) -> None:
        uri = page(site, etag='"abc"')
        found = only(HTTPSource(), uri, pin="digest")
        site.pages[uri.removeprefix(site.url)].etag = '"moved"'
        assert read(HTTPSource(), found) == b"0123456789"

    def test_a_range_works_without_ranges_too(self, site: web.WebServer) -> None:
        found = only(HTTPSource(), page(site, etag='"abc"', ranges=False))
        assert b"".join(HTTPSource().read(found.uri, found.pin, 3, 4)) == b"3456"

    def test_what_was_packed_on_the_way_is_not_unpacked(self, site: web.WebServer) -> None:
        uri = page(site, b"\x1f\x8bnot really", headers={"Content-Encoding": "gzip"}, etag='"z"')
        assert read(HTTPSource(), only(HTTPSource(), uri)) == b"\x1f\x8bnot really"
        assert all(headers["accept-encoding"] == "identity" for _, _, headers in site.requests)


class TestUris:
    def test_a_redirect_is_followed_but_not_recorded(self, site: web.WebServer) -> None:
        target = page(site, etag='"abc"')
        uri = page(site, redirect=target + "?X-Amz-Signature=secret", name="asked.csv")
        site.pages[target.removeprefix(site.url) + "?X-Amz-Signature=secret"] = Page(b"moved", etag='"m"')
        found = only(HTTPSource(), uri)
        assert (found.path, found.uri) == ("asked.csv", uri)
        assert read(HTTPSource(), found) == b"moved"

    def test_signatures_serve_the_request_and_are_not_recorded(self, site: web.WebServer) -> None:
        uri = page(site, etag='"abc"', name="f.csv?id=7&X-Amz-Signature=SECRET")
        with pytest.warns(UserWarning, match="not recorded"):
            found = only(HTTPSource(), uri)
        assert found.path == "f.csv" and found.uri.endswith("/f.csv?id=7")
        with pytest.raises(ReferenceMissingError) as missing:
            read(HTTPSource(), found)
        assert "SECRET" not in str(missing.value)

    @pytest.mark.parametrize(
        ("url", "kept"),
        [
            ("https://u:p@h/x", "https://h/x"),
            ("https://h/x?a=1&token=t&b=%20", "https://h/x?a=1&b=%20"),
            ("https://h/x?sv=1&sig=s&se=2&file=3", "https://h/x?file=3"),
            ("https://h/x?se=2&sp=3", "https://h/x?se=2&sp=3"),
            ("https://h/x?AWSAccessKeyId=a&Signature=b&Expires=1", "https://h/x"),
            ("https://h/x?Expires=1", "https://h/x?Expires=1"),
            ("https://h/x?x-goog-signature=1&generation=2", "https://h/x?generation=2"),
            ("https://h/x?api_key=1&access_token=2&client_secret=3&password=4&jwt=5", "https://h/x"),
            ("https://h/a%2Fb+c?q=a+b#part", "https://h/a%2Fb+c?q=a+b"),
        ],
    )
    def test_secrets_leave_and_all_else_stays_as_it_was_written(self, url: str, kept: str) -> None:
        assert without_secrets(url) == kept

    @pytest.mark.parametrize("url", ["http://", "ftp://h/x", "http://h/a b", "https:///x", "http://[::1/x"])
    def test_what_is_no_url_is_refused(self, url: str) -> None:
        with pytest.raises(InvalidInputError):
            list(HTTPSource().walk(url))

    @pytest.mark.parametrize(
        ("url", "path"), [("/", "127.0.0.1"), ("/d/", "d"), ("/a%2Fb", "a%2Fb"), ("/%2e%2e", "%2E%2E"), ("/x?y=1", "x")]
    )
    def test_the_path_is_the_last_part(self, site: web.WebServer, url: str, path: str) -> None:
        assert only(HTTPSource(), site.url + url, pin=False).path == check_path(path)

    @given(st.text(min_size=1))
    @settings(max_examples=300)
    def test_any_key_becomes_a_path_and_different_keys_different_ones(self, key: str) -> None:
        try:
            path = path_of(key)
            path.encode()
        except UnicodeEncodeError:
            return
        assert check_path(path) == path
        if not any(ord(c) < 32 or ord(c) == 127 for c in key):
            assert unpath(path) == key

    def test_no_secret_is_in_an_error(self, site: web.WebServer) -> None:
        uri = page(site, status=500, name="f?token=SECRET").replace("http://", "http://user:HIDDEN@")
        with warnings.catch_warnings(), pytest.raises(StorageError) as caught:
            warnings.simplefilter("ignore")
            only(HTTPSource(), uri)
        told = str(caught.value) + repr(caught.value.facts) + repr(caught.value.__cause__)
        assert "SECRET" not in told and "HIDDEN" not in told


def unpath(path: str) -> str:
    """The inverse of `path_of`, for keys without control characters."""

    def part(text: str) -> str:
        special = {"%": "", "%2E": ".", "%2E%2E": ".."}
        if text in special:
            return special[text]
        return "%" + text[3:] if text.startswith("%25") and path_of("%" + text[3:]) == text else text

    return "/".join(part(each) for each in path.split("/"))


class TestTrouble:
    @pytest.mark.slow
    def test_a_storm_of_503_is_waited_out_as_long_as_asked(self, site: web.WebServer) -> None:
        import time

        uri = page(site, etag='"a"', failures=2, retry_after="1")
        start = time.monotonic()
        only(HTTPSource(), uri)
        assert time.monotonic() - start >= 2
        assert len(site.requests) == 3

    def test_a_storm_without_end_is_given_up(self, site: web.WebServer) -> None:
        with pytest.raises(StorageError) as caught:
            only(HTTPSource(), page(site, failures=99))
        assert caught.value.retryable and len(site.requests) == 6

    def test_a_cut_body_is_continued(self, site: web.WebServer) -> None:
        data = os.urandom(3 << 20)
        found = only(HTTPSource(), page(site, data, etag='"a"', cut_after=(1 << 20) + 5, cuts=3))  # one for the walk
        site.requests.clear()
        assert read(HTTPSource(), found) == data
        assert [h.get("range") for _, _, h in site.requests] == [None, "bytes=1048581-", "bytes=2097162-"]

    def test_a_cut_body_is_continued_without_ranges_too(self, site: web.WebServer) -> None:
        data = os.urandom(3 << 20)
        found = only(HTTPSource(), page(site, data, modified=WHEN, ranges=False, cut_after=(2 << 20) + 5))
        assert read(HTTPSource(), found) == data

    def test_a_file_that_changes_under_a_reader_is_changed(self, site: web.WebServer) -> None:
        data = os.urandom(3 << 20)
        uri = page(site, data, etag='"a"', cut_after=(1 << 20) + 5)
        pieces = HTTPSource().read(uri, Pin())
        next(pieces)
        site.pages[uri.removeprefix(site.url)] = Page(data[::-1], etag='"b"')
        with pytest.raises(ReferenceChangedError):
            b"".join(pieces)

    def test_without_any_etag_a_cut_body_cannot_be_continued(self, site: web.WebServer) -> None:
        uri = page(site, os.urandom(3 << 20), cut_after=(1 << 20) + 5)
        with pytest.raises(StorageError, match="from its start"):
            b"".join(HTTPSource().read(uri, Pin()))

    def test_a_slow_body_arrives(self, site: web.WebServer) -> None:
        found = only(HTTPSource(), page(site, b"x" * 60_000, etag='"a"', delay=0.05))
        assert read(HTTPSource(), found) == b"x" * 60_000

    def test_nobody_listening_is_a_retryable_error(self) -> None:
        with pytest.raises(StorageError) as caught:
            only(HTTPSource(), "http://127.0.0.1:9/x")
        assert caught.value.retryable

    def test_a_source_pickles(self) -> None:
        assert isinstance(pickle.loads(pickle.dumps(HTTPSource())), HTTPSource)


class TestRights:
    def test_missing_denied_and_no_credentials_are_three_errors(self, site: web.WebServer, tmp_path: Path) -> None:
        locked = page(site, etag='"a"', user=("me", "secret"))
        with pytest.raises(ReferenceMissingError):
            only(HTTPSource(), site.url + "/nothing")
        with pytest.raises(AccessError) as denied:
            only(HTTPSource(), page(site, status=403))
        assert not isinstance(denied.value, CredentialsError)
        with pytest.raises(CredentialsError):
            only(HTTPSource(), locked)
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password wrong")
        with pytest.raises(AccessError) as refused:
            only(HTTPSource(), locked)
        assert not isinstance(refused.value, CredentialsError)
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret")
        assert read(HTTPSource(), only(HTTPSource(), locked)) == b"0123456789"

    def test_check_tells_them_apart_too(self, site: web.WebServer) -> None:
        asked = [
            page(site, user=("me", "secret")),
            page(site, status=403),
            site.url + "/nothing",
            page(site, etag='"a"'),
        ]
        answers = HTTPSource().check([(uri, Pin(etag='"a"')) for uri in asked])
        assert [a.outcome for a in answers] == ["no-credentials", "denied", "missing", "same"]


def test_retry_after_is_read_as_seconds_or_as_a_date() -> None:
    assert retry_after("7") == 7
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert retry_after("soon") is None and retry_after(None) is None
