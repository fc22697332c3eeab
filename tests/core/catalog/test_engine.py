"""Many processes, killed processes, forked processes, broken connections: none loses anything."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from pathlib import Path

import pytest

from headwater import forks
from headwater.catalog.dialect import NETWORK, filesystem
from headwater.catalog.engine import Database
from headwater.catalog.sql import create, open_catalog
from headwater.errors import AccessError, FormatError, HeadwaterError, StateError, StorageError
from headwater.model.records import Query
from tests.contracts.catalog_world import World
from tests.postgres import cluster

FORK = multiprocessing.get_context("fork")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def url(request, tmp_path):
    return f"sqlite:///{tmp_path}/a.sqlite" if request.param == "sqlite" else cluster().new_database()


def all_numbers(world: World, artifact: str) -> list[int]:
    return sorted(v.number for v in world.catalog.versions.versions(Query(artifact=artifact)))


def in_child(work) -> int:
    """Fork, run `work`, return the child's exit code (0: it came to its end)."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def log_some(catalog, n: int, errors) -> None:
    try:
        world = World(catalog)
        for step in range(4):
            run = world.run(f"{n} {step}")
            made = world.commit("shared", f"{n} {step}", run=run, finish="finished", aliases=("best",)).version
            world.catalog.runs.record_uses(world.run().id, [(made.id, None, "shared")])
            world.commit(f"own-{n % 4}", f"{step}")
    except BaseException as error:
        errors.put(repr(error))


def test_sixteen_processes_write_at_once_and_nothing_is_lost(url):
    world = World(create(url))
    world.commit("shared", "before the fork")
    errors = FORK.Queue()
    children = [FORK.Process(target=log_some, args=(world.catalog, n, errors)) for n in range(16)]
    for child in children:
        child.start()
    for child in children:
        child.join(100)
    assert errors.empty(), errors.get()
    assert [child.exitcode for child in children] == [0] * 16
    assert all_numbers(world, "shared") == list(range(65)), "dense and unique"
    holders = world.catalog.versions.versions(Query(where=("alias=best",)))
    assert len(holders) == 1 and "best" in holders[0].aliases
    logged = [world.catalog.runs.logged(world.catalog.runs.get(f"{n} {s}").id) for n in range(16) for s in range(4)]
    assert {len(edges) for edges in logged} == {1}
    cursors = [event.cursor for event in world.catalog.events.after(0, 10_000)]
    assert cursors == list(range(1, len(cursors) + 1))
    world.catalog.close()


def test_a_child_goes_on_with_what_its_parent_opened(url):
    world = World(create(url))
    world.commit("a", "one")
    assert in_child(lambda: world.commit("a", "two")) == 0
    assert in_child(lambda: in_child(lambda: world.commit("a", "three"))) == 0
    assert world.commit("a", "four").version.number == 3
    world.catalog.close()


