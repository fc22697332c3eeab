"""Sending blobs: only those the store does not have, in packs, in the order they come."""

from __future__ import annotations

import mmap
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from headwater.errors import StorageError
from headwater.model.records import BlobKind, SealedPack
from headwater.ports import ObjectStore, PackCatalog
from headwater.store.packs import PackWriter, Prepared, new_buffer, prepare
from headwater.store.ulids import new_ulid

if TYPE_CHECKING:
    from typing_extensions import Buffer

IN_FLIGHT: Final = 2
"""Packs being PUT while the next one fills."""
ONE_PACK: Final = 8 << 20
"""A commit of at most this many bytes is one pack, manifest and all: one PUT."""
ATTEMPTS: Final = 5
_FIRST_PAUSE: Final = 0.1
_LOOKUPS: Final = 4_096

_jitter = random.SystemRandom()


class Task(Protocol):
    """Work under way in somebody's pool."""

    def result(self) -> object:
        """Wait for its end; raise what it raised."""

    def done(self) -> bool:
        """Whether it has ended."""


class _Metadata(NamedTuple):
    """A page, root or chunk list that waits for its pack."""

    name: bytes
    raw: bytes
    kind: BlobKind
    use: set[str]
    """Learns the pack's id."""


class BlobWriter:
    """Puts blobs into packs and packs into the store, for one commit. Not thread-safe: PUTs run elsewhere.

    Args:
        objects: Where packs go.
        packs: Where they are recorded; asked from the caller's thread only.
        lease: What holds everything relied on.
        start: Starts a PUT, in the caller's pool.
    """

    def __init__(
        self, objects: ObjectStore, packs: PackCatalog, lease: str, start: Callable[[Callable[[], None]], Task]
    ) -> None:
        self._objects, self._packs, self._lease, self._start = objects, packs, lease, start
        self._data: PackWriter | None = None
        self._manifest: PackWriter | None = None
        self._waiting: dict[bytes, _Metadata] = {}
        self._waiting_size = 0
        self._flying: deque[tuple[Task, SealedPack]] = deque()
        self._buffers: dict[str, mmap.mmap] = {}
        self._spare: list[mmap.mmap] = []
        """Buffers of packs that are stored."""
        self._own: dict[bytes, str] = {}
        """Blob → pack, for packs that are not sealed yet, so that the catalog does not know them."""
        self.sent_bytes = 0
        """Bytes of all packs that were PUT."""
        self.sent_blobs = 0
        self.n_puts = 0

    def held(self, names: Iterable[bytes]) -> dict[bytes, str]:
        """Name → pack of those blobs that the store has or will have from this writer; held from now on."""
        found: dict[bytes, str] = {}
        ask: list[bytes] = []
        for name in names:
            own = self._own.get(name)
            if own is None:
                ask.append(name)
            else:
                found[name] = own
        for at in range(0, len(ask), _LOOKUPS):
            found.update(self._packs.hold_blobs(ask[at : at + _LOOKUPS], self._lease))
        return found

    def place(self, blobs: Mapping[bytes, Prepared | memoryview]) -> dict[bytes, str]:
        """See that the store gets these blobs; name → the pack each is in.

        Raises:
            StorageError, AccessError: A pack could not be PUT, this one or an earlier one.
        """
        found = self.held(blobs)
        for name, blob in blobs.items():
            if name not in found:
                found[name] = self._add(name, blob)
        return found

    def _add(self, name: bytes, blob: Prepared | memoryview) -> str:
        pack = self._data = self._data or self._new_pack()
        pack.add_prepared(name, prepare(blob) if isinstance(blob, memoryview) else blob)
        self._own[name] = pack.pack_id
        self.sent_blobs += 1
        if pack.full:
            self._data = None
            self._ship(pack)
        return pack.pack_id

    def _new_pack(self) -> PackWriter:
        buffer = self._spare.pop() if self._spare else new_buffer()
        pack = PackWriter(new_ulid(), buffer)
        self._buffers[pack.pack_id] = buffer
        return pack

    def add_manifest(self, name: bytes, raw: bytes, kind: BlobKind, use: set[str]) -> None:
        """Send a page, root or chunk list; `use` learns its pack's id by `finish` at the latest."""
        waiting = self._waiting.get(name)
        if waiting is not None:
            self._waiting[name] = waiting._replace(use=use)
            return
        self._waiting[name] = _Metadata(bytes(name), raw, kind, use)
        self._waiting_size += len(raw)
        if self._waiting_size > ONE_PACK:
            self._manifest = self._pack_waiting(self._manifest)

    def _pack_waiting(self, pack: PackWriter | None) -> PackWriter | None:
        for blob in self._waiting.values():
            pack = pack or self._new_pack()
            pack.add(blob.name, blob.raw, blob.kind)
            blob.use.add(pack.pack_id)
            self.sent_blobs += 1
            if pack.full:
                self._ship(pack)
                pack = None
        self._waiting, self._waiting_size = {}, 0
        return pack

    def finish(self) -> tuple[SealedPack, ...]:
        """PUT what is left; return the packs that are durable now and wait to be sealed by the commit."""
        data = self._data
        if self._manifest is None and (data is None or data.size + self._waiting_size <= ONE_PACK):
            data = self._pack_waiting(data)
        else:
            self._manifest = self._pack_waiting(self._manifest)
        for pack in (data, self._manifest):
            if pack is not None:
                self._ship(pack)
        self._data = self._manifest = None
        landed = tuple(self._land(len(self._flying)))
        self._spare.clear()
        return landed

    # -- packs on their way ------------------------------------------------------
    def _ship(self, pack: PackWriter) -> None:
        self._seal(self._land(max(0, len(self._flying) - IN_FLIGHT + 1)))
        raw, sealed = pack.finish()
        (key,) = self._packs.reserve([pack.pack_id], self._lease)
        self._flying.append((self._start(lambda: _put(self._objects, key, raw)), sealed))
        self.sent_bytes += sealed.size
        self.n_puts += 1

    def _land(self, at_least: int) -> list[SealedPack]:
        """Wait for the first `at_least` PUTs; return the packs that are durable, in order."""
        landed: list[SealedPack] = []
        while self._flying and (len(landed) < at_least or self._flying[0][0].done()):
            task, sealed = self._flying.popleft()
            task.result()
            self._spare.append(self._buffers.pop(sealed.pack_id))
            landed.append(sealed)
        return landed

    def _seal(self, packs: list[SealedPack]) -> None:
        if packs:
            self._packs.seal(packs, self._lease)
            for pack in packs:
                for row in pack.rows:
                    self._own.pop(row.name, None)


def _put(objects: ObjectStore, key: str, raw: Buffer) -> None:
    """PUT with patience: a store that says that waiting may help is asked again, a few times.

    Pauses double from 0.1 s, each times a random half to whole, so that many writers do not return at once.
    """
    pause = _FIRST_PAUSE
    for attempt in range(1, ATTEMPTS + 1):
        try:
            objects.put(key, raw)
        except StorageError as error:
            if not error.retryable or attempt == ATTEMPTS:
                raise
            time.sleep(pause * (0.5 + _jitter.random() / 2))
            pause *= 2
        else:
            return
