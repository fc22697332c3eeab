"""One Prefect server for all fast tests, and a repository of its own for each."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Prefect reads these when it is imported.
os.environ.update(
    PREFECT_HOME=tempfile.mkdtemp(prefix="prefect-home-"),
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    DO_NOT_TRACK="1",
    PREFECT_LOGGING_LEVEL="WARNING",
)

import pytest
from prefect import settings as prefect_settings
from prefect.testing.utilities import prefect_test_harness

import headwater as hw
from prefect_headwater import settings
from tests.integrations.prefect.world import World, started


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In parallel, tests that need the real processes go to one worker, so that they are started once."""
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            if Path(__file__).parent in item.path.parents:
                for shared in {"world", "workers"} & {*getattr(item, "fixturenames", ())}:
                    item.add_marker(pytest.mark.xdist_group(shared))


@pytest.fixture(scope="session")
def harness() -> Iterator[None]:
    """An ephemeral server; without heartbeats, for whose thread every sync flow would wait a second (3.4 has none)."""
    heartbeats = getattr(prefect_settings, "PREFECT_FLOWS_HEARTBEAT_FREQUENCY", None)
    with (
        prefect_test_harness(server_startup_timeout=90),
        prefect_settings.temporary_settings({heartbeats: None} if heartbeats else {}),
    ):
        yield


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server and workers in processes of their own, for all tests that need real ones."""
    with started(tmp_path_factory.mktemp("world")) as made:
        yield made


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[hw.Repository]:
    """The default repository of this process and of the processes it starts."""
    monkeypatch.setenv("HEADWATER_URL", str(tmp_path / "repository"))
    monkeypatch.setenv("HEADWATER_PROJECT", "vision")
    settings.forget()
    with hw.connect() as repository:
        yield repository
    settings.forget()
