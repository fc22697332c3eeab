"""SIGTERM and SIGKILL, to flows and to workers: what is recorded is true, and nothing is there twice."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

import headwater as hw
from tests.integrations.prefect.world import World, states, wait_for

RUN_LEASE = 180
SECOND = 1_000_000

pytestmark = [pytest.mark.slow, pytest.mark.linux, pytest.mark.timeout(600)]


@pytest.fixture
def repo(world: World) -> Iterator[hw.Repository]:
    with hw.connect(world.url, project="vision") as repository:
        yield repository


class Patient:
    """A flow run whose step says where it runs, and waits until it may go on."""

    def __init__(self, world: World, folder: Path, deployment: str, name: str) -> None:
        self.world, self.name = world, name
        self.marker, self.go = folder / f"{name}-marker", folder / f"{name}-go"
        self.id = world.launch(deployment, name=name, marker=str(self.marker), go=str(self.go))

    def wait(self) -> tuple[int, str]:
        """The process it runs in, and the id of its draft."""
        wait_for(lambda: self.marker.exists() and " " in self.marker.read_text(), hint=self.world.logs)
        pid, draft = self.marker.read_text().split()
        return int(pid), draft

    def state(self) -> str:
        return self.world.state_of(self.id)


def versions(repo: hw.Repository, name: str) -> list[str]:
    return [version.version for version in repo.artifact(name).versions()] if repo.exists(name) else []


def told(repo: hw.Repository, group: str) -> list[tuple[str, str, str | None]]:
    return [(run.name, run.state, run.record.error) for run in repo.runs(group=group)]


def draft_state(repo: hw.Repository, version: str) -> str:
    return repo.version_by_id(version).state


def pass_time(repo: hw.Repository, world: World, group: str) -> None:
    """The lease of the group's runs lapses."""
    (file,) = Path(world.url).rglob("catalog.sqlite")
    with sqlite3.connect(file, timeout=30) as database:
        database.execute("UPDATE runs SET lease_until = lease_until - ? WHERE grp = ?", (RUN_LEASE * SECOND, group))


def test_sigterm_ends_what_it_reaches_and_lets_the_rest_finish(world: World, repo, tmp_path: Path) -> None:
    direct = Patient(world, tmp_path, "patient/pool", "direct")
    submitted = Patient(world, tmp_path, "patient-elsewhere/pool", "submitted")
    (its_process, its_draft), (other_process, _) = direct.wait(), submitted.wait()
    os.kill(its_process, signal.SIGTERM)
    os.kill(other_process, signal.SIGTERM)
    wait_for(lambda: direct.state() == "CRASHED", hint=world.logs)
    wait_for(
        lambda: states(repo, direct.id) == {"patient": "failed", "waits": "cancelled"},
        30,
        lambda: states(repo, direct.id),
    )
    assert draft_state(repo, its_draft) == "discarded"
    assert versions(repo, "direct-checkpoint") == ["v0"]
    assert versions(repo, "direct-result") == []

    submitted.go.touch()  # a submitted task does not hear of it, and Prefect lets it run to its end
    wait_for(lambda: submitted.state() == "CRASHED", hint=world.logs)
    ended = {"patient-elsewhere": "failed", "waits": "finished"}
    wait_for(lambda: states(repo, submitted.id) == ended, 30, lambda: told(repo, submitted.id))
    assert versions(repo, "submitted-result") == ["v0"]


def test_a_killed_worker_and_what_it_ran(world: World, repo, tmp_path: Path) -> None:
    worker = world.start_worker("doomed")
    orphan = Patient(world, tmp_path, "patient/doomed", "orphan")
    killed = Patient(world, tmp_path, "patient/doomed", "killed")
    orphan.wait()
    process, draft = killed.wait()
    worker.kill()
    os.kill(process, signal.SIGKILL)

    orphan.go.touch()  # its process outlives the worker, until Prefect's logger writes into the closed pipe
    wait_for(lambda: orphan.state() in ("COMPLETED", "CRASHED"), hint=world.logs)
    ended = {"patient": "finished" if orphan.state() == "COMPLETED" else "failed", "waits": "finished"}
    wait_for(lambda: states(repo, orphan.id) == ended, 30, lambda: told(repo, orphan.id))
    assert versions(repo, "orphan-result") == ["v0"]

    assert killed.state() == "RUNNING"  # nobody tells Prefect, ever
    assert set(states(repo, killed.id).values()) == {"running"}
    pass_time(repo, world, killed.id)
    assert set(states(repo, killed.id).values()) == {"lost"}  # for whoever looks
    assert draft_state(repo, draft) == "draft"

    killed.go.touch()
    world.start_worker("doomed")
    world.ask(f"/flow_runs/{killed.id}/set_state", state={"type": "SCHEDULED"}, force=True)
    wait_for(lambda: killed.state() == "COMPLETED", hint=world.logs)
    assert draft_state(repo, draft) == "discarded"
    attempts = sorted((run.name, run.attempt, run.state) for run in repo.runs(group=killed.id))
    assert attempts == [
        ("patient", 1, "failed"), ("patient", 2, "finished"), ("waits", 1, "finished"), ("waits", 1, "lost"),
    ]  # fmt: skip
    assert versions(repo, "killed-checkpoint") == versions(repo, "killed-result") == ["v0"]
