"""Packs: which exist, what lies in them, who relies on them.

A pack goes uploading → live → condemned → deleting → gone. Writers move it to
live and back from condemned; the rest is `collection.py`'s.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from headwater.catalog.rows import SECOND, moment
from headwater.errors import ConflictError, NotFoundError, PurgedError, StateError
from headwater.model.keys import format_ulid, pack_key
from headwater.model.records import BlobRow, Location, SealedPack

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from headwater.catalog.engine import Database, Row, Tx

LEASE = 30 * 60 * SECOND
"""How long a writer's lease on bytes lasts without renewal."""
ROWS = 4096
"""Blob rows that one transaction inserts at most; more come in slices before the pack goes live."""

_BLOB = (
    "INSERT INTO blobs (name, pack, offset_, stored, raw, compression, kind)"
    " VALUES (:name, :pack, :offset, :stored, :raw, :compression, :kind) ON CONFLICT DO NOTHING"
)


class Packs:
    """`ports.PackCatalog` in SQL."""

    def __init__(self, database: Database) -> None:
        self._db = database

    # ------------------------------------------------------------------ leases
    def open_lease(self, owner: str) -> str:
        """A lease costs nothing until something is held: its row is written with the first hold.

        `owner` becomes part of the id, so that the row can say later who holds.
        """
        now = self._db.clock()
        return f"{format_ulid(now // 1000, os.urandom(10))} {owner}"

    def renew_leases(self, leases: Collection[str]) -> None:
        def work(tx: Tx) -> None:
            for lease in sorted(leases):
                renew(tx, lease)

        self._db.write(work)

    def close_lease(self, lease: str) -> None:
        def work(tx: Tx) -> None:
            tx.run("DELETE FROM holds WHERE lease IN (SELECT id FROM leases WHERE uid = :uid)", uid=_ulid(lease))
            tx.run("DELETE FROM leases WHERE uid = :uid", uid=_ulid(lease))

        self._db.write(work)

    # ----------------------------------------------------------------- writing
    def reserve(self, pack_ids: Sequence[str], lease: str) -> list[str]:
        keys = [pack_key(pack_id) for pack_id in pack_ids]

        def work(tx: Tx) -> None:
            holder = ensure_lease(tx, lease)
            for pack_id, key in zip(pack_ids, keys):
                pack = tx.value(
                    "INSERT INTO packs (uid, key, state, created_at) VALUES (:uid, :key, 'uploading', :now)"
                    " ON CONFLICT DO NOTHING RETURNING id",
                    uid=pack_id, key=key, now=tx.now,
                )  # fmt: skip
                hold(tx, holder, [pack if pack is not None else _reserved(tx, pack_id)])

        self._db.write(work)
        return keys

    def seal(self, packs: Sequence[SealedPack], lease: str) -> None:
        self.index_early(packs)
        self._db.write(lambda tx: seal(tx, packs, ensure_lease(tx, lease)))

    def index_early(self, packs: Sequence[SealedPack]) -> None:
        """Insert the blob rows of large seals in slices of their own; they count for nothing until the pack is live."""
        if sum(len(pack.rows) for pack in packs) <= ROWS:
            return
        for pack in packs:
            for start in range(0, len(pack.rows), ROWS):
                rows = pack.rows[start : start + ROWS]
                self._db.write(lambda tx, pack=pack, rows=rows: index_rows(tx, _uploading(tx, pack)[0], rows))  # type: ignore[misc]

    def hold_blobs(self, names: Collection[bytes], lease: str) -> dict[bytes, str]:
        def work(tx: Tx) -> dict[bytes, str]:
            found: dict[bytes, tuple[int, str]] = {}
            for name, pack, uid, _ in _holders(tx, "blobs", names):
                found.setdefault(name, (pack, uid))
            self._rely(tx, lease, {pack for pack, _ in found.values()})
            return {name: uid for name, (_, uid) in found.items()}

        return self._db.write(work)

    def hold_proofs(self, names: Collection[bytes], lease: str) -> dict[bytes, frozenset[str]]:
        def work(tx: Tx) -> dict[bytes, frozenset[str]]:
            proofs = whole_proofs(tx, names, ("live", "condemned"))
            self._rely(tx, lease, {pack for packs in proofs.values() for pack in packs})
            return {name: frozenset(packs.values()) for name, packs in proofs.items()}

        return self._db.write(work)

    def _rely(self, tx: Tx, lease: str, packs: set[int]) -> None:
        """Hold packs for the lease; condemned ones are revived."""
        if not packs:
            return
        ordered = sorted(packs)
        hold(tx, ensure_lease(tx, lease), ordered)
        condemned = [row[0] for row in tx.rows_having(
            "SELECT id FROM packs WHERE state = 'condemned' AND {having}", "id", ordered)]  # fmt: skip
        for pack in condemned:
            tx.run("UPDATE packs SET state = 'live', changed_at = :now WHERE id = :pack", now=tx.now, pack=pack)

    # ----------------------------------------------------------------- reading
    def locate(self, names: Collection[bytes]) -> dict[bytes, Location]:
        def work(tx: Tx) -> dict[bytes, Location]:
            found: dict[bytes, Location] = {}
            rows = tx.rows_having(
                "SELECT b.name, p.uid, p.key, b.offset_, b.stored, b.raw, b.compression, b.kind FROM blobs b"
                " JOIN packs p ON p.id = b.pack WHERE {having} AND p.state IN ('live', 'condemned')"
                " ORDER BY CASE p.state WHEN 'live' THEN 0 ELSE 1 END, p.id DESC",
                "b.name", list(names),
            )  # fmt: skip
            for name, uid, key, *blob in rows:
                if name not in found:
                    found[name] = Location(pack_id=uid, key=key, row=_blob_row((name, *blob)))
            return found

        return self._db.read(work)

    def packs(self, state: str | None = None) -> Iterator[tuple[str, str, str, int]]:
        last = 0
        while True:
            rows = self._db.read(lambda tx, last=last: tx.rows(  # type: ignore[misc]
                "SELECT id, uid, key, state, size FROM packs WHERE id > :last"
                + (" AND state = :state" if state else "") + " ORDER BY id LIMIT 1000",
                last=last, **({"state": state} if state else {}),
            ))  # fmt: skip
            if not rows:
                return
            for row in rows:
                yield row.uid, row.key, row.state, row.size
            last = rows[-1].id

    def purged(self, name: bytes) -> PurgedError | None:
        text = self._db.read(lambda tx: tx.value(
            "SELECT value FROM settings WHERE key = :key", key=f"purged:{bytes(name).hex()}"))  # fmt: skip
        return None if text is None else purged_error(text)

    def rows(self, pack_id: str) -> Iterator[BlobRow]:
        found = self._db.read(lambda tx: tx.rows(
            "SELECT b.name, b.offset_, b.stored, b.raw, b.compression, b.kind FROM blobs b"
            " JOIN packs p ON p.id = b.pack WHERE p.uid = :uid ORDER BY b.offset_", uid=pack_id,
        ))  # fmt: skip
        return (_blob_row(row) for row in found)


