"""The catalog is lost, packs are lost or damaged, a backup is cut short: what comes back, and what is said."""

from __future__ import annotations

import shutil

import pytest

import headwater as hw
from headwater.model.keys import backup_key, pack_key
from headwater.restoring import restore
from headwater.upkeep import backups, verify
from headwater.upkeep.collection import collect
from headwater.upkeep.repairing import repair
from headwater.upkeep.retention import Rule, rules, set_rule
from tests.core.upkeep.scenes import idle, log, noise
from tests.postgres import cluster
from tests.stateful.clocked import pack_keys, states
from tests.stateful.worlds import faulted, files_of


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def place(request, tmp_path):
    """A repository's URL, and how to lose its catalog: call it for the URL of the empty one."""
    objects = tmp_path / "repository" / "objects"
    if request.param == "sqlite":

        def lose() -> str:
            for file in (tmp_path / "repository").glob("catalog*"):
                file.unlink()
            return str(tmp_path / "repository")

        return str(tmp_path / "repository"), None, lose
    return cluster().new_database(), f"file://{objects}", cluster().new_database


def make_history(repo) -> None:
    with repo.start_run("load", key="load", capture=()) as run:
        run.log_artifact(hw.Artifact("data").add_bytes(noise(1), "x").add_bytes(noise(2, 2 << 20), "big"))
    with repo.start_run("train", key="train", capture=(), config={"lr": 0.1}) as run:
        run.use_artifact("data:latest", role="input")
        run.log_artifact(hw.Artifact("model", "model").add_bytes(noise(3), "w"), aliases=["prod"])
        run.summary["acc"] = 0.5
    repo.log_artifact(hw.Artifact("data").add_bytes(noise(4), "x"))
    repo.version("data:v0").delete()
    set_rule(repo.home, "data", Rule(keep_last=5))
    assert repo.events(consumer="watcher")


def facts(repo) -> object:
    """Everything that must come back, ids included."""
    runs = [repo.run(key).record for key in ("load", "train")]
    versions = [
        repo.version_by_id(v.id).record for v in (*repo.artifact("data").versions(), repo.version("model:prod"))
    ]
    graph = repo.version("model").upstream()
    return runs, versions, rules(repo.home), repo.home.catalog.events.head(), len(graph.versions), repo.id


def test_a_deleted_catalog_comes_back_from_the_backup_beside_the_packs(place):
    url, objects, lose = place
    with hw_create(url, objects) as repo:
        make_history(repo)
        made = backups.make(repo.home)
        known = facts(repo)
    empty = lose()
    with pytest.raises((hw.StateError, hw.NotFoundError)):
        hw.connect(empty)
    found, rows = restore(empty, objects)
    assert found == made and rows["versions"] == 3 and rows["runs"] == 2
    with hw.connect(empty, project="p") as repo:
        assert facts(repo) == known
        for refused in (
            lambda: log(repo, "new", 9),
            lambda: collect(repo.home),
            lambda: repo.start_run("x", capture=()),
        ):
            with pytest.raises(hw.StateError, match="headwater repair"):
                refused()
        done = repair(repo.home)
        assert done and done.restored == made.id and done.packs == len(pack_keys(repo))
        assert facts(repo) == known and not verify(repo.home).findings
        assert log(repo, "data", 9).number == 2, "numbers go on"
        assert files_of(repo.version("model:prod")) == {"w": noise(3)}
        collect(repo.home)


def hw_create(url: str, objects: str | None):
    from headwater.connect import create

    create(url, objects).close()
    return hw.connect(url, project="p")


def test_what_was_logged_after_the_backup_is_lost_by_name_but_not_sent_again(place):
    url, objects, lose = place
    with hw_create(url, objects) as repo:
        make_history(repo)
        backups.make(repo.home)
        log(repo, "late", *range(20, 40))
    empty = lose()
    restore(empty, objects)
    with hw.connect(empty, project="p") as repo:
        done = repair(repo.home)
        assert (done.adopted, done.lost, done.findings) == (1, 0, [])
        with pytest.raises(hw.NotFoundError):
            repo.version("late")
        watched, seen, _ = faulted(repo, None)
        log(watched, "late", *range(20, 40))
        assert sum(len(args[1]) for name, args in seen.calls if name == "put") < 20_000
        assert not verify(repo.home).findings


