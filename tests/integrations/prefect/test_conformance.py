"""The facts about pipelines that hold for every orchestrator, for Prefect with threads and with processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from prefect import flow
from prefect.context import FlowRunContext
from prefect.exceptions import UpstreamTaskError
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

import headwater as hw
from prefect_headwater import StepTask, track
from tests.conformance.facts import PipelineFacts
from tests.conformance.pipelines import Pipeline, Task


class Prefect:
    """One flow per launch; what the facts call a group is the id of its flow run."""

    def __init__(self, runner: Callable[[], TaskRunner]) -> None:
        self._runner = runner
        self.groups: dict[str, str] = {}

    def launch(self, pipeline: Pipeline, group: str) -> dict[str, str]:
        @track
        @flow(name=group, task_runner=self._runner())
        def launched() -> dict[str, str]:
            self.groups[group] = str(FlowRunContext.get().flow_run.id)
            futures: dict[str, Any] = {}
            for node in pipeline:
                futures[node.name] = submit(node, futures)
            return {name: state_of(future) for name, future in futures.items()}

        return launched()


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
    # Prefect gives a task of a resumed flow run another identity, so an attempt is not the second of the same:
    # what a SIGKILL leaves behind is told in test_for_real.py.
    test_a_kill = None  # type: ignore[assignment]

    @pytest.fixture
    def repo(self, repo, orchestrator, harness) -> Iterator[hw.Repository]:
        found = ByLaunch(repo.home)
        found.groups = orchestrator.groups
        return found


class TestWithThreads(PrefectFacts):
    @pytest.fixture
    def orchestrator(self) -> Prefect:
        return Prefect(lambda: ThreadPoolTaskRunner(4))


@pytest.mark.slow
class TestWithProcesses(PrefectFacts):
    @pytest.fixture
    def orchestrator(self) -> Prefect:
        return Prefect(lambda: ProcessPoolTaskRunner(max_workers=2))
