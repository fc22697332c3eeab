"""What every catalog must do with runs, groups, lineage and the feed. Needs the fixtures `world` and `clock`."""

from __future__ import annotations

import pytest

from headwater.errors import ConflictError, InvalidInputError, RunNotFoundError, StateError
from headwater.model.records import EdgeRecord, Query
from tests.contracts.catalog_world import Clock, World


class RunContract:
    """P7: attempts are honest; names mean one thing inside a group; lineage is uses and logs."""

    def test_a_run_is_opened_found_by_id_and_key_and_closed_once(self, world: World):
        run = world.run("k", config={"lr": 0.1}, links={"ui": "http://x"}, code={"git": "abc"}, group="g", parent="up")
        assert world.catalog.runs.get(run.id) == run == world.catalog.runs.get("k")
        assert (run.attempt, run.state, run.config, run.group) == (1, "running", {"lr": 0.1}, "g")
        ended = world.catalog.runs.close(run.id, "failed", error="boom")
        assert (ended.state, ended.error) == ("failed", "boom") and ended.finished_at is not None
        assert world.catalog.runs.close(run.id, "failed").error == "boom", "idempotent"
        with pytest.raises(StateError):
            world.catalog.runs.close(run.id, "finished")
        with pytest.raises(RunNotFoundError):
            world.catalog.runs.get("nothing")
        with pytest.raises(InvalidInputError):
            world.catalog.runs.close(world.run().id, "running")

    def test_opening_again_finds_the_run_and_a_second_executor_fences_the_first(self, world: World):
        first = world.run("k", attempt=1)
        assert world.run("k", attempt=1).fence == first.fence, "the same process finds its run"
        second = world.run("k", attempt=1, pid=2)
        assert second.id == first.id and second.fence == first.fence + 1
        with pytest.raises(StateError, match="taken over"):
            world.commit("a", "one", run=first)
        with pytest.raises(StateError, match="taken over"):
            world.catalog.runs.close(first.id, "finished", fence=first.fence)
        assert world.catalog.runs.renew({first.id: first.fence}) == {}
        assert world.commit("a", "one", run=second).version.number == 0

    def test_an_ended_run_is_opened_again_only_on_request(self, world: World):
        run = world.run("k", attempt=1)
        world.catalog.runs.close(run.id, "failed")
        with pytest.raises(StateError, match="has ended"):
            world.run("k", attempt=1)
        back = world.run("k", attempt=1, resume=True)
        assert (back.state, back.finished_at) == ("running", None)

    def test_one_key_and_attempt_is_one_run(self, world: World):
        world.run("k", attempt=1)
        with pytest.raises(ConflictError):
            world.run("k", attempt=1, id="another id")

    def test_the_next_attempt_closes_the_one_before_as_lost_for_good(self, world: World):
        first = world.run("k")
        draft = world.commit("a", "half", run=first, draft=True).version
        second = world.run("k")
        assert [(r.attempt, r.state) for r in world.catalog.runs.attempts("k")] == [(1, "lost"), (2, "running")]
        assert world.catalog.versions.get(draft.id).state == "discarded"
        assert world.catalog.runs.renew({first.id: first.fence, second.id: second.fence}).keys() == {second.id}
        with pytest.raises(StateError):
            world.commit("a", "late", run=first)
        assert world.catalog.runs.close(first.id, "failed").state == "failed", "its true end may still be told"

    def test_content_of_an_earlier_attempt_is_that_version_again_and_latest_stays(self, world: World):
        first = world.run("k")
        made = world.commit("a", "one", run=first, aliases=("candidate",)).version
        newer = world.commit("a", "two", aliases=("candidate",)).version
        retry = world.run("k")
        again = world.commit("a", "one", run=retry, aliases=("candidate",))
        assert (again.kind, again.version.id) == ("reproduced", made.id)
        assert world.find("a").id == newer.id == world.find("a:candidate").id, "nor does the alias move back"
        stranger = world.commit("a", "one", run=world.run())
        assert (stranger.kind, stranger.version.number) == ("created", 2)
        value = world.commit("a", "two", run=world.run("k"), codec={"name": "text", "options": {}})
        assert (value.kind, value.version.number) == ("created", 3), "equal bytes, but no attempt logged such a value"

    def test_a_lease_that_lapses_makes_a_run_lost_until_its_owner_returns(self, world: World, clock: Clock):
        run = world.run("k")
        clock.forward(seconds=170)
        assert world.catalog.runs.sweep() == [] and world.catalog.runs.renew({run.id: run.fence})
        clock.forward(seconds=181)
        assert world.catalog.runs.get(run.id).state == "lost", "anyone who looks sees it"
        assert [r.id for r in world.catalog.runs.sweep()] == [run.id]
        assert world.catalog.runs.sweep() == []
        assert world.catalog.runs.renew({run.id: run.fence})[run.id].state == "running"
        clock.forward(seconds=181)
        world.catalog.runs.sweep()
        world.lease = world.catalog.packs.open_lease("tester")
        assert world.commit("a", "one", run=run, finish="finished").version.number == 0
        assert world.catalog.runs.get(run.id).state == "finished"

    def test_a_paused_run_is_not_lost_however_its_owner_beats_until_the_pause_is_over(self, world: World, clock: Clock):
        run = world.run("k", attempt=1)
        paused = world.catalog.runs.pause(run.id, 3600, fence=run.fence)
        assert (paused.state, paused.fence) == ("running", run.fence)
        world.catalog.runs.renew({run.id: run.fence})  # a beat that was under way
        clock.forward(seconds=3500)
        assert (world.catalog.runs.get(run.id).state, world.catalog.runs.sweep()) == ("running", [])
        resumed = world.run("k", attempt=1, pid=2)
        clock.forward(seconds=181)
        assert world.catalog.runs.get(run.id).state == "lost", "who goes on with it has the usual lease"
        with pytest.raises(StateError, match="taken over"):
            world.catalog.runs.pause(run.id, 3600, fence=run.fence)
        assert world.catalog.runs.pause(run.id, 3600, fence=resumed.fence).state == "running"
        world.catalog.runs.close(run.id, "finished")
        with pytest.raises(StateError, match="already ended"):
            world.catalog.runs.pause(run.id, 3600)

    def test_a_failing_run_keeps_its_uses_and_loses_its_drafts(self, world: World):
        data = world.commit("data", "x").version
        run = world.run()
        world.catalog.runs.record_uses(run.id, [(data.id, "train", "data:latest"), (data.id, "train", "data:latest")])
        draft = world.commit("a", "half", run=run, draft=True).version
        kept = world.commit("b", "whole", run=run).version
        world.catalog.runs.close(run.id, "failed")
        assert [(e.version.id, e.role, e.asked) for e in world.catalog.runs.used(run.id)] == [
            (data.id, "train", "data:latest")
        ]
        assert world.catalog.versions.get(draft.id).state == "discarded"
        assert world.catalog.versions.get(kept.id).state == "published"
        assert [edge.version.id for edge in world.catalog.runs.logged(run.id)] == [kept.id]
        assert list(world.catalog.lineage.closure([data.id], "downstream")) == sorted([data.id, kept.id])
        with pytest.raises(StateError, match="has ended"):
            world.commit("c", "more", run=run)

    def test_a_finished_run_keeps_its_drafts_and_uses_nothing_more(self, world: World):
        run = world.run()
        draft = world.commit("a", "one", run=run, draft=True, finish="finished").version
        assert world.catalog.versions.get(draft.id).state == "draft"
        with pytest.raises(StateError):
            world.catalog.runs.record_uses(run.id, [(draft.id, None, "a")])

    def test_facts_are_merged_into_a_run_ended_or_not(self, world: World):
        run = world.run(config={"a": 1})
        world.catalog.runs.close(run.id, "finished")
        world.catalog.runs.update(run.id, config={"b": 2}, summary={"acc": 0.9})
        after = world.catalog.runs.update(run.id, summary={"acc": 0.95, "n": 3}, links={"ui": "x"}, code={"git": "y"})
        assert (after.config, after.summary, after.links) == ({"a": 1, "b": 2}, {"acc": 0.95, "n": 3}, {"ui": "x"})
        with pytest.raises(InvalidInputError, match="not JSON"):
            world.catalog.runs.update(run.id, summary={"x": object()})

    def test_a_group_is_closed_as_one(self, world: World):
        inside = [world.run(group="g") for _ in range(3)]
        outside = world.run(group="h")
        world.catalog.runs.close(inside[0].id, "finished")
        closed = world.catalog.runs.close_group("g", "cancelled", error="stopped")
        assert {r.id for r in closed} == {r.id for r in inside[1:]} and {r.state for r in closed} == {"cancelled"}
        assert world.catalog.runs.get(outside.id).state == "running"

    # ------------------------------------------------------------------ groups
    def test_inside_a_group_a_name_means_one_thing(self, world: World):
        first = world.commit("a", "one", aliases=("prod",)).version
        assert world.find("a", group="g").id == world.find("a:prod", group="g").id == first.id
        second = world.commit("a", "two", aliases=("prod",)).version
        assert world.find("a", group="g").id == world.find("a:prod", group="g").id == first.id, "first resolved"
        assert world.find("a").id == second.id == world.find("a", group="h").id
        own = world.commit("a", "three", run=world.run(group="g")).version
        world.commit("a", "four")
        assert world.find("a", group="g").id == own.id, "the newest this group published"
        assert world.find("a:prod", group="g").id == first.id
        assert world.find("a:v1", group="g").id == second.id, "numbers mean one thing everywhere"

    def test_looking_without_recording_leaves_the_group_free(self, world: World):
        world.commit("a", "one")
        world.find("a", group="g", record=False)
        newer = world.commit("a", "two").version
        assert world.find("a", group="g").id == newer.id

    def test_a_group_whose_version_was_deleted_resolves_anew(self, world: World):
        first = world.commit("a", "one").version
        second = world.commit("a", "two").version
        assert world.find("a", group="g").id == second.id
        world.catalog.versions.delete(second.id, delete_aliases=False, actor="ann")
        assert world.find("a", group="g").id == first.id

    # ----------------------------------------------------------------- lineage
    def test_lineage_is_transitive_in_both_directions_and_survives_deletion(self, world: World):
        ids, runs = [world.commit("v0", "x").version.id], []
        for step in range(1, 5):
            run = world.run()
            world.catalog.runs.record_uses(run.id, [(ids[-1], "in", f"v{step - 1}")])
            ids.append(world.commit(f"v{step}", "x", run=run, role="out", finish="finished").version.id)
            runs.append(run.id)
        world.catalog.versions.delete(ids[2], delete_aliases=False, actor="ann")
        lineage = world.catalog.lineage
        for start, direction in ((4, "upstream"), (0, "downstream")):
            reached = lineage.closure([ids[start]], direction)
            assert sorted(reached) == sorted(ids)
            edges = lineage.edges(reached, direction)
            assert edges.uses == tuple(sorted((r, v, "in") for r, v in zip(runs, ids)))
            assert edges.logs == tuple(sorted((r, v, "out", "created") for r, v in zip(runs, ids[1:])))
            assert edges.derivations == tuple(sorted(zip(ids[1:], ids)))
        assert set(lineage.closure([ids[4]], "upstream", depth=1)) == {ids[4], ids[3]}
        assert len(lineage.closure([ids[4]], "upstream", limit=3)) == 3
        nodes = lineage.nodes([*ids, "unknown"], runs[:1])
        assert [{n.id for n in some} for some in nodes] == [set(ids), {runs[0]}]
        assert {v.state for v in nodes[0] if v.id == ids[2]} == {"deleted"}
        assert lineage.edges([ids[1]], "upstream") == EdgeRecord(logs=((runs[0], ids[1], "out", "created"),))
        assert [r.id for r, _ in world.catalog.runs.users(ids[0], Query())] == [runs[0]]
        assert [(r.id, role, kind) for r, role, kind in world.catalog.runs.loggers(ids[1])] == [
            (runs[0], "out", "created")
        ]

    def test_reproducing_runs_are_followed_only_when_asked(self, world: World):
        other = world.commit("other", "x").version
        made = world.commit("a", "one", run=world.run()).version
        run = world.run()
        world.catalog.runs.record_uses(run.id, [(other.id, None, "other")])
        world.commit("a", "one", run=run)
        closure = world.catalog.lineage.closure
        assert set(closure([made.id], "upstream")) == {made.id}
        assert set(closure([made.id], "upstream", all_edges=True)) == {made.id, other.id}
        assert set(closure([other.id], "downstream", all_edges=True)) == {made.id, other.id}

    # -------------------------------------------------------------------- feed
    def test_the_feed_tells_what_happened_in_order_and_remembers_its_readers(self, world: World):
        feed = world.catalog.events
        assert feed.head() == 0 and feed.consumer("c") == 0
        world.commit("a", "one", run=world.run("k"), finish="finished")
        world.commit("b", "one")
        lines = feed.after(0)
        assert [e.cursor for e in lines] == list(range(1, len(lines) + 1)) and feed.head() == len(lines)
        assert [e.kind for e in lines] == ["run.started", "version.published", "run.ended", "version.published"]
        assert [e.artifact for e in feed.after(0, kinds=["version.published"])] == ["a", "b"]
        assert [e.kind for e in feed.after(0, artifact="b", project="p")] == ["version.published"]
        assert len(feed.after(0, 2)) == 2 and feed.after(feed.head()) == []
        feed.acknowledge("c", 3)
        feed.acknowledge("c", 2)
        assert (feed.consumer("c"), feed.consumer("d")) == (3, 0)
        with pytest.raises(InvalidInputError):
            feed.acknowledge("c", 99)

    def test_settings_are_kept(self, world: World):
        assert world.catalog.setting("objects") is None
        world.catalog.set_setting("objects", "s3://x")
        world.catalog.set_setting("objects", "s3://y")
        assert world.catalog.setting("objects") == "s3://y" and len(world.catalog.repository_id) == 36
