"""A small real HTTP server that behaves as badly as the web does."""

from __future__ import annotations

import base64
import contextlib
import functools
import threading
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Page:
    """One resource and its manners."""

    body: bytes = b""
    etag: str | None = None
    """As sent, quotes and `W/` included."""
    modified: float | None = None
    """Seconds since the epoch."""
    length: bool = True
    """Whether Content-Length is sent; without it the connection's end marks the body's end."""
    ranges: bool = True
    redirect: str | None = None
    user: tuple[str, str] | None = None
    """Name and password asked for by basic authentication."""
    status: int = 200
    failures: int = 0
    """How many requests are first answered 503."""
    retry_after: str | None = None
    cut_after: int | None = None
    """Bytes of the body after which the connection breaks."""
    cuts: int = 1
    """How many times it breaks."""
    delay: float = 0.0
    """Seconds between pieces of 16 KiB."""
    honours_if_match: bool = True
    headers: dict[str, str] = field(default_factory=dict)


class WebServer:
    """Serves `pages` by path (query included, as sent); remembers every request."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        server = self

        class Handler(_Handler):
            web = server

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def put(self, path: str, page: Page) -> str:
        """Serve `page` at `path`; return its URL."""
        self.pages[path] = page
        return self.url + path


class _Handler(BaseHTTPRequestHandler):
    web: WebServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test output quiet."""

    def handle(self) -> None:
        # clients leave bodies unread on purpose
        with contextlib.suppress(ConnectionError):
            super().handle()

    def finish(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().finish()

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.web.requests.append((self.command, self.path, headers))
        page = self.web.pages.get(self.path)
        if page is None:
            self._refuse(404)
        elif page.failures > 0:
            page.failures -= 1
            self._refuse(503, {"Retry-After": page.retry_after} if page.retry_after else {})
        elif page.redirect is not None:
            self._refuse(302, {"Location": page.redirect})
        elif page.user is not None and headers.get("authorization") != _basic(page.user):
            self._refuse(401, {"WWW-Authenticate": 'Basic realm="test"'})
        elif page.status != 200:
            self._refuse(page.status)
        elif page.honours_if_match and headers.get("if-match", page.etag) != page.etag:
            self._refuse(412)
        else:
            self._serve(page, headers)

    def _refuse(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _serve(self, page: Page, headers: dict[str, str]) -> None:
        start, end = 0, len(page.body)
        wanted = headers.get("range")
        fresh = headers.get("if-range") in (None, page.etag, _date(page))
        partial = page.ranges and wanted is not None and fresh
        if partial and wanted is not None:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end = int(first), min(end, int(last) + 1) if last else end
            if start >= len(page.body):
                return self._refuse(416, {"Content-Range": f"bytes */{len(page.body)}"})
        self.send_response(206 if partial else 200)
        if partial:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(page.body)}")
        self._describe(page, end - start)
        if self.command == "GET":
            self._send(page, page.body[start:end])
        return None

    def _describe(self, page: Page, length: int) -> None:
        for name, value in (("ETag", page.etag), ("Last-Modified", _date(page)), *page.headers.items()):
            if value is not None:
                self.send_header(name, value)
        if page.length:
            self.send_header("Content-Length", str(length))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()

    def _send(self, page: Page, body: bytes) -> None:
        if page.cut_after is not None and page.cuts > 0 and len(body) > page.cut_after:
            page.cuts -= 1
            body = body[: page.cut_after]
            self.close_connection = True
        for at in range(0, len(body), 16384):
            self.wfile.write(body[at : at + 16384])
            time.sleep(page.delay)
        self.wfile.flush()


def _basic(user: tuple[str, str]) -> str:
    return "Basic " + base64.b64encode(":".join(user).encode()).decode()


def _date(page: Page) -> str | None:
    return None if page.modified is None else formatdate(page.modified, usegmt=True)


@functools.cache
def running() -> WebServer:
    """The web server of this test process."""
    return WebServer()
