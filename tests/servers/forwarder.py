"""One TCP address in front of servers that change, as a service name, a floating address or a proxy is."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from typing import Self


class Forwarder:
    """Relays bytes between its own port and whichever it leads to now; a context manager."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._open: set[socket.socket] = set()
        forwarder = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                forwarder._relay(self.request)

        class Listener(socketserver.ThreadingTCPServer):
            daemon_threads = True

        self._listener = Listener(("127.0.0.1", 0), Handler)
        self.port: int = self._listener.server_address[1]
        threading.Thread(target=self._listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown()
        self._listener.server_close()
        self._cut()

    def lead_to(self, target: int, *, cut: bool) -> None:
        """Lead new connections elsewhere; `cut` ends those that are open."""
        self._target = target
        if cut:
            self._cut()

    def _cut(self) -> None:
        for one in list(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _relay(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._target), 10) as server:
            server.settimeout(None)
            pair = {client, server}
            self._open |= pair
            back = threading.Thread(target=_pump, args=(server, client), daemon=True)
            back.start()
            _pump(client, server)
            back.join()
            self._open -= pair


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Pass bytes on until either side ends, then end the other."""
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    for one in (source, sink):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
