"""Planning a collection over 1,000,000 blobs in 10,000 packs on SQLite: what goes, what is sparse, in what memory."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import child
from benchmarks.figures import Figure, at_most

TITLE = "Planning a collection over 1,000,000 blobs in 10,000 packs"
PACKS, PER_PACK, SIZE = 10_000, 100, 20_000
DEAD, SPARSE = 20, 10
"""One pack in 20 is needed by nobody, and one in 10 only to a third."""


def blob(number: int) -> bytes:
    """A made-up digest: planning never reads users' bytes."""
    from headwater.model.digest import Digest

    return bytes(Digest.of(number.to_bytes(8, "big")))


def needed(pack: int, at: int) -> bool:
    """Whether the version holds this blob of this pack."""
    return pack % DEAD != 1 and (pack % SPARSE != 0 or at % 3 == 0)


def fill(home: str, packs: int) -> dict[str, Any]:
    """Packs and blobs past the verbs (their bytes are not there), then one version over them by the verbs."""
    import sqlalchemy as sa

    import headwater as hw
    from headwater.catalog import tables
    from headwater.model.keys import format_ulid, pack_key

    repository = hw.connect(home, project="bench")
    uids = [format_ulid(1_600_000_000_000 + n, n.to_bytes(10, "big")) for n in range(packs)]
    old = 1_600_000_000_000_000
    engine = sa.create_engine(f"sqlite:///{home}/catalog.sqlite")
    with engine.begin() as connection:
        connection.execute(tables.packs.insert(), [
            {"id": n + 1, "uid": uid, "key": pack_key(uid), "state": "live", "size": PER_PACK * SIZE,
             "created_at": old, "changed_at": old}
            for n, uid in enumerate(uids)
        ])  # fmt: skip
        for start in range(0, packs, 500):
            connection.execute(tables.blobs.insert(), [
                {"name": blob(n * PER_PACK + at), "pack": n + 1, "offset_": at * SIZE, "stored": SIZE, "raw": SIZE,
                 "compression": 0, "kind": "data"}
                for n in range(start, min(packs, start + 500)) for at in range(PER_PACK)
            ])  # fmt: skip
    commit(repository.home, uids)
    with engine.connect() as connection:
        connection.exec_driver_sql("ANALYZE")
        connection.commit()
    return {}


def commit(home: Any, uids: list[str]) -> None:
    """A version of everything needed: real pages and a root, in a pack of their own."""
    from headwater.model.manifest import Root, build_pages
    from headwater.model.records import PageUse, Publication
    from headwater.store.packs import PackWriter
    from headwater.store.ulids import new_ulid

    pack, pages, use = PackWriter(new_ulid()), [], []
    for page, data in build_pages(entries(len(uids))):
        pack.add(page.name, data, "page")
        first, last = int(page.first[:6]), int(page.last[:6])
        pages.append(page)
        use.append(
            PageUse(
                name=bytes(page.name),
                packs=frozenset([pack.pack_id, *(uids[n] for n in range(first, last + 1) if n % DEAD != 1)]),
            )
        )
    root = Root(tuple(pages))
    pack.add(root.digest, root.encode(), "root")
    raw, sealed = pack.finish()
    lease = home.catalog.packs.open_lease("bench")
    (key,) = home.catalog.packs.reserve([pack.pack_id], lease)
    home.objects.put(key, raw)
    home.catalog.versions.commit(Publication(
        version_id=new_ulid(), project="bench", artifact="rows", type="dataset", root=bytes(root.digest),
        root_packs=frozenset([pack.pack_id]), pages=tuple(use), seals=(sealed,), lease=lease,
        n_entries=root.n_entries, stored_size=root.stored_size, referenced_size=0, actor="bench",
    ))  # fmt: skip
    home.catalog.packs.close_lease(lease)


def entries(packs: int) -> Iterator[Any]:
    """The needed blobs as files, in path order."""
    from headwater.model.digest import Digest
    from headwater.model.manifest import StoredEntry

    for pack in range(packs):
        for at in range(PER_PACK):
            if needed(pack, at):
                yield StoredEntry(f"{pack:06}/{at:03}.bin", SIZE, Digest(blob(pack * PER_PACK + at)))


def plan(home: str) -> dict[str, Any]:
    """What `gc --dry-run` does."""
    import headwater as hw
    from headwater.upkeep.collection import preview

    repository = hw.connect(home, project="bench")
    idle = child.peak_mib()
    clock = child.Clock()
    with clock("plan"):
        found = preview(repository.home)
    return {
        **clock.seconds, "condemned": found.condemned.packs, "sparse": found.compacted.packs,
        "own_mib": child.peak_mib() - idle,
    }  # fmt: skip


def measure(work: Path, *, peers: bool) -> list[Figure]:
    """All figures of this file; no peer plans anything."""
    del peers
    found = {}
    for packs in (PACKS // 10, PACKS):
        home = work / f"home-collection-{packs}"
        shutil.rmtree(home, ignore_errors=True)
        child.run(fill, home=str(home), packs=packs)
        found[packs] = child.run(plan, home=str(home))
    small, large = found[PACKS // 10], found[PACKS]
    note = f"{large['condemned']:,} packs to condemn, {large['sparse']:,} to compact"
    return [
        at_most("plan the pass", large["plan"], 10, "s", note),
        Figure(what="the same for a tenth", value=small["plan"], unit="s"),
        at_most("memory it takes", large["own_mib"], 200, "MiB", "8 bytes per blob and a few pages at a time"),
        Figure(what="the same for a tenth", value=small["own_mib"], unit="MiB"),
    ]
