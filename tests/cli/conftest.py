"""The command line run in this process, in a home, a folder and a repository of its own."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from headwater import settings
from headwater.cli.root import headwater
from headwater.connect import connect


class Cli:
    """`cli("artifact", "ls")` runs a command; `cli.json(…)` also reads what it printed."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def __call__(self, *args, code: int | None = 0, **options):
        done = CliRunner().invoke(headwater, [str(arg) for arg in args], prog_name="headwater", **options)
        assert code is None or done.exit_code == code, (done.exit_code, done.stdout, done.stderr, done.exc_info)
        return done

    def json(self, *args, code: int = 0):
        return json.loads(self(*args, "--json", code=code).stdout)

    def error(self, *args, code: int) -> str:
        """The one line on standard error."""
        done = self(*args, code=code)
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        return done.stderr.strip()

    def repository(self):
        return connect(os.environ["HEADWATER_URL"])


@pytest.fixture
def cli(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    for name in list(os.environ):
        if name.startswith(("HEADWATER_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("HEADWATER_URL", str(tmp_path / "repo"))
    monkeypatch.setenv("HEADWATER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HEADWATER_ACTOR", "ann@lab")
    monkeypatch.setenv("HEADWATER_PROJECT", "vision")
    monkeypatch.setattr(settings, "_configured", {})
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return Cli(home)


@pytest.fixture
def data(cli):
    """A small tree: `data/a.txt`, `data/sub/b.txt`, an executable and an empty directory."""
    folder = Path("data")
    (folder / "sub").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "a.txt").write_text("one\n")
    (folder / "sub" / "b.txt").write_text("two\n")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    return folder


@pytest.fixture
def two(cli, data):
    """Two versions of vision/mnist; v0 is `prod`, v1 is latest and has an added, a changed and a removed file."""
    cli("artifact", "put", "mnist", data, "--alias", "prod", "--tag", "gold", "-m", "rows=2", "--description", "first")
    (data / "a.txt").write_text("one more\n")
    (data / "c.txt").write_text("three\n")
    (data / "run.sh").unlink()
    cli("artifact", "put", "mnist", data)
    return data


@pytest.fixture
def trained(cli, two):
    """A run `train` that used mnist and logged the model cnn, and a run `evaluate` that used that."""
    from headwater.artifact import Artifact

    with cli.repository() as repository:
        with repository.start_run("train", config={"lr": 0.1}, key="job/train", capture=()) as run:
            run.use_artifact("mnist:prod", role="train")
            run.log_artifact(Artifact("cnn", "model").add_bytes(b"weights", "w.bin"), aliases=["candidate"])
            run.summary["acc"] = 0.9
        with repository.start_run("evaluate", key="job/evaluate", group="nightly", capture=()) as second:
            second.use_artifact("cnn:latest")
            second.log_artifact(Artifact("scores", "metrics").add_bytes(b"{}", "scores.json"))
    return run
