"""Versions copied from one repository to another: by push, by pull, through a file, out of a spool."""

from __future__ import annotations

import tarfile

import pytest

import headwater as hw
from headwater.backends.memory import MemoryStore
from headwater.connect import open_folder
from headwater.errors import FormatError
from headwater.exchange import Wishes, copy_versions, export_file, import_file, select
from tests.stateful.worlds import assert_promises, faulted, files_of

BIG = bytes(range(256)) * 12_000


@pytest.fixture
def laptop(tmp_path):
    with open_folder(tmp_path / "laptop") as repository:
        yield repository


@pytest.fixture(params=["folder", pytest.param("postgresql", marks=pytest.mark.slow)])
def team(request, tmp_path, monkeypatch):
    """Where things go to: another folder, and PostgreSQL with an S3 bucket."""
    if request.param == "folder":
        opened = open_folder(tmp_path / "team")
    else:
        from tests.servers.team import new_repository

        opened = hw.connect(new_repository(monkeypatch))
    with opened as repository:
        yield repository


def make_pipeline(repo) -> dict[str, hw.Version]:
    raw = repo.log_artifact(hw.Artifact("p/raw").add_bytes(b"raw", "r").add_bytes(BIG, "big"), tags=["gold"])
    with repo.start_run("clean", project="p", config={"lr": 1}, key="job/1") as run:
        run.use_artifact(raw, role="input")
        clean = run.log_artifact(
            hw.Artifact("p/clean", metadata={"rows": 3}).add_bytes(b"c", "c").add_bytes(BIG + b"tail", "big"),
            aliases=["prod"], role="output",
        )  # fmt: skip
        run.summary["ok"] = True
    with repo.start_run("train", project="p") as run:
        run.use_artifact(clean)
        model = run.log_artifact(hw.Artifact("p/model", type="model").add_bytes(b"m", "m"))
    return {"raw": raw, "clean": clean, "model": model}


def push(source, target, *names, **wishes):
    return copy_versions(source.home, target.home, select(source.home, names), Wishes(**wishes))


def test_a_version_arrives_with_its_id_its_lineage_and_the_facts_of_its_runs(laptop, team):
    made = make_pipeline(laptop)
    done = push(laptop, team, "p/model")
    assert [(v.source, v.target, v.outcome) for v in done.versions] == [
        (f"p/{name}:v0", f"p/{name}:v0", "copied") for name in ("raw", "clean", "model")
    ]
    for name, version in made.items():
        there = team.version(f"p/{name}")
        assert there.id == version.id and there.digest == version.digest
        assert files_of(there) == files_of(version)
        assert (there.tags, there.metadata, there.created_at) == (version.tags, version.metadata, version.created_at)
    assert {v.artifact for v in team.version("p/model").upstream().versions.values()} == {"raw", "clean", "model"}
    run = team.version("p/clean").logged_by()
    assert run.id == made["clean"].logged_by().id and run.record.summary == {"ok": True}
    (use,) = run.uses()
    assert (use.role, use.version.id) == ("input", made["raw"].id)
    assert [r.name for r in team.runs(project="p", where=["config.lr=1"])] == ["clean"]
    assert team.version("p/clean").aliases == ["latest"], "no alias moves unless asked"
    assert_promises(team, {name: {0: files_of(v)} for name, v in made.items()})


def test_again_nothing_is_sent_and_nothing_changes(laptop, team):
    make_pipeline(laptop)
    push(laptop, team)
    before = team.home.catalog.events.head()
    done = push(laptop, team)
    assert {v.outcome for v in done.versions} == {"known"} and done.sent_bytes == 0
    assert team.home.catalog.events.head() == before


def test_numbers_are_the_targets_and_the_mapping_says_which(laptop, team):
    team.log_artifact(hw.Artifact("p/raw").add_bytes(b"theirs", "r"))
    make_pipeline(laptop)
    laptop.log_artifact(hw.Artifact("p/raw").add_bytes(b"second", "r"))
    done = push(laptop, team, "p/raw:*")
    assert [(v.source, v.target) for v in done.versions] == [("p/raw:v0", "p/raw:v1"), ("p/raw:v1", "p/raw:v2")]
    assert files_of(team.version("p/raw:v0")) == {"r": b"theirs"}


def test_aliases_move_when_asked_also_afterwards(laptop, team):
    make_pipeline(laptop)
    push(laptop, team, "p/clean")
    push(laptop, team, "p/clean", aliases=True)
    assert team.version("p/clean:prod").number == 0


def test_only_missing_blobs_are_sent(laptop, team):
    make_pipeline(laptop)
    push(laptop, team)
    laptop.log_artifact(
        hw.Artifact("p/raw").add_bytes(b"raw", "r").add_bytes(BIG[:900_000] + b"!" + BIG[900_000:], "big")
    )
    done = push(laptop, team, "p/raw")
    assert 0 < done.sent_bytes < len(BIG) / 2
    assert files_of(team.version("p/raw:v1"))["big"][900_000:900_001] == b"!"


def test_lineage_alone_comes_as_tombstones_and_none_at_all_comes_alone(laptop, team, tmp_path):
    make_pipeline(laptop)
    done = push(laptop, team, "p/model", upstream="facts")
    assert [v.outcome for v in done.versions] == ["lineage", "lineage", "copied"]
    assert team.version_by_id(done.versions[0].id).state == "deleted"
    assert len(team.version("p/model").upstream().versions) == 3
    assert_promises(team, {"model": {0: {"m": b"m"}}})
    with open_folder(tmp_path / "other") as other:
        assert [v.source for v in push(laptop, other, "p/model", upstream="none").versions] == ["p/model:v0"]


