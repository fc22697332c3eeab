"""Versions, names, aliases, edits and lineage through the public face, in every embedded world."""

from __future__ import annotations

import gc
import json
import pickle
import weakref
from datetime import UTC, datetime

import pytest

import headwater as hw


def log(repo, name="mnist", files=None, **options):
    artifact = hw.Artifact(name, type=options.pop("type", "dataset"), metadata=options.pop("metadata", None))
    for path, data in (files or {"a.txt": b"one"}).items():
        artifact.add_bytes(data, path)
    return repo.log_artifact(artifact, **options)


def read(version, path):
    with version.open(path) as file:
        return file.read()


def test_a_logged_artifact_is_found_by_every_form_of_its_name(repo):
    version = log(repo, aliases=["prod"])
    for name in ("mnist", "mnist:latest", "mnist:prod", "mnist:v0", f"mnist@{version.digest}", "vision/mnist:v0",
                 "headwater://vision/mnist:v0"):  # fmt: skip
        assert repo.version(name) == version
    assert (str(version), version.name, version.version, version.number) == ("vision/mnist:v0", "vision/mnist", "v0", 0)
    assert read(version, "a.txt") == b"one"


def test_versions_are_numbered_from_zero_and_latest_is_the_newest(repo):
    numbers = [log(repo, files={"a": bytes([i])}).number for i in range(4)]
    assert numbers == [0, 1, 2, 3]
    assert repo.version("mnist").number == 3
    assert [v.number for v in repo.artifact("mnist").versions()] == [3, 2, 1, 0]


def test_equal_content_makes_no_new_version_but_going_back_does(repo):
    first = log(repo, files={"a": b"A"})
    assert log(repo, files={"a": b"A"}) == first
    assert log(repo, files={"a": b"B"}).number == 1
    assert log(repo, files={"a": b"A"}).number == 2
    assert repo.version("mnist:v2").digest == first.digest


def test_metadata_and_aliases_given_with_equal_content_are_a_recorded_edit(repo):
    first = log(repo, metadata={"rows": 1})
    again = log(repo, metadata={"rows": 2}, aliases=["prod"])
    assert again == first
    assert (again.metadata, again.aliases) == ({"rows": 2}, ["latest", "prod"])
    assert {"metadata.changed", "alias.set"} <= {event.kind for event in first.history()}


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("nothing", hw.ArtifactNotFoundError),
        ("mnist:v9", hw.VersionNotFoundError),
        ("mnist:prod", hw.VersionNotFoundError),
        ("other/mnist", hw.ArtifactNotFoundError),
        ("a/b/c", hw.InvalidInputError),
        ("", hw.InvalidInputError),
        ("mnist@blake3:12", hw.InvalidInputError),
    ],
)
def test_a_name_that_means_nothing_says_so(repo, name, error):
    log(repo)
    with pytest.raises(error):
        repo.version(name)


def test_edits_are_sent_by_save_and_stand_in_the_history_with_who_and_when(repo):
    version = log(repo, metadata={"rows": 1})
    version.aliases.append("prod")
    version.tags.append("gold")
    version.metadata["rows"] = 2
    version.description = "better"
    version.save()
    fresh = repo.version("mnist:prod")
    assert (fresh.tags, fresh.metadata, fresh.description) == (["gold"], {"rows": 2}, "better")
    history = version.history()
    assert {e.actor for e in history} == {"tester@here"}
    assert all(e.at.tzinfo is not None for e in history)
    assert {"alias.set", "tag.added", "metadata.changed", "description.changed"} <= {e.kind for e in history}


def test_save_merges_edits_of_different_facts_and_refuses_two_of_the_same(repo):
    log(repo, metadata={"rows": 1})
    mine, yours = repo.version("mnist"), repo.version("mnist")
    yours.description = "yours"
    yours.save()
    mine.metadata["rows"] = 5
    mine.save()
    assert (repo.version("mnist").description, repo.version("mnist").metadata) == ("yours", {"rows": 5})
    late = repo.version("mnist")
    early = repo.version("mnist")
    early.metadata["rows"] = 6
    early.save()
    late.metadata["rows"] = 7
    with pytest.raises(hw.ConflictError):
        late.save()
    assert repo.version("mnist").metadata == {"rows": 6}


