"""What an open repository is made of; versions and runs hold one and reach the world through it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headwater.heartbeat import Leases
    from headwater.ports import Catalog, ObjectStore
    from headwater.store.blobs import BlobStore
    from headwater.store.cache import FileCache
    from headwater.store.statcache import StatCache


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Home:
    """The parts of one open repository. Safe between threads; a forked child makes its own connections."""

    url: str
    """What reaches it, without credentials."""
    catalog: Catalog
    objects: ObjectStore
    blobs: BlobStore
    leases: Leases
    folder: Path
    """This client's own state: stat cache, shared trees, records of placed files. Safe to delete when idle, but for
    `references.sqlite`: what references whose pins prove no bytes held at their first read."""
    project: str
    """Where names without a project live."""
    actor: str
    """Who is written into the history."""
    statcache: StatCache | None = None
    cache: FileCache | None = field(default=None)
    """For files of ours, where the packs are far away."""
    copies: FileCache | None = None
    """For copies of references; the same cache, for every repository."""

    @property
    def repository_id(self) -> str:
        """Which repository this is, wherever it was opened from."""
        return self.catalog.repository_id
