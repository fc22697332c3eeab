"""The catalog's server dies and its stand-by takes over: workers go on, and what they were told was done is done."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from pathlib import Path

import pytest

import headwater as hw
from headwater.catalog.sql import create, open_catalog
from headwater.connect import create as create_repository
from headwater.upkeep import verify
from tests.contracts.catalog_world import World
from tests.postgres import Cluster
from tests.servers.forwarder import Forwarder
from tests.servers.processes import free_ports
from tests.stateful.crowd import fork

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

WRITERS, EACH = 5, 30


@pytest.fixture
def pair():
    """A primary, and a stand-by without which nothing counts as committed."""
    first, second = free_ports(2)
    primary = Cluster(Path(tempfile.mkdtemp(prefix="headwater-pg-")), first)
    standby = Cluster(Path(tempfile.mkdtemp(prefix="headwater-pg-")), second, of=primary)
    yield primary, standby
    primary.stop()
    standby.stop()


def wait_for_each_other(primary: Cluster) -> None:
    """From now on a COMMIT returns only when the stand-by has it."""
    import psycopg

    with psycopg.connect(primary.url(), autocommit=True) as boss:
        boss.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        boss.execute("SELECT pg_reload_conf()")
        wait_until(lambda: boss.execute("SELECT sync_state FROM pg_stat_replication").fetchall() == [("sync",)])


def wait_until(true) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)


def address(*servers: Cluster, database: str) -> str:
    hosts = ",".join(f"127.0.0.1:{server.port}" for server in servers)
    return f"postgresql://headwater@{hosts}/{database}?target_session_attrs=read-write"


def name_of(url: str) -> str:
    return url.partition("@/")[2].partition("?")[0]


class Writer:
    """A worker that logs one version after another, in one run."""

    def __init__(self, repo: hw.Repository, number: int, told: list[tuple[int, str]]) -> None:
        self.errors: list[BaseException] = []
        self._repo, self._number, self._told = repo, number, told
        self.thread = threading.Thread(target=self._work)
        self.thread.start()

    def _work(self) -> None:
        try:
            with self._repo.start_run(f"w{self._number}", capture=()) as run:
                for step in range(EACH):
                    made = hw.Artifact(f"a{self._number % 2}").add_bytes(b"%d %d" % (self._number, step), "who")
                    self._told.append((self._number, run.log_artifact(made).id))
        except BaseException as error:
            self.errors.append(error)


def test_workers_go_on_when_the_stand_by_is_promoted_and_nothing_acknowledged_is_lost(pair, tmp_path):
    primary, standby = pair
    wait_for_each_other(primary)
    url = address(primary, standby, database=name_of(primary.new_database()))
    (tmp_path / "packs").mkdir()
    create_repository(url, f"file://{tmp_path}/packs").close()
    repos = [hw.connect(url, project="p") for _ in range(WRITERS)]
    go_on, told = tmp_path / "go-on", []
    child = fork(lambda: late_child(repos[0], go_on))  # has its parent's pool, to a server that will be dead
    writers = [Writer(repo, number, told) for number, repo in enumerate(repos)]
    wait_until(lambda: len(told) >= WRITERS * 2)
    primary.kill()  # as a crash: no session is told anything
    before = len(told)
    standby.promote()
    for writer in writers:
        writer.thread.join(150)
        assert not writer.thread.is_alive() and writer.errors == []
    assert before < WRITERS * EACH, "the fail-over came in the middle"
    go_on.touch()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with hw.connect(url, project="p") as repo:
        assert {v.id for name in ("a0", "a1") for v in repo.artifact(name).versions()} == {made for _, made in told}
        for name in ("a0", "a1"):
            numbers = [v.number for v in repo.artifact(name).versions()]
            assert numbers == list(range(len(numbers)))[::-1], "once each, numbered without a gap"
        assert repo.version("child").number == 0
        assert {run.state for run in repo.runs()} == {"finished"}
        cursors = [event.cursor for event in repo.events(after=0, limit=10_000)]
        assert cursors == list(range(1, len(cursors) + 1))
        assert not verify(repo.home).findings
    for repo in repos:
        repo.close()


def late_child(repo: hw.Repository, go_on: Path) -> None:
    """Forked while the old server was there, at work when it is not."""
    wait_until(go_on.exists)
    repo.log_artifact(hw.Artifact("child").add_bytes(b"1", "x"))


def test_behind_one_address_connections_that_lead_to_a_stand_by_are_given_up(pair):
    primary, standby = pair
    with Forwarder(primary.port) as service:
        url = f"postgresql://headwater@127.0.0.1:{service.port}/{name_of(primary.new_database())}"
        world = World(create(url))
        world.commit("a", "one")
        wait_until(lambda: has_caught_up(primary))
        service.lead_to(standby.port, cut=True)  # the address moved too early: the stand-by refuses writes
        threading.Timer(2.0, lambda: service.lead_to(primary.port, cut=False)).start()
        assert world.find("a").number == 0, "reads are served meanwhile"
        assert world.commit("a", "two").version.number == 1, "the connections to the stand-by stay open, and are left"
        wait_until(lambda: has_caught_up(primary))
        primary.kill()
        standby.promote()
        service.lead_to(standby.port, cut=True)
        assert world.commit("a", "three").version.number == 2
        world.catalog.close()
        assert World(open_catalog(url)).find("a").number == 2


def has_caught_up(primary: Cluster) -> bool:
    import psycopg

    with psycopg.connect(primary.url(), autocommit=True) as boss:
        lag = boss.execute("SELECT replay_lsn = pg_current_wal_lsn() FROM pg_stat_replication").fetchone()
        return lag == (True,)
