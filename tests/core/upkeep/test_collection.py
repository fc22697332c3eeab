"""`gc`: what goes, what stays, in which order, and who is asked first."""

from __future__ import annotations

import contextlib

import pytest

import headwater as hw
from headwater.model.keys import MARKER, decode_marker, pack_key
from headwater.upkeep import collection, compaction, orphans, verify
from headwater.upkeep.collection import Terms, collect, preview
from headwater.upkeep.epochs import EPOCH, Guard
from tests.contracts.catalog_world import Clock, ulid
from tests.core.upkeep.scenes import KIB, idle, log, noise
from tests.faults import Fault
from tests.stateful.clocked import clocked, pack_keys, states
from tests.stateful.worlds import Crash, faulted, files_of


def test_a_deleted_versions_bytes_go_after_a_days_grace_and_are_reported(repo, clock):
    kept, gone = log(repo, "a", 1), log(repo, "b", 2)
    gone.delete()
    idle(repo, clock, 25)
    first = collect(repo.home)
    assert (first.condemned.packs, first.deleted.packs, first.waiting.packs) == (1, 0, 1)
    assert files_of(repo.version("a")) == {"1.bin": noise(1)}
    clock.forward(hours=25)
    second = collect(repo.home)
    assert (second.deleted.packs, second.freed_bytes) == (1, first.condemned.bytes)
    assert len(pack_keys(repo)) == 1 and not verify(repo.home).findings
    assert kept.number == 0
    assert collect(repo.home).freed_bytes == 0


def test_a_dry_run_says_the_same_and_changes_nothing(repo, clock):
    log(repo, "a", 1)
    log(repo, "b", 2).delete()
    idle(repo, clock, 25)
    before, marker = states(repo), repo.home.objects.read_marker(MARKER)
    told = preview(repo.home)
    assert (told.dry_run, told.condemned.packs, told.freed_bytes) == (True, 1, 0)
    assert states(repo) == before and repo.home.objects.read_marker(MARKER) == marker
    collect(repo.home)
    clock.forward(hours=25)
    assert preview(repo.home).deleted.packs == 1
    assert collect(repo.home).deleted.packs == 1


def test_now_waits_for_nothing_when_nobody_else_has_the_repository_open(repo):
    log(repo, "a", 1).delete()
    assert collect(repo.home, now=True).freed_bytes > 0
    assert pack_keys(repo) == set()


def test_now_is_refused_while_a_run_runs_or_somebody_writes(repo, clock):
    log(repo, "a", 1).delete()
    with repo.start_run("train", capture=()), pytest.raises(hw.StateError, match="run p/train"):
        collect(repo.home, now=True)
    lease = repo.home.catalog.packs.open_lease("ann pid 7")
    repo.home.catalog.packs.reserve([ulid()], lease)
    with pytest.raises(hw.StateError, match="ann pid 7"):
        preview(repo.home, now=True)
    clock.forward(hours=1)
    assert collect(repo.home, now=True).freed_bytes > 0


def test_content_logged_again_during_the_grace_comes_back_to_life(repo, clock):
    log(repo, "a", 1).delete()
    idle(repo, clock, 25)
    assert collect(repo.home).condemned.packs == 1
    again = log(repo, "a", 1)
    idle(repo, clock, 25)
    assert collect(repo.home).deleted.packs == 0
    assert files_of(again) == {"1.bin": noise(1)} and len(pack_keys(repo)) == 1


def test_runs_that_stopped_renewing_are_closed_and_their_drafts_go(repo, clock):
    run = repo.start_run("train", key="k", capture=())
    from headwater.heartbeat import heart

    heart.forget_run(run.id)
    run.log_artifact(hw.Artifact("a").add_bytes(noise(1), "x"), publish=False)
    kept = run.log_artifact(hw.Artifact("b").add_bytes(noise(2), "x"))
    idle(repo, clock, 25)
    assert collect(repo.home).lost_runs == 1
    assert repo.run("k").state == "lost"
    clock.forward(hours=25)
    collect(repo.home)
    assert files_of(repo.version_by_id(kept.id)) == {"x": noise(2)} and len(pack_keys(repo)) == 1


