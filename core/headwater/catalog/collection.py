"""What the collector says to the catalog: condemn, look again, delete, forget; and pages repointed by compaction.

Every statement that takes something away runs in `Database.collect`, which no
writer's transaction overlaps: on PostgreSQL a foreign key and a state check are
not enough, in either order (design, section 7; tests/core/catalog/test_races.py).
Batches are short, because writers wait for them.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from headwater.catalog.rows import SECOND
from headwater.errors import ConflictError, NotFoundError
from headwater.model.keys import parse_pack_key

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from headwater.catalog.engine import Database, Row, Tx

BATCH = 200
"""Packs that one exclusive transaction looks at."""
TURN_SECONDS = 0.05
"""After so long, an exclusive transaction of many small changes begins none any more: writers wait for it."""

_HELD = "EXISTS (SELECT 1 FROM holds h JOIN leases l ON l.id = h.lease WHERE h.pack = p.id AND l.until >= :now)"
READ = (
    "EXISTS (SELECT 1 FROM uses u JOIN runs r ON r.id = u.run WHERE u.version = v.id AND r.state = 'running'"
    " AND r.lease_until >= :now)"
)
ALIVE = f"EXISTS (SELECT 1 FROM versions v WHERE v.root = m.root AND (v.state IN ('published', 'draft') OR {READ}))"
"""The manifest row `m` belongs to a version that stands, or that a running run reads."""
_REFERENCED = f"EXISTS (SELECT 1 FROM proofs f JOIN manifest m ON m.page = f.name WHERE f.pack = p.id AND {ALIVE})"
_GARBAGE = f"NOT {_HELD} AND NOT {_REFERENCED}"


class Collector:
    """`ports.CollectorCatalog` in SQL."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def condemn(self, *, min_age_seconds: float = 86_400, dry_run: bool = False) -> Iterator[tuple[str, int]]:
        wanted = (
            "SELECT p.id, p.uid, p.size, p.state FROM packs p WHERE p.id > :after AND p.id <= :upto"
            f" AND p.state IN ('live', 'uploading') AND p.created_at <= :before AND {_GARBAGE} ORDER BY p.id"
        )
        for after, upto in self._windows():

            def work(tx: Tx, after: int = after, upto: int = upto) -> Sequence[Row]:
                before = tx.now - int(min_age_seconds * SECOND)
                rows = tx.rows(wanted, after=after, upto=upto, before=before, now=tx.now)
                for row in rows if not dry_run else ():
                    _move(tx, row.id, "condemned")
                    if row.state == "uploading":  # never whole as far as anybody knows: nothing of it may be revived
                        tx.run("DELETE FROM blobs WHERE pack = :pack", pack=row.id)
                return rows

            found = self._db.read(work) if dry_run else self._db.collect(work)
            yield from ((row.uid, row.size) for row in found)

    def recheck(
        self, *, grace_seconds: float = 86_400, condemned_before: int | None = None
    ) -> Iterator[tuple[str, str, int]]:
        for after, upto in self._windows():

            def work(tx: Tx, after: int = after, upto: int = upto) -> Sequence[Row]:
                scope = "p.state = 'condemned' AND p.id > :after AND p.id <= :upto"
                for row in tx.rows(f"SELECT p.id FROM packs p WHERE {scope} AND NOT ({_GARBAGE})",
                                   after=after, upto=upto, now=tx.now):  # fmt: skip
                    _move(tx, row.id, "live")
                before = tx.now - int(grace_seconds * SECOND)
                before = before if condemned_before is None else min(before, condemned_before)
                rows = tx.rows(
                    f"SELECT p.id, p.uid, p.key, p.size FROM packs p WHERE {scope} AND p.changed_at <= :before"
                    " ORDER BY p.id",
                    after=after, upto=upto, before=before,
                )  # fmt: skip
                for row in rows:
                    _move(tx, row.id, "deleting")
                return rows

            yield from ((row.uid, row.key, row.size) for row in self._db.collect(work))

    def deleting(self) -> list[tuple[str, str]]:
        return self._db.read(
            lambda tx: [(row.uid, row.key) for row in tx.rows("SELECT uid, key FROM packs WHERE state = 'deleting'")]
        )

    def gone(self, pack_ids: Collection[str]) -> None:
        self._in_turns([partial(_gone, uid=uid) for uid in sorted(pack_ids)])

    def bury(self, keys: Collection[str]) -> list[str]:
        def work(tx: Tx) -> list[str]:
            buried = []
            for key in sorted(keys):
                uid = parse_pack_key(key)
                if uid is not None and tx.value(
                    "INSERT INTO packs (uid, key, state, created_at, changed_at)"
                    " VALUES (:uid, :key, 'gone', :now, :now) ON CONFLICT DO NOTHING RETURNING id",
                    uid=uid, key=key, now=tx.now,
                ) is not None:  # fmt: skip
                    buried.append(key)
            return buried

        return self._db.collect(work)

    def pages_in(self, pack_id: str) -> list[bytes]:
        return self._db.read(lambda tx: [bytes(row[0]) for row in tx.rows(
            "SELECT DISTINCT f.name FROM proofs f JOIN packs p ON p.id = f.pack"
            " JOIN manifest m ON m.page = f.name"
            f" WHERE p.uid = :uid AND {ALIVE} ORDER BY f.name", uid=pack_id, now=tx.now,
        )])  # fmt: skip

    def repoint(self, moves: Sequence[tuple[str, Collection[str], Collection[bytes]]]) -> None:
        self._in_turns([partial(_repoint, old=old, new=new, pages=pages) for old, new, pages in moves])

    def forget(self) -> int:
        leases = self._db.collect(_drop_leases)
        roots = self._db.read(lambda tx: tx.rows(
            f"SELECT DISTINCT m.root FROM manifest m WHERE NOT {ALIVE} LIMIT 10000", now=tx.now))  # fmt: skip
        for start in range(0, len(roots), BATCH):
            batch = [row[0] for row in roots[start : start + BATCH]]
            leases += self._db.collect(lambda tx, batch=batch: sum(  # type: ignore[misc]
                tx.run(f"DELETE FROM manifest WHERE root = :root AND NOT"
                       f" {ALIVE.replace('m.root', 'manifest.root')}", root=root, now=tx.now)
                for root in batch
            ))  # fmt: skip
        return leases

    def _in_turns(self, works: Sequence[Callable[[Tx], None]]) -> None:
        """Do many small things alone: as many in one turn as it may last, for where many write, turns are rare."""

        def work(tx: Tx) -> int:
            done, end = 0, time.monotonic() + TURN_SECONDS
            for one in works[start:]:
                one(tx)
                done += 1
                if time.monotonic() > end:
                    break
            return done

        start = 0
        while start < len(works):
            start += self._db.collect(work)

    def _windows(self) -> Iterator[tuple[int, int]]:
        """Ranges of pack keys, `BATCH` packs each, up to the newest there is now."""
        after = 0
        while True:
            upto = self._db.read(lambda tx, after=after: tx.value(  # type: ignore[misc]
                "SELECT max(id) FROM (SELECT id FROM packs WHERE id > :after ORDER BY id LIMIT :batch) AS batch",
                after=after, batch=BATCH,
            ))  # fmt: skip
            if upto is None:
                return
            yield after, upto
            after = upto


