"""What Prefect shows of Headwater: events, assets, triggers, the forwarder and its command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from prefect import flow, get_client
from prefect.events.clients import AssertingEventsClient
from prefect.events.worker import EventsWorker

import headwater as hw
from headwater import Version
from headwater.cli.root import headwater
from prefect_headwater import EVENT_REF, forwarder, on_new_version, step
from prefect_headwater.assets import asset_key
from prefect_headwater.forwarder import forward
from tests.integrations.prefect.shapes import load

pytestmark = pytest.mark.usefixtures("harness")


@pytest.fixture
def events() -> Iterator[type[AssertingEventsClient]]:
    EventsWorker.set_client_override(AssertingEventsClient)
    AssertingEventsClient.reset()
    yield AssertingEventsClient
    EventsWorker.set_client_override(None)


def emitted(events: type[AssertingEventsClient], prefix: str) -> list:
    EventsWorker.drain_all()
    return [event for client in events.all for event in client.events if event.event.startswith(prefix)]


class Told:
    """A Prefect server as far as the forwarder knows it."""

    def __init__(self, refuses: int = 0) -> None:
        self.events: list[dict] = []
        self.api_url = "http://prefect.example.org"
        self._refuses = refuses

    def request(self, method: str, path: str, json: Any) -> httpx.Response:
        if self._refuses:
            self._refuses -= 1
            raise httpx.ConnectError("down")
        request = httpx.Request(method, self.api_url + path)
        if path == "/events/filter":
            asked = json["filter"]["id"]["id"]
            return httpx.Response(200, json={"events": [e for e in self.events if e["id"] in asked]}, request=request)
        self.events += json
        return httpx.Response(204, request=request)


def test_a_publication_by_a_task_is_an_event_with_the_id_the_forwarder_gives_it(repo, events) -> None:
    flow(lambda: load(1), name="f")()
    flow(lambda: load(1), name="f")()
    (mine,) = emitted(events, "headwater.")
    told = Told()
    assert forward(repo, told) == 1
    assert str(mine.id) == told.events[0]["id"]
    assert mine.event == told.events[0]["event"] == "headwater.artifact-version.published"
    assert mine.resource.id == "headwater://vision/raw"
    assert mine.payload["ref"] == told.events[0]["payload"]["ref"] == "headwater://vision/raw:v0"


def test_events_can_be_left_to_the_forwarder(repo, events, monkeypatch) -> None:
    monkeypatch.setenv("PREFECT_INTEGRATIONS_HEADWATER_EVENTS", "false")
    flow(lambda: load(1), name="f")()
    assert emitted(events, "headwater.") == []


def test_the_forwarder_goes_on_where_it_was_and_loses_nothing(repo) -> None:
    with repo.start_run("by-hand") as run:
        run.log_artifact(1, "table", aliases=["prod"])
    with pytest.raises(hw.StorageError, match="did not take"):
        forward(repo, Told(refuses=1))
    told = Told()
    assert forward(repo, told) == 2
    assert forward(repo, told) == 0
    words = [event["event"].rpartition(".")[2] for event in told.events]
    assert sorted(words) == ["aliased", "published"]
    aliased = next(event for event in told.events if event["event"].endswith("aliased"))
    assert aliased["resource"]["headwater.alias"] == "prod"
    assert "HEADWATER" not in json.dumps(told.events)


def test_what_prefect_has_is_not_told_again(repo) -> None:
    with repo.start_run("by-hand") as run:
        run.log_artifact(1, "table")
    told = Told()
    assert forward(repo, told) == 1
    assert forward(repo, told, "another") == 0  # as after a stop between the telling and the note that it was told
    with repo.start_run("by-hand") as run:
        run.log_artifact(2, "table")
    assert forward(repo, told, "another") == 1
    assert [e["payload"]["version"] for e in told.events] == ["v0", "v1"]


def test_history_starts_nothing_unless_asked_for(repo, monkeypatch, caplog) -> None:
    monkeypatch.setattr(forwarder, "NEWS", timedelta(0))
    with repo.start_run("by-hand") as run:
        run.log_artifact(1, "table")
    told = Told()
    assert forward(repo, told) == 0
    assert "1 events of before are left out" in caplog.text
    assert forward(repo, told, "all", history=True) == 1
    with repo.start_run("by-hand") as run:
        run.log_artifact(2, "table")
    assert forward(repo, told) == 1  # however long that was ago: it came after the first start


def test_an_alias_that_comes_back_is_another_event(repo) -> None:
    with repo.start_run("by-hand") as run:
        run.log_artifact(1, "table")
        run.log_artifact(2, "table")
    for target in ("v0", "v1", "v0"):
        repo.set_alias("table:prod", to=target)
    told = Told()
    forward(repo, told)
    aliased = [e for e in told.events if e["event"].endswith(".aliased")]
    assert [e["payload"]["version"] for e in aliased] == ["v0", "v1", "v0"]
    assert len({e["id"] for e in told.events}) == len(told.events)
    repo.version("table:v1").delete()
    forward(repo, told)
    assert told.events[-1]["event"].endswith(".deleted")


def test_the_command_forwards_to_the_server_there_is(repo) -> None:
    from click.testing import CliRunner

    with repo.start_run("by-hand") as run:
        run.log_artifact(1, "table")
    with get_client(sync_client=True) as client:
        environment = {"PREFECT_API_URL": str(client.api_url)}
    done = CliRunner().invoke(headwater, ["forward", "prefect", "--once", "--json"], env=environment)
    assert json.loads(done.stdout) == {"forwarded": 1}, done.output


def test_a_trigger_names_the_artifact_and_the_transition(repo) -> None:
    trigger = on_new_version("raw", parameters={"data": EVENT_REF})
    assert trigger.match.model_dump() == {"prefect.resource.id": "headwater://vision/raw"}
    assert trigger.expect == {"headwater.artifact-version.published"}
    promoted = on_new_version("other/raw", alias="prod")
    assert promoted.expect == {"headwater.artifact-version.aliased"}
    assert promoted.match.model_dump()["headwater.alias"] == "prod"
    assert "headwater://vision/*" in str(on_new_version("vision/*").match.model_dump())
    with pytest.raises(hw.InvalidInputError, match="which version"):
        on_new_version("vision/raw:v3")


def test_a_step_that_asks_for_it_materialises_assets_with_true_upstreams(repo, events) -> None:
    @step(log="features", asset=True)
    def featurize(raw: Version[str]) -> str:
        return raw.load().upper()

    flow(lambda: featurize(load(1)), name="f")()
    found = emitted(events, "prefect.asset.")
    made = next(e for e in found if e.event == "prefect.asset.materialization.succeeded")
    assert made.resource.id == "headwater://vision/features"
    assert (made.payload["version"], made.payload["digest"]) == ("v0", repo.version("features").digest)
    assert {r.id for r in made.related} >= {"headwater://vision/raw"}


def test_asset_keys_are_what_prefect_allows(repo) -> None:
    with repo.start_run("by-hand") as run:
        odd = run.log_artifact(1, hw.name("a b", "c#d"), partition="2024 01")
    key = asset_key(odd)
    assert key.startswith("headwater://vision/")
    assert not set(key) & set(" #?&%\"'<>[]{}|\\^`")
