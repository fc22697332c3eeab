"""What went into the store between two moments: the demo counts it there, whoever wrote it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from headwater.model.keys import PACKS

if TYPE_CHECKING:
    from headwater.repository import Repository


class Sent(NamedTuple):
    """What was stored."""

    files: int
    """Blobs of users' bytes: whole small files, or chunks of large ones."""
    manifest: int
    """Blobs of our own: pages, roots, chunk lists."""
    puts: int
    """Objects written, each a pack."""
    size: int
    """Bytes of those objects, compressed."""


class Ledger:
    """Remembers which packs were there when it last looked."""

    def __init__(self, repository: Repository) -> None:
        self._home = repository.home
        self._known: set[str] = set()

    def sent(self) -> Sent:
        """What was stored since the last call, or ever."""
        new = {info.key: info.size for info in self._home.objects.list(PACKS) if info.key not in self._known}
        self._known |= new.keys()
        packs = self._home.catalog.packs
        kinds = [row.kind for pack, key, _, _ in packs.packs() if key in new for row in packs.rows(pack)]
        data = kinds.count("data")
        return Sent(data, len(kinds) - data, len(new), sum(new.values()))
