from __future__ import annotations

import pytest

from headwater.backends.memory import MemoryStore
from tests.contracts.object_store_contract import ObjectStoreContract


class _RawMemory:
    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def plant(self, key: str, data: bytes) -> None:
        with self._store._lock:
            self._store._write(key, data)

    def peek(self, key: str) -> bytes | None:
        found = self._store._objects.get(key)
        return None if found is None else found[0]


class TestMemoryStore(ObjectStoreContract):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()

    @pytest.fixture
    def raw(self, store: MemoryStore) -> _RawMemory:
        return _RawMemory(store)
