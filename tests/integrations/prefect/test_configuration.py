"""Parameters, caching, blocks, result storage, settings."""

from __future__ import annotations

import logging
from importlib.metadata import entry_points

import pytest
from prefect import flow, get_client
from prefect.cache_policies import TASK_SOURCE
from prefect.testing.standard_test_suites import BlockStandardTestSuite
from prefect.utilities.callables import parameter_schema

import headwater as hw
from headwater import Version
from headwater.adapter import current
from prefect_headwater import (
    ARTIFACT_INPUTS,
    HeadwaterRepository,
    HeadwaterSerializer,
    HeadwaterSettings,
    HeadwaterStorage,
    settings,
    step,
    track,
)
from tests.integrations.prefect.shapes import load


@pytest.fixture
def tables(repo) -> hw.Repository:
    with hw.start_run("seed"):
        for number in (1, 2):
            hw.log("table", number, aliases=["prod"] if number == 1 else [])
    return repo


# -- parameters ---------------------------------------------------------------------
@track
@flow
def train(data: Version[int] = hw.Use("table:prod"), lr: float = 0.1) -> int:
    return data.load()


@pytest.mark.usefixtures("harness")
def test_a_parameter_is_text_outside_and_a_version_inside(tables) -> None:
    assert train() == 1
    assert train("vision/table:latest") == 2
    assert train("headwater://vision/table:v0") == 1
    assert train(tables.version("table:v1")) == 2
    runs = [run for run in reversed(tables.runs()) if run.name == "train"]
    assert [[str(v) for v in run.used_artifacts()] for run in runs] == [[f"vision/table:v{n}"] for n in (0, 1, 0, 1)]
    assert runs[0].uses()[0].role == "data"
    assert runs[3].config["data"] == "headwater://vision/table:v1"


def test_a_form_shows_the_parameter_as_text() -> None:
    shown = parameter_schema(train.fn).model_dump()["properties"]["data"]
    assert (shown["type"], shown["default"]) == ("string", "table:prod")


@pytest.mark.usefixtures("harness")
def test_a_parameter_that_is_no_version_fails_the_flow(tables) -> None:
    assert train("vision/nothing:v1", return_state=True).is_failed()


# -- caching ------------------------------------------------------------------------
@pytest.mark.usefixtures("harness")
def test_a_moved_alias_runs_again_and_an_equal_one_does_not(tables) -> None:
    calls = []

    @step(log="fitted", cache_policy=ARTIFACT_INPUTS + TASK_SOURCE)
    def fit(unique: str, given: Version, data: int = hw.Use("table:prod")) -> int:
        calls.append(data)
        return data

    @flow
    def pipeline(given: str) -> int:
        return fit(tables.id, [tables.version(given)]).load()

    tables.set_alias("table:same", to="v1")
    assert [pipeline("table:v1"), pipeline("table:latest"), pipeline("table:same")] == [1, 1, 1]
    assert calls == [1]
    tables.set_alias("table:prod", to="v1")
    assert pipeline("table:v1") == 2
    assert pipeline("table:v0") == 2
    assert calls == [1, 2, 2]


def test_the_policy_leaves_out_what_it_is_told_and_does_not_confuse_tasks() -> None:
    assert (ARTIFACT_INPUTS - "x").exclude == ["x"]
    assert ARTIFACT_INPUTS.exclude == []


# -- blocks -------------------------------------------------------------------------
@pytest.mark.usefixtures("harness")
@pytest.mark.parametrize("block", [HeadwaterRepository, HeadwaterStorage])
class TestBlocksAreAsPrefectWantsThem(BlockStandardTestSuite):
    @pytest.fixture
    def block(self, block):
        return block

    def test_has_a_valid_image(self, block) -> None:
        """Prefect's pages do without one; Prefect's own test would fetch it from somewhere."""
        assert block._logo_url is None


def test_a_password_is_in_the_location_and_nowhere_else() -> None:
    block = HeadwaterRepository(url="postgresql://me@db.example.org/hw", password="s/cret")
    assert block.location() == "postgresql://me:s%2Fcret@db.example.org/hw"
    assert "s/cret" not in repr(block) + str(block)


