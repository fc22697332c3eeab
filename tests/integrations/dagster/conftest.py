"""A repository and a Dagster instance for each test, and the little that tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

import headwater as hw
from dagster_headwater import HeadwaterIOManager, HeadwaterResource

DAGSTERS_OWN = (
    r"ignore::DeprecationWarning:dagster(\.|_|$)",  # of Dagster's code about Dagster's code, and Pydantic's
    r"ignore:.*is currently in (beta|preview):Warning",
)


def pytest_configure(config: pytest.Config) -> None:
    """Leave out the warnings that Dagster gives itself; about ours and the tests' code every one is shown."""
    for line in DAGSTERS_OWN:
        config.addinivalue_line("filterwarnings", line)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return str(tmp_path / "repository")


@pytest.fixture(autouse=True)
def nothing_preferred() -> Iterator[None]:
    """What a resource of another test said must not hold here."""
    import headwater.settings as hw_settings

    yield
    hw_settings._preferred.clear()


@pytest.fixture
def fork_server_anew() -> Iterator[None]:
    """Step processes are forked from a server that keeps the environment of the test that started it."""
    from multiprocessing.forkserver import _forkserver

    _forkserver._stop()
    yield
    _forkserver._stop()


@pytest.fixture
def repo(url: str) -> Iterator[hw.Repository]:
    with hw.connect(url, project="lake") as repository:
        yield repository


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def headwater(url: str) -> HeadwaterResource:
    return HeadwaterResource(url=url, project="lake")


@pytest.fixture
def resources(headwater: HeadwaterResource) -> dict[str, Any]:
    return {"headwater": headwater, "io_manager": HeadwaterIOManager(headwater=headwater)}


@pytest.fixture
def run(resources: dict[str, Any], instance: dg.DagsterInstance) -> Any:
    """`run([assets], **options)`: materialize, in this process."""

    def materialize(assets: list[Any], **options: Any) -> dg.ExecuteInProcessResult:
        return dg.materialize(assets, resources=options.pop("resources", resources), instance=instance, **options)

    return materialize


def event(instance: dg.DagsterInstance, *key: str, partition: str | None = None) -> Any:
    """The newest materialization of an asset."""
    if partition is None:
        found = instance.get_latest_materialization_event(dg.AssetKey(key))
    else:
        records = instance.fetch_materializations(
            dg.AssetRecordsFilter(dg.AssetKey(key), asset_partitions=[partition]), limit=1
        ).records
        found = records[0].event_log_entry
    assert found is not None
    return found.asset_materialization


def graph(repo: hw.Repository, group: str | None = None) -> dict[str, tuple[str, list[str], list[str]]]:
    """Run name (with attempt, if not the first) → state, used, logged; versions without their project."""
    return {
        run.name + (f"#{run.attempt}" if run.attempt > 1 else ""): (
            run.state,
            [short(edge.version) for edge in run.uses()],
            [short(edge.version) for edge in run.logs()],
        )
        for run in repo.runs(group=group)
    }


def short(record: Any) -> str:
    partition = f"[{record.partition}]" if record.partition else ""
    return f"{record.artifact}{partition}:v{record.number}"
