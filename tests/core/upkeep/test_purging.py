"""A purged content is gone from every version and from the store; everything else is as it was, and says why."""

from __future__ import annotations

import contextlib

import pytest

import headwater as hw
from headwater.model.digest import Digest
from headwater.upkeep import purging, verify
from headwater.upkeep.collection import collect
from headwater.upkeep.measure import measure
from headwater.upkeep.repairing import repair
from tests.core.upkeep.scenes import idle, log, noise
from tests.faults import Fault
from tests.stateful.clocked import pack_keys
from tests.stateful.worlds import Crash, faulted

SECRET = noise(77, 5_000)
BIG = noise(78, 4 << 20)
REASON = "request 7 of a data subject"


def digest(data: bytes) -> str:
    return str(Digest.of(data))


def in_the_store(repo, part: bytes) -> bool:
    """Whether the bytes lie in any object; they do not compress, so they are seen as they are."""
    objects = repo.home.objects
    return any(part in objects.get(info.key) for info in objects.list())


@pytest.fixture
def scene(repo):
    """Two artifacts hold the secret, one beside much else; `clean` shares a page with neither."""
    repo.log_artifact(hw.Artifact("a").add_bytes(SECRET, "secret").add_bytes(noise(1), "kept"))
    made = hw.Artifact("b").add_bytes(SECRET, "dir/again").add_bytes(BIG, "big")
    for n in range(5):
        made.add_bytes(noise(n), f"{n}")
    repo.log_artifact(made)
    log(repo, "clean", 1, 2)
    return repo


def test_a_small_file_goes_from_every_version_and_from_the_store(scene):
    assert in_the_store(scene, SECRET[:64])
    done = purging.purge(scene.home, digest(SECRET), reason=REASON)
    assert sorted(done.versions) == ["p/a:v0", "p/b:v0"] and done.packs == 1 and done.freed_bytes >= 5_000
    assert not in_the_store(scene, SECRET[:64])
    assert not verify(scene.home).findings
    again = faulted(scene, None)[0]
    for name, path in (("a", "secret"), ("b", "dir/again")):
        with pytest.raises(hw.PurgedError, match=REASON) as told:
            again.version(name).open(path).read()
        assert told.value.facts["digest"] == digest(SECRET) and told.value.facts["actor"] == "tester@here"
    assert again.version("a").open("kept").read() == noise(1)
    assert again.version("b").open("big").read() == BIG
    assert again.version("clean").open("2.bin").read() == noise(2)


def test_a_download_names_what_was_purged_and_a_part_without_it_still_comes(scene, tmp_path):
    purging.purge(scene.home, digest(SECRET), reason=REASON)
    again = faulted(scene, None)[0]
    with pytest.raises(hw.PurgedError, match="was purged on"):
        again.version("a").fetch(root=tmp_path / "all")
    again.version("b").fetch(root=tmp_path / "part", prefix="big")
    assert (tmp_path / "part" / "big").read_bytes() == BIG


def test_a_large_file_goes_with_the_chunks_that_nobody_else_needs(scene):
    other = BIG[: 2 << 20] + noise(79, 2 << 20)
    scene.log_artifact(hw.Artifact("other").add_bytes(other, "half"))
    assert in_the_store(scene, BIG[-64:])
    purging.purge(scene.home, digest(BIG), reason=REASON)
    assert not in_the_store(scene, BIG[-64:]) and not verify(scene.home).findings
    again = faulted(scene, None)[0]
    assert again.version("other").open("half").read() == other
    assert again.version("b").open("0").read() == noise(0)
    with pytest.raises(hw.PurgedError):
        again.version("b").open("big").read()


@pytest.mark.parametrize("content", [SECRET, BIG], ids=["small", "large"])
def test_it_does_not_come_back_by_being_logged_again(scene, content):
    purging.purge(scene.home, digest(content), reason=REASON)
    with pytest.raises(hw.PurgedError, match=REASON):
        scene.log_artifact(hw.Artifact("again").add_bytes(content, "x"))
    assert not in_the_store_unowned(scene, content)
    with pytest.raises(hw.PurgedError):  # the same page as a version that has the hole
        scene.log_artifact(
            hw.Artifact("copy").add_bytes(SECRET, "secret").add_bytes(noise(1), "kept").add_bytes(BIG, "b")
        )


