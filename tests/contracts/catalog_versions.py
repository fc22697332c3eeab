"""What every catalog must do with versions, names, aliases and history. Needs the fixtures `world` and `clock`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from headwater.errors import (
    ArtifactNotFoundError,
    ConflictError,
    InvalidInputError,
    StateError,
    VersionNotFoundError,
)
from headwater.model.records import Query
from tests.contracts.catalog_world import Clock, World, digest, ulid


def moment(clock: Clock) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=clock.now)


class VersionContract:
    """P1, P4, P6: versions are numbered once, found by name, changed on the record."""

    def test_versions_are_numbered_from_zero_and_latest_is_the_newest(self, world: World):
        made = [world.commit("a", text).version for text in ("one", "two", "three")]
        assert [v.number for v in made] == [0, 1, 2]
        assert world.find("a").id == world.find("a:latest").id == world.find("a:v2").id == made[2].id
        assert world.find("a").aliases == ("latest",) and world.catalog.versions.get(made[0].id).aliases == ()
        assert world.find("a:v0").digest == f"blake3:{digest('one').hex()}"

    def test_content_equal_to_the_newest_is_that_version_again(self, world: World):
        first = world.commit("a", "one", run=world.run())
        again_run = world.run()
        again = world.commit("a", "one", run=again_run, metadata={"k": 1}, aliases=("prod",), tags=("gold",))
        assert (first.kind, again.kind) == ("created", "reproduced")
        assert again.version.id == first.version.id and again.version.metadata == {"k": 1}
        assert again.version.aliases == ("latest", "prod") and again.version.tags == ("gold",)
        assert [edge.kind for edge in world.catalog.runs.logged(again_run.id)] == ["reproduced"]
        assert {"metadata.changed", "tag.added", "alias.set"} <= set(world.kinds("a"))

    def test_a_type_unsaid_is_the_artifact_s_or_that_of_datasets(self, world: World):
        assert world.commit("a", "one", type=None).version.type == "dataset"
        world.commit("b", "one", type="model")
        assert world.commit("b", "two", type=None).version.type == "model"
        assert world.commit("b[x]", "one", type=None).version.type == "model"

    def test_equal_content_of_another_codec_is_another_version(self, world: World):
        text, raw = ({"name": name, "options": {}} for name in ("text", "bytes"))
        first = world.commit("a", "one", codec=text)
        assert world.commit("a", "one", codec=text).version.id == first.version.id
        other = world.commit("a", "one", codec=raw)
        assert (other.kind, other.version.number, other.version.codec) == ("created", 1, raw)
        plain = world.commit("a", "one")
        assert (plain.kind, plain.version.number, plain.version.codec) == ("created", 2, None)
        drafts = [world.commit("a", "one", draft=True, codec=codec).version.id for codec in (None, text)]
        same, new = world.catalog.versions.publish(drafts, {}, "ann")
        assert (same.kind, same.version.id) == ("reproduced", plain.version.id)
        assert (new.kind, new.version.codec) == ("created", text)

    def test_content_equal_to_an_older_version_is_a_new_version(self, world: World):
        for text in ("one", "two", "one"):
            last = world.commit("a", text)
        assert (last.kind, last.version.number) == ("created", 2)
        assert world.find(f"a@{last.version.digest}").number == 2

    def test_committing_twice_under_one_id_gives_the_same_answer(self, world: World):
        run = world.run()
        publication = world.publication("a", "one", run=run, finish="finished")
        first = world.catalog.versions.commit(publication)
        world.commit("a", "two")
        assert world.catalog.versions.commit(publication) == first.__class__(
            version=world.catalog.versions.get(first.version.id), kind="created"
        )
        twin = world.publication("a", "two")
        assert world.catalog.versions.commit(twin).kind == "reproduced"
        world.commit("a", "three")
        assert world.catalog.versions.commit(twin).version.number == 1

    def test_a_number_is_never_given_again_and_a_deleted_one_says_who_and_when(self, world: World):
        for text in ("one", "two"):
            world.commit("a", text)
        gone = world.catalog.versions.delete(world.find("a:v1").id, delete_aliases=False, actor="bob")
        assert gone.state == "deleted" and world.find("a").number == 0
        with pytest.raises(StateError, match="bob deleted at 20"):
            world.find("a:v1")
        assert world.commit("a", "two").version.number == 2
        assert world.catalog.versions.get(gone.id).number == 1, "the tombstone stays"

    def test_another_type_is_refused_in_every_partition(self, world: World):
        world.commit("a[x]", "one")
        for name in ("a", "a[x]", "a[y]"):
            with pytest.raises(InvalidInputError, match="has the type 'dataset'"):
                world.commit(name, "two", type="model")

    def test_partitions_have_their_own_versions_and_fold_in_listings(self, world: World):
        for key in ("x", "y"):
            world.commit(f"a[{key}]", "one")
        world.commit("a[y]", "two")
        assert (world.find("a[x]").number, world.find("a[y]").number) == (0, 1)
        (folded,) = world.catalog.versions.artifacts(Query(project="p"))
        assert (folded.name, folded.n_versions, folded.n_partitions, folded.latest) == ("a", 3, 2, None)
        assert [(a.partition, a.n_versions) for a in world.catalog.versions.partitions(world.name("a"))] == [
            ("x", 1), ("y", 2),
        ]  # fmt: skip

    def test_what_is_not_there_is_said_in_two_ways(self, world: World):
        with pytest.raises(ArtifactNotFoundError):
            world.find("nothing")
        world.commit("a", "one")
        for selector in (":prod", ":v7", "@blake3:" + "0" * 64):
            with pytest.raises(VersionNotFoundError):
                world.find(f"a{selector}")
        with pytest.raises(VersionNotFoundError):
            world.catalog.versions.get("no such id")

    # ----------------------------------------------------------------- aliases
    def test_an_alias_moves_only_from_where_it_is_expected(self, world: World):
        ids = [world.commit("a", text).version.id for text in ("one", "two")]
        versions, a = world.catalog.versions, world.name("a")
        versions.set_alias(a, "prod", ids[0], expect="", actor="ann")
        with pytest.raises(ConflictError, match="is v0"):
            versions.set_alias(a, "prod", ids[1], expect="", actor="ann")
        versions.set_alias(a, "prod", ids[1], expect=ids[0], actor="bob")
        assert world.find("a:prod").id == ids[1] and versions.get(ids[0]).aliases == ()
        versions.set_alias(a, "prod", None, expect=ids[1], actor="bob")
        with pytest.raises(VersionNotFoundError):
            world.find("a:prod")
        moves = [
            (e.kind, e.actor, e.details["old"], e.details["new"]) for e in versions.history(a) if "alias" in e.kind
        ]
        assert moves == [
            ("alias.set", "ann", None, "v0"), ("alias.set", "bob", "v0", "v1"), ("alias.removed", "bob", "v1", None),
        ]  # fmt: skip

    def test_latest_and_numbers_are_no_aliases_to_set(self, world: World):
        version = world.commit("a", "one", aliases=("latest",)).version
        for alias in ("latest", "v3"):
            with pytest.raises(InvalidInputError):
                world.catalog.versions.set_alias(world.name("a"), alias, version.id, expect=None, actor="ann")

    def test_an_alias_stays_inside_its_artifact(self, world: World):
        world.commit("a", "one")
        other = world.commit("b", "one").version
        with pytest.raises(StateError):
            world.catalog.versions.set_alias(world.name("a"), "prod", other.id, expect=None, actor="ann")

    def test_a_version_with_an_alias_is_deleted_only_on_request(self, world: World):
        version = world.commit("a", "one", aliases=("prod",)).version
        with pytest.raises(StateError, match="is prod"):
            world.catalog.versions.delete(version.id, delete_aliases=False, actor="ann")
        world.catalog.versions.delete(version.id, delete_aliases=True, actor="ann")
        assert world.kinds("a")[-2:] == ["alias.removed", "version.deleted"]
        again = world.catalog.versions.delete(version.id, delete_aliases=True, actor="ann")
        assert again.state == "deleted"

    def test_looking_back_gives_what_names_meant_then(self, world: World, clock: Clock):
        times = [moment(clock)]
        for text in ("one", "two"):
            world.commit("a", text, aliases=("prod",) if text == "one" else ())
            times.append(moment(clock))
        versions, a = world.catalog.versions, world.name("a")
        versions.set_alias(a, "prod", world.find("a:v1").id, expect=None, actor="ann")
        times.append(moment(clock))
        versions.set_alias(a, "prod", None, expect=None, actor="ann")
        assert [world.find("a", at=t).number for t in times[1:]] == [0, 1, 1]
        assert [world.find("a:prod", at=t).number for t in times[1:]] == [0, 0, 1]
        for name, at in (("a", times[0]), ("a:prod", times[0]), ("a:prod", moment(clock))):
            with pytest.raises(VersionNotFoundError):
                world.find(name, at=at)
        versions.delete(world.find("a:v1").id, delete_aliases=False, actor="bob")
        with pytest.raises(StateError, match="bob"):
            world.find("a", at=times[2])
        assert world.find("a", at=moment(clock)).number == 0

    # ------------------------------------------------------------------- edits
    def test_edits_of_different_fields_merge_and_of_the_same_collide(self, world: World):
        base = world.commit("a", "one", metadata={"x": 1, "y": 1}, tags=("t",)).version
        edit = world.catalog.versions.edit
        edit(base.id, base, {"metadata": {"x": 2, "y": 1}}, "ann")
        edit(base.id, base, {"metadata": {"x": 1}, "tags": ["t", "u"]}, "bob")
        after = edit(base.id, base, {"description": "words", "tags": []}, "cy")
        assert (after.metadata, after.description, after.tags) == ({"x": 2}, "words", ("u",))
        assert after.revision == 3
        with pytest.raises(ConflictError) as conflict:
            edit(base.id, base, {"metadata": {"x": 3, "y": 1}, "description": "other"}, "dee")
        assert conflict.value.facts["current"] == 2
        with pytest.raises(ConflictError):
            edit(base.id, base, {"description": "other"}, "dee")
        assert world.catalog.versions.get(base.id) == after, "a conflict changes nothing"

    def test_every_change_is_in_the_history_with_who_and_what(self, world: World):
        base = world.commit("a", "one", metadata={"x": 1}).version
        world.catalog.versions.edit(
            base.id, base, {"metadata": {"x": 2}, "description": "d", "tags": ["t"], "aliases": ["prod"]}, "bob"
        )
        lines = world.catalog.versions.history(world.name("a"), base.id)
        assert [(e.kind, e.actor) for e in lines] == [
            ("version.published", "ann"), ("metadata.changed", "bob"), ("description.changed", "bob"),
            ("tag.added", "bob"), ("alias.set", "bob"),
        ]  # fmt: skip
        assert lines[1].details == {"old": {"x": 1}, "new": {"x": 2}}
        assert all(line.number == 0 and line.artifact == "a" for line in lines)

    def test_saving_what_is_there_already_leaves_no_trace(self, world: World):
        base = world.commit("a", "one", metadata={"x": float("nan")}, tags=("t",)).version
        world.catalog.versions.edit(base.id, base, {"metadata": dict(base.metadata), "tags": ["t"]}, "bob")
        assert world.kinds("a") == ["version.published"] and world.find("a").revision == 0

    def test_an_artifact_has_words_and_tags_of_its_own(self, world: World):
        world.commit("a", "one")
        edited = world.catalog.versions.edit_artifact(world.name("a"), {"description": "d", "tags": ["x"]}, "bob")
        assert (edited.description, edited.tags) == ("d", ("x",))
        assert [a.name for a in world.catalog.versions.artifacts(Query(where=("tag=x",)))] == ["a"]
        with pytest.raises(InvalidInputError):
            world.catalog.versions.edit_artifact(world.name("a"), {"type": "model"}, "bob")

    # ------------------------------------------------------------------ drafts
    def test_a_draft_is_invisible_until_published_and_is_published_once(self, world: World):
        run = world.run()
        draft = world.commit("a", "one", run=run, draft=True, aliases=("prod",)).version
        assert (draft.state, draft.number) == ("draft", None) and draft.expires_at is not None
        with pytest.raises(VersionNotFoundError):
            world.find("a")
        assert world.catalog.versions.versions(Query(artifact="a")) == []
        for _ in range(2):
            (made,) = world.catalog.versions.publish([draft.id], {draft.id: ["best"]}, "ann")
            assert (made.version.id, made.version.number, made.kind) == (draft.id, 0, "created")
        assert world.find("a").aliases == ("best", "latest", "prod")

    def test_drafts_are_published_all_or_none(self, world: World):
        drafts = [world.commit(name, "one", draft=True).version.id for name in ("a", "b")]
        world.catalog.versions.discard([drafts[1]], "ann")
        with pytest.raises(StateError, match="discarded"):
            world.catalog.versions.publish(drafts, {}, "ann")
        assert world.catalog.versions.get(drafts[0]).state == "draft"

    def test_a_draft_equal_to_the_newest_version_becomes_that_version(self, world: World):
        first = world.commit("a", "one").version
        maker, reader = world.run(), world.run()
        draft = world.commit("a", "one", run=maker, draft=True).version
        world.catalog.runs.record_uses(reader.id, [(draft.id, "in", "a")])
        made = world.catalog.versions.publish([draft.id], {}, "ann")
        assert [(m.version.id, m.kind) for m in made] == [(first.id, "reproduced")]
        assert [edge.version.id for edge in world.catalog.runs.used(reader.id)] == [first.id]
        assert [(e.version.id, e.kind) for e in world.catalog.runs.logged(maker.id)] == [(first.id, "reproduced")]
        assert world.catalog.versions.get(draft.id).id == first.id, "the draft's id leads to what it became"
        assert world.catalog.versions.publish([draft.id], {}, "ann")[0].version.id == first.id

    def test_drafts_are_discarded_on_request_and_after_their_time(self, world: World, clock: Clock):
        asked = world.commit("a", "one", draft=True).version
        old = world.commit("a", "two", draft=True, draft_ttl_seconds=60).version
        published = world.commit("a", "three").version
        for _ in range(2):
            world.catalog.versions.discard([asked.id], "ann")
        with pytest.raises(StateError):
            world.catalog.versions.discard([published.id], "ann")
        assert world.catalog.versions.sweep_drafts("sweeper") == 0
        clock.forward(seconds=61)
        assert world.catalog.versions.sweep_drafts("sweeper") == 1
        assert {world.catalog.versions.get(v.id).state for v in (asked, old)} == {"discarded"}

    def test_a_clock_that_jumps_back_does_not_reorder_versions(self, world: World, clock: Clock):
        world.commit("a", "one")
        clock.forward(hours=-5)
        world.lease = world.catalog.packs.open_lease("tester")
        world.commit("a", "two")
        first, second = (world.find(f"a:v{n}") for n in (0, 1))
        assert first.created_at <= second.created_at and first.published_at < second.published_at
        times = [event.at for event in world.catalog.events.after(0)]
        assert times == sorted(times)

    def test_what_a_version_derives_from_can_be_said(self, world: World):
        one, two = (world.commit(name, "x").version for name in ("a", "b"))
        run = world.run()
        world.catalog.runs.record_uses(run.id, [(one.id, None, "a"), (two.id, None, "b")])
        said = world.commit("c", "x", run=run, derived_from=(one.id,)).version
        unsaid = world.commit("d", "x", run=run).version
        assert set(world.catalog.lineage.closure([said.id], "upstream")) == {said.id, one.id}
        assert len(world.catalog.lineage.closure([unsaid.id], "upstream")) == 3
        with pytest.raises(VersionNotFoundError):
            world.commit("e", "x", derived_from=(ulid(),))
