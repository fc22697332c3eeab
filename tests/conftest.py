"""Fixtures for all tests: a private home for everything Headwater writes, and repositories in several worlds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
settings.load_profile("default")


@pytest.fixture(autouse=True)
def private_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """No test sees or touches the home of whoever runs it, nor what another test configured."""
    import headwater.settings as hw_settings

    for name in ("URL", "PROJECT", "TRACKING", "CACHE", "CACHE_QUOTA", "OBJECTS"):
        monkeypatch.delenv(f"HEADWATER_{name}", raising=False)
    home = tmp_path / "private-home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    monkeypatch.setenv("HEADWATER_ACTOR", "tester@here")
    configured, suggested = dict(hw_settings._configured), dict(hw_settings._suggested)
    yield home
    for now, before in (
        (hw_settings._configured, configured),
        (hw_settings._preferred, {}),
        (hw_settings._suggested, suggested),
    ):
        now.clear()
        now.update(before)


@pytest.fixture(params=["memory", "folder", pytest.param("team", marks=pytest.mark.slow)])
def repo(request, tmp_path, monkeypatch):
    """An empty repository in every world: in memory, in a folder, in PostgreSQL and an S3 bucket."""
    import headwater as hw

    if request.param == "team":
        from tests.servers.team import new_repository

        url = new_repository(monkeypatch)
    else:
        url = "memory://" if request.param == "memory" else str(tmp_path / "repository")
    with hw.connect(url, project="vision") as repository:
        yield repository


@pytest.fixture
def folder_repo(tmp_path):
    """An empty repository in a folder, for tests that look at its files or open it twice."""
    import headwater as hw

    with hw.connect(tmp_path / "repository", project="vision") as repository:
        yield repository


@pytest.fixture
def team_repo(monkeypatch):
    """An empty repository in PostgreSQL and an S3 bucket; for slow tests."""
    import headwater as hw
    from tests.servers.team import new_repository

    with hw.connect(new_repository(monkeypatch), project="vision") as repository:
        yield repository