def in_the_store_unowned(repo, content: bytes) -> bool:
    known = {key for _, key, state, _ in repo.home.catalog.packs.packs() if state in ("live", "condemned")}
    return any(content[-64:] in repo.home.objects.get(key) for key in known & pack_keys(repo))


def test_an_equal_version_is_not_proved_by_the_page_with_the_hole(scene):
    purging.purge(scene.home, digest(SECRET), reason=REASON)
    with pytest.raises(hw.PurgedError):
        scene.log_artifact(hw.Artifact("elsewhere").add_bytes(SECRET, "secret").add_bytes(noise(1), "kept"))


def test_the_tombstone_is_listed_and_in_the_history(scene):
    purging.purge(scene.home, digest(SECRET), reason=REASON)
    (stone,) = purging.tombstones(scene.home)
    assert (stone.digest, stone.reason, stone.actor) == (digest(SECRET), REASON, "tester@here")
    (line,) = [e for e in scene.artifact("a").history() if e.kind == "content.purged"]
    assert line.details == {"digest": digest(SECRET), "reason": REASON}
    assert [e.path for e in scene.version("a").entries()] == ["kept", "secret"], "the entry itself stays"


def test_collection_compaction_and_repair_get_along_with_the_hole(scene, clock):
    purging.purge(scene.home, digest(SECRET), reason=REASON)
    for n in range(10):
        log(scene, f"more{n}", 200 + n)
    for _ in range(3):
        idle(scene, clock, 25)
        collect(scene.home)
    assert not verify(scene.home).findings and repair(scene.home)
    again = faulted(scene, None)[0]
    assert again.version("b").open("big").read() == BIG
    assert again.version("a").open("kept").read() == noise(1)
    assert measure(scene.home).unneeded == 0


@pytest.mark.parametrize("kind", ["raise", "lose"])
def test_a_purge_that_died_is_finished_by_the_next_one(clock, kind):
    from tests.stateful.clocked import clocked

    def fresh():
        repo = clocked(clock)
        repo.log_artifact(hw.Artifact("b").add_bytes(SECRET, "s").add_bytes(BIG, "big").add_bytes(noise(1), "k"))
        return repo

    watched, _, catalog = faulted(fresh(), None)
    purging.purge(watched.home, digest(BIG), reason=REASON)
    for at in range(1, len(catalog.calls) + 1, 5):
        repo = fresh()
        crashing, _, _ = faulted(repo, Fault(kind, at=at, times=10**6, error=Crash()))
        with contextlib.suppress(Crash):
            purging.purge(crashing.home, digest(BIG), reason=REASON)
        purging.purge(repo.home, digest(BIG), reason=REASON)
        collect(repo.home)
        assert not in_the_store(repo, BIG[:64]) and not in_the_store(repo, BIG[-64:]), at
        assert not verify(repo.home).findings
        assert faulted(repo, None)[0].version("b").open("k").read() == noise(1)


def test_a_writer_who_relied_on_the_pack_sends_its_part_again(scene):
    with scene.home.leases.borrow() as lease:
        held = scene.home.catalog.packs.hold_blobs([bytes(Digest.of(noise(3)))], lease)
        assert held
        purging.purge(scene.home, digest(SECRET), reason=REASON)
    version = log(scene, "late", 3)
    assert version.open("3.bin").read() == noise(3) and not verify(scene.home).findings


def test_what_cannot_be_purged_is_refused(scene):
    with pytest.raises(hw.NotFoundError):
        purging.purge(scene.home, digest(b"unknown"), reason=REASON)
    with pytest.raises(hw.InvalidInputError):
        purging.purge(scene.home, digest(SECRET), reason=" ")
    with pytest.raises(hw.InvalidInputError):
        purging.purge(scene.home, "md5:00", reason=REASON)
    assert in_the_store(scene, SECRET[:64])