def test_a_fork_in_the_middle_of_other_threads_transactions_waits_for_them(url):
    world = World(create(url))
    stop = threading.Event()

    def write(n: int):
        step = 0
        while not stop.is_set():
            world.commit(f"a{n}", f"{step}")
            step += 1

    threads = [threading.Thread(target=write, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    codes = [in_child(lambda n=n: world.commit("child", f"{n}")) for n in range(5)]
    stop.set()
    for thread in threads:
        thread.join(30)
    assert codes == [0] * 5 and all_numbers(world, "child") == list(range(5))
    world.catalog.close()


def test_a_child_forked_inside_a_transaction_that_does_not_end_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(forks, "PATIENCE", 0.2)
    world = World(create(f"sqlite:///{tmp_path}/a.sqlite"))
    inside, go_on = threading.Event(), threading.Event()
    thread = threading.Thread(target=world.catalog.database.write, args=(lambda tx: (inside.set(), go_on.wait(20)),))
    thread.start()
    assert inside.wait(10)

    def refused():
        with pytest.raises(StateError, match="forked in the middle"):
            world.commit("a", "one")

    code = in_child(refused)
    go_on.set()
    thread.join(20)
    assert code == 0 and world.commit("a", "one").version.number == 0
    world.catalog.close()


def test_a_repository_in_memory_stays_in_its_process_and_is_shared_by_its_threads():
    world = World(create("sqlite://"))
    threads = [threading.Thread(target=world.commit, args=("a", f"content {n}")) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert all_numbers(world, "a") == list(range(8))

    def refused():
        with pytest.raises(StateError, match="memory"):
            world.find("a")

    assert in_child(refused) == 0
    world.catalog.close()


WRITER = """
    import sys, time
    sys.path[:0] = {paths!r}
    from headwater.catalog.sql import open_catalog
    from headwater.catalog.commit import commit
    from tests.contracts.catalog_world import World
    world = World(open_catalog({url!r}))
    publication = world.publication("a", "half")
    def work(tx):
        commit(tx, publication)
        print("inside", flush=True)
        time.sleep(60)
    world.catalog.database.write(work)
"""


def test_a_writer_killed_inside_its_transaction_leaves_nothing_and_blocks_nobody(url):
    world = World(create(url))
    world.commit("a", "one")
    script = textwrap.dedent(WRITER.format(paths=[p for p in sys.path if p], url=url))
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "inside\n"
    child.send_signal(signal.SIGKILL)
    child.wait(10)
    child.stdout.close()
    started = time.monotonic()
    assert world.commit("a", "two").version.number == 1
    assert time.monotonic() - started < 5
    assert all_numbers(world, "a") == [0, 1]
    world.catalog.close()


def test_waiting_writers_pass_by_readers_and_readers_by_writers(tmp_path):
    url = f"sqlite:///{tmp_path}/a.sqlite"
    world, reader = World(create(url)), World(open_catalog(url))
    world.commit("a", "one")
    inside, go_on = threading.Event(), threading.Event()
    thread = threading.Thread(target=world.catalog.database.write, args=(lambda tx: (inside.set(), go_on.wait(20)),))
    thread.start()
    assert inside.wait(10)
    started = time.monotonic()
    assert reader.find("a").number == 0
    assert time.monotonic() - started < 1, "a reader never waits for a writer"
    go_on.set()
    thread.join(20)
    world.catalog.close()
    reader.catalog.close()


def test_no_password_is_ever_shown(capfd):
    database = Database("postgresql://ann:sekret@127.0.0.1:1/db?sslpassword=sekret2")
    with pytest.raises(StorageError) as failed:
        database.read(lambda tx: tx.value("SELECT 1"))
    shown = "".join(traceback.format_exception(failed.value)) + repr(database) + str(failed.value.to_json())
    assert "sekret" not in shown and "127.0.0.1" in shown
    assert failed.value.retryable


def test_an_old_sqlalchemy_keeps_its_catalog_in_sqlite_and_says_so(monkeypatch):
    """1.4 comes with Airflow 3.0: its conformance suite runs on it."""
    monkeypatch.setattr("sqlalchemy.__version__", "1.4.54")
    with pytest.raises(StateError, match=r"needs SQLAlchemy 2, this is 1\.4\.54.*Airflow 3\.0 does"):
        Database("postgresql://ann@127.0.0.1:1/db").read(lambda tx: tx.value("SELECT 1"))


def test_values_are_not_repeated_in_errors(tmp_path):
    catalog, value = create(f"sqlite:///{tmp_path}/a.sqlite"), "sek" + "ret"
    with pytest.raises(HeadwaterError) as failed:
        catalog.database.read(lambda tx: tx.value("SELECT nothing FROM nowhere WHERE x = :x", x=value))
    assert value not in "".join(traceback.format_exception(failed.value))
    catalog.close()


def test_a_damaged_file_and_one_that_is_none_are_told_apart(tmp_path):
    (tmp_path / "no.sqlite").write_bytes(b"this is not a database, whatever its name says" * 100)
    with pytest.raises(FormatError, match="not a database"):
        open_catalog(f"sqlite:///{tmp_path}/no.sqlite")
    with pytest.raises((StorageError, AccessError)):
        create(f"sqlite:///{tmp_path}/no/such/folder/a.sqlite")


def test_network_file_systems_are_known_by_their_mounts(tmp_path):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 8:1 / / rw - ext4 /dev/vda rw\n"
        "30 22 0:42 / /mnt/team rw,relatime shared:1 - nfs4 server:/x rw\n"
        "31 30 8:2 / /mnt/team/local\\040disk rw - xfs /dev/vdb rw\n"
    )
    assert filesystem(Path("/mnt/team/a/catalog.sqlite"), mounts) == "nfs4" and "nfs4" in NETWORK
    assert filesystem(Path("/mnt/team/local disk/catalog.sqlite"), mounts) == "xfs"
    assert filesystem(Path("/mnt/teamwork/catalog.sqlite"), mounts) == "ext4"
    assert filesystem(Path("/x"), tmp_path / "absent") is None


@pytest.mark.slow
def test_a_postgresql_that_restarts_loses_no_commit():
    url = cluster().new_database()
    world = World(create(url))
    world.commit("a", "before")
    made, stop = [], threading.Event()

    def write():
        while not stop.is_set():
            try:
                made.append(world.commit("a", f"content {len(made)} {time.monotonic()}").version)
            except StorageError as error:
                assert error.retryable

    thread = threading.Thread(target=write)
    thread.start()
    time.sleep(0.3)
    cluster().kill()
    cluster().start()
    time.sleep(0.3)
    stop.set()
    thread.join(30)
    numbers = [v.number for v in made]
    assert numbers == sorted(set(numbers)) and all_numbers(world, "a") == list(range(max(numbers) + 1))
    assert world.commit("a", "after").version.number == max(numbers) + 1
    world.catalog.close()
