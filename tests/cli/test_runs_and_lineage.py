"""`run`, `lock` and `lineage`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import headwater as hw


def test_runs_are_listed_newest_first(cli, trained):
    runs = cli.json("run", "ls")["runs"]
    assert [r["name"] for r in runs] == ["evaluate", "train"]
    assert [r["name"] for r in cli.json("run", "ls", "--where", "summary.acc>=0.9")["runs"]] == ["train"]
    assert [r["name"] for r in cli.json("run", "ls", "--group", "nightly")["runs"]] == ["evaluate"]
    assert len(cli.json("run", "ls", "--limit", 1, "--order", "-summary.acc")["runs"]) == 1
    assert cli.json("run", "ls", "-p", "other")["runs"] == []
    assert len(cli.json("run", "ls", "-p", "other", "--all-projects")["runs"]) == 2
    assert "acc=0.9" in cli("run", "ls").stdout


def test_a_run_shows_what_it_used_and_logged(cli, trained):
    for name in (trained.id, "job/train"):
        body = cli.json("run", "show", name)
        assert body["name"] == "train"
        assert [(u["version"]["name"], u["role"]) for u in body["uses"]] == [("vision/mnist:v0", "train")]
        assert [(e["version"]["name"], e["kind"]) for e in body["logs"]] == [("vision/cnn:v0", "created")]
    text = cli("run", "show", "job/train").stdout
    for part in (
        "train (",
        "job/train, attempt 1",
        "finished",
        '{"lr": 0.1}',
        '{"acc": 0.9}',
        "vision/mnist:v0  as train",
        "vision/cnn:v0  created",
    ):
        assert part in text
    assert "no run has the id or key nothing" in cli.error("run", "show", "nothing", code=3)


def test_a_failed_run_shows_its_error(cli, two):
    with cli.repository() as repository:
        try:
            with repository.start_run("boom", key="boom", capture=()):
                raise ValueError("out of cheese")
        except ValueError:
            pass
    assert "out of cheese" in cli("run", "show", "boom").stdout
    assert cli.json("run", "show", "boom")["state"] == "failed"


def test_lock_pins_what_a_run_used(cli, trained):
    assert cli("lock", trained.id).stdout == "headwater.lock pins 1 names\n"
    lock = json.loads(Path("headwater.lock").read_text())
    assert list(lock["names"]) == ["vision/mnist:prod"]
    cli("alias", "set", "mnist:prod", "v1")
    with cli.repository() as repository, hw.pinned("headwater.lock"):
        assert repository.version("mnist:prod").version == "v0"
    assert "--force" in cli.error("lock", trained.id, code=4)
    assert cli.json("lock", trained.id, "--force", "-o", "headwater.lock")["lock"] == lock


def test_lineage_is_a_tree(cli, trained):
    assert cli("lineage", "scores").stdout.splitlines() == [
        "vision/scores:v0  metrics",
        "└─ evaluate  finished",
        "   └─ vision/cnn:v0  model",
        "      └─ train  finished",
        "         └─ vision/mnist:v0  dataset  as train",
    ]
    down = cli("lineage", "mnist:prod", "--downstream").stdout.splitlines()
    assert down[0] == "vision/mnist:v0  dataset"
    assert down[-1].strip() == "└─ vision/scores:v0  metrics"


def test_lineage_in_other_forms(cli, trained):
    assert cli("lineage", "scores", "--dot").stdout.startswith("digraph headwater {")
    assert cli("lineage", "scores", "--mermaid").stdout.startswith("flowchart LR\n")
    assert cli("lineage", "scores", "--svg").stdout.startswith("<svg ")
    body = cli.json("lineage", "scores")
    assert {v["artifact"] for v in body["versions"]} == {"scores", "cnn", "mnist"}
    near = cli.json("lineage", "scores", "--depth", 1)
    assert {v["artifact"] for v in near["versions"]} == {"scores", "cnn"}
    assert cli.json("lineage", "scores", "--all-edges")["direction"] == "upstream"


def test_a_version_reached_twice_is_drawn_once(cli, two):
    from headwater.artifact import Artifact

    with cli.repository() as repository:
        for name in ("left", "right"):
            with repository.start_run(name, capture=()) as run:
                run.use_artifact("mnist:v0")
                run.log_artifact(Artifact(name, "half").add_bytes(name.encode(), "x"))
        with repository.start_run("join", capture=()) as run:
            run.use_artifact("left:latest")
            run.use_artifact("right:latest")
            run.log_artifact(Artifact("whole", "sum").add_bytes(b"both", "x"))
    text = cli("lineage", "whole").stdout
    assert len(re.findall(r"vision/mnist:v0", text)) == 2
    assert len(text.splitlines()) == 8
