"""One repository that steps find by themselves, as in a user's process: in a folder, and a team's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import headwater as hw


@pytest.fixture(params=["folder", pytest.param("team", marks=pytest.mark.slow)])
def world(request: pytest.FixtureRequest) -> str:
    """Where the repository is."""
    return str(request.param)


@pytest.fixture
def repo(world: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[hw.Repository]:
    """The default repository of this process and of the processes it starts."""
    url = str(tmp_path / "repository")
    if world == "team":
        from tests.servers.team import new_repository

        url = new_repository(monkeypatch)
    monkeypatch.setenv("HEADWATER_URL", url)
    monkeypatch.setenv("HEADWATER_PROJECT", "vision")
    with hw.connect() as repository:
        yield repository
