"""mypy and pyright both reveal the promised types, and both refuse the wrong uses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORMS = [Path("tests/typing/forms.py"), Path("tests/typing/prefect_forms.py")]
WRONG = [Path("tests/typing/wrong_uses.py"), Path("tests/typing/prefect_wrong_uses.py")]

Found = tuple[dict[int, str], dict[int, list[str]]]
"""Line → revealed type; line → errors."""


def by_mypy(path: Path) -> Found:
    command = [
        "-m",
        "mypy",
        "--strict",
        "--no-error-summary",
        "--hide-error-context",
        "--cache-dir",
        ".cache/mypy",
        str(path),
    ]
    output = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=300).stdout
    revealed: dict[int, str] = {}
    errors: dict[int, list[str]] = {}
    for line in output.splitlines():
        match = re.match(rf"{re.escape(str(path))}:(\d+)(?::\d+)?: (error|note): (.*)", line)
        if match is None:
            continue
        number, kind, text = int(match[1]), match[2], match[3]
        shown = re.match(r'Revealed type is "(.*)"', text)
        if shown:
            revealed[number] = re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", shown[1])
        elif kind == "error":
            errors.setdefault(number, []).append(text)
    return revealed, errors


def by_pyright(path: Path) -> Found:
    command = ["-m", "pyright", "--outputjson", "--pythonpath", sys.executable, str(path)]
    output = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=300).stdout
    revealed: dict[int, str] = {}
    errors: dict[int, list[str]] = {}
    for found in json.loads(output)["generalDiagnostics"]:
        number = found["range"]["start"]["line"] + 1
        shown = re.match(r'Type of ".*" is "(.*)"', found["message"], re.DOTALL)
        if shown:
            revealed[number] = shown[1]
        elif found["severity"] == "error":
            errors.setdefault(number, []).append(found["message"])
    return revealed, errors


def marked(path: Path, pattern: str) -> dict[int, str]:
    lines = enumerate((ROOT / path).read_text().splitlines(), 1)
    return {number: match[1] for number, line in lines if (match := re.search(pattern, line))}


@pytest.mark.slow
@pytest.mark.parametrize("forms", FORMS, ids=lambda path: path.stem)
@pytest.mark.parametrize("check", [by_mypy, by_pyright])
def test_every_form_has_the_promised_type(check: Callable[[Path], Found], forms: Path) -> None:
    revealed, errors = check(forms)
    assert not errors
    assert revealed == marked(forms, r"reveal_type\(.*\)  # (.+)$")


@pytest.mark.slow
@pytest.mark.parametrize("wrong", WRONG, ids=lambda path: path.stem)
@pytest.mark.parametrize("check", [by_mypy, by_pyright])
def test_every_wrong_use_is_an_error_and_nothing_else_is(check: Callable[[Path], Found], wrong: Path) -> None:
    _, errors = check(wrong)
    assert sorted(errors) == sorted(marked(wrong, r"# (wrong)$")), errors