def _blob_row(row: Row) -> BlobRow:
    name, offset, stored, raw, compression, kind = row
    return BlobRow(name=name, offset=offset, stored=stored, raw=raw, compression=compression, kind=kind)


def _ulid(lease: str) -> str:
    return lease.partition(" ")[0]


def ensure_lease(tx: Tx, lease: str) -> int:
    """The key of the lease's row, made now if nothing was held before.

    Raises:
        StateError: It lapsed (fact `lapsed_lease`).
    """
    row = tx.row("SELECT id, until FROM leases WHERE uid = :uid", uid=_ulid(lease))
    if row is None:
        made: int = tx.value(
            "INSERT INTO leases (uid, owner, until) VALUES (:uid, :owner, :until)"
            " ON CONFLICT (uid) DO UPDATE SET until = excluded.until RETURNING id",
            uid=_ulid(lease), owner=lease.partition(" ")[2], until=tx.now + LEASE,
        )  # fmt: skip
        return made
    if row[1] < tx.now:
        raise lapsed(lease)
    key: int = row[0]
    return key


def lapsed(lease: str) -> StateError:
    """What a writer hears whose lease is over."""
    return StateError(
        what="the lease on bytes has lapsed", lapsed_lease=lease,
        fix="log again: what is still in the store is not sent twice",
    )  # fmt: skip


def check_lease(tx: Tx, lease: str) -> None:
    """Raise StateError if the lease has lapsed; one that holds nothing yet is fine."""
    until = tx.value("SELECT until FROM leases WHERE uid = :uid", uid=_ulid(lease))
    if until is not None and until < tx.now:
        raise lapsed(lease)


def renew(tx: Tx, lease: str) -> None:
    """Extend one lease; a lease that never held anything needs no row."""
    check_lease(tx, lease)
    tx.run("UPDATE leases SET until = :until WHERE uid = :uid", uid=_ulid(lease), until=tx.now + LEASE)


