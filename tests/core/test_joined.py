"""Versions that several writers make together."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

import headwater as hw
from tests.stateful.worlds import assert_promises, files_of


def add(repo, writer: str, files: dict[str, bytes], *, name: str = "all", expect: int | None = 2, key=None, **more):
    with repo.start_run(writer, group="g", key=key or writer) as run:
        with run.join_artifact(name, expect_writers=expect, **more) as part:
            for path, data in files.items():
                part.add_bytes(data, path)
        return part.version


def test_the_last_writer_publishes_the_whole_once_under_the_id_it_had_as_a_draft(repo):
    first = add(repo, "one", {"a/1": b"1", "same": b"s"})
    assert first.state == "draft" and not repo.exists("all")
    second = add(repo, "two", {"a/2": b"2", "same": b"s"})
    assert second.id == first.id and second.state == "published"
    assert files_of(repo.version("all:v0")) == {"a/1": b"1", "a/2": b"2", "same": b"s"}
    assert first.reload().number == 0
    assert len(repo.artifact("all").versions()) == 1
    assert_promises(repo, {"all": {0: {"a/1": b"1", "a/2": b"2", "same": b"s"}}})


def test_both_writers_are_named_where_they_have_different_content_and_the_whole_goes_on_without_the_second(repo):
    add(repo, "one", {"a": b"1"})
    with pytest.raises(hw.ConflictError, match="have different content") as refused:
        add(repo, "two", {"a": b"2"})
    assert refused.value.facts["path"] == "a" and set(refused.value.facts["writers"]) == {"one", "two"}
    assert add(repo, "two", {"a": b"1", "b": b"2"}, key="two again").number == 0
    assert files_of(repo.version("all")) == {"a": b"1", "b": b"2"}


@pytest.mark.parametrize(("one", "other"), [("a", "a/b"), ("a/b", "a")])
def test_a_file_of_one_writer_cannot_be_a_directory_of_another(repo, one, other):
    add(repo, "one", {one: b"1", "a-c": b"between"})
    with pytest.raises(hw.ConflictError, match="one"):
        add(repo, "two", {other: b"2"})


def test_the_mark_of_an_empty_directory_gives_way_to_what_another_writer_puts_there(repo, tmp_path):
    (tmp_path / "tree" / "d").mkdir(parents=True)
    with repo.start_run("one", group="g") as run, run.join_artifact("all", expect_writers=2) as part:
        part.add_dir(tmp_path / "tree")
    add(repo, "two", {"d/f": b"1"})
    assert [e.path for e in repo.version("all").entries()] == ["d/f"]


def test_uses_of_the_draft_are_uses_of_what_it_is_published_as(repo):
    draft = add(repo, "one", {"a": b"1"})
    with repo.start_run("early") as early:
        early.use_artifact(draft)
    add(repo, "two", {"b": b"1"})
    assert [v.name for v in early.used_artifacts()] == ["vision/all"]
    assert [r.name for r in repo.version("all:v0").used_by()] == ["early"]


def test_it_derives_from_what_any_of_its_writers_used_and_every_writer_logged_it(repo):
    for name in ("x", "y"):
        repo.log_artifact(hw.Artifact(name).add_bytes(name.encode(), "f"))
    for writer, used in (("one", "x"), ("two", "y")):
        with repo.start_run(writer, group="g") as run:
            run.use_artifact(used)
            with run.join_artifact("all", expect_writers=2, aliases=[writer], tags=[used], metadata={used: 1}) as part:
                part.add_bytes(b"1", writer)
    whole = repo.version("all")
    assert {v.artifact for v in whole.upstream().versions.values()} == {"all", "x", "y"}
    assert [r.name for r in whole.logged_by(all=True)] == ["one", "two"]
    assert whole.logged_by().name == "one"
    assert (whole.aliases, whole.tags, whole.metadata) == (["latest", "one", "two"], ["x", "y"], {"x": 1, "y": 1})
    assert [v.name for r in repo.runs(group="g") for v in r.logged_artifacts()] == ["vision/all"] * 2


def test_a_later_attempt_replaces_its_earlier_part_and_a_failed_run_takes_its_part_along(repo):
    add(repo, "one", {"a": b"old"}, expect=3)
    add(repo, "one", {"a": b"new"}, expect=3)
    with pytest.raises(ZeroDivisionError), repo.start_run("two", group="g", key="two") as run:
        with run.join_artifact("all") as part:
            part.add_bytes(b"never", "b")
        raise ZeroDivisionError
    add(repo, "three", {"c": b"3"}, expect=3)
    assert not repo.exists("all"), "the failed writer's part does not count"
    add(repo, "two", {"b": b"2"}, expect=3)
    assert files_of(repo.version("all")) == {"a": b"new", "b": b"2", "c": b"3"}


def test_two_parts_under_one_writers_name_are_refused_unless_they_are_the_same(repo):
    with repo.start_run("ranks", group="g") as run:
        parts = [run.join_artifact("all", expect_writers=2) for _ in range(2)]
        for part in parts:
            part.add_bytes(b"1", "a")
        assert parts[0].finish() == parts[1].finish()
        other = run.join_artifact("all")
        other.add_bytes(b"2", "b")
        with pytest.raises(hw.ConflictError, match="writer="):
            other.finish()
        own = run.join_artifact("all", writer="rank 1")
        own.add_bytes(b"2", "b")
        assert own.finish().number == 0


def test_an_explicit_publication_takes_the_parts_there_are_and_happens_once(repo):
    add(repo, "one", {"a": b"1"}, expect=None)
    with repo.start_run("boss", group="g") as run:
        boss = run.join_artifact("all")
        made = boss.publish(aliases=["done"])
        assert made.number == 0 and boss.publish().number == 0
    assert files_of(repo.version("all:done")) == {"a": b"1"}
    with pytest.raises(hw.StateError, match="without the part"):
        add(repo, "late", {"b": b"1"}, expect=None)
    assert add(repo, "retry", {"a": b"1"}, expect=None).number == 0, "a retry finds its content published"


def test_content_equal_to_the_newest_version_is_that_version_again(repo):
    old = repo.log_artifact(hw.Artifact("all").add_bytes(b"1", "a").add_bytes(b"2", "b"))
    draft = add(repo, "one", {"a": b"1"})
    with repo.start_run("early") as early:
        early.use_artifact(draft)
    assert add(repo, "two", {"b": b"2"}) == old
    assert early.used_artifacts() == [old]
    assert draft.reload() == old


def test_a_discarded_whole_is_begun_anew_and_writers_must_agree_on_their_number(repo):
    with repo.start_run("one", group="g") as run:
        part = run.join_artifact("all", expect_writers=2)
        with pytest.raises(hw.ConflictError, match="expects 2"):
            run.join_artifact("all", expect_writers=3)
        part.add_bytes(b"1", "a")
        first = part.finish()
        part.discard()
        assert run.join_artifact("all", expect_writers=3).version != first
    with repo.start_run("alone") as run, pytest.raises(hw.InvalidInputError, match="group"):
        run.join_artifact("all")


WRITER = """
import sys
import headwater as hw
url, writer, writers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with hw.connect(url, project="vision") as repo, repo.start_run(f"w{writer}", group="g") as run:
    with run.join_artifact("all", expect_writers=writers) as part:
        part.add_bytes(b"same", "same")
        for n in range(20):
            part.add_bytes(b"%d %d" % (writer, n), f"{n}/{writer}")
"""


@pytest.mark.slow
def test_processes_that_hand_in_at_once_make_one_version(folder_repo, tmp_path):
    writers = 8
    command = [sys.executable, "-c", WRITER, str(tmp_path / "repository")]
    running = [subprocess.Popen([*command, str(n), str(writers)]) for n in range(writers)]
    assert [process.wait(100) for process in running] == [0] * writers
    (only,) = folder_repo.artifact("all").versions()
    assert only.record.n_entries == 1 + 20 * writers
    assert len(only.logged_by(all=True)) == writers
    assert_promises(folder_repo, {"all": {0: files_of(only)}})


def test_threads_that_finish_at_once_publish_once(folder_repo):
    parts = []
    for n in range(6):
        run = folder_repo.start_run(f"w{n}", group="g")
        parts.append(run.join_artifact("all", expect_writers=6).add_bytes(b"%d" % n, f"f{n}"))
    threads = [threading.Thread(target=part.finish) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert folder_repo.version("all:v0").record.n_entries == 6
    kinds = [e.kind for e in folder_repo.version("all:v0").history()]
    assert kinds.count("version.published") == 1
