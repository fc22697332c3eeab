"""Start a server process, wait until it answers, and be sure that it ends with us."""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on now; below 20,000 so that port + 10,000 is valid too."""
    found: list[int] = []
    probe = 11_000 + (time.time_ns() // 1_000 + 37 * os.getpid()) % 8_000
    while len(found) < count:
        probe = probe + 1 if probe < 19_900 else 11_000
        if _is_free(probe):
            found.append(probe)
    return found


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as candidate:
        try:
            candidate.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


_WATCH = """
import os, select, shutil, signal, subprocess, sys
folder, command = sys.argv[1], sys.argv[2:]
server = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0)
while server.poll() is None and not select.select([0], [], [], 0.5)[0]:
    pass
try:
    os.killpg(server.pid, signal.SIGKILL)  # also the workers that it started
except ProcessLookupError:
    pass
server.wait()
shutil.rmtree(folder, ignore_errors=True)
"""
"""Runs beside the server and ends it when its standard input closes: however the test process ends, kill -9 too."""


class Server:
    """One child process with a scratch directory, both gone when the test process ends."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.folder = Path(tempfile.mkdtemp(prefix=f"headwater-{name}-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._log = self.folder / "server.log"
        atexit.register(self.stop)

    def start(
        self,
        command: Sequence[str],
        ready: Callable[[], bool],
        *,
        seconds: float = 60,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Run `command` and return when `ready()` is true; an exception from it counts as false."""
        watched = [sys.executable, "-c", _WATCH, str(self.folder), *command]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                watched, stdout=log, stderr=log, stdin=subprocess.PIPE, cwd=self.folder, start_new_session=True, env=env
            )
        deadline = time.monotonic() + seconds
        while not _quietly(ready):
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = self._log.read_text(errors="replace")[-2000:] if self._log.exists() else ""
                self.stop()
                raise RuntimeError(f"{self.name} did not start in {seconds} s:\n{tail}")
            time.sleep(0.1)

    def stop(self) -> None:
        """End the process and remove the directory; idempotent."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait(timeout=10)
        self._process = None
        shutil.rmtree(self.folder, ignore_errors=True)


def _quietly(ready: Callable[[], bool]) -> bool:
    try:
        return ready()
    except Exception:
        return False
