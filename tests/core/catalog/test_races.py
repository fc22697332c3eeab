"""Commit against collection, both interleavings, on real connections; and why the obvious SQL is not enough."""

from __future__ import annotations

import threading
import time

import pytest

from headwater.catalog.commit import commit
from headwater.catalog.sql import create, open_catalog
from headwater.errors import ConflictError
from tests.contracts.catalog_world import World, digest
from tests.postgres import cluster


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def url(request, tmp_path):
    return f"sqlite:///{tmp_path}/a.sqlite" if request.param == "sqlite" else cluster().new_database()


@pytest.fixture
def sides(url):
    """A writer and a collector on connections of their own, and a live pack that nothing holds or references."""
    writer = World(create(url))
    collector = World(open_catalog(url))
    pack = writer.pack("one", "page of one")
    writer.catalog.packs.close_lease(writer.lease)
    yield writer, collector, pack
    writer.catalog.close()
    collector.catalog.close()


def in_thread(work):
    """Run `work` beside us; returns (thread, its results and errors)."""
    results: list[object] = []

    def body():
        try:
            results.append(work())
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    return thread, results


def test_a_collector_that_comes_while_a_writer_commits_waits_and_spares_the_pack(sides):
    writer, collector, pack = sides
    checked, go_on = threading.Event(), threading.Event()

    def slow_commit(tx):
        made = commit(tx, writer.publication("a", "one", pack=pack))
        checked.set()
        assert go_on.wait(10)
        return made

    committing, made = in_thread(lambda: writer.catalog.database.write(slow_commit))
    assert checked.wait(10)
    collecting, condemned = in_thread(lambda: list(collector.collector.condemn(min_age_seconds=0)))
    time.sleep(0.3)
    assert not condemned, "the collector must not pass a writer that has checked its packs"
    go_on.set()
    committing.join(20)
    collecting.join(20)
    assert condemned == [[]] and made[0].kind == "created"
    assert [state for _, _, state, _ in writer.catalog.packs.packs()] == ["live"]


def test_a_writer_that_comes_while_a_collector_condemns_waits_and_is_told(sides):
    writer, collector, pack = sides
    condemned, go_on = threading.Event(), threading.Event()

    def slow_condemn(tx):
        assert tx.run("UPDATE packs SET state = 'condemned', changed_at = 1 WHERE state = 'live'") == 1
        condemned.set()
        assert go_on.wait(10)

    collecting, _ = in_thread(lambda: collector.catalog.database.collect(slow_condemn))
    assert condemned.wait(10)
    committing, made = in_thread(lambda: writer.commit("a", "one", pack=pack))
    time.sleep(0.3)
    assert not made, "the writer must not check its packs while a collector is at work"
    go_on.set()
    collecting.join(20)
    committing.join(20)
    assert isinstance(made[0], ConflictError) and made[0].facts["lost_packs"] == [pack]


def test_holding_a_blob_and_deleting_its_pack_exclude_each_other(sides):
    writer, collector, pack = sides
    assert list(collector.collector.condemn(min_age_seconds=0)) == [(pack, 20)]
    looked, go_on = threading.Event(), threading.Event()
    lease = writer.catalog.packs.open_lease("second")

    def slow_hold(tx):
        tx.run("UPDATE packs SET state = 'live' WHERE uid = :uid", uid=pack)
        looked.set()
        assert go_on.wait(10)

    holding, _ = in_thread(lambda: writer.catalog.database.write(slow_hold))
    assert looked.wait(10)
    rechecking, deleted = in_thread(lambda: list(collector.collector.recheck(grace_seconds=0)))
    time.sleep(0.2)
    assert not deleted
    go_on.set()
    holding.join(20)
    rechecking.join(20)
    assert deleted == [[]] and writer.catalog.packs.hold_blobs([digest("one")], lease) == {digest("one"): pack}


def test_a_writer_that_looks_for_a_blob_while_its_pack_is_deleted_waits_and_does_not_find_it(sides):
    writer, collector, _ = sides
    list(collector.collector.condemn(min_age_seconds=0))
    chosen, go_on = threading.Event(), threading.Event()
    lease = writer.catalog.packs.open_lease("second")

    def slow_delete(tx):
        assert tx.run("UPDATE packs SET state = 'deleting' WHERE state = 'condemned'") == 1
        chosen.set()
        assert go_on.wait(10)

    deleting, _ = in_thread(lambda: collector.catalog.database.collect(slow_delete))
    assert chosen.wait(10)
    looking, found = in_thread(lambda: writer.catalog.packs.hold_blobs([digest("one")], lease))
    time.sleep(0.3)
    assert not found, "the writer must not rely on what is being taken"
    go_on.set()
    deleting.join(20)
    looking.join(20)
    assert found == [{}], "it sends the bytes again, under another key"


