"""The facts every orchestrator must bear out, for Dagster's ops, in one process and in many."""

from dataclasses import replace

import pytest

import headwater as hw
from tests.conformance import pipelines
from tests.conformance.facts import PipelineFacts, graph_of, numbers, ran
from tests.conformance.pipelines import with_given
from tests.integrations.dagster.conforming import InProcess, InProcesses, Launched


class DagsterFacts(PipelineFacts):
    @pytest.fixture
    def repo(self, tmp_path, monkeypatch, orchestrator, fork_server_anew):
        monkeypatch.setenv("HEADWATER_URL", str(tmp_path / "repository"))
        monkeypatch.setenv("HEADWATER_PROJECT", "conformance")
        with hw.connect() as opened:
            launched = Launched(opened.home)
            launched.groups = orchestrator.groups
            yield launched

    test_a_kill = None  # a killed process takes Dagster's run with it, unless steps have their own: TestInProcesses


class TestInProcess(DagsterFacts):
    @pytest.fixture
    def orchestrator(self):
        return InProcess()


@pytest.mark.slow
class TestInProcesses(DagsterFacts):
    test_fan_out_and_fan_in = None  # test_processes.py fans out and in
    test_an_unchanged_re_run = None
    test_two_overlapping_runs_never_read_each_others_data = None
    test_several_results = None
    test_a_failure = None
    test_a_diamond = None
    test_a_retry_after_a_half_done_attempt = None

    @pytest.fixture
    def orchestrator(self):
        return InProcesses()

    @pytest.mark.linux
    def test_a_kill(self, orchestrator, repo, tmp_path):
        """Dagster's own way to go on after a SIGKILL: the retry policy, in the same run."""
        retried = tuple(replace(task, retries=1) for task in pipelines.KILL)
        pipeline = with_given(retried, marker=str(tmp_path / "killed"))
        assert orchestrator.launch(pipeline, "launch-1")["train"] == "finished"
        checkpoint = "checkpoint=checkpoint(raw1)"
        assert graph_of(repo, pipeline, "launch-1") == {
            "load": [ran(logs=["raw=raw1"])],
            "train": [
                ran(1, "lost", uses=["raw=raw1"], logs=[checkpoint]),
                ran(2, "finished", uses=["raw=raw1"], logs=[f"{checkpoint} again", "model=model(raw1)"]),
            ],
        }
        assert numbers(repo) == {"raw": [0], "checkpoint": [0], "model": [0]}
