"""What only upkeep changes: versions retired by rule, packs adopted, lost or purged, pages proved anew.

Every statement runs alone (`Database.define`): no writer and no collector batch
overlaps it, and it also works in a restored catalog, which refuses everybody else.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, TypeVar

from headwater.catalog.collection import ALIVE, READ
from headwater.catalog.packs import ROWS, index_rows
from headwater.catalog.rows import event
from headwater.catalog.snapshot import dump
from headwater.catalog.versions import delete_version
from headwater.errors import ConflictError, NotFoundError
from headwater.model.keys import parse_pack_key

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from headwater.catalog.engine import Database, Tx
    from headwater.model.records import SealedPack

T = TypeVar("T")


class Repairs:
    """`ports.care.RepairCatalog` in SQL."""

    def __init__(self, database: Database) -> None:
        self._db = database

    # --------------------------------------------------------------- retention
    def retire(self, version_id: str, *, actor: str, why: str, spare_aliased: bool = True) -> bool:
        aliased = " AND NOT EXISTS (SELECT 1 FROM aliases a WHERE a.version = v.id)" if spare_aliased else ""

        def work(tx: Tx) -> bool:
            row = tx.row(
                f"SELECT v.id FROM versions v WHERE v.uid = :uid AND v.state = 'published' AND NOT {READ}{aliased}",
                uid=version_id, now=tx.now,
            )  # fmt: skip
            if row is not None:
                delete_version(tx, version_id, delete_aliases=not spare_aliased, actor=actor, why=why)
            return row is not None

        return self._db.write(work)

    # ------------------------------------------------------------------- packs
    def adopt(self, pack: SealedPack, key: str) -> None:
        """Large indexes are written in slices before the pack is live."""
        self._alone(lambda tx: _known(tx, pack, key))
        for start in range(0, len(pack.rows), ROWS):
            rows = pack.rows[start : start + ROWS]
            self._alone(lambda tx, rows=rows: index_rows(tx, _key_of(tx, pack.pack_id), rows))  # type: ignore[misc]
        self._alone(lambda tx: tx.run(
            "UPDATE packs SET state = 'live', size = :size, changed_at = :now WHERE uid = :uid",
            size=pack.size, now=tx.now, uid=pack.pack_id,
        ))  # fmt: skip

    def lose(self, pack_id: str) -> None:
        def work(tx: Tx) -> None:
            pack = _key_of(tx, pack_id)
            tx.run("UPDATE packs SET state = 'gone', changed_at = :now WHERE id = :id", now=tx.now, id=pack)
            tx.run("DELETE FROM blobs WHERE pack = :pack", pack=pack)
            tx.run("DELETE FROM holds WHERE pack = :pack", pack=pack)

        self._alone(work)

    def reprove(self, page: bytes, packs: Collection[str], *, whole: bool) -> None:
        def work(tx: Tx) -> None:
            stale = "pack IN (SELECT id FROM packs WHERE state NOT IN ('live', 'condemned'))"
            if whole:
                tx.run(f"DELETE FROM proofs WHERE name = :page AND {stale}", page=page)
            for uid in sorted(packs):
                pack = tx.value("SELECT id FROM packs WHERE uid = :uid AND state IN ('live', 'condemned')", uid=uid)
                if pack is None:
                    raise ConflictError(what=f"pack {uid} is gone", lost_packs=[uid], fix="repair again")
                tx.run("UPDATE packs SET state = 'live', changed_at = :now WHERE id = :pack AND state = 'condemned'",
                       now=tx.now, pack=pack)  # fmt: skip
                tx.run("INSERT INTO proofs (name, pack) VALUES (:page, :pack) ON CONFLICT DO NOTHING",
                       page=page, pack=pack)  # fmt: skip

        self._alone(work)

    # ------------------------------------------------------------------- purge
    def expunge(self, old: str, moved: Mapping[bytes, Collection[str]], holes: Collection[bytes]) -> str | None:
        def work(tx: Tx) -> str | None:
            pack = tx.row("SELECT id, key, state FROM packs WHERE uid = :uid", uid=old)
            if pack is None or pack.state not in ("live", "condemned"):
                return None
            standing = {bytes(row[0]) for row in tx.rows(
                "SELECT DISTINCT f.name FROM proofs f JOIN manifest m ON m.page = f.name"
                f" WHERE f.pack = :pack AND {ALIVE}", pack=pack.id, now=tx.now,
            )}  # fmt: skip
            if standing - moved.keys():
                return None
            for page in sorted(standing):
                _move_page(tx, page, pack.id, moved[page], keep=page in holes)
            tx.run("UPDATE packs SET state = 'deleting', changed_at = :now WHERE id = :id", now=tx.now, id=pack.id)
            tx.run("DELETE FROM holds WHERE pack = :pack", pack=pack.id)
            return str(pack.key)

        return self._alone(work)

    # ---------------------------------------------------------------- settings
    def put_setting(self, key: str, value: str | None) -> None:
        def work(tx: Tx) -> None:
            tx.run("DELETE FROM settings WHERE key = :key", key=key)
            if value is not None:
                tx.run("INSERT INTO settings (key, value) VALUES (:key, :value)", key=key, value=value)

        self._alone(work)

    def settle_epoch(self, key: str, epoch: str, intents: str) -> None:
        def work(tx: Tx) -> None:
            now = tx.value("SELECT value FROM settings WHERE key = :key", key=key)
            if now is None or _number(now) < _number(epoch):  # a slow pass may come after the next one
                tx.run("DELETE FROM settings WHERE key = :key", key=key)
                tx.run("INSERT INTO settings (key, value) VALUES (:key, :value)", key=key, value=epoch)
            settled = tx.value("SELECT value FROM settings WHERE key = :key", key=key)
            for row in tx.rows("SELECT key, value FROM settings WHERE key >= :low AND key < :high",
                               low=intents, high=intents[:-1] + chr(ord(intents[-1]) + 1)):  # fmt: skip
                if _number(row.value) <= _number(settled):
                    tx.run("DELETE FROM settings WHERE key = :key", key=row.key)

        self._alone(work)

    def announce(self, kind: str, versions: Collection[str], actor: str, details: Mapping[str, str]) -> None:
        def work(tx: Tx) -> None:
            for uid in sorted(versions):
                row = tx.row("SELECT v.id, v.artifact, a.project FROM versions v JOIN artifacts a ON a.id = v.artifact"
                             " WHERE v.uid = :uid", uid=uid)  # fmt: skip
                if row is not None:
                    tx.events.append(event(
                        kind, project=row.project, actor=actor, artifact=row.artifact, version=row.id, **details,
                    ))  # fmt: skip

        self._db.write(work)

    def dump(self, out: IO[bytes]) -> dict[str, int]:
        return self._db.read(lambda tx: dump(tx, out))

    def _alone(self, work: Callable[[Tx], T]) -> T:
        return self._db.define(work)


def _number(epoch: str) -> int:
    return int(epoch.partition(" ")[0])


def _known(tx: Tx, pack: SealedPack, key: str) -> None:
    """A row for the pack, without an index yet."""
    if parse_pack_key(key) != pack.pack_id:
        raise ConflictError(what=f"{key} says that it is pack {pack.pack_id}", where=key)
    tx.run(
        "INSERT INTO packs (uid, key, state, created_at, changed_at) VALUES (:uid, :key, 'uploading', :now, :now)"
        " ON CONFLICT (uid) DO UPDATE SET state = 'uploading'", uid=pack.pack_id, key=key, now=tx.now,
    )  # fmt: skip
    tx.run("DELETE FROM blobs WHERE pack = :pack", pack=_key_of(tx, pack.pack_id))


def _key_of(tx: Tx, uid: str) -> int:
    pack: int | None = tx.value("SELECT id FROM packs WHERE uid = :uid", uid=uid)
    if pack is None:
        raise NotFoundError(what=f"there is no pack {uid}")
    return pack


def _move_page(tx: Tx, page: bytes, old: int, new: Collection[str], *, keep: bool) -> None:
    targets: Sequence[tuple[str, int]] = [
        (uid, tx.value("SELECT id FROM packs WHERE uid = :uid AND state = 'live'", uid=uid)) for uid in sorted(new)
    ]
    lost = [uid for uid, key in targets if key is None]
    if lost:
        raise ConflictError(what="a pack was collected meanwhile", lost_packs=lost)
    tx.run_many("INSERT INTO proofs (name, pack) VALUES (:name, :pack) ON CONFLICT DO NOTHING",
                [{"name": page, "pack": key} for _, key in targets])  # fmt: skip
    if not keep:
        tx.run("DELETE FROM proofs WHERE name = :name AND pack = :pack", name=page, pack=old)
