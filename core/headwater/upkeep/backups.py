"""Backups: consistent snapshots of the catalog, kept beside the packs; and the way back.

Names and lineage cannot be rebuilt from packs, so they are copied to where the packs
are. A pack that the newest usable backup may need is not deleted before the next one.

    backups/<ulid>/0000.part …     the snapshot, in pieces
    backups/<ulid>/backup.json     what it is; written last: without it, it counts for nothing
"""

from __future__ import annotations

import secrets
import tempfile
from datetime import UTC, datetime, timedelta
from importlib import import_module
from itertools import groupby
from typing import IO, TYPE_CHECKING, Any

import msgspec

from headwater.errors import DigestMismatchError, FormatError, HeadwaterError, NotFoundError
from headwater.model.digest import Digest
from headwater.model.keys import BACKUPS, MARKER, backup_key, decode_marker, format_ulid, parse_backup_key
from headwater.upkeep.epochs import caretaker

if TYPE_CHECKING:
    from headwater.home import Home
    from headwater.ports import ObjectStore

PART = 32 << 20
"""Bytes of one piece: one request each."""
EVERY = "backup_every"
"""The setting that has `gc` make a backup when the newest is so many seconds old."""
KEEP = 7
"""How many usable backups are kept."""
_LAST = "backup.json"


class Backup(msgspec.Struct, kw_only=True, frozen=True):
    """One backup; what `backup.json` holds."""

    format: int = 1
    id: str
    repository: str
    at: int
    """Microseconds since 1970 UTC, catalog's clock, before the snapshot: what was condemned by then, it has so."""
    parts: tuple[tuple[int, str], ...]
    """(size, digest) of each piece."""
    rows: dict[str, int]
    """By table."""

    @property
    def made_at(self) -> datetime:
        """`at` as a time."""
        return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=self.at)

    @property
    def size(self) -> int:
        """Bytes in the store."""
        return sum(size for size, _ in self.parts)


def make(home: Home, *, keep: int = KEEP) -> Backup:
    """Take a snapshot and put it beside the packs; then drop the oldest, so that `keep` usable ones stay.

    The database is read in one transaction into a temporary file; the store is spoken to only after it.

    Raises:
        StorageError, AccessError: What was put without its last piece counts for nothing; the next backup drops it.
    """
    catalog = caretaker(home)
    at = catalog.survey.now()
    backup = format_ulid(at // 1000, secrets.token_bytes(10))
    with tempfile.TemporaryFile() as spool:
        rows = catalog.repairs.dump(spool)
        spool.seek(0)
        parts: list[tuple[int, str]] = []
        while piece := spool.read(PART):
            home.objects.put(backup_key(backup, len(parts)), piece)
            parts.append((len(piece), str(Digest.of(piece))))
    made = Backup(id=backup, repository=home.repository_id, at=at, parts=tuple(parts), rows=rows)
    home.objects.put(backup_key(backup), msgspec.json.encode(made))
    _drop_old(home.objects, max(1, keep), backup)
    return made


def usable(objects: ObjectStore) -> list[Backup]:
    """Every whole backup, newest first: its last object is there, and every piece of its size.

    Raises:
        StorageError, AccessError
    """
    found = []
    listing = [(parsed, info) for info in objects.list(BACKUPS) if (parsed := parse_backup_key(info.key))]
    for backup, group in groupby(listing, key=lambda item: item[0][0]):
        sizes = {name: info.size for (_, name), info in group}
        if _LAST not in sizes:
            continue
        try:
            read = msgspec.json.decode(objects.get(backup_key(backup)), type=Backup)
        except (msgspec.MsgspecError, NotFoundError):
            continue
        if all(sizes.get(f"{n:04d}.part") == size for n, (size, _) in enumerate(read.parts)):
            found.append(read)
    return sorted(found, key=lambda b: b.at, reverse=True)


def newest_time(home: Home) -> int | None:
    """When the newest usable backup was made, on the catalog's clock; None without one."""
    found = usable(home.objects)
    return found[0].at if found else None


def make_if_due(home: Home) -> str | None:
    """Make a backup if the schedule says so; its id."""
    every = home.catalog.setting(EVERY)
    newest = newest_time(home)
    if every is None:
        return None
    if newest is not None and caretaker(home).survey.now() - newest < float(every) * 1_000_000:
        return None
    return make(home).id


def schedule(home: Home, every_seconds: float | None) -> None:
    """Have `gc` make a backup whenever the newest is so old; None: no more."""
    caretaker(home).repairs.put_setting(EVERY, None if every_seconds is None else str(every_seconds))


def _drop_old(objects: ObjectStore, keep: int, newest: str) -> None:
    kept = {b.id for b in usable(objects)[:keep]} | {newest}
    for info in list(objects.list(BACKUPS)):
        parsed = parse_backup_key(info.key)
        if parsed and parsed[0] not in kept and parsed[0] < newest:
            objects.delete(info.key)


# -- the way back ----------------------------------------------------------------
def restore(catalog_url: str, objects: ObjectStore, backup: str | None = None) -> tuple[Backup, dict[str, int]]:
    """Fill an empty catalog from a backup beside the packs. Then it refuses writers until `repair`.

    Args:
        catalog_url: As of the catalog: `sqlite:////…` or `postgresql://…`; no repository there, or an empty one.
        objects: The store with the packs.
        backup: Id of one; by default the newest usable.

    Raises:
        NotFoundError: No (such) usable backup.
        ConflictError: The catalog is not empty.
        IntegrityError: The backup is damaged: an older one may not be.
        StorageError, AccessError
    """
    found = usable(objects)
    chosen = next((b for b in found if backup in (None, b.id)), None)
    if chosen is None:
        raise NotFoundError(what=f"there is no usable backup {backup or ''}".strip(), where=objects.url)
    marker = objects.read_marker(MARKER)
    if marker is not None and decode_marker(marker[0]).repository != chosen.repository:
        raise FormatError(what="the backup is of another repository than the packs", where=objects.url)
    with tempfile.TemporaryFile() as spool:
        _fetch(objects, chosen, spool)
        sql: Any = import_module("headwater.catalog.sql")  # loads the SQL toolkit
        return chosen, sql.restore(catalog_url, spool, chosen.id)


def _fetch(objects: ObjectStore, backup: Backup, spool: IO[bytes]) -> None:
    for number, (_, digest) in enumerate(backup.parts):
        key = backup_key(backup.id, number)
        piece = objects.get(key)
        if str(Digest.of(piece)) != digest:
            raise DigestMismatchError(expected=digest, actual=str(Digest.of(piece)), where=key)
        spool.write(piece)


def check(objects: ObjectStore, backup: Backup) -> HeadwaterError | None:
    """Read a backup through; what is wrong with it."""
    try:
        with tempfile.TemporaryFile() as spool:
            _fetch(objects, backup, spool)
    except HeadwaterError as error:
        return error
    return None
