"""The facts about pipelines that hold for every orchestrator, for Prefect with threads and with processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import Flow, flow, get_client
from prefect.context import FlowRunContext
from prefect.exceptions import UpstreamTaskError
from prefect.flow_engine import run_flow
from prefect.states import AwaitingRetry
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

import headwater as hw
from prefect_headwater import StepTask, track
from tests.conformance import pipelines
from tests.conformance.facts import PipelineFacts, graph_of, numbers, ran
from tests.conformance.pipelines import Pipeline, Task, with_given

ROOT = Path(__file__).parents[3]


RUNNERS: dict[str, Callable[[], TaskRunner]] = {
    "threads": lambda: ThreadPoolTaskRunner(4),
    "processes": lambda: ProcessPoolTaskRunner(max_workers=2),
}


class Prefect:
    """One flow per launch; what the facts call a group is the id of its flow run."""

    def __init__(self, runner: str) -> None:
        self._runner = runner
        self.groups: dict[str, str] = {}

    def launch(self, pipeline: Pipeline, group: str) -> dict[str, str]:
        return self._flow(pipeline, group)()

    def launch_mortal(self, pipeline: Pipeline, group: str) -> None:
        """In a process of its own, as a worker would run it: with threads, that is the one that is killed."""
        marker = next(task.given["marker"] for task in pipeline if "marker" in task.given)
        with get_client(sync_client=True) as client:
            flow_run = client.create_flow_run(self._flow(pipeline, group))
            self.groups[group] = str(flow_run.id)
            url = str(client.api_url)
        code = (
            "from tests.conformance import pipelines\n"
            "from tests.integrations.prefect.test_conformance import Prefect\n"
            f"deadly = pipelines.with_given(pipelines.KILL, marker={marker!r})\n"
            f"Prefect({self._runner!r}).run(deadly, {group!r}, {str(flow_run.id)!r})"
        )
        paths = os.pathsep.join(sys.path)
        environment = os.environ | {"PYTHONPATH": paths, "PREFECT_API_URL": url, "NO_PROXY": "*"}
        subprocess.run([sys.executable, "-c", code], timeout=200, cwd=ROOT, capture_output=True, env=environment)
        assert Path(marker).exists(), "nothing was killed"

    def resume(self, pipeline: Pipeline, group: str) -> dict[str, str]:
        """Try the flow run again, as its page's button does."""
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(UUID(self.groups[group]), AwaitingRetry(), force=True)
        return self.run(pipeline, group, self.groups[group])

    def run(self, pipeline: Pipeline, group: str, flow_run: str) -> dict[str, str]:
        with get_client(sync_client=True) as client:
            found = client.read_flow_run(UUID(flow_run))
        return run_flow(self._flow(pipeline, group), flow_run=found)

    def _flow(self, pipeline: Pipeline, group: str) -> Flow[[], dict[str, str]]:
        @track
        @flow(name=group, task_runner=RUNNERS[self._runner]())
        def launched() -> dict[str, str]:
            self.groups[group] = str(FlowRunContext.get().flow_run.id)
            futures: dict[str, Any] = {}
            for node in pipeline:
                futures[node.name] = submit(node, futures)
            return {name: state_of(future) for name, future in futures.items()}

        return launched


def submit(node: Task, futures: dict[str, Any]) -> Any:
    made = StepTask(node.body, log=node.log, name=node.name, retries=node.retries)
    inputs = [futures[need] for need in node.inputs]
    after = [futures[need] for need in node.after]
    if node.over is None:
        return made.submit(*inputs, **node.given, wait_for=after)
    return [made.submit(*inputs, **node.given, item=item, wait_for=after) for item in node.over]


def state_of(future: Any) -> str:
    for one in future if isinstance(future, list) else [future]:
        try:
            one.wait()
        except UpstreamTaskError:  # what waits for a process tells it this way
            return "skipped"
        if not one.state.is_completed():
            return "skipped" if one.state.name == "NotReady" else "failed"
    return "finished"


class ByLaunch(hw.Repository):
    """A repository whose groups may be called by the launch."""

    groups: dict[str, str]

    def runs(self, *, group: str | None = None, **more: Any) -> list[hw.Run]:
        return super().runs(group=self.groups.get(group or "", group), **more)


class PrefectFacts(PipelineFacts):
    @pytest.fixture
    def repo(self, repo, orchestrator, harness) -> Iterator[hw.Repository]:
        found = ByLaunch(repo.home)
        found.groups = orchestrator.groups
        return found

    @pytest.mark.slow
    @pytest.mark.linux
    @pytest.mark.timeout(300)
    def test_a_kill(self, orchestrator, repo, tmp_path) -> None:
        """As everywhere, but that a flow run tried again makes its task runs anew, each in its own first attempt."""
        pipeline = with_given(pipelines.KILL, marker=str(tmp_path / "killed"))
        orchestrator.launch_mortal(pipeline, "launch-1")
        assert not repo.exists("model")
        assert {run.name: run.state for run in repo.runs()}["train"] in ("running", "lost", "failed")
        assert orchestrator.resume(pipeline, "launch-1")["train"] == "finished"
        checkpoint = "checkpoint=checkpoint(raw1)"
        assert graph_of(repo, pipeline, "launch-1") == {
            "load": [ran(logs=["raw=raw1 again"]), ran(logs=["raw=raw1"])],
            "train": [
                ran(1, "finished", uses=["raw=raw1"], logs=[f"{checkpoint} again", "model=model(raw1)"]),
                ran(1, "lost", uses=["raw=raw1"], logs=[checkpoint]),
            ],
        }
        assert numbers(repo) == {"raw": [0], "checkpoint": [0], "model": [0]}
        flow_run = repo.run(f"prefect:flow-run/{orchestrator.groups['launch-1']}")
        assert [(run.attempt, run.state) for run in flow_run.attempts()] == [(1, "failed"), (2, "finished")]


class TestWithThreads(PrefectFacts):
    @pytest.fixture
    def orchestrator(self) -> Prefect:
        return Prefect("threads")


@pytest.mark.slow
class TestWithProcesses(PrefectFacts):
    @pytest.fixture
    def orchestrator(self) -> Prefect:
        return Prefect("processes")
