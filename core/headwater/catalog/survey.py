"""What upkeep asks before it acts: what stands, what lies where, who is at work. Read only, in slices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from headwater.catalog.collection import ALIVE
from headwater.catalog.rows import SECOND
from headwater.ports.care import Holder, LivePack

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from headwater.catalog.engine import Database, Tx

SLICE = 2000
"""Rows that one look reads."""
BLOBS = 20_000
"""Rows of the index that one look reads: in the order they lie in, which is five times faster than pack by pack."""

_INDEX = text(
    "SELECT name, pack, stored FROM blobs WHERE (name, pack) > (:name, :pack) ORDER BY name, pack LIMIT :limit"
)

_PAGES_AFTER = f"SELECT DISTINCT m.page FROM manifest m WHERE m.page > :after AND {ALIVE}"


class Survey:
    """`ports.care.SurveyCatalog` in SQL."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def now(self) -> int:
        return self._db.read(lambda tx: tx.now)

    def n_blobs(self) -> int:
        return self._db.read(lambda tx: int(tx.value("SELECT count(*) FROM blobs") or 0))

    def standing(self) -> Iterator[bytes]:
        return self._pages(f"{_PAGES_AFTER} ORDER BY m.page LIMIT :limit")

    def broken_pages(self) -> Iterator[bytes]:
        # Packs that were condemned or deleted on purpose count too: a standing page must rest on live ones only.
        return self._pages(
            f"{_PAGES_AFTER} AND (NOT EXISTS (SELECT 1 FROM proofs f WHERE f.name = m.page) OR EXISTS (SELECT 1 FROM"
            " proofs f JOIN packs p ON p.id = f.pack WHERE f.name = m.page AND p.state NOT IN ('live', 'condemned')))"
            " ORDER BY m.page LIMIT :limit"
        )

    def _pages(self, query: str) -> Iterator[bytes]:
        after = b""
        while True:
            rows = self._db.read(lambda tx, after=after: tx.rows(query, after=after, limit=SLICE, now=tx.now))  # type: ignore[misc]
            for row in rows:
                yield bytes(row[0])
            if len(rows) < SLICE:
                return
            after = bytes(rows[-1][0])

    def live_packs(self, *, min_age_seconds: float = 0) -> dict[int, LivePack]:
        def work(tx: Tx) -> dict[int, LivePack]:
            before = tx.now - int(min_age_seconds * SECOND)
            return {
                row.id: LivePack(row.uid, row.size, row.created_at <= before)
                for row in tx.rows("SELECT id, uid, size, created_at FROM packs WHERE state = 'live' ORDER BY id")
            }

        return self._db.read(work)

    def index(self) -> Iterator[Sequence[tuple[bytes, int, int]]]:
        name, pack = b"", 0
        while True:

            def work(tx: Tx, name: bytes = name, pack: int = pack) -> Sequence[tuple[bytes, int, int]]:
                found = tx.conn.execute(_INDEX, {"name": name, "pack": pack, "limit": BLOBS})
                rows: Sequence[tuple[bytes, int, int]] = found.cursor.fetchall()  # plain tuples: there are millions
                found.close()
                return rows

            rows = self._db.read(work)
            yield rows
            if len(rows) < BLOBS:
                return
            name, pack, _ = rows[-1]

    def holders(self) -> Iterator[Holder]:
        artifacts = self._db.read(lambda tx: tx.rows(
            "SELECT project, name, min(id) AS first FROM artifacts GROUP BY project, name ORDER BY project, name"
        ))  # fmt: skip
        for project, name, _ in artifacts:
            rows = self._db.read(lambda tx, project=project, name=name: tx.rows(  # type: ignore[misc]
                "SELECT DISTINCT p.uid, p.size FROM artifacts a JOIN versions v ON v.artifact = a.id"
                " JOIN manifest m ON m.root = v.root JOIN proofs f ON f.name = m.page JOIN packs p ON p.id = f.pack"
                " WHERE a.project = :project AND a.name = :name AND v.state IN ('published', 'draft')",
                project=project, name=name,
            ))  # fmt: skip
            yield from (Holder(f"{project}/{name}", uid, size) for uid, size in rows)

    def others(self) -> list[str]:
        def work(tx: Tx) -> list[str]:
            leases = tx.rows("SELECT owner FROM leases WHERE until >= :now ORDER BY id LIMIT 100", now=tx.now)
            runs = tx.rows("SELECT project, name, host, pid FROM runs WHERE state = 'running' AND lease_until >= :now"
                           " ORDER BY id LIMIT 100", now=tx.now)  # fmt: skip
            return [f"{row.owner} is writing" for row in leases] + [
                f"run {row.project}/{row.name} on {row.host or 'some host'} (pid {row.pid})" for row in runs
            ]

        return self._db.read(work)

    def in_use(self) -> frozenset[str]:
        return self._db.read(lambda tx: frozenset(row[0] for row in tx.rows(
            "SELECT DISTINCT v.uid FROM uses u JOIN runs r ON r.id = u.run JOIN versions v ON v.id = u.version"
            " WHERE r.state = 'running' AND r.lease_until >= :now", now=tx.now,
        )))  # fmt: skip

    def strangers(self, keys: Collection[str]) -> frozenset[str]:
        wanted = sorted(keys)
        known = self._db.read(lambda tx: {row[0] for row in tx.rows_having(
            "SELECT key FROM packs WHERE state <> 'gone' AND {having}", "key", wanted)})  # fmt: skip
        return frozenset(key for key in wanted if key not in known)

    def waiting(self) -> list[tuple[str, int, int]]:
        return self._db.read(lambda tx: [(row.uid, row.size, row.changed_at) for row in tx.rows(
            "SELECT uid, size, changed_at FROM packs WHERE state = 'condemned' ORDER BY id")])  # fmt: skip

    def settings(self, prefix: str) -> dict[str, str]:
        return self._db.read(lambda tx: {row.key: row.value for row in tx.rows(
            "SELECT key, value FROM settings WHERE key >= :low AND key < :high ORDER BY key",
            low=prefix, high=prefix[:-1] + chr(ord(prefix[-1]) + 1),
        )})  # fmt: skip

    def holding(self, blob: bytes) -> list[str]:
        return self._db.read(lambda tx: [row[0] for row in tx.rows(
            "SELECT p.uid FROM blobs b JOIN packs p ON p.id = b.pack WHERE b.name = :name"
            " AND p.state IN ('live', 'condemned') ORDER BY p.id", name=bytes(blob),
        )])  # fmt: skip
