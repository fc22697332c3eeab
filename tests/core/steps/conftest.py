"""One repository in a folder that steps find by themselves, as in a user's process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import headwater as hw


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[hw.Repository]:
    """The default repository of this process and of the processes it starts."""
    monkeypatch.setenv("HEADWATER_URL", str(tmp_path / "repository"))
    monkeypatch.setenv("HEADWATER_PROJECT", "vision")
    with hw.connect() as repository:
        yield repository
