"""Task runners whose processes outlive a flow: a Dask cluster and a Ray instance, for real."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import distributed
import pytest
import ray
from prefect import flow
from prefect.task_runners import TaskRunner
from prefect.transactions import transaction
from prefect_dask import DaskTaskRunner
from prefect_ray import RayTaskRunner

import headwater as hw
from headwater import Version
from prefect_headwater import batch, settings, track
from tests.integrations.prefect.shapes import (
    calls_another,
    fails_once,
    featurize,
    gather,
    load,
    merge,
    part,
    plain,
    process_id,
)

ROOT = Path(__file__).parents[3]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.usefixtures("harness")]


@contextmanager
def dask() -> Iterator[Callable[[], TaskRunner]]:
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        yield lambda: DaskTaskRunner(address=cluster.scheduler_address)


@contextmanager
def on_ray() -> Iterator[Callable[[], TaskRunner]]:
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # its sockets need a short path
    try:
        start_ray(folder)
        yield RayTaskRunner
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def start_ray(folder: str, attempts: int = 4) -> None:
    """Ray gives its own processes 30 s to come up, whatever else the machine does."""
    try:
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, namespace="prefect", _temp_dir=folder)
    except Exception:
        ray.shutdown()
        if attempts == 1:
            raise
        start_ray(folder, attempts - 1)


class Crowd:
    """Worker processes that were started beside one repository."""

    def __init__(self, repo: hw.Repository, make_runner: Callable[[], TaskRunner]) -> None:
        self.repo = repo
        self.make_runner = make_runner

    def edges(self, group: str) -> set[tuple[str, str, str]]:
        return {
            (run.name, verb, str(v).removeprefix("vision/"))
            for run in self.repo.runs(group=group)
            for verb, versions in (("used", run.used_artifacts()), ("logged", run.logged_artifacts()))
            for v in versions
        }

    def published(self) -> set[str]:
        return {str(v).removeprefix("vision/") for info in self.repo.artifacts() for v in info.versions()}


@pytest.fixture(scope="module", params=[dask, on_ray], ids=["dask", "ray"])
def workers(request, harness, tmp_path_factory) -> Iterator[tuple[str, Callable[[], TaskRunner]]]:
    folder = tmp_path_factory.mktemp("crowd")
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {
            "HOME": str(folder),
            "HEADWATER_URL": str(folder / "repository"),
            "HEADWATER_PROJECT": "vision",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_gcs_server_port_wait_time_s": "120",
            "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "core", ROOT / "integrations"))),
        }.items():
            environment.setenv(name, value)
        with request.param() as make_runner:
            yield str(folder / "repository"), make_runner


@pytest.fixture
def crowd(workers, monkeypatch) -> Iterator[Crowd]:
    url, make_runner = workers
    monkeypatch.setenv("HEADWATER_URL", url)
    monkeypatch.setenv("HEADWATER_PROJECT", "vision")
    settings.forget()
    with hw.connect() as repo:
        yield Crowd(repo, make_runner)
    settings.forget()


def test_edges_are_the_handles_wherever_tasks_run(crowd, tmp_path) -> None:
    """Through futures, nested ones too, mapped ones, and results that came back to the flow."""
    marker = str(tmp_path / "tried")

    @track
    @flow(name="crossing", task_runner=crowd.make_runner())
    def pipeline() -> tuple[str, str, int, Version]:
        raw, unused = load.submit(1), load.submit(2)
        parts = part.map(raw, [1, 2])
        features = featurize.submit(raw.result())
        nested = gather.submit({"a": {"deep": [parts[0], features]}}, wait_for=[unused])
        tried = fails_once.submit(marker)
        return (
            merge.submit(parts).result().load(),
            nested.result().load(),
            process_id.submit().result().load(),
            tried.result(),
        )

    merged, nested, pid, tried = pipeline()
    assert (merged, nested) == ("part1(raw1)+part2(raw1)", "part1(raw1) RAW1")
    assert pid != os.getpid()
    (top,) = [run for run in crowd.repo.runs() if run.name == "crossing"]
    by_content = {
        name: {v.load(): str(v).removeprefix("vision/") for v in crowd.repo.artifact(name).versions()}
        for name in ("raw", "part")
    }
    raw, unused = by_content["raw"]["raw1"], by_content["raw"]["raw2"]
    first, second = by_content["part"]["part1(raw1)"], by_content["part"]["part2(raw1)"]
    assert crowd.edges(top.group) == {
        ("load", "logged", raw),
        ("load", "logged", unused),
        ("part", "used", raw),
        ("part", "logged", first),
        ("part", "logged", second),
        ("featurize", "used", raw),
        ("featurize", "logged", "features:v0"),
        ("gather", "used", first),
        ("gather", "used", "features:v0"),
        ("gather", "logged", "gathered:v0"),
        ("merge", "used", first),
        ("merge", "used", second),
        ("merge", "logged", "merged:v0"),
        ("fails_once", "logged", "checkpoint:v0"),
        ("fails_once", "logged", "fragile:v0"),
        ("process_id", "logged", "pid:v0"),
    }
    attempts = sorted((run.attempt, run.state) for run in crowd.repo.runs(group=top.group) if run.name == "fails_once")
    assert attempts == [(1, "failed"), (2, "finished")]
    assert str(tried) == "vision/fragile:v0"
    others = [run for run in crowd.repo.runs(group=top.group) if run.id != top.id]
    assert {run.parent for run in others} == {top.id}
    assert {run.record.pid for run in others}.isdisjoint({os.getpid()})


@pytest.mark.parametrize("together", [batch, transaction])
def test_together_reaches_into_other_processes(together, crowd, tmp_path) -> None:
    """Neither Prefect's transaction nor our batch is there; the futures are."""
    before, marker = crowd.published(), str(tmp_path / "tried")
    number = 10 if together is batch else 20

    @track
    @flow(task_runner=crowd.make_runner())
    def pipeline(fail: bool) -> list[str]:
        with together():
            raw = load.submit(number)
            parts = part.map(raw, [1, 2])
            last = [merge.submit(parts), calls_another.submit(number + 1)]
            if together is batch:
                # a failed attempt would roll a transaction back, and of plain tasks only a batch knows
                last += [fails_once.submit(marker), plain.submit(raw)]
            states = {future.result().state for future in [raw, *parts, *last]}
            if fail:
                raise ValueError("validation says no")
        return [*states, last[0].result().reload().state]

    with pytest.raises(ValueError, match="says no"):
        pipeline(True)
    assert crowd.published() == before
    Path(marker).unlink(missing_ok=True)
    assert pipeline(False) == ["draft", "published"]
    new = sorted(name.partition(":")[0] for name in crowd.published() - before)
    assert [name for name in new if name not in ("checkpoint", "fragile")] == [
        "merged", "outer", "part", "part", *(["plain"] if together is batch else []), "raw", "raw",
    ]  # fmt: skip
    assert not crowd.repo.exists("own-draft")  # the task's own decision stands