def _move(tx: Tx, pack: int, state: str) -> None:
    tx.run("UPDATE packs SET state = :state, changed_at = :now WHERE id = :id", state=state, now=tx.now, id=pack)


def _repoint(tx: Tx, old: str, new: Collection[str], pages: Collection[bytes]) -> None:
    source = tx.value("SELECT id FROM packs WHERE uid = :uid", uid=old)
    if source is None:
        raise NotFoundError(what=f"there is no pack {old}")
    targets = [_target(tx, uid) for uid in sorted(new)]
    proved = "SELECT name FROM proofs WHERE pack = :old AND {having}"
    names = [row[0] for row in tx.rows_having(proved, "name", sorted(pages), old=source)]
    tx.run_many(
        "INSERT INTO proofs (name, pack) VALUES (:name, :pack) ON CONFLICT DO NOTHING",
        [{"name": name, "pack": pack} for name in names for pack in targets],
    )
    tx.run_many("DELETE FROM proofs WHERE name = :name AND pack = :pack",
                [{"name": name, "pack": source} for name in names])  # fmt: skip


def _target(tx: Tx, uid: str) -> int:
    pack: int | None = tx.value("SELECT id FROM packs WHERE uid = :uid AND state = 'live'", uid=uid)
    if pack is None:
        raise ConflictError(what=f"pack {uid} is not live, no page can point at it", lost_packs=[uid])
    return pack


def _gone(tx: Tx, uid: str) -> None:
    """The object is deleted: forget what lay in it. Only a pack that was `deleting` goes."""
    pack = tx.value("SELECT id FROM packs WHERE uid = :uid AND state = 'deleting'", uid=uid)
    if pack is None:
        return
    _move(tx, pack, "gone")
    tx.run("DELETE FROM blobs WHERE pack = :pack", pack=pack)
    # A page that needed this pack is proved by nothing any more, whatever other packs it names. But one that still
    # stands (something of it was purged) keeps its other packs, and this one, so that nobody takes it for whole.
    tx.run(
        "DELETE FROM proofs WHERE name IN (SELECT f.name FROM proofs f WHERE f.pack = :pack AND NOT EXISTS"
        f" (SELECT 1 FROM manifest m WHERE m.page = f.name AND {ALIVE}))", pack=pack, now=tx.now,
    )  # fmt: skip
    tx.run("DELETE FROM holds WHERE pack = :pack", pack=pack)


def _drop_leases(tx: Tx) -> int:
    tx.run("DELETE FROM holds WHERE lease IN (SELECT id FROM leases WHERE until < :now)", now=tx.now)
    return tx.run("DELETE FROM leases WHERE until < :now", now=tx.now)
