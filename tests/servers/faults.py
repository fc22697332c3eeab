"""A proxy between a client and a real server that counts requests and breaks things on command.

It relays HTTP/1.1 one request at a time, so it knows where bodies start: it can
cut a response in its middle, lose one after the server has acted, or answer in
the server's stead.
"""

from __future__ import annotations

import contextlib
import re
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

_LINE = re.compile(rb"^([A-Z]+) (\S+) HTTP/1\.[01]\r\n")


@dataclass
class Fault:
    """What to do to the next `times` requests whose line contains `match`."""

    kind: str
    """`cut`: pass `after` bytes of the body, then close. `lose`: drop the whole response. `answer`: say `raw`.
    `drop`: close before the server sees the request. `delay`: wait `seconds` first."""
    times: int = 1
    match: str = ""
    after: int = 0
    raw: bytes = b""
    seconds: float = 0.0


@dataclass
class Request:
    """One request as it went over the wire."""

    method: str
    target: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def line(self) -> str:
        return f"{self.method} {self.target}"


class FaultProxy:
    """Listens on a port of its own and relays to `port`; a context manager."""

    def __init__(self, port: int) -> None:
        self.requests: list[Request] = []
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        proxy = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError, EOFError), socket.create_connection(("127.0.0.1", port), 30) as up:
                    _Relay(proxy, self.request, up).run()

        class Listener(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._listener = Listener(("127.0.0.1", 0), Handler)
        self.port: int = self._listener.server_address[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown()
        self._listener.server_close()

    @property
    def lines(self) -> list[str]:
        """The request lines so far: `GET /bucket?list-type=2`."""
        return [request.line for request in self.requests]

    def cut(self, after: int, times: int = 1, match: str = "GET") -> None:
        """Close the connection after `after` bytes of the next bodies."""
        self._faults.append(Fault("cut", times, match, after=after))

    def lose(self, times: int = 1, match: str = "PUT") -> None:
        """Let the server act, then reset the connection instead of answering."""
        self._faults.append(Fault("lose", times, match))

    def drop(self, times: int = 1, match: str = "") -> None:
        """Close the connection before the server sees the next requests."""
        self._faults.append(Fault("drop", times, match))

    def delay(self, seconds: float, times: int = 1, match: str = "") -> None:
        """Hold the next requests back."""
        self._faults.append(Fault("delay", times, match, seconds=seconds))

    def answer(self, status: str, times: int = 1, match: str = "", headers: str = "", body: bytes = b"") -> None:
        """Answer the next requests ourselves, e.g. `503 Slow Down`; the server never sees them."""
        head = f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
        self._faults.append(Fault("answer", times, match, raw=head.encode() + body))

    def take(self, request: Request) -> Fault | None:
        """Record the request and find what shall happen to it."""
        with self._lock:
            self.requests.append(request)
            for fault in self._faults:
                if fault.times > 0 and fault.match in request.line:
                    fault.times -= 1
                    return fault
        return None


class _Relay:
    """One client connection and the upstream connection that serves it."""

    def __init__(self, proxy: FaultProxy, down: socket.socket, up: socket.socket) -> None:
        self._proxy, self._down = proxy, down
        self._down_file, self._up_file = down.makefile("rb"), up.makefile("rb")
        self._up = up

    def run(self) -> None:
        while self._one():
            pass

    def _one(self) -> bool:
        head = _read_head(self._down_file)
        matched = _LINE.match(head)
        if matched is None:
            return False
        headers = _headers(head)
        request = Request(matched[1].decode(), matched[2].decode(), headers)
        if headers.get("expect", "").lower() == "100-continue":
            self._down.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            head = re.sub(rb"(?i)\r\nexpect:[^\r]*", b"", head)
        body = b"".join(_body(self._down_file, headers, is_request=True))
        fault = self._proxy.take(request)
        if fault is not None and fault.kind == "answer":
            self._down.sendall(fault.raw)
            return True
        if fault is not None and fault.kind == "drop":
            return self._reset()
        if fault is not None and fault.kind == "delay":
            time.sleep(fault.seconds)
            fault = None
        self._up.sendall(head + body)
        return self._respond(request, fault)

    def _respond(self, request: Request, fault: Fault | None) -> bool:
        head = _read_head(self._up_file)
        if head.startswith(b"HTTP/1.1 100"):
            head = _read_head(self._up_file)
        if not head:
            return False
        headers = _headers(head)
        empty = request.method == "HEAD" or head[9:12] in (b"204", b"304")
        pieces = iter(()) if empty else _body(self._up_file, headers, is_request=False)
        if fault is not None and fault.kind == "lose":
            for _ in pieces:
                pass
            return self._reset()
        self._down.sendall(head)
        return self._pass_on(pieces, fault.after if fault is not None else None)

    def _pass_on(self, pieces: Iterator[bytes], limit: int | None) -> bool:
        sent = 0
        for piece in pieces:
            if limit is not None and sent + len(piece) >= limit:
                self._down.sendall(piece[: limit - sent])
                return self._close()
            self._down.sendall(piece)
            sent += len(piece)
        return True

    def _close(self) -> bool:
        # not a reset: that would take back bytes the client has not read yet, a different number each time
        self._down.shutdown(socket.SHUT_RDWR)
        return False

    def _reset(self) -> bool:
        self._down.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._down_file.close()
        self._down.close()
        return False


def _read_head(file: object) -> bytes:
    lines: list[bytes] = []
    while line := file.readline(65536):  # type: ignore[attr-defined]
        lines.append(line)
        if line == b"\r\n":
            break
    return b"".join(lines)


def _headers(head: bytes) -> dict[str, str]:
    pairs = (line.partition(b":") for line in head.split(b"\r\n")[1:] if b":" in line)
    return {name.decode("latin-1").lower(): value.decode("latin-1").strip() for name, _, value in pairs}


def _body(file: object, headers: dict[str, str], *, is_request: bool) -> Iterator[bytes]:
    read = file.read  # type: ignore[attr-defined]
    if headers.get("transfer-encoding", "").lower() == "chunked":
        yield from _chunked(file)
    elif "content-length" in headers:
        left = int(headers["content-length"])
        while left and (piece := read(min(left, 65536))):
            left -= len(piece)
            yield piece
    elif not is_request:
        while piece := read(65536):
            yield piece


def _chunked(file: object) -> Iterator[bytes]:
    while line := file.readline():  # type: ignore[attr-defined]
        size = int(line.split(b";")[0], 16)
        yield line
        if size == 0:
            while (trailer := file.readline()) not in (b"\r\n", b""):  # type: ignore[attr-defined]
                yield trailer
            yield b"\r\n"
            return
        yield file.read(size + 2)  # type: ignore[attr-defined]
