"""The facts about pipelines, in one process by `dag.test()` and on a real Airflow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import headwater as hw
from headwater import Repository
from tests.conformance.facts import PipelineFacts
from tests.conformance.pipelines import Pipeline
from tests.integrations.airflow.conftest import Execute, states
from tests.integrations.airflow.shapes import ENDED, build, conf_of, dag_id_of


def by_launch(repo: Repository, groups: dict[str, str]) -> Repository:
    """The repository, where a launch is found by the name that the facts give it."""
    listed = repo.runs
    repo.runs = lambda *, group=None, **more: listed(group=groups.get(group, group), **more)  # type: ignore[method-assign]
    return repo


class InProcess:
    def __init__(self, execute: Execute) -> None:
        self.groups: dict[str, str] = {}
        self._execute = execute

    def launch(self, pipeline: Pipeline, group: str) -> dict[str, str]:
        name = dag_id_of(pipeline)
        done = self._execute(build(name), **conf_of(pipeline, "conformance"))
        self.groups[group] = f"airflow:{name}/{done.run_id}"
        return {task: ENDED[state] for task, state in states(done).items()}


class TestInOneProcess(PipelineFacts):
    @pytest.fixture
    def orchestrator(self, execute: Execute) -> InProcess:
        return InProcess(execute)

    @pytest.fixture
    def repo(self, url: str, orchestrator: InProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
        monkeypatch.setenv("HEADWATER_PROJECT", "conformance")
        with hw.connect(url) as repository:
            yield by_launch(repository, orchestrator.groups)

    test_a_kill = None  # type: ignore[assignment]  # would kill pytest: below
    test_two_overlapping_runs_never_read_each_others_data = None  # type: ignore[assignment]  # as dag.test() is alone


class Real:
    def __init__(self, airflow: Any, project: str) -> None:
        self.airflow, self.project = airflow, project
        self.groups: dict[str, str] = {}

    def launch(self, pipeline: Pipeline, group: str) -> dict[str, str]:
        dag_id, run_id = dag_id_of(pipeline), f"{self.project}-{group}"
        self.groups[group] = f"airflow:{dag_id}/{run_id}"
        self.airflow.begin(dag_id, run_id, **conf_of(pipeline, self.project))
        return self._ended(dag_id, run_id)

    def launch_mortal(self, pipeline: Pipeline, group: str) -> None:
        self.launch(pipeline, group)

    def resume(self, pipeline: Pipeline, group: str) -> dict[str, str]:
        dag_id, run_id = dag_id_of(pipeline), f"{self.project}-{group}"
        self.airflow.clear(dag_id, run_id, only_failed=True)
        return self._ended(dag_id, run_id)

    def _ended(self, dag_id: str, run_id: str) -> dict[str, str]:
        self.airflow.ended(dag_id, run_id)
        return {name: ENDED[task["state"]] for name, task in self.airflow.tasks(dag_id, run_id).items()}


@pytest.mark.slow
class TestOnARealAirflow(PipelineFacts):
    @pytest.fixture
    def orchestrator(self, airflow: Any, request: pytest.FixtureRequest) -> Real:
        return Real(airflow, hw.name(request.node.name.removeprefix("test_"))[:60])

    @pytest.fixture
    def repo(
        self, airflow: Any, airflow_repository: str, orchestrator: Real, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[Repository]:
        monkeypatch.setenv("HEADWATER_URL", airflow_repository)
        monkeypatch.setenv("HEADWATER_PROJECT", orchestrator.project)
        with hw.connect(airflow_repository, project=orchestrator.project) as repository:
            yield by_launch(repository, orchestrator.groups)
