"""`artifact put` and `get`: versions without a line of Python."""

from __future__ import annotations

from pathlib import Path

import pytest


def paths(cli, name):
    return [f["path"] for f in cli.json("artifact", "show", name, "--files")["files"]]


def test_a_directory_becomes_the_content_of_a_version(cli, data):
    done = cli("artifact", "put", "vision/mnist", data, "--type", "images", "-a", "x", "-a", "y", "-t", "gold")
    assert done.stdout.startswith("vision/mnist:v0  4 entries, 18 B, sent ")
    assert done.stdout.rstrip().endswith("[latest, x, y]")
    assert paths(cli, "vision/mnist") == ["a.txt", "empty/", "run.sh", "sub/b.txt"]
    shown = cli.json("artifact", "show", "vision/mnist:x")
    assert (shown["type"], shown["tags"]) == ("images", ["gold"])


def test_putting_the_same_again_makes_no_version(cli, data):
    cli("artifact", "put", "mnist", data)
    done = cli("artifact", "put", "mnist", data, "-a", "seen")
    assert done.stdout == "vision/mnist:v0  unchanged: 4 entries, 18 B\n"
    assert cli.json("artifact", "put", "mnist", data)["outcome"] == "reproduced"
    assert cli.json("artifact", "show", "mnist:seen")["version"] == "v0"


def test_files_and_directories_keep_their_names_beside_each_other(cli, data):
    cli("artifact", "put", "mix", data, data / "a.txt")
    assert paths(cli, "mix") == ["a.txt", "data/a.txt", "data/empty/", "data/run.sh", "data/sub/b.txt"]


def test_as_says_where_it_lies_in_the_version(cli, data):
    cli("artifact", "put", "one", data / "a.txt", "--as", "deep/b.txt")
    assert paths(cli, "one") == ["deep/b.txt"]
    cli("artifact", "put", "dir", data / "sub", "--as", "inside")
    assert paths(cli, "dir") == ["inside/b.txt"]
    cli("artifact", "put", "both", data / "a.txt", data / "sub", "--as", "top")
    assert paths(cli, "both") == ["top/a.txt", "top/sub/b.txt"]


def test_patterns_leave_files_out(cli, data):
    cli("artifact", "put", "mnist", data, "--ignore", "*.sh", "--ignore", "sub/")
    assert paths(cli, "mnist") == ["a.txt", "empty/"]


def test_metadata_is_json_or_text(cli, data):
    cli(
        "artifact",
        "put",
        "mnist",
        data,
        "-m",
        "rows=3",
        "-m",
        "ok=true",
        "-m",
        "note=a=b",
        "-m",
        'l=[1, "x"]',
        "-m",
        "e=",
    )
    shown = cli.json("artifact", "show", "mnist")
    assert shown["metadata"] == {"rows": 3, "ok": True, "note": "a=b", "l": [1, "x"], "e": ""}
    assert "is no fact" in cli.error("artifact", "put", "mnist", data, "-m", "rows", code=2)


def test_names_with_spaces_and_unicode(cli, data):
    folder = Path("mit Leerzeichen ü")
    data.rename(folder)
    (folder / "größe λ.txt").write_text("x")
    cli("artifact", "put", "Bilder von Zürich", folder, "-a", "heute früh", "-p", "Projekt ä")
    shown = cli.json("artifact", "show", "Projekt ä/Bilder von Zürich:heute früh")
    assert "größe λ.txt" in [f["path"] for f in shown["files"]]
    cli("artifact", "get", "Projekt ä/Bilder von Zürich", "zurück")
    assert (Path("zurück") / "größe λ.txt").read_text() == "x"


@pytest.mark.parametrize("name", ["a/b/c", "", "a:v3/x", "@", "a b/c\x07"])
def test_a_name_that_cannot_be_is_a_usage_error(cli, data, name):
    assert cli.error("artifact", "put", name, data, code=2).startswith("error: ")


def test_what_is_not_there_is_not_found(cli):
    assert "no such file" in cli.error("artifact", "put", "mnist", "missing", code=3)
    assert "no artifact is called vision/mnist" in cli.error("artifact", "get", "mnist", code=3)


def test_a_uri_needs_to_be_told_what_is_meant(cli, data):
    uri = data.absolute().as_uri()
    assert "--reference to point at it, or --copy" in cli.error("artifact", "put", "mnist", uri, code=2)


def test_a_reference_points_and_a_copy_keeps(cli, data):
    uri = data.absolute().as_uri()
    pointed = cli.json("artifact", "put", "pointed", uri, "--reference", "--as", "here")
    assert pointed["version"]["stored_size"] == 0
    assert pointed["version"]["referenced_size"] == 18
    files = cli.json("artifact", "show", "pointed")["files"]
    assert {f["path"] for f in files} >= {"here/a.txt", "here/sub/b.txt"}
    assert all(f["uri"].startswith("file://") for f in files if "uri" in f)
    copied = cli.json("artifact", "put", "copied", uri, "--copy")
    assert copied["version"]["stored_size"] == 18
    assert set(paths(cli, "copied")) >= {"a.txt", "run.sh", "sub/b.txt"}
    assert "max-objects" in cli.error("artifact", "put", "c", uri, "--copy", "--max-objects", 1, code=2)
    cli("artifact", "put", "local", data / "a.txt", "--reference")
    assert "pinned by" in cli("artifact", "show", "local").stdout


