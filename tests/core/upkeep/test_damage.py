"""Something in the store is damaged: clean-up leaves just that alone, says so, and does the rest."""

from __future__ import annotations

import pytest

import headwater as hw
from headwater.model.digest import Digest
from headwater.model.manifest import Root
from headwater.upkeep import purging, verify
from headwater.upkeep.collection import collect, preview
from headwater.upkeep.repairing import repair
from tests.core.upkeep.scenes import idle, log, noise
from tests.stateful.clocked import pack_keys, states
from tests.stateful.worlds import faulted, files_of

KEPT, WASTED = 8, 40
PACKS = 2
"""Of a version: its files' and its manifest's, both sparse here."""


def sparse_packs(repo, clock, n: int = 3) -> list[hw.Version]:
    """Packs of which a sixth is needed, by a version each: `small0`, …; too large to count as small themselves."""
    made = []
    for number in range(n):
        seeds = [number * 100 + i for i in range(KEPT + WASTED)]
        log(repo, f"both{number}", *seeds, size=30_000).delete()
        made.append(log(repo, f"small{number}", *seeds[:KEPT], size=30_000))
    idle(repo, clock, 25)
    return made


def damage(repo, blob: bytes) -> str:
    """Flip a bit of the only copy of a blob; its pack."""
    place = repo.home.catalog.packs.locate([blob])[blob]
    data = bytearray(repo.home.objects.get(place.key))
    data[place.row.offset + place.row.stored // 2] ^= 1
    repo.home.objects.delete(place.key)
    repo.home.objects.put(place.key, bytes(data))
    return place.pack_id


def file_blob(seed: int) -> bytes:
    return bytes(Digest.of(noise(seed, 30_000)))


def page_of(repo, version: hw.Version) -> bytes:
    (page,) = Root.decode(repo.home.blobs.read(Digest.parse(version.digest))).pages
    return bytes(page.name)


def passes(repo, clock, n: int = 2) -> list:
    done = []
    for _ in range(n):
        done.append(collect(repo.home))
        clock.forward(hours=25)
    return done


def test_a_damaged_blob_stays_behind_alone_and_is_told_at_every_pass(repo, clock):
    versions = sparse_packs(repo, clock)
    spoilt = damage(repo, file_blob(101))
    first, second, third = passes(repo, clock, 3)
    assert first.compacted.packs == 2 * PACKS, "those with the damage are not done"
    assert first.deleted.packs == 0 and second.deleted.packs == 2 * PACKS
    assert states(repo)[spoilt] == "live"
    for done in (first, second, third):
        (told,) = done.compacted.damaged
        assert str(Digest(file_blob(101))) in told
    assert second.compacted.copied_bytes == third.compacted.copied_bytes == 0, "what is sound was moved once"
    (finding,) = verify(repo.home).findings
    assert finding.kind == "damaged-blob"
    fresh = faulted(repo, None)[0]
    for number in (0, 2):
        assert len(files_of(fresh.version_by_id(versions[number].id))) == KEPT
    one = fresh.version_by_id(versions[1].id)
    assert [seed for seed in range(100, 100 + KEPT) if readable(one, f"{seed}.bin")] == [100, *range(102, 100 + KEPT)]


def readable(version: hw.Version, path: str) -> bool:
    try:
        version.open(path).read()
    except hw.IntegrityError:
        return False
    return True


def test_what_was_damaged_is_healed_by_repair_and_a_log_and_then_its_pack_goes(repo, clock):
    sparse_packs(repo, clock)
    spoilt = damage(repo, file_blob(101))
    passes(repo, clock)
    assert not repair(repo.home, full=True)
    log(repo, "again", 101, size=30_000)
    assert repair(repo.home)
    idle(repo, clock, 25)
    done = passes(repo, clock, 3)
    assert [d.compacted.damaged for d in done] == [[], [], []]
    assert states(repo)[spoilt] == "gone" and not verify(repo.home).findings


def test_a_damaged_page_keeps_the_packs_that_it_names_and_no_others(repo, clock):
    versions = sparse_packs(repo, clock)
    damage(repo, page_of(repo, versions[1]))
    fresh = faulted(repo, None)[0]  # nothing cached
    assert preview(fresh.home).compacted.packs == 2 * PACKS
    done = passes(fresh, clock)
    assert done[0].compacted.packs == 2 * PACKS and len(done[0].compacted.damaged) == 1
    assert {f.kind for f in verify(fresh.home).findings} >= {"damaged-manifest"}
    for number in (0, 2):
        assert len(files_of(fresh.version_by_id(versions[number].id))) == KEPT
    whole = Digest(file_blob(100))
    assert fresh.home.blobs.read(whole) == noise(100, 30_000), "what the page may need is still there"


def test_a_pack_that_is_gone_from_the_store_does_not_stop_the_pass(repo, clock):
    versions = sparse_packs(repo, clock)
    lost = repo.home.catalog.packs.locate([file_blob(101)])[file_blob(101)]
    repo.home.objects.delete(lost.key)
    fresh = faulted(repo, None)[0]
    done = passes(fresh, clock)
    assert done[0].compacted.packs == 2 * PACKS and done[0].compacted.damaged
    assert lost.key not in pack_keys(repo) and states(repo)[lost.pack_id] == "live", "repair gives it up, not we"
    assert len(files_of(fresh.version_by_id(versions[2].id))) == KEPT


@pytest.mark.parametrize("wrong", ["flipped", "lost"])
def test_a_damaged_chunk_list_keeps_what_it_may_name(repo, clock, wrong):
    from headwater.model.chunker import chunk_list_name

    big = noise(7_000, 2 << 20)
    log(repo, "both", *range(100, 260), size=30_000).delete()
    made = hw.Artifact("big").add_bytes(big, "big").add_bytes(noise(100, 30_000), "small")
    repo.log_artifact(made)
    sparse = sparse_packs(repo, clock, 1)
    list_name = bytes(chunk_list_name(Digest.of(big)))
    if wrong == "flipped":
        damage(repo, list_name)
    else:
        repo.home.catalog.database.write(lambda tx: tx.run("DELETE FROM blobs WHERE name = :name", name=list_name))
    done = passes(faulted(repo, None)[0], clock)
    assert done[0].compacted.damaged and done[0].compacted.packs == PACKS
    assert len(files_of(faulted(repo, None)[0].version_by_id(sparse[0].id))) == KEPT
    chunks = [row.name for pack in states(repo) for row in repo.home.catalog.packs.rows(pack) if row.kind == "data"]
    assert sum(len(raw) for name, raw in repo.home.blobs.read_many(chunks) if raw in big) == len(big)


def test_a_damaged_neighbour_does_not_keep_what_has_to_be_purged(repo, clock):
    log(repo, "a", 1, 2, 3, size=30_000)
    damage(repo, file_blob(2))
    done = purging.purge(repo.home, str(Digest(file_blob(1))), reason="request 7")
    assert done.packs == 1
    fresh = faulted(repo, None)[0].version("a")
    with pytest.raises(hw.PurgedError):
        fresh.open("1.bin").read()
    with pytest.raises(hw.IntegrityError):
        fresh.open("2.bin").read()
    assert fresh.open("3.bin").read() == noise(3, 30_000)
    assert not any(noise(1, 30_000)[:64] in repo.home.objects.get(key) for key in pack_keys(repo))
