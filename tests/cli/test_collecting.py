"""`gc`, `retention`, `backup`, `restore`, `repair`, `purge`, and what `du` says of them."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from headwater.model.digest import Digest


def put(cli, name: str, *seeds: int) -> None:
    folder = Path("made")
    folder.mkdir(exist_ok=True)
    for file in folder.iterdir():
        file.unlink()
    for seed in seeds:
        (folder / f"{seed}.bin").write_bytes(random.Random(seed).randbytes(30_000))
    cli("artifact", "put", name, folder)


def test_gc_says_what_would_go_and_then_frees_it(cli):
    put(cli, "a", 1, 2, 3)
    put(cli, "a", 4)
    cli("artifact", "rm", "a:v0")
    told = cli.json("gc", "--dry-run", "--now")
    assert told["dry_run"] and told["condemned"]["packs"] == 1 and told["freed_bytes"] == 0
    assert "would condemn 1 pack (" in cli("gc", "--dry-run", "--now").stdout
    assert cli.json("du")["unneeded_bytes"] > 90_000
    assert "freed " in cli("gc", "--now").stdout
    assert cli.json("du")["unneeded_bytes"] == 0 and cli.json("verify")["sound"]
    assert cli.json("gc", "--now")["freed_bytes"] == 0


def test_gc_waits_a_day_unless_it_is_told_otherwise(cli):
    put(cli, "a", 1)
    put(cli, "a", 2)
    cli("artifact", "rm", "a:v0")
    assert cli.json("gc")["condemned"]["packs"] == 0, "too young"
    assert cli.json("gc", "--grace", "0s", "--no-compact")["deleted"]["packs"] == 0


def test_gc_now_is_refused_while_a_run_runs(cli):
    put(cli, "a", 1)
    with cli.repository() as repository, repository.start_run("train", capture=()):
        assert "run vision/train" in cli.error("gc", "--now", code=4)


def test_gc_does_the_rest_beside_something_damaged_tells_it_and_exits_7(cli):
    seeds = range(40)
    put(cli, "a", *seeds)
    put(cli, "a", *seeds[:4])
    cli("artifact", "rm", "a:v0")
    (pack,) = [
        p for p in Path(os.environ["HEADWATER_URL"], "objects", "packs").rglob("*.pack") if p.stat().st_size > 10**6
    ]
    body = pack.read_bytes()
    at = body.index(random.Random(2).randbytes(30_000))
    pack.chmod(0o644)
    pack.write_bytes(body[:at] + b"?" + body[at + 1 :])
    told = cli("gc", "--now", code=7).stdout
    assert "damaged, left where it is" in told and str(Digest.of(random.Random(2).randbytes(30_000))) in told
    assert "freed " in told


def test_retention_is_set_shown_applied_and_taken_away(cli):
    for seed in range(4):
        put(cli, "a", seed)
    cli("alias", "set", "a:prod", "v0")
    said = cli("retention", "set", "a", "--keep-last", 2, "--keep-younger", "0s", "--keep-tagged").stdout
    assert said == "vision/a: keep the newest 2, younger than 0s, aliased, tagged\n"
    shown = cli.json("retention", "show", "a")
    assert shown["rules"]["vision/a"]["keep_last"] == 2
    assert [v["name"] for v in shown["overdue"]] == ["vision/a:v1"]
    assert "the next gc deletes vision/a:v1" in cli("retention", "show").stdout
    cli("retention", "set", "a", "--keep-last", 2, "--no-keep-aliased", "--keep-upstream")
    assert cli.json("retention", "show", "a")["rules"]["vision/a"] == {
        "keep_last": 2, "keep_younger_seconds": None, "keep_aliased": False, "keep_tagged": False, "keep_upstream": True
    }  # fmt: skip
    assert "vision/a:v0 (" in cli("gc", "--dry-run").stdout and "with its alias prod" in cli("gc", "--dry-run").stdout
    cli("retention", "set", "a", "--keep-last", 2)
    assert "delete vision/a:v1" in cli("gc", "--dry-run").stdout
    assert [v["name"] for v in cli.json("gc")["retired"]] == ["vision/a:v1"]
    assert "deleted" in cli.error("artifact", "show", "a:v1", code=4)
    assert cli("retention", "rm", "a").stdout == "vision/a: all versions stay\n"
    cli.error("retention", "rm", "a", code=3)
    cli.error("retention", "show", "a", code=3)
    assert cli("retention", "show").stdout == ""
    assert "no duration" in cli.error("retention", "set", "a", "--keep-younger", "soon", code=2)
    cli.error("retention", "set", "a:v3", code=2)


def test_a_deleted_catalog_is_restored_and_repaired(cli):
    put(cli, "a", 1)
    made = cli.json("backup")["backup"]
    assert [b["id"] for b in cli.json("backup", "--ls")["backups"]] == [made["id"]]
    assert made["id"] in cli("backup", "--ls").stdout
    for file in Path(os.environ["HEADWATER_URL"]).glob("catalog*"):
        file.unlink()
    assert "headwater restore" in cli.error("artifact", "ls", code=4)
    assert "run `headwater repair`" in cli("restore").stdout
    assert "headwater repair" in cli.error("artifact", "put", "b", "made", code=4)
    assert cli("artifact", "get", "a", "here").exit_code == 0
    assert "takes writers again" in cli("repair").stdout
    cli("artifact", "put", "b", "made")
    assert cli.json("repair")["sound"]
    cli.error("restore", code=4)


def test_backups_are_scheduled_for_gc(cli):
    put(cli, "a", 1)
    assert cli("backup", "--every", "24h").stdout == "gc makes a backup every 1d\n"
    assert cli.json("gc")["backup"] is not None and cli.json("gc")["backup"] is None
    assert cli.json("backup", "--every", "never") == {"every_seconds": None}


def test_repair_says_what_it_cannot_mend(cli):
    put(cli, "a", 1)
    (pack,) = Path(os.environ["HEADWATER_URL"], "objects", "packs").rglob("*.pack")
    pack.unlink()
    assert "missing-pack" in cli("repair", code=7).stdout
    put(cli, "b", 1)
    assert cli.json("repair")["sound"] and cli.json("verify")["sound"]


def test_a_content_is_purged_and_says_so(cli, tmp_path):
    put(cli, "a", 1, 2)
    digest = str(Digest.of(random.Random(1).randbytes(30_000)))
    assert "needs a --reason" in cli.error("purge", digest, code=2)
    cli("purge", digest, "--reason", "request 7", input="n\n", code=None)
    assert cli.json("purge") == {"purged": []}
    assert "is gone; 1 pack written anew. It was in vision/a:v0" in cli(
        "purge", digest, "--reason", "request 7", "--yes"
    ).stdout.replace("\n", " ")
    assert "request 7" in cli("purge").stdout
    assert "request 7" in cli.error("artifact", "get", "a", "there", code=3)
    assert cli.json("verify")["sound"]
    assert "content.purged" in str(cli.json("artifact", "history", "a"))
    cli.error("purge", str(Digest.of(b"?")), "--reason", "x", "--yes", code=3)


def test_a_sample_is_a_share_in_either_form(cli):
    put(cli, "a", 1)
    assert cli.json("verify", "--sample", "0%")["packs"] == 0
    assert cli.json("verify", "--sample", "100%")["packs"] == cli.json("verify", "--sample", "1")["packs"] == 1
    for wrong in ("101%", "-1", "some"):
        assert "no share" in cli.error("verify", "--sample", wrong, code=2)


@pytest.mark.parametrize("text", ["", "d", "3", "3 years"])
def test_what_is_no_duration_is_a_usage_error(cli, text):
    cli.error("gc", "--grace", text, code=2)