# -- the epoch -----------------------------------------------------------------
def epoch(repo) -> int:
    return decode_marker(repo.home.objects.read_marker(MARKER)[0]).epoch


def test_every_pass_raises_the_epoch_before_it_deletes(repo):
    assert epoch(repo) == 0
    collect(repo.home)
    collect(repo.home)
    assert epoch(repo) == 2


@pytest.mark.parametrize("who_first", ["original", "copy"])
def test_of_two_catalogs_on_one_store_the_second_to_collect_stops(tmp_path, clock, who_first):
    original = clocked(clock, f"sqlite:///{tmp_path}/original.sqlite")
    log(original, "a", 1).delete()
    log(original, "b", 2)
    collect(original.home)
    original.home.catalog.close()
    (tmp_path / "copy.sqlite").write_bytes((tmp_path / "original.sqlite").read_bytes())
    copy = copied(original, f"sqlite:///{tmp_path}/copy.sqlite", clock)
    first, second = (original, copy) if who_first == "original" else (copy, original)
    log(original, "c", 3)  # the copy will never know
    idle(original, clock, 25)
    collect(first.home)
    clock.forward(hours=25)
    before = pack_keys(original)
    with pytest.raises(hw.StateError, match="another catalog has collected"):
        collect(second.home)
    with pytest.raises(hw.StateError, match="another catalog"):
        preview(second.home)
    assert pack_keys(original) == before
    assert not verify(original.home).findings


def copied(repo, url: str, clock):
    from dataclasses import replace

    from headwater.catalog.sql import open_catalog
    from headwater.repository import Repository
    from headwater.store.blobs import BlobStore

    catalog = open_catalog(url, clock=clock)
    return Repository(replace(repo.home, catalog=catalog, blobs=BlobStore(repo.home.objects, catalog.packs)))


def test_a_collector_whose_epoch_was_overtaken_stops_before_its_next_batch(repo, clock):
    log(repo, "a", 1).delete()
    idle(repo, clock, 25)
    collect(repo.home)
    clock.forward(hours=25)
    mine, other = Guard(repo.home), Guard(repo.home)
    mine.advance()
    other.advance()
    before = pack_keys(repo)
    with pytest.raises(hw.StateError, match="another collector has begun"):
        collection.delete(repo.home, mine, Terms(), collection.Collected())
    assert pack_keys(repo) == before
    collection.delete(repo.home, other, Terms(), collection.Collected())
    assert pack_keys(repo) == set()


@pytest.mark.parametrize("on", ["swap_marker", "repairs.put_setting"])
@pytest.mark.parametrize("kind", ["raise", "lose"])
@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_pass_that_died_raising_the_epoch_is_not_taken_for_a_stranger(repo, on, kind, at):
    collect(repo.home)
    crashing, _, _ = faulted(repo, Fault(kind, on=on, at=at, times=10**6, error=Crash()))
    with contextlib.suppress(Crash):
        collect(crashing.home)
    collect(repo.home)
    assert repo.home.catalog.setting(EPOCH).split()[0] == str(epoch(repo))


# -- compaction ----------------------------------------------------------------
def one_pack_of_waste(repo, *, kept: int, wasted: int) -> hw.Version:
    """One pack, of which a version needs `kept` files and `wasted` are needed by nobody any more."""
    seeds = range(kept + wasted)
    both = log(repo, "both", *seeds)
    small = hw.Artifact("small")
    for seed in range(kept):
        small.add_bytes(noise(seed), f"{seed}.bin")
    version = repo.log_artifact(small)
    both.delete()
    return version


def test_a_sparse_pack_is_compacted_and_its_version_reads_the_same(repo, clock):
    version = one_pack_of_waste(repo, kept=20, wasted=80)
    before = sum(size for *_, size in repo.home.catalog.packs.packs("live"))
    content = files_of(version)
    idle(repo, clock, 25)
    done = collect(repo.home)
    assert done.compacted.packs == 1 and done.compacted.new_packs >= 1
    clock.forward(hours=25)
    assert collect(repo.home).freed_bytes > 0.7 * before
    after = sum(size for *_, size in repo.home.catalog.packs.packs("live"))
    assert after < 0.3 * before
    assert not verify(repo.home).findings
    assert files_of(faulted(repo, None)[0].version("small")) == content
    assert collect(repo.home).compacted.packs == 0, "nothing is left to do"


