"""Short ways to say what a catalog test says often. Needs nothing but the ports."""

from __future__ import annotations

import itertools
import os
import time
import uuid
from typing import Any

from headwater.model.digest import Digest
from headwater.model.keys import format_ulid
from headwater.model.naming import Name, parse_name
from headwater.model.records import BlobRow, PageUse, Publication, Published, RunOpening, RunRecord, SealedPack
from headwater.ports import Catalog, CollectorCatalog

_numbers = itertools.count()


class Clock:
    """A clock that a test sets; microseconds, as `open_catalog(clock=…)` wants it. Ticks by one at every look."""

    def __init__(self) -> None:
        self.now = 1_800_000_000_000_000

    def __call__(self) -> int:
        self.now += 1
        return self.now

    def forward(self, *, seconds: float = 0, hours: float = 0) -> None:
        """Move on, or back."""
        self.now += int((seconds + hours * 3600) * 1_000_000)


def ulid() -> str:
    """A new id of a version or pack."""
    return format_ulid(time.time_ns() // 1_000_000, os.urandom(10))


def digest(text: str) -> bytes:
    """A digest that stands for the content `text`."""
    return bytes(Digest.of(text.encode()))


def blob(name: bytes, offset: int = 0, kind: Any = "data") -> BlobRow:
    """A row of an index."""
    return BlobRow(name=name, offset=offset, stored=10, raw=20, compression=1, kind=kind)


class World:
    """One catalog, and the verbs of the tests."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.lease = catalog.packs.open_lease("tester")

    @property
    def collector(self) -> CollectorCatalog:
        """What clean-up asks of the catalog."""
        return self.catalog.collector  # type: ignore[attr-defined,no-any-return]

    def pack(self, *contents: str, live: bool = True, lease: str | None = None) -> str:
        """A pack with a blob for each content; sealed unless asked otherwise."""
        pack_id = ulid()
        self.catalog.packs.reserve([pack_id], lease or self.lease)
        if live:
            self.catalog.packs.seal([self.sealed(pack_id, *contents)], lease or self.lease)
        return pack_id

    def sealed(self, pack_id: str, *contents: str) -> SealedPack:
        """The index of a pack that holds these contents."""
        rows = tuple(blob(digest(text), 10 * n) for n, text in enumerate(contents))
        return SealedPack(pack_id=pack_id, size=10 * len(rows), rows=rows)

    def publication(self, name: str, content: str, **options: Any) -> Publication:
        """What logging `content` as `name` commits: a root and one page, in one new pack unless `pack` is given."""
        parsed = parse_name(name).within("p")
        pack = options.pop("pack", None) or self.pack(content, f"page of {content}")
        facts: dict[str, Any] = {
            "version_id": ulid(), "project": parsed.project, "artifact": parsed.artifact,
            "partition": parsed.partition, "type": "dataset", "root": digest(content),
            "root_packs": frozenset([pack]),
            "pages": (PageUse(name=digest(f"page of {content}"), packs=frozenset([pack])),),
            "lease": self.lease, "n_entries": 1, "stored_size": 20, "referenced_size": 0, "actor": "ann",
        }  # fmt: skip
        run = options.pop("run", None)
        if run is not None:
            facts |= {"run_id": run.id, "fence": run.fence}
        return Publication(**(facts | options))

    def commit(self, name: str, content: str, **options: Any) -> Published:
        """Log `content` as `name`."""
        return self.catalog.versions.commit(self.publication(name, content, **options))

    def opening(self, key: str | None = None, **options: Any) -> RunOpening:
        """What opening a run says."""
        key = key or f"key-{next(_numbers)}-{os.getpid()}"
        attempt = options.get("attempt")
        run_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{key}#{attempt}")) if attempt else str(uuid.uuid4())
        facts = {"id": run_id, "key": key, "project": "p", "name": "step", "actor": "ann", "host": "h", "pid": 1}
        return RunOpening(**(facts | options))

    def run(self, key: str | None = None, **options: Any) -> RunRecord:
        """Open a run."""
        return self.catalog.runs.open(self.opening(key, **options))

    def find(self, name: str, **options: Any) -> Any:
        """What a name means."""
        return self.catalog.versions.find(self.name(name), **options)

    def name(self, text: str) -> Name:
        """A name in the project of the tests."""
        return parse_name(text).within("p")

    def kinds(self, name: str) -> list[str]:
        """The kinds of events in an artifact's history."""
        return [event.kind for event in self.catalog.versions.history(self.name(name))]
