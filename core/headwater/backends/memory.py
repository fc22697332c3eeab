"""An object store in this process's memory: for tests, demos and throw-away repositories."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from headwater.errors import ConflictError, FormatError, NotFoundError
from headwater.ports import ObjectInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Buffer


class MemoryStore:
    """A dict behind a lock. Nothing outlives the process; a fork gets its own copy.

    Args:
        clock: What time it is, instead of this machine's clock; for tests.
    """

    def __init__(self, clock: Callable[[], datetime] | None = None) -> None:
        self._clock = clock or (lambda: datetime.now(UTC))
        self._objects: dict[str, tuple[bytes, datetime, int]] = {}
        self._writes = 0
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Always `memory://`."""
        return "memory://"

    def put(self, key: str, data: Buffer) -> None:
        """See `ports.ObjectStore.put`."""
        with self._lock:
            self._write(key, bytes(data))

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """See `ports.ObjectStore.get`."""
        found = self._objects.get(key)
        if found is None:
            raise NotFoundError(what=f"there is no object {key!r}", where=self.url)
        data = found[0]
        end = len(data) if length is None else start + length
        if start > len(data) or end > len(data):
            raise FormatError(what=f"{key!r} has {len(data)} bytes, asked for {start} to {end}", where=self.url)
        return data[start:end]

    def delete(self, key: str) -> None:
        """See `ports.ObjectStore.delete`."""
        with self._lock:
            self._objects.pop(key, None)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See `ports.ObjectStore.list`."""
        with self._lock:
            found = [(key, len(data), at) for key, (data, at, _) in self._objects.items() if key.startswith(prefix)]
        return (ObjectInfo(*each) for each in sorted(found))

    def read_marker(self, key: str) -> tuple[bytes, str] | None:
        """See `ports.ObjectStore.read_marker`."""
        found = self._objects.get(key)
        return None if found is None else (found[0], str(found[2]))

    def swap_marker(self, key: str, data: bytes, expect: str | None) -> str:
        """See `ports.ObjectStore.swap_marker`."""
        with self._lock:
            found = self._objects.get(key)
            if (None if found is None else str(found[2])) != expect:
                raise ConflictError(what=f"somebody else wrote {key!r}", where=self.url, fix="read it again")
            return str(self._write(key, bytes(data)))

    def _write(self, key: str, data: bytes) -> int:
        self._writes += 1
        self._objects[key] = (data, self._clock(), self._writes)
        return self._writes
