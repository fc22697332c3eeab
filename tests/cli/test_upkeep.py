"""`init`, `verify`, `du`, `cache prune`, `doctor`, `completion`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headwater.cli.root import headwater


def test_init_makes_a_repository_and_leaves_one_alone(cli):
    first = cli.json("init")
    assert Path(os.environ["HEADWATER_URL"], "catalog.sqlite").exists()
    assert cli.json("init") == first
    assert cli("init").stdout.startswith(f"repository {first['repository']} is at ")
    assert cli.json("init", "elsewhere")["repository"] != first["repository"]


def test_packs_may_lie_elsewhere(cli, data):
    packs = (Path.cwd() / "packs").as_uri()
    Path("packs").mkdir()
    cli("init", "--objects", packs)
    cli("artifact", "put", "mnist", data)
    assert [p for p in Path("packs").rglob("*") if p.is_file()]
    cli.error("init", "--objects", (Path.cwd() / "other").as_uri(), code=4)


def test_init_refuses_a_folder_of_other_things(cli, data):
    assert "holds other things" in cli.error("init", data, code=2)
    assert "is not a repository" in cli.error("init", "ftp://host/x", code=2)
    assert "lacks the colon" in cli.error("init", "postgresql//host/x", code=2)
    assert not Path("postgresql").exists()
    Path("file").write_text("")
    cli.error("init", "file", code=2)


def damage_a_pack() -> None:
    pack = max((p for p in Path(os.environ["HEADWATER_URL"], "objects").rglob("*") if p.is_file()),
               key=lambda p: p.stat().st_size)  # fmt: skip
    body = bytearray(pack.read_bytes())
    for at in range(40, len(body) // 2):
        body[at] ^= 0xFF
    pack.chmod(0o644)
    pack.write_bytes(body)


def test_verify_finds_damage_and_exits_7(cli):
    Path("big.bin").write_bytes(os.urandom(200_000))
    cli("artifact", "put", "big", "big.bin")
    assert cli("verify").stdout.startswith("all is well: looked at 1 pack, ")
    assert cli("verify", "big").stdout.startswith("all is well: ")
    assert cli.json("verify", "--sample", 0)["packs"] == 0
    damage_a_pack()
    assert "damaged" in cli("verify", code=7).stdout
    body = cli.json("verify", code=7)
    assert not body["sound"]
    assert {"kind", "where", "what"} == set(body["findings"][0])
    assert cli.json("verify", "big", code=7)["findings"]


def test_verify_compares_a_directory_with_a_version(cli, two):
    cli("artifact", "get", "mnist", "there")
    assert cli("verify", "mnist", "there").stdout == "there is vision/mnist:v1\n"
    Path("there/a.txt").write_text("bad data\n")
    Path("there/mine.txt").write_text("mine\n")
    lines = cli("verify", "mnist", "there", code=1).stdout.splitlines()
    assert lines == ["changed: a.txt", "extra: mine.txt", "there is not vision/mnist:v1"]
    assert cli.json("verify", "mnist", "there", code=1)["changed"] == ["a.txt"]


def test_du_counts_both_sides(cli, two):
    body = cli.json("du")
    assert body["versions"] == 2
    assert body["logical_bytes"] == 18 + 19
    assert body["stored_bytes"] == sum(part["bytes"] for part in body["packs"].values())
    assert [(a["name"], a["versions"]) for a in body["artifacts"]] == [("vision/mnist", 2)]
    text = cli("du").stdout
    assert "2 versions of 37 B" in text


def test_cache_prune_frees_to_a_size(cli, two):
    assert cli.json("cache", "prune", "0")["files"]["bytes"] == 0
    from headwater import settings
    from headwater.model.digest import Digest
    from headwater.store.cache import FileCache

    Path("x").write_bytes(b"x" * 5000)
    now = settings.current()
    FileCache(now.cache / "files", now.quota).add(Digest.of(b"x" * 5000), Path("x"))
    assert cli.json("cache", "prune", "0")["freed_bytes"] >= 5000
    assert "is not a size" in cli.error("cache", "prune", "much", code=2)


def test_cache_prune_removes_shared_trees_longest_unused_first(cli, two):
    with cli.repository() as repository:
        old, new = (repository.version(name).download() for name in ("mnist:v0", "mnist:v1"))
    hour_ago = time.time() - 7200
    for path in (old, old.with_name(old.name + ".stats")):
        os.utime(path, (hour_ago, hour_ago))
    assert cli.json("du")["trees"]["bytes"] >= 37
    cli("cache", "prune", "20")
    assert (old.exists(), new.exists()) == (False, True)
    assert cli("cache", "prune", "1").stdout.startswith("freed 0 B")  # used a moment ago
    cli("cache", "prune", "0")
    assert not new.exists()
    with cli.repository() as repository:
        assert (repository.version("mnist:v0").download() / "a.txt").read_text() == "one\n"


def test_doctor_says_that_all_is_well(cli, two):
    done = cli("doctor")
    assert all(line.startswith("ok ") for line in done.stdout.splitlines())
    body = cli.json("doctor")
    assert body["ok"]
    assert {"python", "settings", "repository", "store", "disk", "cache"} <= {c["name"] for c in body["checks"]}


def test_doctor_names_what_is_wrong_and_no_password(cli, two, monkeypatch):
    monkeypatch.setenv("HEADWATER_URL", "ftp://ann:hunter2@host/x")
    done = cli("doctor", code=2)
    assert "bad repository" in done.stdout
    assert "hunter2" not in done.stdout + done.stderr
    assert not cli.json("doctor", code=2)["ok"]
    monkeypatch.setenv("HEADWATER_TRACKING", "sometimes")
    assert "bad settings" in cli("doctor", code=2).stdout


def test_doctor_sees_a_store_that_is_gone(cli, two):
    packs = Path(os.environ["HEADWATER_URL"], "objects")
    packs.rename(packs.with_name("objects-away"))
    assert "bad repository" in cli("doctor", code=None).stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(cli, shell):
    assert "_HEADWATER_COMPLETE" in cli("completion", shell).stdout
    assert cli.json("completion", shell)["shell"] == shell


def complete(*words: str) -> list[str]:
    from click.shell_completion import ShellComplete

    *args, incomplete = words
    return [
        item.value for item in ShellComplete(headwater, {}, "headwater", "_X").get_completions(list(args), incomplete)
    ]


def test_names_complete(cli, trained):
    assert complete("artifact", "sh") == ["show"]
    assert "mnist" in complete("artifact", "show", "")
    assert "vision/mnist" in complete("artifact", "show", "vision/")
    assert {"mnist:prod", "mnist:latest", "mnist:v0", "mnist:v1"} == set(complete("artifact", "show", "mnist:"))
    assert complete("lineage", "vision/mnist:p") == ["vision/mnist:prod"]
    assert complete("run", "show", trained.id[:8]) == [trained.id]
    assert complete("artifact", "ls", "-p", "vi") == ["vision"]
    assert complete("artifact", "show", "nothing:") == []


def test_completion_makes_no_repository_and_never_fails(cli, monkeypatch):
    assert complete("artifact", "show", "") == []
    assert complete("run", "show", "") == []
    assert not Path(os.environ["HEADWATER_URL"]).exists()
    monkeypatch.setenv("HEADWATER_URL", "ftp://nowhere")
    assert complete("artifact", "show", "") == []
    assert complete("artifact", "ls", "-p", "") == []


@pytest.mark.slow
def test_a_shell_completes_through_the_real_command(cli, two):
    environment = {**os.environ, "_HEADWATER_COMPLETE": "bash_complete", "COMP_WORDS": "headwater artifact show mn",
                   "COMP_CWORD": "3", "PYTHONPATH": str(Path(__file__).parents[2] / "core")}  # fmt: skip
    program = "from headwater.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=30)
    assert done.stdout.splitlines() == ["plain,mnist"]
