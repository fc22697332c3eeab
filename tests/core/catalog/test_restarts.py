"""PostgreSQL that restarts, and goes away, in the middle of commits."""

from __future__ import annotations

import multiprocessing
import tempfile
import threading
import time
from pathlib import Path

import pytest

from headwater.catalog import engine
from headwater.catalog.sql import create, open_catalog
from headwater.errors import InvalidInputError, StorageError
from tests.contracts.catalog_world import World
from tests.postgres import Cluster, cluster


@pytest.fixture
def own_server():
    """A server that may be killed."""
    server = Cluster(Path(tempfile.mkdtemp(prefix="headwater-pg-")))
    yield server
    server.stop()


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_writers_go_on_when_the_server_crashes_and_comes_back_and_commit_everything_once(own_server):
    url = own_server.new_database()
    create(url).close()
    own_server.kill()
    own_server.start(fsync="on")
    writers, each, errors = 6, 40, []

    def write(n: int) -> None:
        world = World(open_catalog(url))
        try:
            for step in range(each):
                world.commit(f"a{n % 3}", f"{n} {step}")
                time.sleep(0.02)
        except Exception as error:
            errors.append(error)
        finally:
            world.catalog.close()

    threads = [threading.Thread(target=write, args=(n,)) for n in range(writers)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        time.sleep(1.0)
        own_server.kill()  # as a crash: no session is told anything
        time.sleep(0.3)
        own_server.start(fsync="on")
    for thread in threads:
        thread.join(120)
    assert errors == []
    catalog = open_catalog(url)
    for n in range(3):
        found = catalog.versions.versions(_of(World(catalog), f"a{n}"))
        assert sorted(v.number for v in found) == list(range(2 * each)), "once each, numbered without a gap"
    events = catalog.events.after(0, limit=10_000)
    assert [e.cursor for e in events] == list(range(1, len(events) + 1))
    catalog.close()


def _of(world: World, name: str):
    from headwater.model.records import Query

    return Query(project="p", artifact=world.name(name).artifact)


@pytest.mark.slow
def test_a_server_that_stays_away_is_an_error_of_ours_that_may_be_tried_again(own_server, monkeypatch):
    monkeypatch.setattr(engine, "PATIENCE", 1.0)
    url = own_server.new_database()
    world = World(create(url))
    own_server.kill()
    start = time.monotonic()
    with pytest.raises(StorageError) as gone:
        world.commit("a", "one")
    assert gone.value.retryable and time.monotonic() - start < 20
    world.catalog.close()


@pytest.mark.slow
def test_a_server_that_never_answered_is_not_waited_for():
    start = time.monotonic()
    with pytest.raises(StorageError):
        open_catalog("postgresql://u:hidden@127.0.0.1:1/d")
    assert time.monotonic() - start < 15


@pytest.mark.slow
def test_connections_survive_a_fork_and_a_terminated_backend():
    url = cluster().new_database()
    world = World(create(url))
    world.commit("a", "one")
    child = multiprocessing.get_context("fork").Process(target=lambda: world.commit("a", "two"))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    import psycopg

    with psycopg.connect(cluster().url(), autocommit=True) as boss:
        boss.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            [url.partition("@/")[2].partition("?")[0]],
        )
    assert world.commit("a", "three").version.number == 2
    world.catalog.close()


@pytest.mark.parametrize(
    "url", ["postgresql://u:hidden@one:1,two:2/d", "postgres://u:hidden@one,two/d?connect_timeout=1"]
)
def test_several_hosts_are_understood_and_passwords_never_shown(url):
    database = engine.Database(url)
    hosts = database._url.query["host"]
    assert [host.partition(":")[0] for host in hosts] == ["one", "two"]
    assert "hidden" not in repr(database) + database.where
    with pytest.raises(InvalidInputError) as refused:
        engine.Database("postgresql://u:hidden@one:x/d")
    assert "hidden" not in str(refused.value)
