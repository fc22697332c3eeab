"""A small repository for tests of the journeys: real catalog, real stores, every call counted."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.artifact import Artifact
from headwater.backends.memory import MemoryStore
from headwater.catalog.sql import create
from headwater.model.chunker import MIN_FILE, chunk_list_name, decode_chunks
from headwater.model.entries import Entry
from headwater.model.records import Publication
from headwater.store.blobs import BlobStore
from headwater.store.statcache import StatCache
from headwater.store.ulids import new_ulid
from headwater.upload import Uploaded, upload
from tests.faults import Fault, Faulty


@dataclass
class World:
    """What an upload needs of an open repository."""

    catalog: Any
    blobs: BlobStore
    statcache: StatCache | None
    store: Faulty

    lease: str = ""

    def upload(self, artifact: Artifact, **options: Any) -> Uploaded:
        """The journey down alone."""
        self.lease = self.catalog.packs.open_lease("tests")
        return upload(artifact, self, self.lease, **options)

    def log(self, artifact: Artifact, **options: Any) -> Uploaded:
        """The journey down and the commit."""
        uploaded = self.upload(artifact, **options)
        self.catalog.versions.commit(publication(artifact, uploaded, self.lease))
        self.catalog.packs.close_lease(self.lease)
        return uploaded

    def entries(self, uploaded: Uploaded) -> list[Entry]:
        """The manifest that was logged, read back from the store."""
        root = self.blobs.read_root(uploaded.root)
        return [entry for page in root.pages for entry in self.blobs.read_page(page)]

    def content(self, uploaded: Uploaded) -> dict[str, bytes]:
        """Path → bytes of every stored entry, read back from the store."""
        return {e.path: self.bytes_of(e) for e in self.entries(uploaded) if hasattr(e, "digest")}

    def bytes_of(self, entry: Any) -> bytes:
        if entry.size < MIN_FILE:
            return self.blobs.read(entry.digest)
        chunks = decode_chunks(self.blobs.read(chunk_list_name(entry.digest)))
        found = dict(self.blobs.read_many([name for name, _ in chunks]))
        return b"".join(found[name] for name, _ in chunks)


def world(
    folder: Path, fault: Fault | None = None, *, store: Any = None, sample: float = 0.0, catalog: Any = None
) -> World:
    """An empty repository below `folder`; its stat cache checks no samples unless asked."""
    folder.mkdir(parents=True, exist_ok=True)
    catalog = catalog or create(f"sqlite:///{folder}/catalog.sqlite")
    faulty = Faulty(store or MemoryStore(), fault)
    cache = StatCache(folder / "stats.sqlite", sample=sample)
    return World(catalog, BlobStore(faulty, catalog.packs), cache, faulty)


def team_world(folder: Path, patch: Any) -> World:
    """The same with a catalog in PostgreSQL and packs in a bucket."""
    from headwater.backends.s3 import S3Store
    from headwater.catalog.sql import open_catalog
    from tests.servers import team

    place = team.place()
    return world(folder, store=S3Store(place), catalog=open_catalog(team.new_repository(patch, place)))


def publication(artifact: Artifact, uploaded: Uploaded, lease: str) -> Publication:
    return Publication(
        version_id=new_ulid(), project="tests", artifact=artifact.name, type=artifact.type or "dataset",
        root=bytes(uploaded.root), root_packs=uploaded.root_packs, pages=uploaded.pages,
        chunk_lists=uploaded.chunk_lists, seals=uploaded.seals, lease=lease, n_entries=uploaded.n_entries,
        stored_size=uploaded.stored_size, referenced_size=uploaded.referenced_size, actor="tests",
    )  # fmt: skip


def write(top: Path, files: dict[str, bytes]) -> Path:
    """Make files below `top`; a path that ends in `/` makes an empty directory."""
    for path, data in files.items():
        place = top / path
        if path.endswith("/"):
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
    return top


def later(cache: StatCache, seconds: float = 60) -> None:
    """Let the stat cache believe that time has passed: files become old, though their ctime cannot be set."""
    cache.clock = lambda: time.time_ns() + int(seconds * 1e9)
