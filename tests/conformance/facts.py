"""What must be true after each pipeline, whoever ran it. Subclass `PipelineFacts` and give it an orchestrator."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextvars import copy_context
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest

import headwater as hw
from headwater import Repository
from tests.conformance import pipelines
from tests.conformance.pipelines import Pipeline, with_given


class Orchestrator(Protocol):
    """Runs pipelines; every task execution is a Headwater run called like the task, in the launch's group."""

    def launch(self, pipeline: Pipeline, group: str) -> dict[str, str]:
        """Run it to its end; task → `finished`, `failed` (all retries used up) or `skipped` (needs one that failed)."""

    def resume(self, pipeline: Pipeline, group: str) -> dict[str, str]:
        """Run again those tasks of a launch that did not finish, as further attempts; the others keep their results."""

    def launch_mortal(self, pipeline: Pipeline, group: str) -> None:
        """Launch where a task may be killed by SIGKILL, and come back when the dust has settled."""


class Ran(NamedTuple):
    """One execution, ids apart."""

    attempt: int
    state: str
    uses: frozenset[str]
    logs: frozenset[str]


def ran(attempt: int = 1, state: str = "finished", uses: Iterable[str] = (), logs: Iterable[str] = ()) -> Ran:
    return Ran(attempt, state, frozenset(uses), frozenset(logs))


Graph = dict[str, list[Ran]]
"""Task → its executions, sorted."""


def graph_of(repo: Repository, pipeline: Pipeline, group: str) -> Graph:
    """What a launch left behind: `artifact=content` for versions, with ` again` where the log edge is `reproduced`."""
    found: Graph = {}
    for run in repo.runs(group=group):
        if run.name in {task.name for task in pipeline}:
            uses = frozenset(label(edge.version, repo) for edge in run.uses())
            logs = frozenset(label(e.version, repo) + (" again" if e.kind == "reproduced" else "") for e in run.logs())
            found.setdefault(run.name, []).append(Ran(run.attempt, run.state, uses, logs))
    return {name: sorted(rows, key=repr) for name, rows in found.items()}


def label(record: Any, repo: Repository) -> str:
    return f"{record.artifact}={repo.version_by_id(record.id).load()}"


def upstream_of(repo: Repository, name: str) -> set[str]:
    closure = repo.version(name).upstream()
    return {label(repo.version_by_id(version_id).record, repo) for version_id in closure.versions}


def numbers(repo: Repository) -> dict[str, list[int]]:
    return {info.name.split("/")[-1]: sorted(v.number for v in info.versions()) for info in repo.artifacts()}