def test_a_uri_that_cannot_be_asked_is_recorded_only_on_request(cli):
    missing = (Path.cwd() / "nowhere.bin").as_uri()
    cli.error("artifact", "put", "later", missing, "--reference", "--as", "x.bin", code=3)
    cli("artifact", "put", "later", missing, "--reference", "--as", "x.bin", "--record-unavailable")
    assert cli.json("artifact", "show", "later")["files"][0]["strength"] == "unverified"
    cli("artifact", "put", "odd", "store://bucket/thing", "--reference", "--as", "thing", "--pin", "no")
    assert cli.json("artifact", "show", "odd")["files"][0]["uri"] == "store://bucket/thing"


def test_another_type_is_refused(cli, data):
    cli("artifact", "put", "mnist", data, "--type", "images")
    cli.error("artifact", "put", "mnist", data, "--type", "model", code=2)


def test_what_it_was_made_from_can_be_said(cli, data):
    cli("artifact", "put", "raw", data)
    cli("artifact", "put", "clean", data / "sub", "--derived-from", "raw:v0")
    tree = cli("lineage", "clean").stdout
    assert "vision/clean:v0" in tree
    assert [v["artifact"] for v in cli.json("lineage", "clean")["versions"]] == ["raw", "clean"]


def test_get_brings_the_files_back(cli, two):
    done = cli("artifact", "get", "mnist")
    assert done.stdout.startswith("vision/mnist:v1 is in ")
    assert Path("mnist/a.txt").read_text() == "one more\n"
    assert Path("mnist/empty").is_dir()
    cli("artifact", "get", "mnist:prod", "old")
    assert Path("old/a.txt").read_text() == "one\n"
    assert Path("old/run.sh").stat().st_mode & 0o100


def test_get_can_bring_a_part(cli, two):
    cli("artifact", "get", "mnist", "part", "--prefix", "sub")
    assert [p.name for p in Path("part").rglob("*") if p.is_file()] == ["b.txt"]
    cli("artifact", "get", "mnist", "glob", "--glob", "*.txt")
    assert sorted(p.name for p in Path("glob").rglob("*") if p.is_file()) == ["a.txt", "c.txt"]
    cli("artifact", "get", "headwater://vision/mnist:v1/sub", "uri")
    assert [p.name for p in Path("uri").rglob("*") if p.is_file()] == ["b.txt"]


def test_a_part_that_is_not_there_is_not_found_and_the_right_one_named(cli, two):
    for line in (("get", "mnist", "part", "--prefix", "sbu"), ("show", "mnist", "--prefix", "sbu"),
                 ("check", "mnist", "--prefix", "sbu")):  # fmt: skip
        assert "did you mean 'sub'?" in cli.error("artifact", *line, code=3)
    assert "no path" in cli.error("artifact", "get", "mnist", "part", "--glob", "*.parquet", code=3)
    assert not Path("part").exists()


def test_get_says_what_it_did_as_json(cli, two):
    body = cli.json("artifact", "get", "mnist", "there")
    assert body["path"] == str(Path("there").absolute())
    assert body["skipped"] == []


def test_get_does_not_clobber(cli, two):
    Path("there").mkdir()
    Path("there/a.txt").write_text("mine")
    assert "a.txt" in cli.error("artifact", "get", "mnist", "there", code=4)
    assert Path("there/a.txt").read_text() == "mine"
    assert [p.name for p in Path("there").iterdir()] == ["a.txt"]


def test_exactly_removes_what_an_earlier_version_placed(cli, two):
    cli("artifact", "get", "mnist:v0", "there", "--exactly")
    Path("there/mine.txt").write_text("mine")
    plan = cli("artifact", "get", "mnist:v1", "there", "--exactly", "--dry-run").stdout
    assert plan.startswith("vision/mnist:v1 would place 2 files in there and remove 1 file")
    assert Path("there/run.sh").exists()
    body = cli.json("artifact", "get", "mnist:v1", "there", "--exactly")
    assert "run.sh" in body["removed"]
    assert body["kept"] == ["mine.txt"]
    assert not Path("there/run.sh").exists()
    assert Path("there/mine.txt").read_text() == "mine"
    cli("artifact", "get", "mnist", "there", "--dry-run", code=2)


def test_missing_references_can_be_skipped(cli, data):
    cli("artifact", "put", "pointed", data.absolute().as_uri(), "--reference")
    (data / "a.txt").unlink()
    cli.error("artifact", "get", "pointed", "there", code=3)
    body = cli.json("artifact", "get", "pointed", "there", "--allow-missing-references")
    assert [s["path"] for s in body["skipped"]] == ["a.txt"]
    again = cli("artifact", "get", "pointed", "there", "--allow-missing-references").stdout
    assert again.startswith("skipped a.txt (")


def test_get_can_look_back(cli, two):
    with cli.repository() as repository:
        then = repository.version("mnist:v0").created_at.isoformat()
    cli("artifact", "get", "mnist", "then", "--at", then)
    assert Path("then/a.txt").read_text() == "one\n"
    assert "is not a time" in cli.error("artifact", "get", "mnist", "x", "--at", "yesterday", code=2)
