"""What went into the store between two moments: the demo counts it there, whoever wrote it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from headwater.model.keys import PACKS

if TYPE_CHECKING:
    from headwater.repository import Repository


class Sent(NamedTuple):
    """What was stored, sizes as they lie in the store."""

    files: int
    """Blobs of users' bytes: whole small files, or chunks of large ones."""
    file_bytes: int
    manifest_bytes: int
    """Pages, roots and chunk lists."""
    puts: int
    """Objects written, each a pack."""


class Ledger:
    """Remembers which packs were there when it last looked."""

    def __init__(self, repository: Repository) -> None:
        self._home = repository.home
        self._known: set[str] = set()

    def sent(self) -> Sent:
        """What was stored since the last call, or ever."""
        new = {info.key for info in self._home.objects.list(PACKS)} - self._known
        self._known |= new
        packs = self._home.catalog.packs
        rows = [row for pack, key, _, _ in packs.packs() if key in new for row in packs.rows(pack)]
        files = [row.stored for row in rows if row.kind == "data"]
        return Sent(len(files), sum(files), sum(row.stored for row in rows if row.kind != "data"), len(new))
