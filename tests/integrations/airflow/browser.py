"""A headless browser, driven over its debugging protocol: Airflow's pages draw themselves long after they load."""

from __future__ import annotations

import base64
import itertools
import json
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import connect

from tests.servers.chromium import chromium
from tests.servers.processes import Server, free_ports


class Browser:
    """One page; `stop` ends the process."""

    def __init__(self) -> None:
        program = chromium()
        (port,) = free_ports(1)
        self._server, self._numbers, self._place = Server("browser"), itertools.count(), f"http://127.0.0.1:{port}/json"
        folder = self._server.folder
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--proxy-server=direct://", "--window-size=1400,1000"]
        self._server.start(
            [
                program,
                *flags,
                f"--user-data-dir={folder}/profile",
                f"--remote-debugging-port={port}",
                "about:blank",
            ],
            lambda: bool(self._pages()),
        )
        self._socket = connect(self._pages()[0]["webSocketDebuggerUrl"], max_size=2**26, proxy=None)

    def _pages(self) -> list[dict[str, Any]]:
        found = httpx.get(self._place, trust_env=False, timeout=5).json()
        return [page for page in found if page["type"] == "page"]

    def _do(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (answer := json.loads(self._socket.recv(30))).get("id") != number:
            pass
        return answer["result"]

    def go(self, url: str) -> None:
        self._do("Page.navigate", url=url)

    def text(self) -> str:
        found = self._do("Runtime.evaluate", expression="document.body ? document.body.innerText : ''")
        return str(found["result"].get("value", ""))

    def picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._do("Page.captureScreenshot")["data"]))

    def stop(self) -> None:
        self._socket.close()
        self._server.stop()
