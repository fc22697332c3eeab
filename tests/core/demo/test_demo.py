"""The demo tells the truth: one changed picture sends one picture, a run with nothing changed sends nothing."""

from __future__ import annotations

import io
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import headwater as hw
from headwater.demo.pictures import correct, decode, encode

shades = st.binary(min_size=64, max_size=64).map(lambda raw: bytes(value % 17 for value in raw))


@given(shades)
def test_a_picture_reads_back_as_it_was_drawn(drawn: bytes) -> None:
    assert decode(encode(drawn)) == drawn


def test_a_picture_is_a_png_that_others_can_read(tmp_path: Path) -> None:
    picture = encode(bytes(range(16)) * 4)
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert picture.endswith(b"IEND\xaeB`\x82")


def test_correcting_a_picture_always_changes_it(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    for drawn in (bytes(64), bytes([16]) * 64):
        path.write_bytes(encode(drawn))
        correct(path)
        assert decode(path.read_bytes()) != drawn


@pytest.mark.slow
def test_the_demo_shows_what_it_promises(tmp_path: Path) -> None:
    from headwater.demo.tour import ARTIFACTS, show

    screen = io.StringIO()
    show(tmp_path / "out", Console(file=screen, width=80))
    told = screen.getvalue()
    repo = hw.connect(tmp_path / "out" / "repository", project="demo")
    numbers = {name: [version.version for version in repo.versions(name)] for name in ARTIFACTS}
    assert numbers == {name: ["v1", "v0"] if name != "testing" else ["v0"] for name in ARTIFACTS}
    changed = repo.version("digits:v0").diff("digits:v1")
    assert [new.path for _, new in changed.changed] == ["3/0003.png"]
    assert not (changed.added or changed.removed or changed.renamed)
    assert repo.version("scores").load()["accuracy"] > 0.9
    assert "Sent: 3 files" in told  # the picture, the model, the scores
    assert "nothing sent" in told
    assert all(len(line) <= 80 for line in told.splitlines())
    words = " ".join(ET.parse(tmp_path / "out" / "lineage.svg").getroot().itertext())
    assert "classifier" in words
    again = subprocess.run(  # its own folder: it may make it anew
        [sys.executable, "-c", "from headwater.cli import main; main()", "demo", str(tmp_path / "out")],
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert "Sent: 3 files" in again.stdout


def test_the_demo_never_takes_a_folder_that_is_not_its_own(tmp_path: Path) -> None:
    from headwater.demo.tour import show

    (tmp_path / "thesis.txt").write_text("three years of work")
    with pytest.raises(hw.ConflictError, match="not empty"):
        show(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "three years of work"