@pytest.mark.parametrize("alias", ["latest", "v3", "v003", "", "a/b", "a:b", " x"])
def test_an_alias_that_cannot_be_is_refused(repo, alias):
    version = log(repo)
    if alias == "latest":
        with pytest.raises(hw.InvalidInputError):
            repo.set_alias("mnist:latest", to="v0")
        return
    version.aliases.append(alias)
    with pytest.raises(hw.InvalidInputError):
        version.save()


def test_set_alias_compares_and_rollback_goes_back(repo):
    for i in range(3):
        log(repo, files={"a": bytes([i])})
    repo.set_alias("mnist:prod", to="v0", expect="")
    repo.set_alias("mnist:prod", to="v1", expect="v0")
    with pytest.raises(hw.ConflictError):
        repo.set_alias("mnist:prod", to="v2", expect="v0")
    with pytest.raises(hw.ConflictError):
        repo.set_alias("mnist:prod", to="v2", expect="")
    assert repo.version("mnist:prod").number == 1
    assert repo.rollback_alias("mnist:prod").number == 0
    repo.set_alias("mnist:prod", to=None)
    with pytest.raises(hw.VersionNotFoundError):
        repo.version("mnist:prod")


def test_at_looks_back_at_what_a_name_meant(repo):
    log(repo, files={"a": b"0"}, aliases=["prod"])
    before = datetime.now(UTC)
    log(repo, files={"a": b"1"}, aliases=["prod"])
    assert repo.version("mnist:prod").number == 1
    assert repo.version("mnist:prod", at=before).number == 0
    assert repo.version("mnist", at=before.isoformat()).number == 0
    with pytest.raises(hw.NotFoundError, match=r"no version answered to .*mnist.* at 2001-01-01"):
        repo.version("mnist", at="2001-01-01")
    with pytest.raises(hw.InvalidInputError):
        repo.version("mnist", at="yesterday")


def test_delete_is_refused_under_an_alias_and_leaves_a_tombstone(repo):
    log(repo, files={"a": b"0"}, aliases=["prod"])
    second = log(repo, files={"a": b"1"})
    first = repo.version("mnist:v0")
    with pytest.raises(hw.StateError):
        first.delete()
    first.delete(delete_aliases=True)
    assert first.state == "deleted"
    with pytest.raises(hw.StateError):
        repo.version("mnist:v0")
    with pytest.raises(hw.StateError):
        list(repo.version_by_id(first.id).readable().url)
    second.delete()
    assert log(repo, files={"a": b"2"}).number == 2, "numbers are never repeated"
    assert [v.number for v in repo.artifact("mnist").versions(deleted=True)] == [2, 1, 0]


def test_latest_is_the_newest_survivor(repo):
    log(repo, files={"a": b"0"})
    log(repo, files={"a": b"1"}).delete()
    assert repo.version("mnist").number == 0


def test_diff_names_added_removed_changed_and_renamed(repo):
    old = log(repo, files={"same": b"s", "gone": b"g", "changed": b"1", "old/name": b"content"})
    new = log(repo, files={"same": b"s", "fresh": b"f", "changed": b"2", "new/name": b"content"})
    diff = old.diff(new)
    assert [e.path for e in diff.added] == ["fresh"]
    assert [e.path for e in diff.removed] == ["gone"]
    assert [a.path for a, _ in diff.changed] == ["changed"]
    assert [(r.old.path, r.new.path) for r in diff.renamed] == [("old/name", "new/name")]
    assert not old.diff("mnist:v0")
    assert json.loads(json.dumps(diff.to_json()))["renamed"][0]["to"] == "new/name"


def test_a_new_draft_starts_from_a_version_and_changes_only_what_it_changes(repo):
    base = log(repo, files={f"f{i}": bytes([i]) for i in range(5)}, metadata={"k": 1})
    draft = base.new_draft()
    draft.add_bytes(b"new", "extra")
    draft.remove("f0")
    version = repo.log_artifact(draft)
    assert sorted(e.path for e in version.entries()) == ["extra", "f1", "f2", "f3", "f4"]
    assert version.metadata == {"k": 1}
    assert read(version, "f3") == b"\x03"