def test_a_catalog_that_holds_something_is_not_overwritten(tmp_path):
    with hw.connect(tmp_path / "r", project="p") as repo:
        log(repo, "a", 1)
        backups.make(repo.home)
    with pytest.raises(hw.ConflictError, match="not empty"):
        restore(tmp_path / "r")
    with hw.connect(tmp_path / "r", project="p") as repo:
        assert repo.version("a").number == 0


def test_a_backup_moves_between_databases(tmp_path):
    """A SQLite repository's catalog comes back in another SQLite file, elsewhere, with the packs where they were."""
    with hw.connect(tmp_path / "r", project="p") as repo:
        make_history(repo)
        backups.make(repo.home)
        known = facts(repo)
    restore(tmp_path / "other", f"file://{tmp_path}/r/objects")
    with hw.connect(tmp_path / "other", project="p") as repo:
        repair(repo.home)
        assert facts(repo) == known and files_of(repo.version("model")) == {"w": noise(3)}


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["to PostgreSQL", "to SQLite"])
def test_a_backup_of_one_kind_of_database_comes_back_in_the_other(tmp_path, direction):
    objects = f"file://{tmp_path}/packs"
    urls = [str(tmp_path / "r"), cluster().new_database()]
    source, target = urls if direction == "to PostgreSQL" else reversed(urls)
    with hw_create(source, objects) as repo:
        make_history(repo)
        backups.make(repo.home)
        known = facts(repo)
    restore(target, objects)
    with hw.connect(target, project="p") as repo:
        assert repair(repo.home)
        assert facts(repo) == known
        assert log(repo, "data", 9).number == 2
        with repo.start_run("more", capture=()) as run:
            run.log_artifact(hw.Artifact("more").add_bytes(b"x", "x"))
        assert not verify(repo.home).findings


# -- what is a usable backup ------------------------------------------------------
def test_the_newest_usable_backup_is_taken_and_a_damaged_one_is_told(tmp_path):
    with hw.connect(tmp_path / "r", project="p") as repo:
        log(repo, "a", 1)
        first = backups.make(repo.home)
        log(repo, "a", 2)
        second = backups.make(repo.home)
        third = backups.make(repo.home)
        repo.home.objects.delete(backup_key(third.id))
        assert [b.id for b in backups.usable(repo.home.objects)] == [second.id, first.id]
        part = tmp_path / "r" / "objects" / backup_key(second.id, 0)
        part.chmod(0o644)
        part.write_bytes(bytes([part.read_bytes()[0] ^ 1]) + part.read_bytes()[1:])
        assert isinstance(backups.check(repo.home.objects, second), hw.DigestMismatchError)
        assert backups.check(repo.home.objects, first) is None
    (tmp_path / "r" / "catalog.sqlite").unlink()
    with pytest.raises(hw.DigestMismatchError):
        restore(tmp_path / "r")
    found, _ = restore(tmp_path / "r", backup=first.id)
    assert found.id == first.id
    with pytest.raises(hw.NotFoundError):
        (tmp_path / "empty").mkdir()
        restore(tmp_path / "elsewhere", f"file://{tmp_path}/empty")


def test_only_so_many_backups_are_kept(repo, clock):
    log(repo, "a", 1)
    made = []
    for _ in range(5):
        clock.forward(hours=1)
        made.append(backups.make(repo.home, keep=3).id)
    assert [b.id for b in backups.usable(repo.home.objects)] == made[:1:-1]


def test_gc_makes_backups_on_schedule(repo, clock):
    log(repo, "a", 1)
    assert collect(repo.home).backup is None
    backups.schedule(repo.home, 86_400)
    assert collect(repo.home).backup is not None
    assert collect(repo.home).backup is None
    clock.forward(hours=25)
    assert collect(repo.home).backup is not None
    backups.schedule(repo.home, None)
    clock.forward(hours=25)
    assert collect(repo.home).backup is None


def test_deleted_packs_outlive_the_newest_backup_that_may_need_them(repo, clock):
    doomed = log(repo, "a", 1)
    backups.make(repo.home)
    doomed.delete()
    idle(repo, clock, 25)
    collect(repo.home)
    for _ in range(3):
        clock.forward(hours=25)
        told = collect(repo.home)
        assert (told.deleted.packs, told.awaiting_backup.packs) == (0, 1), "a restore would want it"
    backups.make(repo.home)
    clock.forward(hours=1)
    assert collect(repo.home).deleted.packs == 1


