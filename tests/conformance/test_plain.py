"""The facts, for plain `@hw.step` under threads and processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import headwater as hw
from tests.conformance.facts import Orchestrator, PipelineFacts
from tests.conformance.plain import ORCHESTRATORS


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[hw.Repository]:
    monkeypatch.setenv("HEADWATER_URL", str(tmp_path / "repository"))
    monkeypatch.setenv("HEADWATER_PROJECT", "conformance")
    with hw.connect() as repository:
        yield repository


class TestInOneThread(PipelineFacts):
    @pytest.fixture
    def orchestrator(self) -> Orchestrator:
        return ORCHESTRATORS["one thread"]


class TestUnderThreads(PipelineFacts):
    @pytest.fixture
    def orchestrator(self) -> Orchestrator:
        return ORCHESTRATORS["threads"]


@pytest.mark.slow
class TestUnderThreadsWithATeamsRepository(PipelineFacts):
    @pytest.fixture
    def repo(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[hw.Repository]:
        from tests.servers.team import new_repository

        monkeypatch.setenv("HEADWATER_URL", new_repository(monkeypatch))
        monkeypatch.setenv("HEADWATER_PROJECT", "conformance")
        with hw.connect() as repository:
            yield repository

    @pytest.fixture
    def orchestrator(self) -> Orchestrator:
        return ORCHESTRATORS["threads"]


@pytest.mark.slow
class TestUnderProcessesBySpawn(PipelineFacts):
    @pytest.fixture
    def orchestrator(self) -> Orchestrator:
        return ORCHESTRATORS["processes by spawn"]


@pytest.mark.linux
class TestUnderProcessesByFork(PipelineFacts):
    @pytest.fixture
    def orchestrator(self) -> Orchestrator:
        return ORCHESTRATORS["processes by fork"]