@pytest.mark.parametrize("first", ["writer", "collector"])
def test_a_commit_and_the_second_look_before_deletion_exclude_each_other(sides, first):
    """The pack was condemned a day ago, and the writer has held nothing: only the order of the two decides."""
    writer, collector, pack = sides
    list(collector.collector.condemn(min_age_seconds=0))
    inside, go_on = threading.Event(), threading.Event()

    def slow(work):
        def body(tx):
            made = work(tx)
            inside.set()
            assert go_on.wait(10)
            return made

        return body

    def revive_and_commit(tx):
        tx.run("UPDATE packs SET state = 'live' WHERE state = 'condemned'")
        return commit(tx, writer.publication("a", "one", pack=pack))

    def take(tx):
        return tx.run("UPDATE packs SET state = 'deleting' WHERE state = 'condemned'")

    if first == "writer":
        one, made = in_thread(lambda: writer.catalog.database.write(slow(revive_and_commit)))
        assert inside.wait(10)
        two, deleted = in_thread(lambda: list(collector.collector.recheck(grace_seconds=0)))
    else:
        one, deleted = in_thread(lambda: collector.catalog.database.collect(slow(take)))
        assert inside.wait(10)
        two, made = in_thread(lambda: writer.commit("a", "one", pack=pack))
    time.sleep(0.3)
    assert not (deleted if first == "writer" else made), "the second waits for the first"
    go_on.set()
    one.join(20)
    two.join(20)
    ((_, _, state, _),) = writer.catalog.packs.packs()
    if first == "writer":
        assert (deleted, made[0].kind, state) == ([[]], "created", "live")
    else:
        assert isinstance(made[0], ConflictError) and state == "deleting"


@pytest.mark.slow
def test_a_collector_waits_for_a_long_writer_without_keeping_the_others_waiting():
    url = cluster().new_database()
    world, collector, other = World(create(url)), World(open_catalog(url)), World(open_catalog(url))
    inside, go_on = threading.Event(), threading.Event()

    def long(tx):
        inside.set()
        assert go_on.wait(60)

    writing, _ = in_thread(lambda: world.catalog.database.write(long))
    assert inside.wait(10)
    other.pack("one")  # something to look at
    collecting, collected = in_thread(lambda: list(collector.collector.condemn(min_age_seconds=0)))
    end, commits = time.monotonic() + 6, 0
    while time.monotonic() < end:
        other.commit("a", str(commits))
        commits += 1
    assert collecting.is_alive(), "it has not given up, nor gone past the writer"
    go_on.set()
    writing.join(20)
    collecting.join(70)
    assert collected and not isinstance(collected[0], Exception)
    assert commits >= 6, "the others have gone on"
    for one in (world, collector, other):
        one.catalog.close()


NAIVE_CHECK = "SELECT state FROM packs WHERE uid = %s"
NAIVE_REFERENCE = "INSERT INTO proofs (name, pack) SELECT 'p', id FROM packs WHERE uid = %s"
NAIVE_CONDEMN = (
    "UPDATE packs SET state = 'condemned' WHERE state = 'live'"
    " AND NOT EXISTS (SELECT 1 FROM proofs WHERE proofs.pack = packs.id)"
)


@pytest.mark.slow
@pytest.mark.parametrize("first", ["writer", "collector"])
def test_without_the_advisory_locks_postgresql_condemns_a_referenced_pack(first):
    """If this fails, PostgreSQL has changed, not we: then the locks may be looked at again. Until then they stay."""
    import psycopg

    url = cluster().new_database()
    world = World(create(url))
    pack = world.pack("one")
    with psycopg.connect(url) as writer, psycopg.connect(url) as collector:
        if first == "collector":
            collector.execute(NAIVE_CONDEMN)
        assert writer.execute(NAIVE_CHECK, [pack]).fetchone() == ("live",)
        writer.execute(NAIVE_REFERENCE, [pack])
        if first == "writer":
            assert collector.execute(NAIVE_CONDEMN).rowcount == 1
            collector.commit()
            writer.commit()
        else:
            writer.commit()
            collector.commit()
        state, references = collector.execute(
            "SELECT state, (SELECT count(*) FROM proofs WHERE pack = packs.id) FROM packs"
        ).fetchone()
    assert (state, references) == ("condemned", 1), "a reference and a foreign key do not protect the pack"
    world.catalog.close()


def test_a_follower_of_the_feed_never_misses_an_event_of_concurrent_writers(url):
    create(url).close()
    writers, each = 6, 12
    stop = threading.Event()

    def write(n: int):
        world = World(open_catalog(url))
        try:
            for step in range(each):
                world.commit(f"a{n % 3}", f"{n} {step}")
        finally:
            world.catalog.close()

    def follow():
        catalog, seen, last = open_catalog(url), [], False
        while True:
            found = catalog.events.after(seen[-1] if seen else 0, limit=7)
            seen += [event.cursor for event in found]
            if not found and last:
                catalog.close()
                return seen
            last = stop.is_set()

    follower, followed = in_thread(follow)
    threads = [in_thread(lambda n=n: write(n)) for n in range(writers)]
    for thread, _ in threads:
        thread.join(60)
    stop.set()
    follower.join(60)
    assert [results for _, results in threads] == [[None]] * writers
    assert followed == [list(range(1, writers * each + 1))], "a cursor that appeared late would be missing here"


def test_two_drafts_of_each_others_artifacts_publish_without_deadlock(url):
    world = World(create(url))
    pairs = [[world.commit(name, f"{n} {name}", draft=True).version.id for name in ("a", "b")] for n in range(6)]
    others = [World(open_catalog(url)) for _ in pairs]
    threads = [
        in_thread(
            lambda ids=ids, other=other, n=n: other.catalog.versions.publish(ids[:: 1 if n % 2 else -1], {}, "ann")
        )
        for n, (ids, other) in enumerate(zip(pairs, others))
    ]
    for thread, results in threads:
        thread.join(30)
        assert [made.kind for made in results[0]] == ["created", "created"]
    assert world.find("a").number == world.find("b").number == 5
    for one in (world, *others):
        one.catalog.close()
