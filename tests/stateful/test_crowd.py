"""Real processes: killed at random moments, or working beside each other for a minute; then everything is checked."""

from __future__ import annotations

import os
import random
import time

import pytest

import headwater as hw
from headwater.connect import create
from headwater.upkeep import verify
from headwater.upkeep.collection import collect
from tests.postgres import cluster
from tests.stateful.clocked import pack_keys, states
from tests.stateful.crowd import (
    Ledger,
    ahead,
    check_everything,
    collect_one,
    forever,
    fork,
    kill,
    log_one,
    read_one,
)

KILLS = 200
SOAK_SECONDS = float(os.environ.get("SOAK_SECONDS", "60"))


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    place = str(tmp_path / "repository") if request.param == "sqlite" else cluster().new_database()
    (tmp_path / "packs").mkdir()
    create(place, f"file://{tmp_path}/packs").close()
    return place


def settle(url: str) -> None:
    """As weeks later: nothing that was left over is still there."""
    for days in (3, 12, 21):
        later = ahead(url, 24 * days)
        collect(later.home)
        later.close()
    with hw.connect(url, project="p") as repo:
        assert not verify(repo.home).findings
        there = {key for _, key, state, _ in repo.home.catalog.packs.packs() if state != "gone"}
        assert there == pack_keys(repo) and set(states(repo).values()) <= {"live", "condemned", "gone"}


def kill_often(url: str, tmp_path, kills: int) -> None:
    ledger, dice = Ledger(tmp_path / "ledger"), random.Random(kills)
    for n in range(kills // 2):
        children = [fork(forever(url, ledger, act, 1000 * n)) for act in (log_one, collect_one)]
        time.sleep(dice.uniform(0.02, 0.45))
        for pid in dice.sample(children, 2):
            kill(pid)
        if n % 25 == 24:
            with hw.connect(url, project="p") as repo:
                assert not verify(repo.home).findings, n
    counts = check_everything(url, ledger)
    assert counts["logged"] > kills / 10
    settle(url)
    check_everything(url, ledger)
    with hw.connect(url, project="p") as repo:
        assert "gone" in states(repo).values(), "what nobody reaches goes in the end"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_writers_and_collectors_are_killed_two_hundred_times_and_nothing_is_lost(url, tmp_path):
    kill_often(url, tmp_path, KILLS if "repository" in url else KILLS // 4)


@pytest.mark.slow
@pytest.mark.timeout(SOAK_SECONDS * 4 + 120)
def test_eight_writers_two_readers_and_a_collector_whose_clock_runs_ahead(tmp_path):
    """The collector sees every lease as lapsed and every grace as over: only the commit's own check is left."""
    url = str(tmp_path / "repository")
    create(url).close()
    ledger, until = Ledger(tmp_path / "ledger"), time.time() + SOAK_SECONDS

    def collector() -> None:
        hours = 0.0
        while time.time() < until:
            hours += 25
            later = ahead(url, hours)
            done = collect(later.home)
            ledger.write(kind="collected", packs=done.deleted.packs, compacted=done.compacted.packs)
            later.close()
            time.sleep(0.2)

    children = [fork(collector)]
    children += [fork(forever(url, ledger, log_one, n, until)) for n in range(8)]
    children += [fork(forever(url, ledger, read_one, n, until)) for n in (100, 101)]
    ended = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    counts = check_everything(url, ledger)
    packs = sum(line["packs"] for line in ledger.read() if line["kind"] == "collected")
    print(counts, f"{packs} packs deleted")
    assert ended == [0] * len(children)
    assert packs > 0 and counts["read"] > 0
    with hw.connect(url, project="p") as repo:
        assert not verify(repo.home).findings
