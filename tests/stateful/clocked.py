"""A repository whose clocks, the catalog's and the store's, are the test's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from headwater import settings
from headwater.backends.memory import MemoryStore
from headwater.catalog.sql import create
from headwater.connect import _assemble
from headwater.repository import Repository
from tests.contracts.catalog_world import Clock


def clocked(clock: Clock, catalog_url: str = "sqlite://", objects: MemoryStore | None = None) -> Repository:
    """An empty repository on this clock."""

    def store_time() -> datetime:
        return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=clock.now)

    catalog = create(catalog_url, clock=clock)
    return _assemble("memory://", catalog, objects or MemoryStore(store_time), "p", settings.current().cache)


def pack_keys(repo: Repository) -> set[str]:
    """Keys of the packs that are in the store."""
    return {info.key for info in repo.home.objects.list("packs/")}


def states(repo: Repository) -> dict[str, str]:
    """State of every pack, by id."""
    return {pack_id: state for pack_id, _, state, _ in repo.home.catalog.packs.packs()}