def test_partitions_have_versions_of_their_own_and_listings_fold_them(repo):
    for day in ("2024-01-01", "2024-01-02", "odd [key]/%"):
        artifact = hw.Artifact("events", partition=day)
        artifact.add_bytes(day.encode(), "part")
        repo.log_artifact(artifact)
    assert read(repo.version("events[2024-01-01]"), "part") == b"2024-01-01"
    assert [p.record.partition for p in repo.artifact("events").partitions()] == [
        "2024-01-01",
        "2024-01-02",
        "odd [key]/%",
    ]
    folded = repo.artifacts()
    assert [(a.name, a.record.n_partitions) for a in folded] == [("vision/events", 3)]
    odd = repo.artifact("events").partitions()[2]
    assert repo.version(f"{odd.name}:v0").partition == "odd [key]/%"


def test_an_artifact_has_one_type(repo):
    log(repo, type="dataset")
    with pytest.raises(hw.InvalidInputError):
        log(repo, type="model")


def test_entries_by_prefix_are_the_path_and_what_is_below(repo):
    version = log(repo, files={"a/1": b"1", "a/2": b"2", "ab": b"3", "b": b"4"})
    assert [e.path for e in version.entries("a")] == ["a/1", "a/2"]
    assert [e.path for e in version.entries("ab")] == ["ab"]
    with pytest.raises(hw.EntryNotFoundError):
        version.open("zzz")


FOLDERS = {"data/train/1": b"1", "data/test/1": b"2", "read me.txt": b"3", "empty/a/b": b"4"}


@pytest.mark.parametrize(
    ("path", "close"),
    [
        ("data/trian", ["data/train"]), ("data/trian/1", ["data/train"]), ("data/train/1/x", ["data/train/1"]),
        ("daat/", ["data"]), ("Data/train", ["data"]), ("readme.txt", ["read me.txt"]), ("zzz", []),
    ],
)  # fmt: skip
def test_a_path_that_is_not_there_is_answered_with_those_it_may_have_meant(repo, tmp_path, path, close):
    version = log(repo, files=FOLDERS)
    for ask in (
        lambda: next(version.entries(path)), lambda: version.entry(path), lambda: repo.check(version, prefix=path),
        lambda: version.fetch(tmp_path / "target", prefix=path),
    ):  # fmt: skip
        with pytest.raises(hw.EntryNotFoundError) as refused:
            ask()
        assert refused.value.facts["close"] == close
        assert all(repr(found) in str(refused.value) for found in close)
    assert not (tmp_path / "target").exists()


def test_a_directory_is_no_entry_and_a_glob_that_matches_nothing_brings_nothing(repo, tmp_path):
    version = log(repo, files=FOLDERS)
    with pytest.raises(hw.EntryNotFoundError, match="directory"):
        version.entry("data/train")
    with pytest.raises(hw.NotFoundError, match=r"no path .* matches '\*\.csv'"):
        version.fetch(tmp_path / "target", glob="*.csv")
    assert not (tmp_path / "target").exists()
    nothing = repo.log_artifact(hw.Artifact("nothing"))
    assert (list(nothing.entries()), list(nothing.fetch(tmp_path / "target").path.iterdir())) == ([], [])


def test_download_gives_a_shared_tree_and_private_copies(repo, tmp_path):
    version = log(repo, files={"a/1": b"1", "b": b"2"})
    shared = version.download()
    assert (shared / "a" / "1").read_bytes() == b"1"
    assert version.download() == shared
    private = version.download(tmp_path / "mine")
    assert private == tmp_path / "mine"
    assert (private / "b").read_bytes() == b"2"
    assert version.verify(private).ok
    (private / "b").write_bytes(b"3")
    assert not version.verify(private).ok


def test_a_handle_pickles_and_opens_with_this_process_connection(folder_repo):
    version = log(folder_repo)
    again = pickle.loads(pickle.dumps(version))
    assert again == version
    assert hash(again) == hash(version)
    assert read(again, "a.txt") == b"one"
    assert again.metadata == {}
    text = json.dumps(version.to_json())
    assert folder_repo.home.url not in text
    assert hw.Version.from_json(json.loads(text)) == version