def hold(tx: Tx, lease: int, packs: Iterable[int]) -> None:
    """Keep packs from being collected while the lease lasts; idempotent."""
    tx.run_many(
        "INSERT INTO holds (lease, pack) VALUES (:lease, :pack) ON CONFLICT DO NOTHING",
        [{"lease": lease, "pack": pack} for pack in packs],
    )


def seal(tx: Tx, packs: Sequence[SealedPack], holder: int | None) -> None:
    """Index packs and mark them live, in the caller's transaction; a pack that is live already stays so.

    Raises:
        StateError: One holds a content that was purged.
    """
    _refuse_purged(tx, packs)
    indexed_early = sum(len(pack.rows) for pack in packs) > ROWS
    for pack in packs:
        key, state = _uploading(tx, pack)
        if state == "live":
            continue
        if not indexed_early or tx.value("SELECT count(*) FROM blobs WHERE pack = :pack", pack=key) != len(pack.rows):
            index_rows(tx, key, pack.rows)
        tx.run(
            "UPDATE packs SET state = 'live', size = :size, changed_at = :now WHERE id = :pack",
            size=pack.size, now=tx.now, pack=key,
        )  # fmt: skip
        if holder is not None:
            hold(tx, holder, [key])


def _refuse_purged(tx: Tx, packs: Sequence[SealedPack]) -> None:
    purged = {bytes.fromhex(row[0][7:]): row[1] for row in tx.rows(
        "SELECT key, value FROM settings WHERE key >= 'purged:' AND key < 'purged;'")}  # fmt: skip
    for pack in packs if purged else ():
        for row in pack.rows:
            if bytes(row.name) in purged:
                raise purged_error(purged[bytes(row.name)])


def purged_error(tombstone: str) -> PurgedError:
    """What whoever meets a purged content is told."""
    stone = json.loads(tombstone)
    at = moment(stone["at"]).strftime("%Y-%m-%d %H:%M:%S UTC")
    return PurgedError(digest=stone["digest"], at=at, actor=stone["actor"], reason=stone["reason"])


def _uploading(tx: Tx, pack: SealedPack) -> tuple[int, str]:
    row = tx.row("SELECT id, state FROM packs WHERE uid = :uid" + tx.dialect.for_update, uid=pack.pack_id)
    if row is None:
        raise NotFoundError(what=f"no pack {pack.pack_id} was reserved", fix="reserve it before sending it")
    if row[1] not in ("uploading", "live"):
        raise ConflictError(
            what=f"pack {pack.pack_id} is {row[1]}", lost_packs=[pack.pack_id], fix="send its blobs again"
        )
    return row.id, row.state


def _reserved(tx: Tx, pack_id: str) -> int:
    row = tx.row("SELECT id, state FROM packs WHERE uid = :uid", uid=pack_id)
    if row is None or row[1] != "uploading":
        raise ConflictError(what=f"the pack key of {pack_id} was used before", lost_packs=[pack_id])
    key: int = row[0]
    return key


def index_rows(tx: Tx, pack: int, rows: Sequence[BlobRow]) -> None:
    """Write what lies in a pack; rows that are there stay."""
    tx.run_many(_BLOB, [
        {"name": bytes(row.name), "pack": pack, "offset": row.offset, "stored": row.stored, "raw": row.raw,
         "compression": row.compression, "kind": row.kind}
        for row in rows
    ])  # fmt: skip


def _holders(tx: Tx, table: str, names: Collection[bytes]) -> Iterator[Any]:
    """(name, pack, uid, state) of readable packs, live ones first within each slice."""
    return tx.rows_having(
        f"SELECT t.name, p.id, p.uid, p.state FROM {table} t JOIN packs p ON p.id = t.pack"
        " WHERE {having} AND p.state IN ('live', 'condemned')"
        " ORDER BY CASE p.state WHEN 'live' THEN 0 ELSE 1 END, p.id DESC",
        "t.name", sorted(bytes(name) for name in names),
    )  # fmt: skip


def whole_proofs(tx: Tx, names: Collection[bytes], states: Sequence[str]) -> dict[bytes, dict[int, str]]:
    """Name → pack key → pack id, of those names all of whose packs are in one of `states`."""
    found: dict[bytes, dict[int, str]] = {}
    broken: set[bytes] = set()
    for name, pack, uid, state in tx.rows_having(
        "SELECT t.name, p.id, p.uid, p.state FROM proofs t JOIN packs p ON p.id = t.pack WHERE {having}",
        "t.name", sorted(bytes(name) for name in names),
    ):  # fmt: skip
        found.setdefault(name, {})[pack] = uid
        if state not in states:
            broken.add(name)
    return {name: packs for name, packs in found.items() if name not in broken}
