"""What the documents say is true: README code runs, links lead somewhere, every command and setting is described."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [README, ROOT / "CHANGELOG.md", *DOCS]
SOURCES = sorted((ROOT / "core").rglob("*.py")) + sorted((ROOT / "integrations").rglob("*.py"))
COMMAND = [sys.executable, "-c", "from headwater.cli import main; main()"]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)
_LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)[^)]*\)|<(?:img|source)[^>]+src(?:set)?=\"([^\"]+)\"")


def blocks(page: Path, language: str) -> list[str]:
    return [body for kind, body in _BLOCK.findall(page.read_text()) if kind == language]


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """An empty directory and the environment of somebody who has just installed Headwater."""
    place = tmp_path_factory.mktemp("newcomer")
    clean = {key: value for key, value in os.environ.items() if not key.startswith("HEADWATER_")}
    paths = os.pathsep.join([str(ROOT / "core"), str(ROOT / "integrations")])
    return place, {**clean, "HOME": str(place / "home"), "XDG_CACHE_HOME": str(place / "cache"), "PYTHONPATH": paths}


def test_the_readme_code_runs_as_it_stands(newcomer) -> None:
    place, environment = newcomer
    programs = blocks(README, "python")
    assert programs, "the README shows no code"
    for number, program in enumerate(programs):
        script = place / f"block{number}.py"
        script.write_text(program)
        done = subprocess.run(
            [sys.executable, str(script)], cwd=place, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"{program}\n{done.stderr}"
    for line in commands(README):
        done = subprocess.run(
            [*COMMAND, *line], cwd=place, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"headwater {shlex.join(line)}\n{done.stdout}{done.stderr}"


def commands(page: Path) -> list[list[str]]:
    """The `headwater …` lines of the page's shell blocks, but for the demo, which has a test of its own."""
    lines = [shlex.split(line, comments=True) for body in blocks(page, "sh") for line in body.splitlines()]
    return [line[1:] for line in lines if line and line[0] == "headwater" and line[1:2] != ["demo"]]


def test_the_make_targets_the_documents_name_exist() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.M))
    named = {
        name
        for page in PAGES  # in code: between backticks, or as a line's own command
        for name in re.findall(r"(?:`|^\s*)make ([a-z][a-z-]*)\b(?=`|\s*#|\s*$)", page.read_text(), re.M)
    }
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    for groups in _LINK.findall(page.read_text()):
        target = next(filter(None, groups))
        if "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), f"{page.name} points at {target}"


@pytest.mark.parametrize("page", DOCS, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_page_is_reached_from_the_index(page: Path) -> None:
    index = ROOT / "docs" / "index.md"
    assert page == index or page.relative_to(index.parent).as_posix() in index.read_text()


def test_every_command_is_documented_as_it_is() -> None:
    described = runpy.run_path(str(ROOT / ".ci" / "cli_pages.py"))["page"]()
    assert (ROOT / "docs" / "cli.md").read_text() == described, "run `make docs`"


def test_every_setting_is_documented_and_no_other() -> None:
    read = {name for path in SOURCES for name in re.findall(r"\bHEADWATER_[A-Z_]+[A-Z]\b", path.read_text())}
    written = set(re.findall(r"\bHEADWATER_[A-Z_]+[A-Z]\b", (ROOT / "docs" / "settings.md").read_text()))
    assert read - written == set(), "settings that docs/settings.md leaves out"
    assert written - read == set(), "settings that no code reads"


def test_nothing_committed_names_a_machine_or_a_package_host() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:  # an unpacked archive: nothing is committed
        return
    hosts = re.compile(
        "|".join(["/ro" + "ot/", "/wo" + "rk/", r"py" + r"pi\.org", "python" + "hosted", r"registry\.npm" + "js"])
    )
    names = [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]
    wrong = [name for name in names if hosts.search((ROOT / name).read_bytes().decode("utf-8", "replace"))]
    assert not wrong
