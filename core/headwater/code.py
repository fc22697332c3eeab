"""What code a run ran: git commit, Python and package versions; diff and arguments only on request.

Read once per process and working directory. Package versions are read from the
names of the installed metadata folders, without opening any.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headwater.model.digest import Digest
from headwater.model.values import MASK, mask_source, names_secret

if TYPE_CHECKING:
    from headwater.home import Home

MAX_CODE_FILE = 1024 * 1024
"""Largest file that `Run.log_code` takes, bytes."""
MAX_DIFF = 1024 * 1024
"""Longest diff that is kept, characters."""
GIT_SECONDS = 10

_METADATA_FOLDER = re.compile(r"(?P<name>[A-Za-z0-9_.]+)-(?P<version>[^-]+)\.(?:dist|egg)-info\Z")


def describe_code() -> tuple[dict[str, Any], str]:
    """What is recorded in a run: commit, branch, dirty, python, platform; and the packages, as JSON text.

    The run keeps the packages' digest; the text is stored once per repository.
    """
    return dict(_git_facts(str(Path.cwd()))), _packages(tuple(sys.path))


def capture(home: Home, what: Sequence[str]) -> dict[str, Any]:
    """What a run records of its program: any of `code`, `diff`, `arguments`; packages are kept once per set of them."""
    if not what:
        return {}
    facts, packages = describe_code()
    environment = environment_key(packages)
    if home.catalog.setting(environment) is None:
        home.catalog.set_setting(environment, packages)
    facts["environment"] = environment.removeprefix("environment:")
    if "diff" in what:
        facts["diff"] = working_diff(Path.cwd())
    if "arguments" in what:
        facts["arguments"] = program_arguments()
    return facts


@functools.lru_cache(maxsize=8)
def _git_facts(folder: str) -> tuple[tuple[str, Any], ...]:
    facts: dict[str, Any] = {"python": platform.python_version(), "platform": platform.platform(terse=True)}
    status = _git(folder, "status", "--porcelain=v2", "--branch", "--untracked-files=no")
    if status is not None:
        lines = status.splitlines()
        heads = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# ") and " " in line[2:])
        facts["commit"] = heads.get("branch.oid")
        facts["branch"] = heads.get("branch.head")
        facts["dirty"] = any(not line.startswith("#") for line in lines)
    return tuple(facts.items())


@functools.lru_cache(maxsize=2)
def _packages(path: tuple[str, ...]) -> str:
    found: dict[str, str] = {}
    for folder in path:
        try:
            names = os.listdir(folder or ".")  # noqa: PTH208  # names alone are wanted, 1,000 times
        except OSError:  # a zip, or a folder that is gone
            continue
        for name in names:
            match = _METADATA_FOLDER.match(name)
            if match:
                found.setdefault(match["name"].replace("_", "-").lower(), match["version"])
    return json.dumps(found, sort_keys=True, separators=(",", ":"))


def environment_key(packages: str) -> str:
    """The setting under which a repository keeps this list of packages."""
    return f"environment:{Digest.of(packages.encode())}"


def working_diff(folder: Path) -> str | None:
    """`git diff HEAD`, secrets masked, at most 1 MiB; None outside a repository. Only on request."""
    diff = _git(str(folder), "diff", "HEAD")
    return None if diff is None else mask_source(diff[:MAX_DIFF])


def program_arguments() -> list[str]:
    """`sys.argv`, secrets masked. Only on request."""
    before = ["", *sys.argv]
    return [MASK if names_secret(option) else mask_source(value) for option, value in zip(before, sys.argv)]


def tracked_files(
    root: Path, include: Callable[[str], bool] | None = None, exclude: Callable[[str], bool] | None = None
) -> Iterator[str]:
    """Paths below `root` that git tracks, at most 1 MiB each, in byte order; the filters see the relative path."""
    listed = _git(str(root), "ls-files", "-z", "--cached") or ""
    for path in sorted(p for p in listed.split("\0") if p):
        wanted = (include is None or include(path)) and not (exclude is not None and exclude(path))
        file = root / path
        if wanted and file.is_file() and file.stat().st_size <= MAX_CODE_FILE:
            yield path


def _git(folder: str, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", folder, "-c", "core.fsmonitor=false", *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):  # no git, or a repository that hangs: the run matters more
        return None
    return done.stdout if done.returncode == 0 else None
