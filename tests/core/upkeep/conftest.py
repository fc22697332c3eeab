"""Repositories on a clock of the test's, in every world."""

from __future__ import annotations

import pytest

from headwater.backends.files import FileStore
from headwater.connect import open_store
from tests.contracts.catalog_world import Clock
from tests.stateful.clocked import clocked, clocked_again


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=["memory", *(pytest.param(world, marks=pytest.mark.slow) for world in ("folder", "team"))])
def repo(request, clock, tmp_path, monkeypatch):
    """In memory; SQLite and packs in files; PostgreSQL and an S3 bucket."""
    with open_world(request.param, clock, tmp_path, monkeypatch) as repository:
        yield repository


def open_world(world, clock, tmp_path, monkeypatch):
    if world == "memory":
        return clocked(clock)
    if world == "folder":
        (tmp_path / "packs").mkdir()
        return clocked(clock, f"sqlite:///{tmp_path}/catalog.sqlite", FileStore(tmp_path / "packs"))
    from tests.servers.team import new_repository, place

    root = place()
    return clocked_again(clock, new_repository(monkeypatch, root), open_store(root))
