"""Operators, sensor, hook, connection, assets, XCom backend, capture and OpenLineage, in tasks that really run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Asset, dag, task

import headwater as hw
from airflow_headwater import (
    HeadwaterCheckReferencesOperator,
    HeadwaterCleanUpOperator,
    HeadwaterDownloadOperator,
    HeadwaterHook,
    HeadwaterLogFilesOperator,
    HeadwaterLogReferencesOperator,
    HeadwaterOperator,
    HeadwaterPromoteOperator,
    HeadwaterVersionSensor,
    Use,
    artifact_asset,
    connection,
)
from tests.integrations.airflow.conftest import states
from tests.integrations.airflow.test_tasks import logged, runs_of, used


class Double(HeadwaterOperator):
    """What a user builds on the base operator."""

    template_fields = (*HeadwaterOperator.template_fields, "data")

    def __init__(self, *, data: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data = data

    def record(self, run: hw.Run, context: Any) -> hw.Version[Any]:
        return hw.log("doubled", self.data.load() * 2)


def test_the_operators(execute, repo, tmp_path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.csv").write_text("1,2")
    (tmp_path / "b.csv").write_text("3,4")
    (tmp_path / "shared.csv").write_text("on a share")
    with hw.start_run("before"):
        hw.log("number", 21)

    @dag(schedule=None, params={"who": "ann"})
    def operators():
        whole = HeadwaterLogFilesOperator(
            task_id="whole", artifact="raw", type="dataset", paths=str(data), aliases=["{{ params.who }}"],
            metadata={"by": "{{ params.who }}"},
        )  # fmt: skip
        several = HeadwaterLogFilesOperator(
            task_id="several", artifact="several", paths={"x/a.csv": str(data / "a.csv"), "dir": str(data)}
        )
        points = HeadwaterLogReferencesOperator(
            task_id="points", artifact="points", uris={"shared": f"file://{tmp_path}/shared.csv"}
        )
        check = HeadwaterCheckReferencesOperator(task_id="check", version=points.output)
        get = HeadwaterDownloadOperator(task_id="get", version=whole.output, path=str(tmp_path / "got"), exactly=True)
        tree = HeadwaterDownloadOperator(task_id="tree", version="raw:latest")
        promote = HeadwaterPromoteOperator(task_id="promote", version=whole.output, aliases=["prod"], expect="")
        double = Double(task_id="double", data=Use("number"))
        clean = HeadwaterCleanUpOperator(task_id="clean", trigger_rule="all_done")
        whole >> [get, tree, promote]
        [several, check, get, tree, promote, double] >> clean

    assert set(states(execute(operators())).values()) == {"success"}
    raw = repo.version("raw:prod")
    assert (raw.number, raw.type, raw.metadata, sorted(raw.aliases)) == (
        0, "dataset", {"by": "ann"}, ["ann", "latest", "prod"])  # fmt: skip
    assert [entry.path for entry in repo.version("several").entries()] == ["dir/a.csv", "x/a.csv"]
    assert (tmp_path / "got" / "a.csv").read_text() == "1,2"
    found = runs_of(repo)
    assert used(found["check"]) == ["vision/points:v0"]
    assert found["check"].record.summary == {"references": {"same": 1}}
    assert used(found["promote"]) == used(found["get"]) == used(found["tree"]) == ["vision/raw:v0"]
    assert (used(found["double"]), logged(found["double"])) == (["vision/number:v0"], ["vision/doubled:v0"])
    assert repo.version("doubled").load() == 42
    assert {run.state for run in found.values()} == {"finished"}


def test_changed_references_fail_the_check_and_a_lost_race_the_promotion(execute, repo, tmp_path) -> None:
    shared = tmp_path / "shared.csv"
    shared.write_text("before")
    points = hw.Artifact("points")
    points.add_reference(f"file://{shared}", "shared")
    with hw.start_run("before") as run:
        version = run.log_artifact(points, aliases=["prod"])
    shared.write_text("after, longer")

    @dag(schedule=None)
    def refusals():
        HeadwaterCheckReferencesOperator(task_id="check", version="points")
        HeadwaterPromoteOperator(task_id="promote", version="points", aliases=["prod"], expect="")

    assert states(execute(refusals())) == {"check": "failed", "promote": "failed"}
    assert {run.name: run.state for run in repo.runs() if run.name in ("check", "promote")} == {
        "check": "failed", "promote": "failed"}  # fmt: skip
    assert version.reload().aliases == ["latest", "prod"]


def test_the_sensor_pokes_until_a_version_is_newer(execute, repo) -> None:
    with hw.start_run("before"):
        hw.log("raw", "old")

    @dag(schedule=None)
    def waits():
        @task
        def log_another() -> None:
            hw.log("raw", "new")

        wait = HeadwaterVersionSensor(
            task_id="wait", artifact="raw", newer_than="v0", poke_interval=0.2, timeout=30, mode="poke"
        )

        @task
        def read(handle: Any) -> None:
            assert handle.load() == "new"

        log_another() >> wait
        read(wait.output)

    assert set(states(execute(waits())).values()) == {"success"}
    found = runs_of(repo)
    assert (used(found["wait"]), found["wait"].state) == (["vision/raw:v1"], "finished")


def test_connections_in_every_form(monkeypatch, tmp_path) -> None:
    from airflow.sdk import Connection

    def read(**fields: Any) -> connection.Settings:
        return connection.read(Connection(conn_id="c", conn_type="headwater", **fields))

    assert read(host="/data/hw", extra='{"project": "vision"}') == ("/data/hw", "vision", "", "")
    assert read(host="https://hw.example.org", password="token") == ("https://hw.example.org", "", "", "token")
    assert read(host="https://hw.example.org", port=8443).url == "https://hw.example.org:8443"
    assert read(host="postgresql://db", login="me", password="p@ss", schema="hw", port=5433).url == (
        "postgresql://me:p%40ss@db:5433/hw"
    )
    assert read(extra='{"url": "s3-ish", "tracking": "lenient"}') == ("s3-ish", "", "lenient", "")
    with pytest.raises(hw.InvalidInputError, match="names no repository"):
        read()
    uri = Connection(conn_id="c", uri="headwater://https://:tok@hw.example.org/?project=vision")
    assert connection.read(uri) == ("https://hw.example.org", "vision", "", "tok")
    uri = Connection(conn_id="c", uri="headwater://%2Fdata%2Fhw/?project=vision")
    assert connection.read(uri) == ("/data/hw", "vision", "", "")

    monkeypatch.setenv("AIRFLOW_CONN_HEADWATER_DEFAULT", json.dumps({
        "conn_type": "headwater", "host": str(tmp_path / "by-connection"), "extra": {"project": "found"}}))  # fmt: skip
    good, said = HeadwaterHook().test_connection()
    assert good
    assert "by-connection" in said
    with HeadwaterHook().get_conn() as repo:
        assert repo.home.project == "found"
    monkeypatch.setenv("AIRFLOW_CONN_BROKEN", "headwater://postgresql://me:secret-word@127.0.0.1:1/hw")
    good, said = HeadwaterHook("broken").test_connection()
    assert not good
    assert "secret-word" not in said


def test_tasks_use_the_connection_before_the_environment(execute, repo, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_HEADWATER_DEFAULT", json.dumps({
        "conn_type": "headwater", "host": str(tmp_path / "default"), "extra": {"project": "p"}}))  # fmt: skip
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps({"conn_type": "headwater", "host": str(tmp_path / "other")}))

    @dag(schedule=None)
    def connected():
        @task.headwater(log="raw")
        def here() -> str:
            return "here"

        @task.headwater(log="raw", conn_id="other", project="q")
        def there() -> str:
            return "there"

        here() >> there()

    assert set(states(execute(connected())).values()) == {"success"}
    with hw.connect(tmp_path / "default") as first, hw.connect(tmp_path / "other") as second:
        assert first.version("p/raw").load() == "here"
        assert second.version("q/raw").load() == "there"
    assert repo.runs(all_projects=True) == []


def test_a_logged_version_is_in_the_event_of_its_asset(execute, repo) -> None:
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session

    model = artifact_asset("vision/model")
    assert model == Asset("headwater://vision/model")

    @dag(schedule=None)
    def emits():
        @task.headwater(log=model)
        def train() -> str:
            return "model"

        @task(outlets=[artifact_asset("vision/report")])
        def report() -> None:
            hw.log("report", "good")

        train()
        report()

    assert set(states(execute(emits())).values()) == {"success"}
    with create_session() as session:
        extras = {event.asset.uri: event.extra for event in session.query(AssetEvent).all()}
    said = extras["headwater://vision/model"]["headwater"]
    assert (said["ref"], said["version"], said["digest"]) == (
        "vision/model:v0", 0, repo.version("model").digest)  # fmt: skip
    assert extras["headwater://vision/report"]["headwater"]["ref"] == "vision/report:v0"


@pytest.mark.parametrize("uri", ["headwater://vision", "headwater://vision/", "headwater://vision/a/b"])
def test_a_uri_that_is_no_artifact_is_refused(uri) -> None:
    with pytest.raises(ValueError, match="write headwater://project/artifact"):
        Asset(uri)


def test_the_xcom_backend_puts_away_what_is_large_or_not_json(execute, repo, monkeypatch) -> None:
    import numpy as np
    from airflow.sdk.bases import xcom as airflow_xcom
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time import xcom as runtime

    from airflow_headwater.xcom import MARK, HeadwaterXComBackend

    monkeypatch.setenv("AIRFLOW__CORE__XCOM_BACKEND", "airflow_headwater.xcom.HeadwaterXComBackend")
    monkeypatch.setenv("AIRFLOW__HEADWATER__XCOM_THRESHOLD", "1000")
    for module in (runtime, task_runner, airflow_xcom):
        if hasattr(module, "XCom"):
            monkeypatch.setattr(module, "XCom", HeadwaterXComBackend)
    from airflow.sdk.definitions import xcom_arg
    from airflow.sdk.execution_time import lazy_sequence

    for module in (xcom_arg, lazy_sequence):
        if hasattr(module, "XCom"):
            monkeypatch.setattr(module, "XCom", HeadwaterXComBackend)

    @dag(schedule=None)
    def large():
        @task
        def small() -> dict[str, int]:
            return {"a": 1}

        @task
        def long() -> str:
            return "x" * 5000

        @task(multiple_outputs=True)
        def mixed() -> dict[str, Any]:
            return {"frame": np.arange(3), "rows": 3}

        @task
        def looks_like_ours() -> dict[str, Any]:
            return {MARK: 1, "version": {"id": "somebody's"}}

        @task
        def part(i: int) -> Any:
            return np.full(2, i)

        @task.headwater(log="declared")
        def declared() -> str:
            return "y" * 5000

        @task
        def read(a: Any, b: Any, frame: Any, like: Any, *, parts: Any, handle: Any) -> None:
            assert a == {"a": 1}
            assert b == "x" * 5000
            assert frame.tolist() == [0, 1, 2]
            assert like == {MARK: 1, "version": {"id": "somebody's"}}
            assert [p.tolist() for p in parts] == [[1, 1], [2, 2]]
            assert handle.load() == "y" * 5000

        read(small(), long(), mixed()["frame"], looks_like_ours(), parts=part.expand(i=[1, 2]), handle=declared())

    done = execute(large())
    assert set(states(done).values()) == {"success"}
    found = runs_of(repo)
    assert "small" not in found
    assert {run.state for run in found.values()} == {"finished"}
    assert logged(found["long"]) == ["vision/large.long.return_value:v0"]
    assert logged(found["mixed"]) == ["vision/large.mixed.frame:v0"]
    assert sorted(used(found["read"])) == [
        "vision/large.long.return_value:v0", "vision/large.looks_like_ours.return_value:v0",
        "vision/large.mixed.frame:v0", "vision/large.part.return_value[0]:v0", "vision/large.part.return_value[1]:v0",
    ]  # fmt: skip
    assert repo.version("large.long.return_value").type == "xcom"


def test_inlets_outlets_and_hook_lineage_become_references(execute, repo, monkeypatch, tmp_path) -> None:
    from airflow.sdk import plugins_manager

    from airflow_headwater import plugin

    monkeypatch.setenv("AIRFLOW__HEADWATER__CAPTURE", "inlets,outlets,hook_lineage")
    monkeypatch.setattr(plugin.HeadwaterPlugin, "hook_lineage_readers", plugin._readers())
    monkeypatch.setattr(plugins_manager, "get_hook_lineage_readers_plugins", plugin._readers)
    from airflow.sdk import lineage

    lineage.get_hook_lineage_collector.cache_clear()
    (tmp_path / "in.csv").write_text("in")
    with hw.start_run("before"):
        hw.log("raw", "raw")

    @dag(schedule=None)
    def declared():
        @task(inlets=[Asset("headwater://vision/raw"), Asset(f"file://{tmp_path}/in.csv")],
              outlets=[Asset(f"file://{tmp_path}/out.csv")])  # fmt: skip
        def copies() -> None:
            Path(tmp_path, "out.csv").write_text("out")

        @task
        def storage() -> None:
            from airflow.sdk import ObjectStoragePath

            source = ObjectStoragePath(f"file://{tmp_path}/in.csv")
            source.copy(ObjectStoragePath(f"file://{tmp_path}/copied.csv"))

        copies() >> storage()

    assert set(states(execute(declared())).values()) == {"success"}
    lineage.get_hook_lineage_collector.cache_clear()
    found = runs_of(repo)
    made = hw.name("captured", f"file://{tmp_path}/out.csv")
    read = hw.name("captured", f"file://{tmp_path}/in.csv")
    assert sorted(used(found["copies"])) == sorted(["vision/raw:v0", f"vision/{read}:v0"])
    assert logged(found["copies"]) == [f"vision/{made}:v0"]
    assert used(found["storage"]) == [f"vision/{read}:v0"], "the same reference is the same version"
    assert [v.description for v in found["storage"].logged_artifacts()] == [f"file://{tmp_path}/copied.csv"]
    assert {run.state for run in found.values()} == {"finished"}


def test_versions_are_datasets_of_openlineage(repo) -> None:
    from airflow_headwater.lineage import convert_asset, dataset

    with hw.start_run("before"):
        version = hw.log("raw", "raw")
    shown = dataset(version)
    assert (shown.namespace, shown.name) == ("headwater://vision", "raw")
    assert shown.facets["version"].datasetVersion == f"v0@{version.digest}"
    shown = convert_asset(Asset("headwater://vision/raw"), None)
    assert (shown.namespace, shown.name) == ("headwater://vision", "raw")


def test_the_clean_up_closes_what_airflow_knows_to_be_over(execute, repo, monkeypatch) -> None:
    """As where neither the API server nor the scheduler knows the repository, and a worker was killed."""
    from airflow_headwater import plugin

    @dag(schedule=None)
    def silent():
        @task
        def ends(i: int) -> None:
            hw.log("made", i)

        ends.expand(i=[1, 2])

    @dag(schedule=None)
    def cleaning():
        HeadwaterCleanUpOperator(task_id="clean")

    with monkeypatch.context() as nobody_listens:
        nobody_listens.setattr(plugin, "_close", lambda *_: None)
        nobody_listens.setattr(plugin, "_close_dag_run", lambda *_: None)
        group = f"airflow:silent/{execute(silent()).run_id}"
    stranger = repo.start_run("elsewhere", key="airflow:elsewhere/run/task/-1", group="airflow:elsewhere/run")
    ours = [repo.run(f"{group}/ends/{index}") for index in range(2)]
    assert {run.state for run in ours} == {"running"}
    assert set(states(execute(cleaning())).values()) == {"success"}
    assert {run.reload().state for run in ours} == {"finished"}
    assert stranger.reload().state == "running", "of a task that this Airflow does not know"
    stranger.finish()
