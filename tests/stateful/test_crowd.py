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

CREW = (log_one, log_one, log_one, collect_one)
AWAITED = {1: "logged", 4: "logged", 5: "collected", 7: "logged", 9: "logged"}
KILLS = int(os.environ.get("KILLS", "200"))
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
    """Rounds of three writers and a collector, each killed at a moment of its own. Some rounds wait for a version or a
    whole pass first, for on a busy machine a fraction of a second gets nobody anywhere."""
    ledger, dice = Ledger(tmp_path / "ledger"), random.Random(kills)
    for n in range(kills // len(CREW)):
        children = [fork(forever(url, ledger, act, 1000 * n + m)) for m, act in enumerate(CREW)]
        if n % 10 in AWAITED:
            wait_for_a_line(ledger, AWAITED[n % 10])
        time.sleep(dice.uniform(0.02, 0.35))
        for pid in dice.sample(children, len(children)):
            kill(pid)
            time.sleep(dice.uniform(0, 0.05))
        if n % 12 == 11:
            with hw.connect(url, project="p") as repo:
                assert not verify(repo.home).findings, n
    counts = check_everything(url, ledger)
    print(counts, f"{kills} kills")
    assert counts["logged"] >= kills // len(CREW) // 3 and counts["collected"] >= kills // len(CREW) // 10
    settle(url)
    check_everything(url, ledger)
    with hw.connect(url, project="p") as repo:
        assert "gone" in states(repo).values(), "what nobody reaches goes in the end"


def wait_for_a_line(ledger: Ledger, kind: str) -> None:
    """Until there is one more of this kind."""
    before, deadline = ledger.count(kind), time.monotonic() + 180
    while ledger.count(kind) == before:
        assert time.monotonic() < deadline, f"nobody has {kind} anything for three minutes"
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.timeout(KILLS * 3)
def test_writers_and_collectors_are_killed_two_hundred_times_and_nothing_is_lost(url, tmp_path):
    kill_often(url, tmp_path, KILLS)


@pytest.mark.slow
@pytest.mark.timeout(SOAK_SECONDS * 4 + 120)
def test_eight_writers_two_readers_and_a_collector_whose_clock_runs_ahead(url, tmp_path):
    """The collector sees every lease as lapsed and every grace as over: only the commit's own check is left."""
    ledger, until = Ledger(tmp_path / "ledger"), time.time() + SOAK_SECONDS

    def collector() -> None:
        days = 0
        while time.time() < until or days < 3:  # condemned, deleted and once more, on however slow a machine
            days += 1
            later = ahead(url, 25 * days)
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
    print(counts, f"{packs} packs deleted in {SOAK_SECONDS:g} s")
    assert ended == [0] * len(children)
    assert packs > 0 and counts["read"] > 0
    with hw.connect(url, project="p") as repo:
        assert not verify(repo.home).findings
