"""The same graph whoever executes it: in one process, in many, retried, killed, re-executed."""

import dagster as dg
import pytest

import headwater as hw
from tests.integrations.dagster import pipelines
from tests.integrations.dagster.conftest import graph

pytestmark = pytest.mark.slow
JOBS = {"in process": pipelines.in_process, "in many processes": pipelines.multiprocess}


@pytest.fixture
def repo(url, monkeypatch, tmp_path, fork_server_anew):
    (tmp_path / "markers").mkdir()
    for name, value in {"HEADWATER_URL": url, "HEADWATER_PROJECT": "lake", "MARKERS": tmp_path / "markers"}.items():
        monkeypatch.setenv(name, str(value))
    with hw.connect() as repository:
        yield repository


@pytest.fixture
def stored(tmp_path):
    with dg.instance_for_test(temp_dir=str(tmp_path)) as made:
        yield made


def execute(job, instance, **options):
    with dg.execute_job(dg.reconstructable(job), instance, **options) as result:
        result.output_for_node("load") if options.get("look") else None
        return result


@pytest.mark.parametrize("executor", JOBS)
def test_the_same_graph_under_every_executor(executor, repo, stored):
    result = execute(JOBS[executor], stored)
    assert result.success
    names = {name: name.replace("ops.everything.", "") for name in (info.name for info in repo.artifacts())}
    found = {
        (run.config["job"], run.key.split("/")[1], run.attempt): (
            run.state,
            sorted(names[v.name] for v in run.used_artifacts()),
            sorted(names[v.name] for v in run.logged_artifacts()),
        )
        for run in repo.runs(group=result.run_id)
    }
    part = {k: f"lake/split.result.{k}" for k in ("k1", "k2")}
    scaled = {k: f"lake/scale~5B{k}~5D.result" for k in ("k1", "k2")}
    assert found == {
        ("everything", "load", 1): ("finished", [], ["lake/load.result"]),
        ("everything", "split", 1): ("finished", ["lake/load.result"], sorted(part.values())),
        ("everything", "scale[k1]", 1): ("failed", [part["k1"]], []),
        ("everything", "scale[k1]", 2): ("finished", [part["k1"]], [scaled["k1"]]),
        ("everything", "scale[k2]", 1): ("finished", [part["k2"]], [scaled["k2"]]),
        ("everything", "merge", 1): ("finished", sorted(scaled.values()), ["lake/merge.result"]),
        ("everything", "deadly", 1): ("finished", ["lake/merge.result"], ["lake/checkpoint", "lake/deadly.result"]),
        ("everything", "fragile", 1): ("finished", ["lake/deadly.result"], ["lake/fragile.result"]),
    }


@pytest.mark.linux
def test_a_killed_attempt_is_lost_and_the_next_one_goes_on(repo, stored, monkeypatch):
    monkeypatch.setenv("DEADLY", "1")
    result = execute(pipelines.multiprocess, stored)
    assert result.success
    found = graph(repo)
    checkpoint = ["checkpoint:v0"]
    assert found["deadly"] == ("lost", ["ops.everything.merge.result:v0"], checkpoint)
    assert found["deadly#2"][0] == "finished"
    assert repo.artifact("checkpoint").versions()[0].version == "v0"


def test_re_execution_from_failure_reads_what_its_parent_made_and_not_what_is_newer(repo, stored, monkeypatch):
    monkeypatch.setenv("FRAGILE", "1")
    parent = execute(pipelines.in_process, stored, raise_on_error=False)
    assert not parent.success
    newer = execute(pipelines.in_process, stored, raise_on_error=False)
    monkeypatch.delenv("FRAGILE")
    options = dg.ReexecutionOptions.from_failure(parent.run_id, stored)
    again = execute(pipelines.in_process, stored, reexecution_options=options)
    assert again.success
    [edge] = repo.run(f"dagster:{again.run_id}/fragile").uses()
    [made] = repo.run(f"dagster:{parent.run_id}/deadly").logged_artifacts()[1:]
    assert edge.version.id == made.id
    assert repo.version(made.name).id == repo.run(f"dagster:{newer.run_id}/deadly").logged_artifacts()[1].id != made.id
    assert repo.run(f"dagster:{again.run_id}/fragile").config["parent_run"] == parent.run_id


def test_looking_at_the_results_of_a_job_records_nothing(repo, stored):
    with dg.execute_job(dg.reconstructable(pipelines.in_process), stored) as result:
        before = len(repo.runs())
        assert result.output_for_node("merge") == 30
        assert len(repo.runs()) == before
        assert len(repo.run(f"dagster:{result.run_id}/deadly").uses()) == 1