def test_a_pack_that_is_needed_well_enough_is_left_alone(repo, clock):
    one_pack_of_waste(repo, kept=70, wasted=30)
    idle(repo, clock, 25)
    assert collect(repo.home).compacted.packs == 0


def test_a_pass_that_would_free_less_than_two_percent_does_not_compact(repo, clock):
    one_pack_of_waste(repo, kept=1, wasted=2)
    log(repo, "much", *range(100, 260))
    idle(repo, clock, 25)
    told = collect(repo.home).compacted
    assert told.packs == 0 and "less than 2%" in told.why


def test_small_packs_are_merged(repo, clock):
    versions = [log(repo, f"a{n}", n) for n in range(12)]
    assert len(pack_keys(repo)) == 12
    idle(repo, clock, 25)
    assert collect(repo.home).compacted.packs == 12
    clock.forward(hours=25)
    collect(repo.home)
    assert len(pack_keys(repo)) == 2, "data apart from manifests"
    assert [files_of(faulted(repo, None)[0].version_by_id(v.id)) for v in versions] == [
        {f"{n}.bin": noise(n)} for n in range(12)
    ]


def test_large_files_survive_compaction_and_what_is_logged_again_is_found(repo, clock):
    big = noise(1, 3 << 20)
    made = hw.Artifact("big").add_bytes(big, "big.bin").add_bytes(noise(2, 900 * KIB), "waste")
    for n in range(9):
        made.add_bytes(noise(100 + n, 900 * KIB), f"waste{n}")
    both = repo.log_artifact(made)
    alone = repo.log_artifact(hw.Artifact("alone").add_bytes(big, "big.bin"))
    both.delete()
    idle(repo, clock, 25)
    assert collect(repo.home).compacted.packs >= 1
    clock.forward(hours=25)
    collect(repo.home)
    other = faulted(repo, None)[0]
    assert files_of(other.version_by_id(alone.id)) == {"big.bin": big}
    watched, objects, _ = faulted(repo, None)
    watched.log_artifact(hw.Artifact("third").add_bytes(big, "other.bin"))
    sent = sum(len(args[1]) for name, args in objects.calls if name == "put")
    assert sent < 100 * KIB and not verify(repo.home).findings


def test_copies_of_one_content_from_a_race_become_one(repo, clock):
    log(repo, "a", *range(40))
    twice = faulted(repo, None)[0]
    # As if two writers had looked at the same moment: the second did not find what the first had sent.
    twice.home.catalog._inner.packs.hold_blobs, seen = lambda names, lease: {}, repo.home.catalog.packs.hold_blobs
    try:
        log(twice, "b", *range(40))
    finally:
        repo.home.catalog.packs.hold_blobs = seen
    assert sum(size for *_, size in repo.home.catalog.packs.packs("live")) > 1600 * KIB
    idle(repo, clock, 25)
    collect(repo.home)
    clock.forward(hours=25)
    collect(repo.home)
    assert sum(size for *_, size in repo.home.catalog.packs.packs("live")) < 900 * KIB
    other = faulted(repo, None)[0]
    assert files_of(other.version("a")) == files_of(other.version("b")) and not verify(repo.home).findings


def test_a_version_logged_while_its_pack_is_compacted_keeps_it(repo, clock):
    one_pack_of_waste(repo, kept=10, wasted=90)
    idle(repo, clock, 25)
    wanted = compaction.plan(repo.home)
    late = log(repo, "late", *range(90, 100))  # relies on waste of the planned pack
    compaction.compact(repo.home, wanted)
    idle(repo, clock, 25)
    collect(repo.home)
    clock.forward(hours=25)
    collect(repo.home)
    assert files_of(faulted(repo, None)[0].version_by_id(late.id)).keys() == {f"{n}.bin" for n in range(90, 100)}
    assert not verify(repo.home).findings


