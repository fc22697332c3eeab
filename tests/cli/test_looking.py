"""`ls`, `show`, `history`, `rm`, `diff`, `status`, aliases and tags."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from headwater import status


def test_no_repository_yet_is_an_empty_list(cli):
    assert cli("artifact", "ls").stdout == ""
    assert cli.json("artifact", "ls") == {"artifacts": []}
    assert cli.json("run", "ls") == {"runs": []}


def test_ls_lists_artifacts_and_versions(cli, two):
    cli("artifact", "put", "other/thing", two / "a.txt", "--type", "note")
    assert [a["name"] for a in cli.json("artifact", "ls")["artifacts"]] == ["vision/mnist"]
    assert [a["name"] for a in cli.json("artifact", "ls", "other/")["artifacts"]] == ["other/thing"]
    assert [a["name"] for a in cli.json("artifact", "ls", "-p", "other")["artifacts"]] == ["other/thing"]
    everything = cli.json("artifact", "ls", "--all-projects")["artifacts"]
    assert {a["name"] for a in everything} == {"vision/mnist", "other/thing"}
    assert [a["name"] for a in cli.json("artifact", "ls", "--all-projects", "--type", "note")["artifacts"]] == [
        "other/thing"
    ]
    assert [v["version"] for v in cli.json("artifact", "ls", "mnist")["versions"]] == ["v1", "v0"]
    lines = cli("artifact", "ls", "mnist").stdout.splitlines()
    assert lines[0].split() == ["version", "entries", "size", "logged", "(UTC)", "by", "aliases", "tags"]
    assert lines[2].split()[0] == "v0"


def test_ls_filters_orders_and_limits(cli, two):
    assert [v["version"] for v in cli.json("artifact", "ls", "mnist", "--where", "metadata.rows>1")["versions"]] == [
        "v0"
    ]
    assert [v["version"] for v in cli.json("artifact", "ls", "mnist", "--where", "tag=gold")["versions"]] == ["v0"]
    assert [v["version"] for v in cli.json("artifact", "ls", "mnist", "--order", "created")["versions"]] == ["v0", "v1"]
    assert [v["version"] for v in cli.json("artifact", "ls", "mnist", "--limit", 1)["versions"]] == ["v1"]
    cli.error("artifact", "ls", "mnist", "--where", "this is no condition", code=2)


def test_partitions_fold_and_unfold(cli, two):
    for day in ("2024-01-01", "2024-01-02"):
        cli("artifact", "put", f"events[{day}]", two / "a.txt")
    assert [a["partitions"] for a in cli.json("artifact", "ls")["artifacts"] if a["name"] == "vision/events"] == [2]
    parts = cli.json("artifact", "ls", "events", "--partitions")["partitions"]
    assert [p["partition"] for p in parts] == ["2024-01-01", "2024-01-02"]
    assert "events[2024-01-01]" in cli("artifact", "ls", "events", "--partitions").stdout


def test_show_gives_the_facts_and_the_first_files(cli, two):
    text = cli("artifact", "show", "mnist:prod").stdout
    for part in ("vision/mnist:v0", "4 entries, 18 B", "prod", "gold", '{"rows": 2}', "first", "by ann@lab", "a.txt"):
        assert part in text
    assert cli.json("artifact", "show", "mnist", "--prefix", "sub")["files"][0]["path"] == "sub/b.txt"


def test_show_lists_all_files_on_request(cli):
    folder = Path("many")
    folder.mkdir()
    for n in range(25):
        (folder / f"{n:02}.txt").write_text(str(n))
    cli("artifact", "put", "many", folder)
    assert "… and 5 more (--files)" in cli("artifact", "show", "many").stdout
    short, full = cli.json("artifact", "show", "many"), cli.json("artifact", "show", "many", "--files")
    assert (len(short["files"]), short["files_complete"]) == (20, False)
    assert (len(full["files"]), full["files_complete"]) == (25, True)


def test_text_cannot_steer_the_terminal(cli, two):
    cli("artifact", "put", "evil", two / "a.txt", "--description", "red \x1b[31m text")
    assert "\x1b" not in cli("artifact", "show", "evil").stdout


def test_history_tells_who_and_what(cli, two):
    cli("alias", "set", "mnist:prod", "v1")
    events = cli.json("artifact", "history", "mnist")["events"]
    assert [e["kind"] for e in events].count("version.published") == 2
    assert {e["actor"] for e in events} == {"ann@lab"}
    only = cli.json("artifact", "history", "mnist:v0")["events"]
    assert [e["kind"] for e in only] == ["version.published", "alias.set"]  # what it has lost stands at who got it
    assert {e["version"] for e in only} == {"v0"}
    assert len(cli.json("artifact", "history", "mnist", "--limit", 1)["events"]) == 1
    assert "alias=prod" in cli("artifact", "history", "mnist").stdout


def test_rm_leaves_a_tombstone(cli, two):
    assert "does not say which version" in cli.error("artifact", "rm", "mnist", code=2)
    assert "prod" in cli.error("artifact", "rm", "mnist:v0", code=4)
    assert cli("artifact", "rm", "mnist:v0", "--delete-aliases").stdout == "deleted vision/mnist:v0\n"
    assert "deleted" in cli.error("artifact", "show", "mnist:v0", code=4)
    assert [v["version"] for v in cli.json("artifact", "ls", "mnist")["versions"]] == ["v1"]
    kept = cli.json("artifact", "ls", "mnist", "--deleted")["versions"]
    assert {(v["version"], v["state"]) for v in kept} == {("v0", "deleted"), ("v1", "published")}
    cli("artifact", "rm", "mnist:latest", "-y")
    cli.error("artifact", "rm", "mnist:v1", code=4)


def test_diff_exits_1_when_something_differs(cli, two):
    done = cli("artifact", "diff", "mnist:v0", "mnist:v1", code=1)
    assert done.stdout.splitlines() == [
        "+ c.txt  6 B",
        "- run.sh  10 B",
        "~ a.txt  4 B → 9 B",
        "vision/mnist:v0 → vision/mnist:v1: 1 added, 1 removed, 1 changed, 0 renamed",
    ]
    assert cli.json("artifact", "diff", "mnist:prod", code=1)["new"] == "vision/mnist:v1"
    cli("artifact", "diff", "mnist:v1", "mnist:v1")


def test_diff_sees_renames_and_producers(cli, trained):
    two = Path("data")
    (two / "a.txt").rename(two / "z.txt")
    cli("artifact", "put", "mnist", two)
    assert "> a.txt → z.txt" in cli("artifact", "diff", "mnist:v1", "mnist:v2", code=1).stdout
    body = cli.json("artifact", "diff", "mnist:v1", "mnist:v2", "--lineage", code=1)
    assert set(body["lineage"]) == {"inputs", "config", "code"}
    assert "config: lr: nothing → 0.1" in cli("artifact", "diff", "mnist:v1", "cnn", "--lineage", code=1).stdout


def test_status_compares_a_directory(cli, two):
    assert cli("artifact", "status", "mnist", two).stdout == "data is vision/mnist:v1 (4 entries)\n"
    body = cli.json("artifact", "status", "mnist:v0", two, code=1)
    assert (body["added"], body["changed"], body["removed"], body["same"]) == (["c.txt"], ["a.txt"], ["run.sh"], 2)
    text = cli("artifact", "status", "mnist:v0", two, code=1).stdout
    assert text.splitlines()[-1] == "data differs from vision/mnist:v0: 1 added, 1 changed, 1 removed"
    cli("artifact", "status", "mnist:v0", two, "--ignore", "c.txt", code=1)
    assert "no directory" in cli.error("artifact", "status", "mnist", "missing", code=3)


def test_status_sees_the_mode_bit_and_empty_directories(cli, two):
    (two / "a.txt").chmod(0o755)
    (two / "empty").rmdir()
    body = cli.json("artifact", "status", "mnist", two, code=1)
    assert (body["changed"], body["removed"]) == (["a.txt"], ["empty/"])


@pytest.mark.slow
def test_status_reads_only_what_it_does_not_know(cli, two, monkeypatch):
    long_ago = time.time() - 100
    folder = Path("copy")
    cli("artifact", "get", "mnist", folder)
    for path in folder.rglob("*"):
        os.utime(path, (long_ago, long_ago))
    time.sleep(3.1)  # files younger than the racy window are read each time
    read = []
    monkeypatch.setattr(status, "opened", lambda path, real=status.opened: read.append(path) or real(path))
    cli("artifact", "status", "mnist", folder)
    assert len(read) == 3
    cli("artifact", "status", "mnist", folder)
    assert len(read) == 3
    (folder / "a.txt").write_text("other")
    cli("artifact", "status", "mnist", folder, code=1)
    assert [Path(path).name for path in read[3:]] == ["a.txt"]


def test_status_judges_references_by_their_pin(cli, data):
    cli("artifact", "put", "pointed", data.absolute().as_uri(), "--reference")
    cli("artifact", "status", "pointed", data, "--ignore", "empty/")  # a source knows no empty directories
    (data / "a.txt").write_text("two\n")
    assert cli.json("artifact", "status", "pointed", data, "--ignore", "empty/", code=1)["changed"] == ["a.txt"]
    cli("artifact", "put", "loose", (data / "a.txt").absolute().as_uri(), "--reference", "--pin", "no", "--as", "a.txt")
    Path("loose").mkdir()
    Path("loose/a.txt").write_text("anything")
    assert cli.json("artifact", "status", "loose", "loose")["unverified"] == ["a.txt"]


def test_aliases_move_back_and_forth(cli, two):
    assert cli("alias", "set", "mnist:prod", "v1").stdout == "mnist:prod is vision/mnist:v1\n"
    assert cli("alias", "rollback", "mnist:prod").stdout == "mnist:prod is vision/mnist:v0 again\n"
    cli("alias", "set", "mnist:new", "vision/mnist:latest", "--expect", "")
    assert cli("alias", "ls", "mnist").stdout.splitlines()[1].split()[:2] == ["latest", "v1"]
    assert list(cli.json("alias", "ls", "mnist")["aliases"]) == ["latest", "new", "prod"]
    assert cli("alias", "rm", "mnist:new").stdout == "mnist:new is gone, it was at vision/mnist:v1\n"
    assert list(cli.json("alias", "ls", "mnist")["aliases"]) == ["latest", "prod"]


def test_an_alias_moves_only_from_where_it_is_expected(cli, two):
    cli.error("alias", "set", "mnist:prod", "v1", "--expect", "v1", code=4)
    cli.error("alias", "set", "mnist:prod", "v1", "--expect", "", code=4)
    cli("alias", "set", "mnist:prod", "v1", "--expect", "v0")
    cli.error("alias", "set", "mnist:latest", "v0", code=2)
    cli.error("alias", "set", "mnist", "v0", code=2)
    cli.error("alias", "set", "mnist:v7", "v0", code=2)
    cli.error("alias", "set", "mnist:prod", "v9", code=3)
    cli.error("alias", "rm", "mnist:nowhere", code=3)
    cli.error("alias", "rm", "mnist:latest", code=2)


def test_tags_are_put_on_and_taken_off(cli, two):
    assert cli("tag", "mnist:v0").stdout == "vision/mnist:v0  gold\n"
    assert cli("tag", "mnist:v0", "reviewed", "ok", "--rm", "gold").stdout == "vision/mnist:v0  ok reviewed\n"
    assert cli.json("tag", "mnist:v0")["version"]["tags"] == ["ok", "reviewed"]
    cli.error("tag", "mnist:v0", "a/b", code=2)


@pytest.mark.parametrize("verb", [("artifact", "show"), ("artifact", "history"), ("lineage",), ("tag",), ("verify",)])
def test_a_name_that_means_nothing_is_not_found(cli, two, verb):
    cli.error(*verb, "mnist:nothing", code=3)
    cli.error(*verb, "nothing:v0", code=3)