class PipelineFacts:
    """Subclasses provide the fixtures `orchestrator` and `repo` (the repository its tasks find by themselves)."""

    def test_a_diamond(self, orchestrator: Orchestrator, repo: Repository) -> None:
        states = orchestrator.launch(pipelines.DIAMOND, "launch-1")
        assert set(states.values()) == {"finished"}
        joined = "joined=join(left(raw1),right(raw1))"
        assert graph_of(repo, pipelines.DIAMOND, "launch-1") == {
            "load": [ran(logs=["raw=raw1"])],
            "left": [ran(uses=["raw=raw1"], logs=["left=left(raw1)"])],
            "right": [ran(uses=["raw=raw1"], logs=["right=right(raw1)"])],
            "join": [ran(uses=["left=left(raw1)", "right=right(raw1)"], logs=[joined])],
        }
        assert upstream_of(repo, "joined:candidate") == {"raw=raw1", "left=left(raw1)", "right=right(raw1)", joined}
        assert repo.version("left").type == "table"

    def test_fan_out_and_fan_in(self, orchestrator: Orchestrator, repo: Repository) -> None:
        orchestrator.launch(pipelines.FAN, "launch-1")
        parts = [f"part=part{i}(raw1)" for i in (1, 2, 3)]
        merged = "merged=part1(raw1)+part2(raw1)+part3(raw1)"
        assert graph_of(repo, pipelines.FAN, "launch-1") == {
            "load": [ran(logs=["raw=raw1"])],
            "part": [ran(uses=["raw=raw1"], logs=[made]) for made in parts],
            "merge": [ran(uses=parts, logs=[merged])],
        }
        assert numbers(repo) == {"raw": [0], "part": [0, 1, 2], "merged": [0]}

    def test_several_results(self, orchestrator: Orchestrator, repo: Repository) -> None:
        orchestrator.launch(pipelines.SPLIT, "launch-1")
        made = ran(uses=["raw=raw1"], logs=["train=train(raw1)", "test=test(raw1)"])
        assert graph_of(repo, pipelines.SPLIT, "launch-1")["halves"] == [made]

    def test_a_retry_after_a_half_done_attempt(
        self, orchestrator: Orchestrator, repo: Repository, tmp_path: Path
    ) -> None:
        pipeline = with_given(pipelines.RETRY, marker=str(tmp_path / "tried"))
        assert orchestrator.launch(pipeline, "launch-1") == {"load": "finished", "train": "finished"}
        checkpoint = "checkpoint=checkpoint(raw1)"
        assert graph_of(repo, pipeline, "launch-1")["train"] == [
            ran(1, "failed", uses=["raw=raw1"], logs=[checkpoint]),
            ran(2, "finished", uses=["raw=raw1"], logs=[f"{checkpoint} again", "model=model(raw1)", "metrics=metrics"]),
        ]
        assert numbers(repo) == {"raw": [0], "checkpoint": [0], "model": [0], "metrics": [0]}
        keys = {run.key for run in repo.runs(group="launch-1") if run.name == "train"}
        assert len(keys) == 1

    def test_a_failure(self, orchestrator: Orchestrator, repo: Repository) -> None:
        states = orchestrator.launch(pipelines.FAILURE, "launch-1")
        assert states == {"lookup": "finished", "load": "finished", "train": "failed", "report": "skipped"}
        graph = graph_of(repo, pipelines.FAILURE, "launch-1")
        assert graph["train"] == [ran(1, "failed", uses=["raw=raw1", "lookup=raw7"])]
        assert "report" not in graph
        assert numbers(repo) == {"lookup": [0], "raw": [0]}

    @pytest.mark.slow
    @pytest.mark.linux
    def test_a_kill(self, orchestrator: Orchestrator, repo: Repository, tmp_path: Path) -> None:
        pipeline = with_given(pipelines.KILL, marker=str(tmp_path / "killed"))
        orchestrator.launch_mortal(pipeline, "launch-1")
        assert not repo.exists("model")
        assert {run.name: run.state for run in repo.runs()}["train"] in ("running", "lost", "failed")
        assert orchestrator.resume(pipeline, "launch-1")["train"] == "finished"
        checkpoint = "checkpoint=checkpoint(raw1)"
        assert graph_of(repo, pipeline, "launch-1") == {
            "load": [ran(logs=["raw=raw1"])],
            "train": [
                ran(1, "lost", uses=["raw=raw1"], logs=[checkpoint]),
                ran(2, "finished", uses=["raw=raw1"], logs=[f"{checkpoint} again", "model=model(raw1)"]),
            ],
        }
        assert numbers(repo) == {"raw": [0], "checkpoint": [0], "model": [0]}

    def test_an_unchanged_re_run(self, orchestrator: Orchestrator, repo: Repository) -> None:
        orchestrator.launch(pipelines.DIAMOND, "launch-1")
        before = numbers(repo)
        orchestrator.launch(pipelines.DIAMOND, "launch-2")
        assert numbers(repo) == before == {"raw": [0], "left": [0], "right": [0], "joined": [0]}
        again = {
            task: [row._replace(logs=frozenset(f"{made} again" for made in row.logs)) for row in rows]
            for task, rows in graph_of(repo, pipelines.DIAMOND, "launch-1").items()
        }
        assert graph_of(repo, pipelines.DIAMOND, "launch-2") == again
        assert len(repo.version("joined").logged_by(all=True)) == 2

    @pytest.mark.timeout(300)
    def test_two_overlapping_runs_never_read_each_others_data(
        self, orchestrator: Orchestrator, repo: Repository, tmp_path: Path
    ) -> None:
        (tmp_path / "meeting").mkdir()
        launches = [with_given(pipelines.OVERLAP, marker=str(tmp_path / "meeting"), seed=seed) for seed in (1, 2)]
        threads = [
            threading.Thread(target=copy_context().run, args=(orchestrator.launch, pipeline, f"launch-{seed}"))
            for seed, pipeline in enumerate(launches, 1)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(280)
        for seed, pipeline in enumerate(launches, 1):
            trained = ran(uses=[f"raw=raw{seed}"], logs=[f"model=model(raw{seed})"])
            assert graph_of(repo, pipeline, f"launch-{seed}")["train"] == [trained]
        assert hw.connect().version("raw").number == 1
