"""A repository whose clocks, the catalog's and the store's, are the test's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from headwater import settings
from headwater.backends.memory import MemoryStore
from headwater.catalog.sql import create, open_catalog
from headwater.connect import _assemble
from headwater.ports import Catalog, ObjectInfo, ObjectStore
from headwater.repository import Repository
from tests.contracts.catalog_world import Clock


class Dated:
    """A real store, but what was written in this process was written at the time of the test's clock."""

    def __init__(self, inner: ObjectStore, now: Callable[[], datetime]) -> None:
        self._inner, self._now = inner, now
        self._at: dict[str, datetime] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def put(self, key: str, data: Any) -> None:
        """As the store's."""
        self._inner.put(key, data)
        self._at[key] = self._now()

    def swap_marker(self, key: str, data: bytes, expect: str | None) -> str:
        """As the store's."""
        token = self._inner.swap_marker(key, data, expect)
        self._at[key] = self._now()
        return token

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """As the store's, at other times."""
        for info in self._inner.list(prefix):
            yield info._replace(modified_at=self._at.get(info.key, info.modified_at))


def clocked(clock: Clock, catalog_url: str = "sqlite://", objects: ObjectStore | None = None) -> Repository:
    """An empty repository on this clock."""
    return _on(clock, create(catalog_url, clock=clock), objects)


def clocked_again(clock: Clock, catalog_url: str, objects: ObjectStore) -> Repository:
    """A repository that is there already, on this clock."""
    return _on(clock, open_catalog(catalog_url, clock=clock), objects)


def _on(clock: Clock, catalog: Catalog, objects: ObjectStore | None) -> Repository:
    def store_time() -> datetime:
        return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=clock.now)

    store: Any = MemoryStore(store_time) if objects is None else Dated(objects, store_time)
    return _assemble("memory://", catalog, store, "p", settings.current().cache)


def pack_keys(repo: Repository) -> set[str]:
    """Keys of the packs that are in the store."""
    return {info.key for info in repo.home.objects.list("packs/")}


def states(repo: Repository) -> dict[str, str]:
    """State of every pack, by id."""
    return {pack_id: state for pack_id, _, state, _ in repo.home.catalog.packs.packs()}
