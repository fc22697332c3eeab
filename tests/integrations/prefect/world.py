"""A Prefect server, a process worker and a task worker, in processes of their own; all real tests share them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

import headwater as hw

ROOT = Path(__file__).parents[3]
PREFECT = [sys.executable, "-m", "prefect"]
SCRIPT = [sys.executable, "-m", "tests.integrations.prefect.deployed"]


def wait_for(what: Callable[[], Any], seconds: float = 180, hint: Callable[[], Any] = lambda: "") -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = what()
        if found:
            return found
        time.sleep(0.25)
    raise AssertionError(f"did not happen in {seconds} s: {hint()}")


class World:
    """The processes, their environment, and questions about them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = str(folder / "repository")
        self.port = free_port()
        self.api = f"http://127.0.0.1:{self.port}/api"
        self._started: list[subprocess.Popen[bytes]] = []
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HEADWATER_", "PREFECT_"))}
        self.environment = kept | {
            "HOME": str(folder),
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_API_URL": self.api,
            "PREFECT_UI_API_URL": self.api,
            "PREFECT_UI_URL": f"http://127.0.0.1:{self.port}",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "HEADWATER_URL": self.url,
            "HEADWATER_PROJECT": "vision",
            "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "core", ROOT / "integrations"))),
            "NO_PROXY": "*",
        }

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{name}.log").open("wb")
        process = subprocess.Popen(command, env=self.environment, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        self._started.append(process)
        return process

    def start_worker(self, pool: str) -> subprocess.Popen[bytes]:
        return self.start(f"worker-{pool}", *PREFECT, "worker", "start", "--pool", pool, "--type", "process")

    def run(self, *command: str) -> str:
        done = subprocess.run(command, env=self.environment, cwd=ROOT, capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
        return done.stdout

    def ask(self, path: str, **body: Any) -> Any:
        answer = httpx.post(f"{self.api}{path}", json=body, timeout=30)
        if answer.status_code == 503:  # its database was busy, and nothing was done
            time.sleep(1)
            return self.ask(path, **body)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def healthy(self) -> bool:
        try:
            return httpx.get(f"{self.api}/health", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def flow_runs(self, deployment: str) -> list[dict[str, Any]]:
        flow, _, name = deployment.partition("/")
        chosen = {"flows": {"name": {"any_": [flow]}}, "deployments": {"name": {"any_": [name]}}}
        return self.ask("/flow_runs/filter", **chosen)

    def launch(self, deployment: str, **parameters: Any) -> str:
        found = httpx.get(f"{self.api}/deployments/name/{deployment}", timeout=10).json()
        state = {"type": "SCHEDULED"}
        made = self.ask(f"/deployments/{found['id']}/create_flow_run", parameters=parameters, state=state)
        return made["id"]

    def state_of(self, flow_run: str) -> str:
        return httpx.get(f"{self.api}/flow_runs/{flow_run}", timeout=10).json()["state"]["type"]

    def logs(self) -> str:
        return "\n".join(p.read_text(errors="replace")[-2500:] for p in self.folder.glob("*.log"))

    def stop(self) -> None:
        for process in reversed(self._started):
            process.send_signal(signal.SIGINT)
        for process in reversed(self._started):
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def started(folder: Path) -> Iterator[World]:
    made = World(folder)
    try:
        made.start("server", *PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(made.port))
        wait_for(made.healthy, hint=made.logs)
        for pool in ("pool", "doomed"):
            made.ask("/work_pools/", name=pool, type="process")
        made.start_worker("pool")
        made.start("tasks", *SCRIPT, "serve")
        made.run(*SCRIPT, "deploy")
        yield made
    finally:
        made.stop()


def states(repo: hw.Repository, flow_run: str) -> dict[str, str]:
    return {run.name: run.state for run in repo.runs(group=flow_run)}