@pytest.mark.usefixtures("harness")
def test_a_block_says_which_repository_to_use(tmp_path, repo, monkeypatch) -> None:
    place = str(tmp_path / "of-the-block")
    HeadwaterRepository(url=place, project="blocked").save("team", overwrite=True, _sync=True)
    monkeypatch.setenv("PREFECT_INTEGRATIONS_HEADWATER_BLOCK", "team")
    settings.forget()
    assert flow(lambda: load(1).name, name="f")() == "blocked/raw"
    assert current().url == place
    assert repo.runs() == []


def test_code_goes_before_prefects_settings_and_those_before_the_environment(repo, monkeypatch) -> None:
    monkeypatch.setenv("PREFECT_INTEGRATIONS_HEADWATER_PROJECT", "of-prefect")
    settings.forget()
    settings.settings()
    assert current().project == "of-prefect"
    hw.configure(project="of-code")
    assert current().project == "of-code"


@pytest.mark.usefixtures("harness")
def test_prefects_settings_name_the_repository_and_keep_pages_quiet(tmp_path, repo, monkeypatch) -> None:
    place = str(tmp_path / "of-prefect")
    monkeypatch.setenv("PREFECT_INTEGRATIONS_HEADWATER_URL", place)
    monkeypatch.setenv("PREFECT_INTEGRATIONS_HEADWATER_ARTIFACTS", "false")
    settings.forget()
    made = flow(lambda: load(1), name="f")()
    assert current().url == place
    assert repo.runs() == []
    with get_client(sync_client=True) as client:
        task_run = {"task_run_id": {"any_": [made.logged_by().key.removeprefix("prefect:task-run/")]}}
        assert client.request("POST", "/artifacts/filter", json={"artifacts": task_run}).json() == []


def test_prefect_finds_blocks_and_settings_by_itself() -> None:
    (found,) = entry_points(group="prefect.collections", name="prefect_headwater")
    assert found.load().HeadwaterStorage is HeadwaterStorage
    assert {name.upper() for name in HeadwaterSettings.model_fields} == {
        "URL", "PROJECT", "TRACKING", "BLOCK", "ARTIFACTS", "EVENTS",
    }  # fmt: skip


@pytest.mark.usefixtures("harness")
def test_results_are_kept_as_versions_once(repo) -> None:
    HeadwaterStorage().save("results", overwrite=True, _sync=True)

    @step(result_storage_key="first")
    def first() -> str:
        return "a result " * 1000

    @step(result_storage_key="second/nested", result_serializer="json")
    def second() -> dict:
        return {"n": 1}

    @flow(result_storage="headwater-storage/results", persist_result=True)
    def pipeline() -> str:
        second()
        return first()

    assert pipeline() == pipeline()
    kept = repo.artifact("prefect-results").partitions()
    assert {info.record.partition for info in kept} >= {"first", "second/nested"}
    storage = HeadwaterStorage.load("results", _sync=True)
    assert b'"n":1' in storage.read_path("second/nested").replace(b" ", b"").replace(b"\\", b"")
    with pytest.raises(ValueError, match="no result"):
        storage.read_path("never")


def test_an_outage_is_no_silent_miss(repo, tmp_path, caplog) -> None:
    (tmp_path / "file").write_text("")
    storage = HeadwaterStorage(repository=HeadwaterRepository(url=str(tmp_path / "file")))
    with caplog.at_level(logging.ERROR, "headwater"), pytest.raises(hw.HeadwaterError):
        storage.read_path("x")
    assert "run its task again" in caplog.text


def test_handles_are_serialised_as_pointers(tables) -> None:
    serializer = HeadwaterSerializer()
    version = tables.version("table")
    value = {"a": [version, (1, 2.5, None)], "b": "text"}
    blob = serializer.dumps(value)
    assert serializer.loads(blob) == value
    assert b"digest" in blob
    blob.decode()
    assert serializer.loads(serializer.dumps({1: {2, 3}})) == {1: {2, 3}}
