"""What only a real Airflow shows: assets, watchers, a deferred sensor, clears, marks, kills, links, connections."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import headwater as hw
from tests.integrations.airflow import browser
from tests.integrations.airflow.real import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def repo(airflow: Any, airflow_repository: str) -> Iterator[hw.Repository]:
    with hw.connect(airflow_repository, project="vision") as repository:
        yield repository


def run_of(repo: hw.Repository, dag_id: str, run_id: str, task: str) -> hw.Run:
    return repo.run(f"airflow:{dag_id}/{run_id}/{task}/-1")


def test_the_provider_is_known_and_its_connection_works(airflow, airflow_repository) -> None:
    assert "headwater" in airflow.command("providers", "list")
    kinds = airflow.client.get("/ui/connections/hook_meta").json()
    ours = next(kind for kind in kinds if kind["connection_type"] == "headwater")
    assert ours["standard_fields"]["host"]["title"] == "Repository URL"
    assert set(ours["extra_fields"]) == {"project", "tracking"}
    said = airflow.post("connections/test", airflow.get("connections/headwater_default"))
    assert said["status"], said
    assert airflow_repository in said["message"]


def test_an_asset_event_carries_the_version_and_starts_a_dag(airflow, repo) -> None:
    run_id, state = airflow.run("producer", text="from producer")
    assert state == "success"
    consumed = wait_for(lambda: [r for r in airflow.runs_of("consumer") if r["state"] == "success"], "the consumer")
    made = run_of(repo, "producer", run_id, "make")
    version = made.logged_artifacts()[0]
    assert str(version) == "vision/made-here:v0", "the project stands in the connection, which workers ask Airflow for"
    taken = run_of(repo, "consumer", consumed[0]["dag_run_id"], "consume")
    assert [str(v) for v in taken.used_artifacts()] == ["vision/made-here:v0"]
    assert repo.version("consumed").load() == "from producer"
    assert str(run_of(repo, "producer", run_id, "plain").used_artifacts()[0]) == "vision/made-here:v0"
    wait_for(lambda: repo.run(f"airflow:producer/{run_id}").state == "finished", "the end of the DAG run's run")
    assert wait_for(lambda: run_of(repo, "producer", run_id, "plain").state == "finished", "the end of a plain task")


def test_the_link_leads_from_the_task_to_its_run_and_back(airflow, repo) -> None:
    run_id, _ = airflow.run("producer", text="linked")
    path = f"dags/producer/dagRuns/{run_id}/taskInstances/make/links"
    link = airflow.get(path)["extra_links"]["Headwater run"]
    assert link.startswith("http://127.0.0.1:9/headwater/runs/airflow%3Aproducer%2F")
    assert link.endswith("?attempt=1")
    back = run_of(repo, "producer", run_id, "make").record.links["airflow"]
    assert back.startswith(airflow.url)
    assert f"/dags/producer/runs/{run_id}" in back.replace("%3A", ":").replace("%2B", "+")


def test_a_clear_is_another_attempt_and_no_other_version(airflow, repo) -> None:
    run_id, _ = airflow.run("producer", text="cleared")
    before = repo.artifact("made-here").versions()
    airflow.clear("producer", run_id, task_ids=["make"], include_downstream=True)
    assert airflow.ended("producer", run_id) == "success"
    attempts = run_of(repo, "producer", run_id, "make").attempts()
    assert [(a.attempt, a.state) for a in attempts] == [(1, "finished"), (2, "finished")]
    assert repo.artifact("made-here").versions() == before
    kinds = [edge.kind for a in attempts for edge in a.logs()]
    assert kinds == ["created", "reproduced"]


def test_a_version_logged_anywhere_starts_the_dag_that_watches_it(airflow, repo) -> None:
    wait_for(lambda: airflow.client.get("/api/v2/dags/follower").status_code == 200, "the follower")
    with repo.start_run("on a laptop") as run:
        for text in ("one", "two", "three"):
            run.log_artifact(text, "from-outside")

    def seen() -> set[str]:
        return {ref for version in (repo.artifact("followed").versions() if repo.exists("followed") else ())
                for ref in version.load()}  # fmt: skip

    wait_for(lambda: {f"vision/from-outside:v{i}" for i in range(3)} <= seen(), "all three versions", seen)


def test_a_promotion_starts_the_dag_that_waits_for_the_alias(airflow, repo) -> None:
    with repo.start_run("on a laptop") as run:
        version = run.log_artifact("model", "promoted")
    time.sleep(2)
    assert airflow.runs_of("deployer") == [], "no alias has moved"
    repo.set_alias("promoted:prod", to=version)
    done = wait_for(lambda: [r for r in airflow.runs_of("deployer") if r["state"] == "success"], "the deployment")
    used = run_of(repo, "deployer", done[0]["dag_run_id"], "deploy").used_artifacts()
    assert [str(v) for v in used] == ["vision/promoted:v0"]


def test_a_deferred_sensor_is_woken_from_outside(airflow, repo) -> None:
    run_id = airflow.begin("waiting")
    wait_for(lambda: airflow.tasks("waiting", run_id)["wait"]["state"] == "deferred", "the deferral")
    with repo.start_run("on a laptop") as run:
        run.log_artifact("news", "awaited")
    assert airflow.ended("waiting", run_id) == "success"
    assert repo.version("answer").load() == "answer to news"
    waited = run_of(repo, "waiting", run_id, "wait")
    assert (waited.state, [str(v) for v in waited.used_artifacts()]) == ("finished", ["vision/awaited:v0"])


def test_a_worker_killed_at_its_work_leaves_no_false_success(airflow, repo) -> None:
    run_id = airflow.begin("endless")
    wait_for(lambda: repo.exists("started"), "the first log")
    run = run_of(repo, "endless", run_id, "sleep")
    assert run.state == "running"
    os.kill(run.record.pid, signal.SIGKILL)
    assert airflow.ended("endless", run_id) == "failed"
    wait_for(lambda: run.reload().state == "lost", "the scheduler's listener", lambda: run.state)
    assert not repo.exists("never")


def test_a_task_marked_as_failed_while_it_runs(airflow, repo) -> None:
    run_id = airflow.begin("endless")
    key = f"airflow:endless/{run_id}/sleep/-1"
    wait_for(lambda: [r for r in repo.runs() if r.key == key and r.logged_artifacts()], "the first log")
    answer = airflow.client.patch(
        f"/api/v2/dags/endless/dagRuns/{run_id}/taskInstances/sleep", json={"new_state": "failed"}
    )
    assert answer.status_code == 200, answer.text
    wait_for(lambda: repo.run(key).state in ("failed", "cancelled"), "the end", lambda: repo.run(key).state)
    airflow.ended("endless", run_id)
    assert repo.run(key).state in ("failed", "cancelled")


def test_tasks_of_every_kind(airflow, repo) -> None:
    run_id, state = airflow.run("kinds")
    assert state == "success", airflow.tasks("kinds", run_id)
    found = {run.name: run for run in repo.runs(group=f"airflow:kinds/{run_id}")}
    assert {run.state for run in found.values()} == {"finished"}
    assert repo.version("joined").load() == "left of cluster, right of cluster", "several outputs, a group, async"
    assert [str(v) for v in found["outside"].logged_artifacts()] == ["vision/from-outside-python:v0"]
    assert [str(v) for v in found["outside"].used_artifacts()] == ["vision/joined:v0"]
    assert repo.version("from-outside-python").load() == "left of cluster, right of cluster!"
    assert [str(v) for v in found["alone"].used_artifacts()] == ["vision/joined:v0"]
    assert airflow.xcom("kinds", run_id, "alone") == "vision/joined:v0: left of cluster, right of cluster"
    assert [str(v) for v in found["drop"].used_artifacts()] == ["vision/cluster:v0"]


def test_a_backfill_and_the_same_days_again(airflow, repo) -> None:
    wait_for(lambda: airflow.client.get("/api/v2/dags/daily").status_code == 200, "the DAG")
    days = ["2026-02-01", "2026-02-02", "2026-02-03"]
    which = ("--dag-id", "daily", "--from-date", days[0], "--to-date", days[-1])

    def runs() -> dict[str, list[tuple[int, str]]]:
        found: dict[str, list[tuple[int, str]]] = {}
        for run in repo.runs():
            when = run.record.config.get("airflow", {}).get("logical_date", "")[:10]
            if run.name == "day" and when in days:
                assert run.record.config["airflow"]["run_type"] == "backfill"
                found.setdefault(when, []).append((run.attempt, run.state))
        return {day: sorted(tries) for day, tries in sorted(found.items())}

    airflow.command("backfill", "create", *which)
    wait_for(lambda: runs() == {day: [(1, "finished")] for day in days}, "the backfill", runs)
    assert [str(repo.version(f"events[{day}]").load()) for day in days] == [f"events of {day}" for day in days]
    wait_for(lambda: all(backfill["completed_at"] for backfill in airflow.backfills("daily")), "its end")
    airflow.command("backfill", "create", *which, "--reprocess-behavior", "completed")
    again = {day: [(1, "finished"), (2, "finished")] for day in days}
    wait_for(lambda: runs() == again, "the second backfill", runs)
    assert [len(repo.artifact(f"events[{day}]").versions()) for day in days] == [1, 1, 1]


def test_a_task_tried_on_the_command_line_is_recorded_as_a_test(airflow, repo) -> None:
    airflow.command("tasks", "test", "daily", "day", "2026-03-01")
    assert repo.version("events[2026-03-01]").load() == "events of 2026-03-01"
    run = repo.version("events[2026-03-01]").logged_by()
    assert (run.state, run.attempt, run.parent) == ("finished", 1, None)
    assert run.record.config["airflow"]["run_type"] == "test"
    assert [found.name for found in repo.runs(group=run.group)] == ["day"], "no DAG run is left open for ever"


def test_an_orphan_of_a_killed_worker_is_fenced_by_the_next_try(airflow, repo, tmp_path) -> None:
    marker = tmp_path / "marker"
    run_id = airflow.begin("orphaned", marker=str(marker))
    wait_for(lambda: marker.exists() and marker.read_text(), "the first try")
    orphan, supervisor = map(int, marker.read_text().split())
    first = run_of(repo, "orphaned", run_id, "slow")
    os.kill(supervisor, signal.SIGKILL)
    try:
        assert airflow.ended("orphaned", run_id) == "success", "Airflow finds the zombie and tries again"
        tries = run_of(repo, "orphaned", run_id, "slow").attempts()
        assert [run.attempt for run in tries] == [1, 2]
        assert tries[0].state in ("lost", "failed"), "by the second try, or by the scheduler's word"
        assert tries[1].state == "finished"
        with pytest.raises(hw.StateError):
            first.log_artifact("from the grave", "once")
        assert [v.number for v in repo.artifact("once").versions()] == [0]
        assert len(repo.artifact("began").versions()) == 1
    finally:
        os.kill(orphan, signal.SIGKILL)


def test_a_deferred_task_of_anybody_is_paused_and_goes_on_as_the_same_try(airflow, repo) -> None:
    with repo.start_run("on a laptop") as laptop:
        laptop.log_artifact("data", "waited-with")
    run_id = airflow.begin("foreign")
    wait_for(lambda: airflow.tasks("foreign", run_id)["waits"]["state"] == "deferred", "the deferral")
    run = run_of(repo, "foreign", run_id, "waits")
    wait_for(lambda: [e for e in repo.events(after=0, kinds=("run.paused",)) if e.run_id == run.id], "the pause")
    assert run.reload().state == "running"
    with repo.start_run("on a laptop") as laptop:
        laptop.log_artifact("go", "go-on")
    assert airflow.ended("foreign", run_id) == "success"
    wait_for(lambda: run.reload().state == "finished", "the end", lambda: run.state)
    assert (len(run.attempts()), [str(v) for v in run.used_artifacts()]) == (1, ["vision/waited-with:v0"])


def test_nothing_secret_is_in_the_logs(airflow) -> None:
    found = [path for server in airflow.servers for path in server.folder.rglob("*.log")
             if "hidden-word" in path.read_text(errors="replace")]  # fmt: skip
    assert found == []


def test_the_task_page_shows_the_link(airflow, tmp_path) -> None:
    run_id, _ = airflow.run("producer", "pictured", text="pictured")
    picture = Path(os.environ.get("HEADWATER_SCREENSHOTS", tmp_path), "airflow-task.png")
    page = browser.Browser()
    try:
        page.go(f"{airflow.url}/auth/token/login")
        wait_for(lambda: "Dags" in page.text(), "Airflow's front page", page.text, 40)
        page.go(f"{airflow.url}/dags/producer/runs/{run_id}/tasks/make/details")
        wait_for(lambda: "Headwater run" in page.text(), "the link", page.text, 40)
        page.picture(picture)
    finally:
        page.stop()
    assert picture.stat().st_size > 10_000


def test_the_example_dags(airflow, airflow_repository) -> None:
    with hw.connect(airflow_repository, project="vision") as repo:
        run_id, state = airflow.run("digits", strengths=[0.01, 1.0])
        assert state == "success"
        models = repo.artifact("classifier").versions()
        assert len(models) == 2
        best = repo.version("classifier:prod")
        scores = {v.load()["model"]: v.load()["accuracy"] for v in repo.artifact("scores").versions()}
        assert scores[str(best)] == max(scores.values()) > 0.9
        assert {v.name for v in (repo.version_by_id(i) for i in best.upstream().versions)} == {
            "vision/classifier", "vision/training", "vision/digits"}  # fmt: skip
        keys = {run.key for run in repo.runs(group=f"airflow:digits/{run_id}") if run.name == "train"}
        assert keys == {f"airflow:digits/{run_id}/train/{index}" for index in range(2)}
