"""How the command behaves: help, JSON shapes, errors, exit codes, progress, speed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from headwater.cli import progress, text
from headwater.cli.root import LazyGroup, headwater
from headwater.errors import HeadwaterError
from tests.cli.conftest import Cli

GOLDEN = Path(__file__).parent / "golden"
CORE = Path(__file__).parents[2] / "core"
VOLATILE = {"id", "run", "created_at", "updated_at", "at", "started_at", "finished_at", "cursor", "host", "url", "path",
            "repository", "objects", "sent_bytes", "stored_bytes", "quota", "script", "key", "old_id", "new_id",
            "packs", "bytes", "what", "from", "artifact_id"}  # fmt: skip


def shape(value, key=""):
    """The document with what differs from run to run replaced by its type."""
    if isinstance(value, dict):
        return {k: shape(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return sorted((shape(v, key) for v in value), key=json.dumps) if key in ("versions", "runs") else [
            shape(v, key) for v in value]  # fmt: skip
    if value is not None and (key in VOLATILE or (isinstance(value, str) and re.fullmatch("[0-9A-Z]{26}", value))):
        return f"<{type(value).__name__}>"
    return value


DOCUMENTS = {
    "artifact-put": ("artifact", "put", "other", "data"),
    "artifact-get": ("artifact", "get", "mnist", "there"),
    "artifact-get-exactly": ("artifact", "get", "mnist", "there", "--exactly"),
    "artifact-ls": ("artifact", "ls"),
    "artifact-ls-versions": ("artifact", "ls", "mnist"),
    "artifact-ls-partitions": ("artifact", "ls", "mnist", "--partitions"),
    "artifact-show": ("artifact", "show", "mnist"),
    "artifact-diff": ("artifact", "diff", "mnist:v0"),
    "artifact-status": ("artifact", "status", "mnist:v0", "data"),
    "artifact-check": ("artifact", "check", "mnist"),
    "artifact-history": ("artifact", "history", "mnist"),
    "artifact-rm": ("artifact", "rm", "mnist:v1"),
    "alias-set": ("alias", "set", "mnist:new", "v1"),
    "alias-rm": ("alias", "rm", "mnist:prod"),
    "alias-ls": ("alias", "ls", "mnist"),
    "tag": ("tag", "mnist:v1", "t"),
    "run-ls": ("run", "ls"),
    "run-show": ("run", "show", "job/train"),
    "lineage": ("lineage", "cnn"),
    "lock": ("lock", "job/train"),
    "verify": ("verify",),
    "verify-version": ("verify", "mnist"),
    "verify-folder": ("verify", "mnist", "data"),
    "gc": ("gc", "--dry-run"),
    "retention-show": ("retention", "show"),
    "backup-ls": ("backup", "--ls"),
    "du": ("du",),
    "cache-prune": ("cache", "prune", "0"),
    "init": ("init",),
    "completion": ("completion", "fish"),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_json_of_a_command_has_its_documented_shape(cli, trained, name):
    """To renew a file after adding a field: WRITE_GOLDEN=1 with this test."""
    found = shape(cli.json(*DOCUMENTS[name], code=1 if name in ("artifact-diff", "artifact-status") else 0))
    file = GOLDEN / f"{name}.json"
    if os.environ.get("WRITE_GOLDEN"):
        file.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    assert found == json.loads(file.read_text())


def commands(group=headwater, trail=()):
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, LazyGroup):
            yield from commands(command, (*trail, name))
        elif not isinstance(command, click.Group):  # commands of other distributions are tested with those
            yield (*trail, name), command


COMMANDS = dict(commands())


@pytest.mark.parametrize("trail", COMMANDS, ids=" ".join)
def test_every_command_and_option_explains_itself(cli, trail):
    command = COMMANDS[trail]
    assert command.help
    assert [p.name for p in command.params if isinstance(p, click.Option) and not p.help] == []
    shown = cli(*trail, "--help").stdout
    for word in ("--json", "--project", "--url", "--quiet", "--debug", "Usage: headwater " + " ".join(trail)):
        assert word in shown
    own, _, common = shown.partition("Options of every command:")
    assert "--json" not in own and "--help" not in own
    assert all(
        p.opts[0] in (common if p in command._common else own) for p in command.params if p.param_type_name == "option"
    )


def test_the_list_of_commands_says_what_each_does(cli):
    shown = cli("--help").stdout
    for name in (
        "init",
        "demo",
        "artifact",
        "alias",
        "tag",
        "run",
        "lineage",
        "lock",
        "verify",
        "du",
        "cache",
        "doctor",
    ):
        assert f"\n  {name} " in shown
    assert cli("--version").stdout.startswith("headwater ")


@pytest.mark.parametrize(
    "args",
    ["nothing", "artifact", "artifact nothing", "artifact show", "artifact ls --limit 0", "run ls --nothing"],
)
def test_wrong_usage_exits_2(cli, args):
    assert "Usage: headwater" in cli(*args.split(), code=2).stderr


def test_a_mistyped_command_is_answered_with_the_right_one(cli):
    assert "Did you mean 'artifact'?" in cli("artefact", code=2).stderr


def test_an_error_is_one_line_and_as_json_one_object(cli):
    line = cli.error("artifact", "show", "nothing", code=3)
    assert line.startswith("error: no artifact is called vision/nothing: ")
    assert "\n" not in line
    done = cli("artifact", "show", "nothing", "--json", code=3)
    assert json.loads(done.stderr)["error"]["code"] == "artifact-not-found"
    assert done.stdout == ""


def test_debug_shows_where(cli):
    done = cli("artifact", "show", "nothing", "--debug", code=3)
    assert "Traceback" in done.stderr
    assert "error: no artifact is called" in done.stderr


def test_a_fault_of_ours_is_told_from_the_documented_codes(cli, monkeypatch):
    from headwater.repository import Repository

    def broken(*_, **__):
        raise RuntimeError("a\nb")

    monkeypatch.setattr(Repository, "artifacts", broken)
    assert "something unexpected happened (RuntimeError: a)" in cli.error("artifact", "ls", code=70)
    assert json.loads(cli("artifact", "ls", "--json", code=70).stderr)["error"]["code"] == "unexpected"

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Repository, "artifacts", interrupted)
    assert "interrupted" in cli.error("artifact", "ls", code=130)


def test_every_class_of_errors_has_its_exit_code():
    def tree(cls):
        return {cls, *(c for sub in cls.__subclasses__() for c in tree(sub))}

    codes = {cls.__name__: cls.exit_code for cls in tree(HeadwaterError)}
    expected = {"InvalidInputError": 2, "NotFoundError": 3, "ConflictError": 4, "StateError": 4, "AccessError": 5,
                "StorageError": 6, "IntegrityError": 7}  # fmt: skip
    assert expected.items() <= codes.items()


def test_a_home_that_cannot_be_written_is_denied(cli, monkeypatch, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    if os.geteuid() == 0:  # root may write anywhere but here
        locked = Path("/sys/kernel")
    monkeypatch.delenv("HEADWATER_URL")
    monkeypatch.setenv("HOME", str(locked))
    cli.error("artifact", "ls", code=5)


def test_a_repository_given_on_the_line_wins(cli, two):
    assert cli.json("artifact", "ls", "--url", "other-repo") == {"artifacts": []}
    assert len(cli.json("artifact", "ls", "--url", os.environ["HEADWATER_URL"])["artifacts"]) == 1


def test_tables_align_wide_letters():
    drawn = click.unstyle(text.table(("a", "n"), [("漢字", "1"), ("x", "20")], right=("n",))).splitlines()
    assert [text.width(line) for line in drawn] == [8, 8, 8]
    assert drawn[1] == "漢字   1"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("reading", 1 << 30, 2 << 30, 2.0), "reading 1.0 GiB of 2.0 GiB (50 %), 512.0 MiB/s"),
        (("reading", 10, None, 0.0), "reading 10 B"),
        (("packs", 5, 10, 1.0), "packs 5 of 10 (50 %), 5/s"),
    ],
)
def test_a_line_of_progress_has_amount_share_and_rate(arguments, said):
    assert progress.line(*arguments) == said


def test_progress_is_plain_lines_where_there_is_no_terminal(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    with progress.reporter() as report:
        report("reading", 10, 20)
        report("reading", 20, 20)
    shown = capsys.readouterr().err.splitlines()
    assert shown[0].startswith("reading 10 B of 20 B (50 %)")
    assert shown[-1].startswith("reading 20 B of 20 B (100 %)")


def test_quick_work_shows_no_progress(capsys):
    with progress.reporter() as report:
        report("reading", 10, 20)
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_progress_is_a_bar_on_a_terminal():
    import pty

    program = (
        "import time\nfrom headwater.cli import progress\n"
        "with progress.reporter() as report:\n"
        "    for n in range(12): report('reading', n << 20, 11 << 20); time.sleep(0.1)\n"
    )
    seen, write = pty.openpty()
    child = subprocess.Popen([sys.executable, "-c", program], stderr=write, env={**os.environ, "PYTHONPATH": str(CORE)})
    os.close(write)
    shown = b""
    while True:
        try:
            piece = os.read(seen, 4096)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    assert child.wait(timeout=30) == 0
    assert "reading" in shown.decode()
    assert "MiB/s" in shown.decode()
    assert "of 11.0 MiB (" in shown.decode()


def run(*args, cwd, **environment):
    """The real command."""
    return subprocess.run(
        [sys.executable, "-c", "from headwater.cli import main; main()", *args], cwd=cwd, capture_output=True,
        text=True, timeout=60, env={**os.environ, "PYTHONPATH": str(CORE), **environment},
    )  # fmt: skip


def test_put_and_get_work_with_no_python(cli: Cli, data, tmp_path):
    put = run("artifact", "put", "vision/mnist", "data", "--type", "dataset", "--alias", "x", cwd=Path.cwd())
    assert (put.returncode, put.stderr) == (0, "")
    assert put.stdout.startswith("vision/mnist:v0  4 entries")
    get = run("artifact", "get", "vision/mnist:x", "back", cwd=Path.cwd())
    assert (get.returncode, get.stderr) == (0, "")
    assert Path("back/sub/b.txt").read_text() == "two\n"


def test_help_loads_nothing_heavy(cli):
    program = (
        "import sys\nfrom headwater.cli.root import headwater\n"
        "try: headwater(['--help'])\nexcept SystemExit: pass\n"
        "print([m for m in ('rich', 'sqlalchemy', 'alembic', 'boto3', 'pandas', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30,
                          env={**os.environ, "PYTHONPATH": str(CORE)})  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


@pytest.mark.slow
def test_help_is_fast(cli):
    took = []
    for _ in range(5):
        before = os.times()
        assert run("--help", cwd=Path.cwd()).returncode == 0
        after = os.times()
        took.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert min(took) < 0.4


@pytest.mark.slow
def test_a_reader_that_has_seen_enough_is_no_error(cli, two):
    program = f"{sys.executable} -c 'from headwater.cli import main; main()' artifact history mnist --json | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", program], capture_output=True, text=True, timeout=30,
                          env={**os.environ, "PYTHONPATH": str(CORE)})  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.json")), ids=lambda file: file.stem)
def test_the_documentation_names_every_field(file):
    page = (Path(__file__).parents[2] / "docs" / "json.md").read_text()
    documented = set(re.findall(r"`(\w+)`", page))
    assert set(json.loads(file.read_text())) <= documented
