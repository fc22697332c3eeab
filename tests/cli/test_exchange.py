"""`push`, `pull`, `export` and `import` as people type them."""

from __future__ import annotations

import pytest

from tests.cli.conftest import make_two


@pytest.fixture
def two(cli, tmp_path):
    make_two(cli)
    cli("init", tmp_path / "team")
    return tmp_path / "team"


def test_push_copies_prints_the_mapping_and_does_nothing_the_second_time(cli, two):
    everything = len(cli.json("push", two)["versions"])
    assert everything > 1
    again = cli.json("push", two)
    assert {v["outcome"] for v in again["versions"]} == {"known"} and again["sent_bytes"] == 0
    assert "known" in cli("push", two).stdout


def test_pull_brings_one_version_or_all_of_an_artifact(cli, two, tmp_path, monkeypatch):
    name = cli.json("artifact", "ls")["artifacts"][0]["name"]
    home = tmp_path / "repo"
    monkeypatch.setenv("HEADWATER_URL", str(two))
    one = cli.json("pull", home, f"{name}:v0")["versions"]
    assert [v["source"] for v in one if v["source"].startswith(f"{name}:")] == [f"{name}:v0"]
    every = cli.json("pull", home, f"{name}:*")["versions"]
    assert len(every) > len(one)


def test_a_file_carries_them(cli, two, tmp_path, monkeypatch):
    done = cli.json("export", tmp_path / "f.headwater")
    assert "exists" in cli.error("export", tmp_path / "f.headwater", code=2)
    monkeypatch.setenv("HEADWATER_URL", str(two))
    assert [v["id"] for v in cli.json("import", tmp_path / "f.headwater")["versions"]] == [
        v["id"] for v in done["versions"]
    ]


def test_what_is_not_there_is_said(cli, two, tmp_path):
    assert cli.error("push", tmp_path / "nowhere", code=3)
    assert not (tmp_path / "nowhere").exists()
    assert cli.error("push", two, "no-such-thing", code=3)
    (tmp_path / "noise").write_bytes(b"noise")
    assert cli.error("import", tmp_path / "noise", code=7)
