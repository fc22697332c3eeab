"""A real server, a process worker, a task worker and a browser: what only happens between processes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import headwater as hw

ROOT = Path(__file__).parents[3]
SCRIPT = [sys.executable, "-m", "tests.integrations.prefect.deployed"]
HEADWATER = [sys.executable, "-c", "from headwater.cli import main; main()"]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [pytest.mark.slow, pytest.mark.linux, pytest.mark.timeout(300)]


def wait_for(what: Callable[[], Any], seconds: float = 90, hint: Callable[[], Any] = lambda: "") -> Any:
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

    def run(self, *command: str) -> str:
        done = subprocess.run(command, env=self.environment, cwd=ROOT, capture_output=True, text=True, timeout=90)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
        return done.stdout

    def ask(self, path: str, **body: Any) -> Any:
        answer = httpx.post(f"{self.api}{path}", json=body, timeout=10)
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


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("world"))
    prefect = [sys.executable, "-m", "prefect"]
    try:
        made.start("server", *prefect, "server", "start", "--host", "127.0.0.1", "--port", str(made.port))
        wait_for(made.healthy, 90, made.logs)
        made.ask("/work_pools/", name="pool", type="process")
        made.start("worker", *prefect, "worker", "start", "--pool", "pool", "--type", "process")
        made.start("tasks", *SCRIPT, "serve")
        made.run(*SCRIPT, "deploy")
        yield made
    finally:
        made.stop()


@pytest.fixture
def repo(world: World) -> Iterator[hw.Repository]:
    with hw.connect(world.url, project="vision") as repository:
        yield repository


def states(repo: hw.Repository, flow_run: str) -> dict[str, str]:
    return {run.name: run.state for run in repo.runs(group=flow_run)}


def test_a_new_version_starts_exactly_one_flow_run_with_it(world: World, repo: hw.Repository) -> None:
    world.start("forwarder", *HEADWATER, "forward", "prefect", "--interval", "0.3")
    with repo.start_run("by-hand") as run:
        first = run.log_artifact(4, "features")
    done = wait_for(
        lambda: [r for r in world.flow_runs("train/real") if r["state_type"] == "COMPLETED"], hint=world.logs
    )
    assert done[0]["parameters"] == {"data": f"headwater://{first}"}
    flow_run = repo.run(f"prefect:flow-run/{done[0]['id']}")
    assert [v.id for v in flow_run.used_artifacts()] == [first.id]
    assert repo.version("model").load() == 40
    assert {v.id for v in repo.version("model").logged_by().used_artifacts()} == {first.id}

    told = world.run(*HEADWATER, "forward", "prefect", "--once", "--consumer", "somebody-else", "--json")
    assert '"forwarded": 0' not in told
    repo.set_alias("features:prod", to="v0")
    wait_for(lambda: world.flow_runs("train/promoted"), hint=world.logs)
    time.sleep(3)
    assert len(world.flow_runs("train/promoted")) == 1
    assert len(world.flow_runs("train/real")) == 1


@pytest.mark.parametrize("flow", ["sleepy", "sleepy-elsewhere"])
def test_a_cancelled_flow_run_publishes_nothing_more(flow: str, world: World, repo, tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    flow_run = world.launch(f"{flow}/real", marker=str(marker))
    wait_for(marker.exists, hint=world.logs)
    assert states(repo, flow_run) == {flow: "running", "sleeps": "running"}
    world.ask(f"/flow_runs/{flow_run}/set_state", state={"type": "CANCELLING"})
    wait_for(lambda: world.state_of(flow_run) == "CANCELLED", hint=world.logs)
    wait_for(lambda: set(states(repo, flow_run).values()) == {"cancelled"}, 30, lambda: states(repo, flow_run))
    logged = {e.version.artifact: e.version.state for r in repo.runs(group=flow_run) for e in r.logs()}
    assert logged == {"checkpoint": "published"}  # what was held back is given up
    assert not repo.exists("never")


def test_a_killed_flow_run_is_lost_and_publishes_nothing_more(world: World, repo, tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    flow_run = world.launch("sleepy/real", marker=str(marker))
    wait_for(lambda: marker.exists() and marker.read_text(), hint=world.logs)
    os.kill(int(marker.read_text()), signal.SIGKILL)
    wait_for(lambda: world.state_of(flow_run) == "CRASHED", hint=world.logs)
    ended = {"sleepy": "failed", "sleeps": "lost"}
    wait_for(lambda: states(repo, flow_run) == ended, 30, lambda: states(repo, flow_run))
    logged = {e.version.artifact: e.version.state for r in repo.runs(group=flow_run) for e in r.logs()}
    assert logged == {"checkpoint": "published"}  # what was held back is given up


def test_delayed_steps_are_recorded_by_the_task_worker(world: World, repo) -> None:
    assert world.run(*SCRIPT, "delay").strip().splitlines()[-1] == "part2(raw1)"
    made = repo.version("part").logged_by()
    assert (made.name, made.state, made.group) == ("part", "finished", None)
    assert [str(v) for v in made.used_artifacts()] == ["vision/raw:v0"]
    assert made.record.pid != os.getpid()


@pytest.mark.skipif(CHROMIUM is None, reason="no browser; make installs none, the distribution's package does")
def test_the_page_of_a_flow_run_shows_the_artifact_on_its_task(world: World, repo) -> None:
    with repo.start_run("by-hand") as run:
        run.log_artifact(5, "features")
    world.run(*SCRIPT, "train")
    run = repo.version("model").logged_by()
    shown = world.ask("/artifacts/filter", artifacts={"task_run_id": {"any_": [run.key.rpartition("/")[2]]}})
    assert {a["type"] for a in shown} == {"markdown", "table"}
    picture = ROOT / ".cache" / "prefect-flow-run.png"
    picture.parent.mkdir(exist_ok=True)
    picture.unlink(missing_ok=True)
    page = f"http://127.0.0.1:{world.port}/runs/flow-run/{run.group}"
    subprocess.run(
        [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={world.folder / 'browser'}",
         "--window-size=1400,1000", "--virtual-time-budget=20000", f"--screenshot={picture}", page],
        timeout=90, capture_output=True, env=world.environment,
    )  # fmt: skip
    assert picture.stat().st_size > 20_000
