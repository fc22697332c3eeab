"""What a deployment may switch on, on a real Airflow whose tasks run as in pods: XCom backend, capture, OpenLineage."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

import headwater as hw
from tests.integrations.airflow.real import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def repo(opted: Any) -> Iterator[hw.Repository]:
    with hw.connect(opted.repository, project="vision") as repository:
        yield repository


def test_large_xcoms_of_mapped_tasks_are_versions_and_a_clear_makes_no_others(opted, repo) -> None:
    run_id, state = opted.run("large")
    assert state == "success"
    group = f"airflow:large/{run_id}"
    (artifact,) = repo.artifacts()
    assert (artifact.name, artifact.type) == ("vision/large.part.return_value", "xcom")
    assert [part.name for part in artifact.partitions()] == [f"{artifact.name}[{i}]" for i in range(3)]
    merge = repo.run(f"{group}/merge/-1")
    assert sorted(map(str, merge.used_artifacts())) == [f"vision/large.part.return_value[{i}]:v0" for i in range(3)]
    assert opted.xcom("large", run_id, "merge") == 300_000

    opted.clear("large", run_id, task_ids=[["part", 1]], include_downstream=True)
    assert opted.ended("large", run_id) == "success"
    attempts = repo.run(f"{group}/part/1").attempts()
    assert [(run.attempt, run.state) for run in attempts] == [(1, "finished"), (2, "finished")]
    assert [edge.kind for run in attempts for edge in run.logs()] == ["created", "reproduced"]
    assert len(repo.run(f"{group}/part/0").attempts()) == 1
    assert len({repo.run(f"{group}/part/{index}").record.pid for index in range(3)}) == 3, "nothing is shared but ids"
    assert all(len(part.versions()) == 1 for part in artifact.partitions()), "XComs were purged, versions were not"
    assert opted.xcom("large", run_id, "merge") == 300_000
    assert [len(run.used_artifacts()) for run in merge.attempts()] == [3, 3]


def test_openlineage_says_which_versions_a_task_used_and_logged(opted, repo) -> None:
    _, state = opted.run("traced")
    assert state == "success"

    def told() -> dict[str, Any]:
        lines = [json.loads(line) for path in opted.lineage.parent.glob("lineage*") for line in path.open()]
        done = [event for event in lines if event["eventType"] == "COMPLETE" and "." in event["job"]["name"]]
        return {event["job"]["name"]: event for event in done}

    wait_for(lambda: {"traced.train", "traced.promote"} <= told().keys(), "events of OpenLineage", opted.logs)
    train, promote = told()["traced.train"], told()["traced.promote"]
    raw, model = repo.version("raw"), repo.version("model")
    assert shown(train["inputs"]) == [("headwater://vision", "raw", f"v0@{raw.digest}")]
    assert ("headwater://vision", "model", f"v0@{model.digest}") in shown(train["outputs"])
    assert shown(promote["inputs"]) == [("headwater://vision", "model", f"v0@{model.digest}")]
    captured = [v for v in repo.run(train_key(repo)).logged_artifacts() if v.name.startswith("vision/captured")]
    assert [v.description for v in captured] == ["s3://elsewhere/report.html"], "an outlet that others wrote"


def shown(datasets: list[dict[str, Any]]) -> list[tuple[str, str, str | None]]:
    return [(d["namespace"], d["name"], d.get("facets", {}).get("version", {}).get("datasetVersion")) for d in datasets]


def train_key(repo: hw.Repository) -> str:
    return next(run.key for run in repo.runs() if run.name == "train")
