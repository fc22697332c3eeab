"""The command line run in this process, in a home, a folder and a repository of its own."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from headwater import settings
from headwater.artifact import Artifact
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


ENVIRONMENT = {"HEADWATER_ACTOR": "ann@lab", "HEADWATER_PROJECT": "vision"}


def settle(place: Path, patch: pytest.MonkeyPatch) -> Cli:
    """Live in `place`: a home, a working directory, and where the repository and cache will be."""
    for name in list(os.environ):
        if name.startswith(("HEADWATER_", "XDG_")):
            patch.delenv(name)
    for folder in ("home", "work"):
        (place / folder).mkdir(parents=True, exist_ok=True)
    here = {"HOME": place / "home", "HEADWATER_URL": place / "repo", "HEADWATER_CACHE": place / "cache"}
    for name, value in (here | ENVIRONMENT).items():
        patch.setenv(name, str(value))
    patch.setattr(settings, "_configured", {})
    patch.setattr(settings, "_suggested", {})
    patch.chdir(place / "work")
    return Cli(place / "home")


@pytest.fixture
def cli(tmp_path, monkeypatch):
    return settle(tmp_path, monkeypatch)


def make_data() -> Path:
    folder = Path("data")
    (folder / "sub").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "a.txt").write_text("one\n")
    (folder / "sub" / "b.txt").write_text("two\n")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    return folder


def make_two(cli: Cli) -> None:
    data = make_data()
    cli("artifact", "put", "mnist", data, "--alias", "prod", "--tag", "gold", "-m", "rows=2", "--description", "first")
    (data / "a.txt").write_text("one more\n")
    (data / "c.txt").write_text("three\n")
    (data / "run.sh").unlink()
    cli("artifact", "put", "mnist", data)


def make_trained(cli: Cli) -> None:
    make_two(cli)
    with cli.repository() as repository:
        with repository.start_run("train", config={"lr": 0.1}, key="job/train", capture=()) as run:
            run.use_artifact("mnist:prod", role="train")
            run.log_artifact(Artifact("cnn", "model").add_bytes(b"weights", "w.bin"), aliases=["candidate"])
            run.summary["acc"] = 0.9
        with repository.start_run("evaluate", key="job/evaluate", group="nightly", capture=()) as second:
            second.use_artifact("cnn:latest")
            second.log_artifact(Artifact("scores", "metrics").add_bytes(b"{}", "scores.json"))


@pytest.fixture(scope="session")
def templates(tmp_path_factory):
    """Folders made once, to be copied for every test that starts from there."""
    made = {}
    for name, make in (("two", make_two), ("trained", make_trained)):
        made[name] = tmp_path_factory.mktemp(name)
        with pytest.MonkeyPatch.context() as patch:
            make(settle(made[name], patch))
    return made


@pytest.fixture
def data(cli):
    """A small tree: `data/a.txt`, `data/sub/b.txt`, an executable and an empty directory."""
    return make_data()


@pytest.fixture
def two(cli, tmp_path, templates):
    """Two versions of vision/mnist; v0 is `prod`, v1 is latest and has an added, a changed and a removed file."""
    shutil.copytree(templates["two"], tmp_path, dirs_exist_ok=True)
    return Path("data")


@pytest.fixture
def trained(cli, tmp_path, templates):
    """As `two`; a run `train` used mnist and logged the model cnn, and a run `evaluate` used that."""
    shutil.copytree(templates["trained"], tmp_path, dirs_exist_ok=True)
    with cli.repository() as repository:
        return repository.run("job/train")