# -- orphans -------------------------------------------------------------------
def stray(repo, size: int = 100) -> str:
    key = pack_key(ulid())
    repo.home.objects.put(key, b"x" * size)
    return key


def test_an_object_without_a_row_goes_after_a_week(repo, clock):
    log(repo, "a", 1)
    key = stray(repo)
    idle(repo, clock, 6 * 24)
    first = collect(repo.home)
    assert (first.orphans.young, first.orphans.taken) == (1, 0) and key in pack_keys(repo)
    clock.forward(hours=2 * 24)
    second = collect(repo.home)
    assert (second.orphans.taken, second.orphans.freed_bytes) == (1, 100)
    assert key not in pack_keys(repo) and len(pack_keys(repo)) == 1


def test_the_late_writer_of_an_orphans_key_is_refused(repo, clock):
    from headwater.model.keys import parse_pack_key

    key = stray(repo)
    idle(repo, clock, 8 * 24)
    collect(repo.home)
    with pytest.raises(hw.ConflictError):
        repo.home.catalog.packs.reserve([parse_pack_key(key)], repo.home.catalog.packs.open_lease("late"))


def test_the_sweep_takes_nothing_when_it_would_take_more_than_a_tenth(repo, clock):
    log(repo, "a", *range(100))
    stray(repo, 3 << 20)
    idle(repo, clock, 8 * 24)
    told = collect(repo.home).orphans
    assert told.taken == 0 and "wrong catalog" in told.why and len(pack_keys(repo)) == 2


@pytest.mark.parametrize("after", [0, 1])
def test_the_sweep_takes_nothing_when_the_listing_fails(repo, clock, after):
    log(repo, "a", 1)
    stray(repo)
    idle(repo, clock, 8 * 24)
    whole = repo.home.objects.list

    def breaks(prefix=""):
        for n, info in enumerate(whole(prefix)):
            if n == after and prefix.startswith("packs"):
                raise hw.StorageError(what="the listing broke off")
            yield info

    repo.home.objects.list = breaks
    guard = Guard(repo.home)
    guard.advance()
    with pytest.raises(hw.StorageError):
        orphans.sweep(repo.home, guard)
    assert len(list(whole("packs/"))) == 2


# -- interruptions -------------------------------------------------------------
def scene(clock):
    """A repository in which every part of a pass has something to do."""
    repo = clocked(clock)
    one_pack_of_waste(repo, kept=10, wasted=60)
    log(repo, "gone", 500, 501).delete()
    idle(repo, clock, 25)
    collect(repo.home, Terms(compact=False))
    for n in range(9):
        log(repo, f"s{n}", 600 + n)
    log(repo, "gone too", 502).delete()
    stray(repo)
    idle(repo, clock, 8 * 24)
    return repo


@pytest.mark.parametrize("step", [29, pytest.param(2, marks=[pytest.mark.slow, pytest.mark.timeout(300)])])
def test_a_pass_may_die_at_any_call_and_the_next_one_finishes(step):
    watched, _, catalog = faulted(scene(Clock()), None)
    collect(watched.home)
    calls = len(catalog.calls)
    assert calls > 40
    for at in range(1, calls + 1, step):
        for kind in ("raise", "lose"):
            own = Clock()
            repo = scene(own)
            content = files_of(repo.version("small"))
            crashing, _, _ = faulted(repo, Fault(kind, at=at, times=10**6, error=Crash()))
            with contextlib.suppress(Crash):
                collect(crashing.home)
            assert not verify(repo.home).findings, (kind, at)
            own.forward(hours=25)
            collect(repo.home)
            own.forward(hours=25)
            collect(repo.home)
            assert not verify(repo.home).findings, (kind, at)
            assert files_of(faulted(repo, None)[0].version("small")) == content
            there = {pack_key(p) for p, state in states(repo).items() if state != "gone"}
            assert there == pack_keys(repo), (kind, at)
            assert set(states(repo).values()) == {"live", "gone"}, (kind, at)