# -- packs lost and damaged ---------------------------------------------------------
def test_a_lost_pack_is_given_up_and_its_content_heals_the_old_version_when_logged_again(repo):
    version = log(repo, "a", 1, 2)
    other = log(repo, "b", 5)
    (pack,) = [p for p in states(repo) if p not in keys_of(repo, other)]
    repo.home.objects.delete(pack_key(pack))
    done = repair(repo.home)
    assert not done and done.lost == 1
    with pytest.raises(hw.MissingBlobError):
        files_of(faulted(repo, None)[0].version_by_id(version.id))
    again = log(faulted(repo, None)[0], "c", 1, 2)
    assert files_of(faulted(repo, None)[0].version_by_id(again.id)) == {f"{n}.bin": noise(n) for n in (1, 2)}
    assert files_of(faulted(repo, None)[0].version_by_id(version.id)) == {f"{n}.bin": noise(n) for n in (1, 2)}
    assert repair(repo.home) and not verify(repo.home).findings


def keys_of(repo, version: hw.Version) -> set[str]:
    names = [bytes(e.digest) for e in version.entries()]
    return {place.pack_id for place in repo.home.catalog.packs.locate(names).values()}


def test_an_index_that_lies_is_made_anew_from_the_packs(tmp_path):
    import sqlite3

    with hw.connect(tmp_path / "r", project="p") as repo:
        version = log(repo, "a", *range(20))
    with sqlite3.connect(tmp_path / "r" / "catalog.sqlite") as db:
        db.execute("DELETE FROM blobs WHERE kind = 'data' AND hex(name) < '8'")
    db.close()
    with hw.connect(tmp_path / "r", project="p") as repo:
        assert verify(repo.home).findings
        done = repair(repo.home)
        assert done and done.reindexed == 1
        assert not verify(repo.home).findings
        assert len(files_of(repo.version_by_id(version.id))) == 20


def test_a_pack_without_its_end_is_scanned(tmp_path):
    with hw.connect(tmp_path / "r", project="p") as repo:
        version = log(repo, "a", *range(20))
        (pack,) = (tmp_path / "r" / "objects" / "packs").rglob("*.pack")
        pack.chmod(0o644)
        whole = pack.read_bytes()
        pack.write_bytes(whole[:-20])
        done = repair(repo.home)
        assert done.reindexed == 1 and [f.kind for f in done.findings] == ["damaged-pack"]
        assert len(files_of(faulted(repo, None)[0].version_by_id(version.id))) == 20


def test_a_full_repair_leaves_damaged_blobs_out_so_that_logging_heals_them(tmp_path):
    with hw.connect(tmp_path / "r", project="p") as repo:
        version = log(repo, "a", *range(20))
        (pack,) = (tmp_path / "r" / "objects" / "packs").rglob("*.pack")
        body = bytearray(pack.read_bytes())
        body[5000] ^= 1
        pack.chmod(0o644)
        pack.write_bytes(body)
        assert repair(repo.home), "the index is what it was"
        done = repair(repo.home, full=True)
        assert not done and "damaged-blob" in {f.kind for f in done.findings}
        log(faulted(repo, None)[0], "b", *range(20))
        assert len(files_of(faulted(repo, None)[0].version_by_id(version.id))) == 20


def test_compacted_packs_survive_a_restore_from_an_older_backup(tmp_path):
    """The backup says that pages rest on packs that compaction has emptied and collection has taken since."""
    with hw.connect(tmp_path / "r", project="p") as repo:
        small = [log(repo, f"a{n}", n) for n in range(10)]
        backups.make(repo.home)
        repo.home.leases.close()
        old = backups.make(repo.home)
        collect(repo.home, now=True)
        newer = backups.make(repo.home)
        collect(repo.home, now=True)
        assert len(pack_keys(repo)) == 2
        for part in (tmp_path / "r" / "objects" / "backups" / newer.id.lower()).iterdir():
            part.unlink()
    shutil.rmtree(tmp_path / "r" / "local")
    (tmp_path / "r" / "catalog.sqlite").unlink()
    restore(tmp_path / "r", backup=old.id)
    with hw.connect(tmp_path / "r", project="p") as repo:
        done = repair(repo.home)
        assert (done.adopted, done.lost) == (2, 10) and done.pages == 20
        assert not verify(repo.home).findings
        repo.home.leases.close()
        for _ in range(3):
            collect(repo.home, now=True)
        assert not verify(repo.home).findings
        assert [files_of(repo.version_by_id(v.id)) for v in small] == [{f"{n}.bin": noise(n)} for n in range(10)]