def test_a_handle_of_another_repository_is_refused(folder_repo, tmp_path):
    handle = pickle.dumps(log(folder_repo))
    hw.configure(url=str(tmp_path / "other"))
    with pytest.raises(hw.StateError, match="belongs to repository"):
        pickle.loads(handle).metadata  # noqa: B018
    with pytest.raises(hw.StateError):
        hw.Version.from_json({"headwater": 99})


def test_drafts_are_invisible_until_published_and_publish_together(repo):
    a = log(repo, "a", files={"x": b"1"}, publish=False)
    b = log(repo, "b", files={"x": b"2"}, publish=False)
    assert a.state == "draft"
    assert not repo.exists("a")
    published = repo.publish_all([a, b], aliases={a.id: ["prod"]})
    assert [str(v) for v in published] == ["vision/a:v0", "vision/b:v0"]
    assert repo.version("a:prod") == a
    assert a.publish().number == 0, "publishing again changes nothing"
    c = log(repo, "c", publish=False)
    c.discard()
    c.discard()
    with pytest.raises(hw.StateError):
        c.publish()
    with pytest.raises(hw.StateError):
        a.discard()


def test_versions_are_found_by_metadata_tag_and_alias(repo):
    for rows in (10, 5, 20):
        log(repo, files={"a": bytes([rows])}, metadata={"rows": rows}, tags=["big"] if rows > 8 else ["small"])
    repo.set_alias("mnist:prod", to="v1")
    assert [v.metadata["rows"] for v in repo.versions("mnist", where=["metadata.rows>=10"], order="metadata.rows")] == [
        10,
        20,
    ]
    assert [v.number for v in repo.versions("mnist", where=["tag=small"])] == [1]
    assert [v.number for v in repo.versions("mnist", where=["alias=prod"])] == [1]
    assert [v.number for v in repo.versions("mnist", order="-metadata.rows", limit=1)] == [2]
    with pytest.raises(hw.InvalidInputError):
        repo.versions("mnist", where=["metadata.rows"])


def test_the_feed_gives_each_event_until_it_is_acknowledged(repo):
    log(repo)
    first = repo.events(consumer="forwarder", kinds=["version.published"])
    assert [e.kind for e in first] == ["version.published"]
    assert [e.cursor for e in repo.events(consumer="forwarder", kinds=["version.published"])] == [first[0].cursor]
    first.ack()
    assert not repo.events(consumer="forwarder", kinds=["version.published"])
    log(repo, files={"a": b"2"})
    assert [e.number for e in repo.events(consumer="forwarder", kinds=["version.published"])] == [1]
    assert [e.number for e in repo.events(after=0, kinds=["version.published"])] == [0, 1]


def test_a_repository_opened_twice_shows_the_same_and_another_store_is_refused(tmp_path):
    with hw.connect(tmp_path / "r") as one, hw.connect(tmp_path / "r") as two:
        version = log(one)
        assert two.version("mnist") == version
        assert one.id == two.id
    (tmp_path / "r" / "objects" / "headwater.json").write_text('{"format":1,"repository":"somebody-else","epoch":0}')
    with pytest.raises(hw.StateError, match="belong to repository"):
        hw.connect(tmp_path / "r")


def test_a_closed_repository_is_let_go(tmp_path):
    with hw.connect(tmp_path / "repository") as repo:
        log(repo)
        leases = weakref.ref(repo.home.leases)
    del repo
    gc.collect()
    assert leases() is None


@pytest.mark.parametrize("url", ["ftp://host/x", "https://example.org", "sqlite:///x"])
def test_what_is_not_a_repository_url_is_refused(url):
    with pytest.raises(hw.InvalidInputError):
        hw.connect(url)


def test_a_folder_of_other_things_is_not_made_a_repository(tmp_path):
    (tmp_path / "thesis.tex").write_text("…")
    with pytest.raises(hw.InvalidInputError):
        hw.connect(tmp_path)
    assert [p.name for p in tmp_path.iterdir() if p.name != "private-home"] == ["thesis.tex"]
