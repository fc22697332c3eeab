"""Azurite: Azure Blob Storage on this machine; an npm package, kept in a cache directory of the project."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from tests.servers.processes import Server, free_ports

PACKAGE = "azurite@3.35.0"
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The account key that Azurite's documentation publishes for everybody."""
TRUSTED = "/etc/ssl/certs/ca-certificates.crt"
"""Debian's list of authorities, with what a company added."""
CACHE = Path(__file__).parents[2] / ".cache" / "azurite"


class AzureServer(NamedTuple):
    """A running blob service."""

    endpoint: str
    """With the account: `http://127.0.0.1:<port>/devstoreaccount1`."""
    port: int

    @property
    def connection_string(self) -> str:
        return self.connection_at(self.endpoint)

    def connection_at(self, endpoint: str) -> str:
        """The connection string with another way to the same server, e.g. through a proxy."""
        return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={endpoint};"

    def client(self) -> Any:
        """A plain client, for arranging and looking behind our backs."""
        from azure.storage.blob import BlobServiceClient

        return BlobServiceClient.from_connection_string(self.connection_string)

    def container(self, name: str, *, public: bool = False) -> str:
        """Create a container and return its name."""
        self.client().create_container(name, public_access="container" if public else None)
        return name


@functools.cache
def running() -> AzureServer:
    """The service of this test process, started at the first call (2 s, and 20 s once to install it)."""
    server = Server("azurite")
    (port,) = free_ports(1)
    found = AzureServer(f"http://127.0.0.1:{port}/{ACCOUNT}", port)
    command = [
        _tool("node"), str(_installed()), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--silent",
        "--disableTelemetry", "--skipApiVersionCheck", "--location", str(server.folder),
    ]  # fmt: skip
    server.start(command, lambda: found.client().get_service_properties() is not None, seconds=60)
    return found


def _installed() -> Path:
    main = CACHE / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE / "install.lock"):
        if not main.exists():
            command = [_tool("npm"), "install", "--prefix", str(CACHE), "--no-audit", "--no-fund", PACKAGE]
            # npm is a script that looks for node on the PATH; Node.js does not ask the machine whom to trust
            path = f"{Path(_tool('node')).parent}{os.pathsep}{os.environ.get('PATH', '')}"
            trusted = {"NODE_EXTRA_CA_CERTS": TRUSTED} if Path(TRUSTED).exists() else {}
            subprocess.run(command, check=True, timeout=300, cwd=CACHE, env={**trusted, **os.environ, "PATH": path})
    return main


def _tool(name: str) -> str:
    """Node.js of the machine, else the one that a package brought into this environment."""
    beside = Path(sys.executable).with_name(name)
    found = shutil.which(name) or (str(beside) if beside.exists() else None)
    if found is None:
        raise RuntimeError(f"the Azure tests need Node.js to run Azurite: {name} was not found")
    return found
