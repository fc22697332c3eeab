"""What every catalog must do with packs, leases and their collection. Needs the fixtures `world` and `clock`."""

from __future__ import annotations

import pytest

from headwater.errors import ConflictError, NotFoundError, StateError
from headwater.model.keys import pack_key
from headwater.model.records import PageUse
from tests.contracts.catalog_world import Clock, World, digest, ulid

DAY = 24


def states(world: World) -> dict[str, str]:
    return {pack_id: state for pack_id, _, state, _ in world.catalog.packs.packs()}


class PackContract:
    """P5: nothing that is referenced, held, or read by a live run is ever taken; everything else goes."""

    def test_a_pack_is_reserved_sealed_and_found(self, world: World):
        packs, pack_id = world.catalog.packs, ulid()
        assert packs.reserve([pack_id], world.lease) == [pack_key(pack_id)]
        assert packs.hold_blobs([digest("one")], world.lease) == packs.locate([digest("one")]) == {}
        packs.seal([world.sealed(pack_id, "one", "two")], world.lease)
        assert packs.hold_blobs([digest("one"), digest("none")], world.lease) == {digest("one"): pack_id}
        where = packs.locate([digest("two")])[digest("two")]
        assert (where.pack_id, where.key, where.row.offset, where.row.compression) == (
            pack_id,
            pack_key(pack_id),
            10,
            1,
        )
        assert [row.name for row in packs.rows(pack_id)] == [digest("one"), digest("two")]
        assert list(packs.packs("live")) == [(pack_id, pack_key(pack_id), "live", 20)]
        packs.seal([world.sealed(pack_id, "one", "two")], world.lease)
        packs.reserve([], world.lease)

    def test_many_names_are_looked_up_at_once(self, world: World):
        names = [f"blob {n}" for n in range(5000)]
        pack_id = world.pack(*names)
        found = world.catalog.packs.hold_blobs([digest(name) for name in names], world.lease)
        assert len(found) == 5000 and set(found.values()) == {pack_id}

    def test_sealing_what_was_never_reserved_is_refused(self, world: World):
        with pytest.raises(NotFoundError):
            world.catalog.packs.seal([world.sealed(ulid(), "one")], world.lease)

    def test_a_commit_seals_the_packs_it_brings(self, world: World):
        pack_id = world.pack(live=False)
        world.commit("a", "one", pack=pack_id, seals=(world.sealed(pack_id, "one", "page of one"),))
        assert states(world) == {pack_id: "live"}

    def test_a_commit_that_names_a_pack_that_is_not_live_is_refused_whole(self, world: World):
        lost = world.pack(live=False)
        with pytest.raises(ConflictError) as conflict:
            world.commit("a", "one", pack=lost)
        assert conflict.value.facts["lost_packs"] == [lost]
        assert world.catalog.events.head() == 0 and world.commit("a", "two").version.number == 0

    def test_pages_proved_before_need_no_packs_again(self, world: World):
        world.commit("a", "one")
        page = digest("page of one")
        proofs = world.catalog.packs.hold_proofs([page, digest("unknown page")], world.lease)
        assert proofs.keys() == {page} and len(proofs[page]) == 1
        world.commit("b", "two", pages=(PageUse(name=page, packs=frozenset()),))
        with pytest.raises(ConflictError, match="collected"):
            world.commit("c", "three", pages=(PageUse(name=digest("unknown page"), packs=frozenset()),))

    def test_a_lapsed_lease_is_told_to_its_owner(self, world: World, clock: Clock):
        packs = world.catalog.packs
        world.pack("one")
        clock.forward(seconds=29 * 60)
        packs.renew_leases([world.lease])
        clock.forward(seconds=31 * 60)
        for act in (
            lambda: packs.renew_leases([world.lease]),
            lambda: packs.hold_blobs([digest("one")], world.lease),
            lambda: packs.reserve([ulid()], world.lease),
        ):
            with pytest.raises(StateError) as lapsed:
                act()
            assert lapsed.value.facts["lapsed_lease"] == world.lease
        for _ in range(2):
            packs.close_lease(world.lease)

    # -------------------------------------------------------------- collection
    def collect(self, world: World, clock: Clock) -> set[str]:
        """One whole pass of a day's condemning and a day's grace; ids of what went."""
        list(world.collector.condemn())
        clock.forward(hours=DAY + 1)
        gone = {pack_id for pack_id, _, _ in world.collector.recheck()}
        world.collector.gone(gone)
        return gone

    def test_what_nothing_needs_goes_after_two_days_and_not_before(self, world: World, clock: Clock):
        kept = world.commit("a", "one").version
        waste = world.pack("waste")
        abandoned = world.pack(live=False)
        clock.forward(hours=DAY - 1)
        assert list(world.collector.condemn()) == [], "too young"
        clock.forward(hours=2)
        assert {p for p, _ in world.collector.condemn(dry_run=True)} == {waste, abandoned}
        assert {p for p, _ in world.collector.condemn()} == {waste, abandoned}
        assert list(world.collector.recheck()) == [], "its grace has not passed"
        assert world.catalog.packs.locate([digest("waste")]), "readers still find it"
        clock.forward(hours=DAY + 1)
        assert {p for p, _, _ in world.collector.recheck()} == {waste, abandoned}
        assert {p for p, _ in world.collector.deleting()} == {waste, abandoned}, "an interrupted collector goes on here"
        assert world.catalog.packs.locate([digest("waste")]) == {}
        for _ in range(2):
            world.collector.gone([waste, abandoned])
        assert sorted(states(world).values()) == ["gone", "gone", "live"]
        assert world.catalog.versions.get(kept.id).state == "published" and list(world.catalog.packs.rows(waste)) == []

    def test_what_a_lease_holds_stays_while_it_is_renewed(self, world: World, clock: Clock):
        held = world.pack("one")
        for _ in range(4 * DAY):
            clock.forward(seconds=29 * 60)
            world.catalog.packs.renew_leases([world.lease])
        assert list(world.collector.condemn()) == []
        world.catalog.packs.close_lease(world.lease)
        assert [p for p, _ in world.collector.condemn()] == [held]

    def test_a_condemned_pack_that_is_needed_again_is_revived(self, world: World, clock: Clock):
        pack = world.pack("one", "page of one")
        clock.forward(hours=DAY + 1)
        list(world.collector.condemn())
        world.lease = world.catalog.packs.open_lease("another")
        with pytest.raises(ConflictError):
            world.commit("a", "one", pack=pack)
        assert world.catalog.packs.hold_blobs([digest("one")], world.lease) == {digest("one"): pack}
        assert states(world) == {pack: "live"}
        world.commit("a", "one", pack=pack)
        assert self.collect(world, clock) == set()

    def test_a_deleting_pack_is_never_revived(self, world: World, clock: Clock):
        pack = world.pack("one")
        clock.forward(hours=DAY + 1)
        list(world.collector.condemn())
        clock.forward(hours=DAY + 1)
        assert [p for p, _, _ in world.collector.recheck()] == [pack]
        lease = world.catalog.packs.open_lease("another")
        assert world.catalog.packs.hold_blobs([digest("one")], lease) == {}
        with pytest.raises(ConflictError):
            world.catalog.packs.seal([world.sealed(pack, "one")], lease)

    def test_a_deleted_version_keeps_its_bytes_while_a_running_run_uses_it(self, world: World, clock: Clock):
        version = world.commit("a", "one").version
        run = world.run()
        world.catalog.runs.record_uses(run.id, [(version.id, None, "a")])
        world.catalog.versions.delete(version.id, delete_aliases=False, actor="ann")
        clock.forward(hours=DAY + 1)
        world.catalog.runs.renew({run.id: run.fence})
        assert list(world.collector.condemn()) == []
        world.catalog.runs.close(run.id, "finished")
        assert len(list(world.collector.condemn())) == 1

    def test_drafts_and_shared_pages_keep_their_packs(self, world: World, clock: Clock):
        draft = world.commit("a", "one", draft=True, draft_ttl_seconds=10**7).version
        shared = world.pack("shared page")
        page = PageUse(name=digest("shared page"), packs=frozenset([shared]))
        first = world.commit("b", "two", pages=(page,)).version
        second = world.commit("c", "three", pages=(PageUse(name=page.name, packs=frozenset()),)).version
        world.catalog.versions.delete(first.id, delete_aliases=False, actor="ann")
        clock.forward(hours=DAY + 1)
        assert len(self.collect(world, clock)) == 1, "only the root of the deleted version"
        world.catalog.versions.delete(second.id, delete_aliases=False, actor="ann")
        world.catalog.versions.discard([draft.id], "ann")
        assert shared in self.collect(world, clock) and set(states(world).values()) == {"gone"}
        assert world.collector.forget() > 0
        assert world.catalog.packs.hold_proofs([page.name], world.catalog.packs.open_lease("x")) == {}

    def test_compaction_moves_pages_to_another_pack(self, world: World, clock: Clock):
        world.commit("a", "one")
        (old,) = states(world)
        new = world.pack("one", "page of one")
        pages = world.collector.pages_in(old)
        assert set(pages) == {digest("one"), digest("page of one")}
        world.collector.repoint([(old, [new], pages)])
        clock.forward(hours=DAY + 1)
        assert self.collect(world, clock) == {old}
        assert world.catalog.packs.locate([digest("one")])[digest("one")].pack_id == new
        with pytest.raises(ConflictError):
            world.collector.repoint([(new, [old], pages)])

    def test_an_orphan_is_buried_so_that_its_late_writer_conflicts(self, world: World):
        known, stray = world.pack("one"), ulid()
        assert world.collector.bury([pack_key(known), pack_key(stray), "not/a/pack"]) == [pack_key(stray)]
        with pytest.raises(ConflictError):
            world.catalog.packs.reserve([stray], world.lease)
