"""A team's repository in bad weather: connections cut, dropped, delayed, answers lost, storms of 500 and 503.

Whatever happens on the wire, a log either succeeds or is an error of ours, every published
version is whole, and the next attempt succeeds.
"""

from __future__ import annotations

import os
import random

import pytest

import headwater as hw
from headwater.backends import retrying
from headwater.model.keys import pack_key
from headwater.store import blobwriter
from headwater.upkeep.collection import Terms, collect
from tests.contracts.catalog_world import ulid
from tests.servers import seaweed
from tests.servers.faults import FaultProxy
from tests.servers.team import new_repository, place
from tests.stateful.worlds import assert_promises, files_of

pytestmark = pytest.mark.slow

FILES = {f"d/{n}": bytes([n]) * 5000 for n in range(50)} | {"big": random.Random(3).randbytes(3_000_000)}


@pytest.fixture
def wire():
    with FaultProxy(seaweed.running().port) as proxy:
        yield proxy


@pytest.fixture
def repo(wire, monkeypatch):
    monkeypatch.setattr(retrying, "FIRST_PAUSE", 0.02)  # the patience of a minute, in a second
    monkeypatch.setattr(blobwriter, "_FIRST_PAUSE", 0.02)
    url = new_repository(monkeypatch, f"{place()}?endpoint={wire.endpoint}")
    with hw.connect(url, project="p") as repository:
        yield repository


def artifact(files: dict[str, bytes] = FILES) -> hw.Artifact:
    made = hw.Artifact("data")
    for path, data in files.items():
        made.add_bytes(data, path)
    return made


STORM = {
    "answers lost after the PUT was done": lambda wire: wire.lose(3, "PUT"),
    "connections dropped": lambda wire: wire.drop(3, "PUT"),
    "a 503 storm": lambda wire: wire.answer("503 Slow Down", 4, "PUT"),
    "a 500 storm": lambda wire: wire.answer("500 Internal Server Error", 3, "PUT"),
    "a slow service": lambda wire: wire.delay(0.5, 3, "PUT"),
}


@pytest.mark.parametrize("storm", STORM)
def test_a_log_gets_through_and_is_one_version(storm, repo, wire):
    STORM[storm](wire)
    version = repo.log_artifact(artifact())
    assert files_of(version) == FILES
    assert_promises(repo, {"data": {0: FILES}})


CALM = {
    "bodies cut short": lambda wire: wire.cut(1000, 3, "GET"),
    "connections dropped": lambda wire: wire.drop(3, "GET"),
    "answers lost": lambda wire: wire.lose(3, "GET"),
    "a 503 storm": lambda wire: wire.answer("503 Slow Down", 4, "GET"),
}


@pytest.mark.parametrize("storm", CALM)
def test_a_download_gets_through_and_is_right(storm, repo, wire, tmp_path):
    version = repo.log_artifact(artifact())
    CALM[storm](wire)
    target = version.download(tmp_path / "out")
    assert {path: (target / path).read_bytes() for path in FILES} == FILES


def test_a_service_that_stays_away_is_an_error_of_ours_and_the_content_is_in_the_spool(repo, wire):
    wire.answer("503 Slow Down", 10**6, "PUT")
    with pytest.raises(hw.StorageError, match="headwater push") as kept:
        repo.log_artifact(artifact({"a": b"ten hours of work"}))
    assert not repo.exists("data")
    wire._faults.clear()
    from headwater.connect import open_other
    from headwater.exchange import Wishes, copy_versions, select

    with open_other(kept.value.facts["spool"]) as spool:
        copy_versions(spool.home, repo.home, select(spool.home, ()), Wishes())
    assert files_of(repo.version("data")) == {"a": b"ten hours of work"}
    assert repo.version("data").id == kept.value.facts["version_id"]


def test_weather_of_every_kind_at_once_loses_nothing(repo, wire):
    chance = random.Random(int(os.environ.get("HEADWATER_TEST_SEED", "11")))
    expected: dict[int, dict[str, bytes]] = {}
    for n in range(8):
        for _ in range(2):
            kind = chance.choice([
                lambda: wire.lose(1, "PUT"), lambda: wire.drop(1, ""), lambda: wire.cut(1000, 1, "GET"),
                lambda: wire.answer("503 Slow Down", 2, ""), lambda: wire.delay(0.1, 1, ""),
            ])  # fmt: skip
            kind()
        files = FILES | {"n": b"%d" % n}
        made = repo.log_artifact(artifact(files))
        expected[made.number] = files
    wire._faults.clear()
    assert sorted(expected) == list(range(8))
    assert_promises(repo, {"data": expected})


def test_a_listing_cut_short_stops_the_sweep_and_lost_answers_stop_nothing(repo, wire):
    kept = repo.log_artifact(artifact())
    repo.log_artifact(hw.Artifact("other").add_bytes(random.Random(4).randbytes(50_000), "x")).delete()
    stray = pack_key(ulid())
    repo.home.objects.put(stray, b"left by a late writer")
    repo.home.leases.close()
    now = Terms(min_age=0, grace=0, orphan_age=0)
    wire.cut(300, 10**6, "packs%2F")  # of the answers that list packs
    with pytest.raises(hw.StorageError):
        collect(repo.home, now)
    wire._faults.clear()
    assert stray in {info.key for info in repo.home.objects.list("packs/")}, "what was not seen is not judged"
    wire.lose(3, "DELETE")
    wire.answer("503 Slow Down", 2, "packs%2F")
    done = collect(repo.home, now)
    assert (done.orphans.taken, done.orphans.why) == (1, "")
    assert collect(repo.home, now).freed_bytes == 0, "nothing is left"
    assert_promises(repo, {"data": {0: FILES}})
    assert files_of(kept) == FILES


def test_a_worker_reaches_the_same_bucket_by_another_endpoint_and_a_wrong_place_is_refused(repo, wire, monkeypatch):
    repo.log_artifact(artifact({"a": b"1"}))
    database = os.environ.get("HEADWATER_URL") or str(repo)
    root = repo.home.catalog.setting("store_root").partition("?")[0]
    before = len(wire.requests)
    monkeypatch.setenv("HEADWATER_OBJECTS", f"{root}?endpoint={seaweed.running().endpoint}")
    with hw.connect(database, project="p") as other:
        assert files_of(other.version("data")) == {"a": b"1"}
    assert len(wire.requests) == before, "not one request went the catalog's way"
    monkeypatch.setenv("HEADWATER_OBJECTS", place())
    with pytest.raises(hw.StateError, match="no marker"):
        hw.connect(database)
    strangers = new_repository(monkeypatch)
    monkeypatch.delenv("HEADWATER_OBJECTS")
    with hw.connect(strangers) as stranger:
        monkeypatch.setenv("HEADWATER_OBJECTS", stranger.home.catalog.setting("store_root"))
    with pytest.raises(hw.StateError, match="belong"):
        hw.connect(database)
