"""A real server, a process worker, a task worker and a browser: what only happens between processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import headwater as hw
from tests.integrations.prefect.world import ROOT, SCRIPT, World, states, wait_for
from tests.servers.chromium import chromium

HEADWATER = [sys.executable, "-c", "from headwater.cli import main; main()"]

pytestmark = [pytest.mark.slow, pytest.mark.linux, pytest.mark.timeout(600)]


@pytest.fixture
def repo(world: World) -> Iterator[hw.Repository]:
    with hw.connect(world.url, project="vision") as repository:
        yield repository


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

    def told_again() -> int:  # as by a forwarder that was killed before it noted what it had told
        command = [*HEADWATER, "forward", "prefect", "--once", "--consumer", str(uuid.uuid4()), "--json"]
        return json.loads(world.run(*command))["forwarded"]

    wait_for(lambda: told_again() == 0, hint=world.logs)  # Prefect may take seconds to write what it was told
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


def test_the_page_of_a_flow_run_shows_the_artifact_on_its_task(world: World, repo) -> None:
    browser = chromium()
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
        [browser, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={world.folder / 'browser'}",
         "--window-size=1400,1000", "--virtual-time-budget=20000", f"--screenshot={picture}", page],
        timeout=90, capture_output=True, env=world.environment,
    )  # fmt: skip
    assert picture.stat().st_size > 20_000