def test_references_to_files_are_refused_before_anything_moves_unless_allowed(laptop, team, tmp_path):
    (tmp_path / "data").write_text("x")
    laptop.log_artifact(hw.Artifact("p/a").add_bytes(b"1", "1"))
    laptop.log_artifact(hw.Artifact("p/b").add_reference((tmp_path / "data").as_uri()))
    with pytest.raises(hw.InvalidInputError, match="may not be there"):
        push(laptop, team)
    assert not team.artifacts(all_projects=True)
    push(laptop, team, allow_file_references=True)
    assert team.exists("p/b")


def test_drafts_and_the_same_repository_are_refused(laptop, team):
    draft = laptop.log_artifact(hw.Artifact("p/a").add_bytes(b"1", "1"), publish=False)
    with pytest.raises(hw.StateError, match="draft"):
        copy_versions(laptop.home, team.home, [draft.id], Wishes())
    with pytest.raises(hw.StateError, match="same repository"):
        copy_versions(laptop.home, laptop.home, [draft.id], Wishes())


def test_a_key_that_another_run_has_at_the_target_says_where_this_one_is_from(laptop, team):
    make_pipeline(laptop)
    make_pipeline(team)
    push(laptop, team)
    keys = {r.key for r in team.runs(project="p") if r.name == "clean"}
    assert keys == {"job/1", f"job/1 (from {laptop.id})"}


def test_a_run_that_still_ran_learns_its_end_the_next_time(laptop, team):
    run = laptop.start_run("long", project="p")
    run.log_artifact(hw.Artifact("p/a").add_bytes(b"1", "1"))
    push(laptop, team)
    assert team.run(run.id).state == "lost"
    run.summary["end"] = 1
    run.finish()
    push(laptop, team)
    assert (team.run(run.id).state, team.run(run.id).summary) == ("finished", {"end": 1})


def test_a_file_carries_versions_from_one_repository_to_another(laptop, team, tmp_path):
    made = make_pipeline(laptop)
    export_file(laptop.home, tmp_path / "out.headwater", select(laptop.home, ["p/model"]), Wishes())
    with pytest.raises(hw.InvalidInputError, match="exists"):
        export_file(laptop.home, tmp_path / "out.headwater", select(laptop.home, ["p/model"]), Wishes())
    for outcome in ("copied", "known"):
        done = import_file(team.home, tmp_path / "out.headwater", Wishes())
        assert {v.outcome for v in done.versions} == {outcome}
    assert files_of(team.version("p/clean")) == files_of(made["clean"])
    assert_promises(team, {name: {0: files_of(v)} for name, v in made.items()})
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".headwater")] == []


@pytest.mark.parametrize("name", ["../evil", "objects/../../evil", "/etc/evil", "other"])
def test_nothing_else_is_unpacked_from_a_file(team, tmp_path, name):
    with tarfile.open(tmp_path / "bad", "w") as archive:
        (tmp_path / "x").write_text("x")
        archive.add(tmp_path / "x", name)
    with pytest.raises(FormatError):
        import_file(team.home, tmp_path / "bad", Wishes())
    (tmp_path / "noise").write_bytes(b"\x00noise" * 300)
    with pytest.raises(FormatError):
        import_file(team.home, tmp_path / "noise", Wishes())


class Away(MemoryStore):
    """A bucket that is away for a while."""

    away = False

    def put(self, key, data):
        if self.away:
            raise hw.StorageError(what="the bucket is away", where=self.url)
        super().put(key, data)


def test_what_cannot_be_logged_is_kept_and_the_error_names_the_command_that_sends_it(tmp_path, monkeypatch):
    import dataclasses

    from headwater.repository import Repository
    from headwater.store.blobs import BlobStore
    from headwater.store.cache import FileCache

    with open_folder(tmp_path / "team") as plain:
        bucket = Away()
        home = dataclasses.replace(
            plain.home, objects=bucket, blobs=BlobStore(bucket, plain.home.catalog.packs),
            cache=FileCache(tmp_path / "files", 10**9), folder=tmp_path / "client",
        )  # fmt: skip
        team = Repository(home)
        used = team.log_artifact(hw.Artifact("p/raw").add_bytes(b"raw", "r"))
        bucket.away = True
        run = team.start_run("train", project="p", key="job", config={"lr": 1})
        run.use_artifact(used)
        with pytest.raises(hw.StorageError, match="headwater push --url") as kept:
            run.log_artifact(hw.Artifact("p/model").add_bytes(b"ten hours", "m"))
        assert kept.value.facts["spool"] == str(tmp_path / "client" / "spool")
        run.finish("failed")
        bucket.away = False
        with open_folder(tmp_path / "client" / "spool") as spool:
            done = push(spool, team)
        assert [v.id for v in done.versions] == [kept.value.facts["version_id"]]
        model = team.version("p/model")
        assert files_of(model) == {"m": b"ten hours"}
        assert model.logged_by() == run
        assert {v.artifact for v in model.upstream().versions.values()} == {"raw", "model"}


def test_a_copy_that_is_cut_off_at_any_call_resumes_and_leaves_whole_versions(laptop, team):
    from headwater.errors import StorageError
    from tests.faults import Fault

    made = make_pipeline(laptop)
    counted, _, catalog = faulted(open_memory(), None)
    push(laptop, counted)
    for at in range(1, len(catalog.calls) + 1, 3):
        fresh = open_memory()
        failing, _, _ = faulted(fresh, Fault("raise", at=at, times=10**6, error=StorageError(what="cut")))
        with pytest.raises(hw.StorageError):
            push(laptop, failing)
        push(laptop, fresh)
        assert_promises(fresh, {name: {0: files_of(v)} for name, v in made.items()})


def open_memory():
    return hw.connect("memory://", project="p")
