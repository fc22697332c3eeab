"""The way back after a lost catalog: the newest backup beside the packs into an empty database."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from headwater import disk
from headwater.connect import CATALOG_FILE, OBJECTS_FOLDER, STORE_ROOT, catalog_url, open_store, whole_place
from headwater.errors import InvalidInputError
from headwater.upkeep import backups

if TYPE_CHECKING:
    from pathlib import Path

    from headwater.upkeep.backups import Backup


def restore(url: str | Path, objects: str | None = None, backup: str | None = None) -> tuple[Backup, dict[str, int]]:
    """Fill the empty or missing catalog at `url` from a backup beside the packs; then it wants `repair`.

    Args:
        url: A folder, or a `postgresql://` URL.
        objects: Where the packs and backups are; by default beside a SQLite catalog.
        backup: Id of one; by default the newest usable.

    Returns:
        The backup, and how many rows of each table came back.

    Raises:
        NotFoundError: No (such) usable backup.
        ConflictError: The catalog there is not empty.
        InvalidInputError, IntegrityError, StorageError, AccessError
    """
    database, folder = catalog_url(str(url))
    if folder is not None:
        _clear(folder)
    elif objects is None:
        raise InvalidInputError(what="say where the backups are", fix="add --objects s3://…")
    place = whole_place(objects) if objects else str(folder / OBJECTS_FOLDER) if folder else ""
    found = backups.restore(database, open_store(place), backup)
    if objects:
        sql: Any = import_module("headwater.catalog.sql")  # loads the SQL toolkit
        catalog = sql.open_catalog(database)
        catalog.repairs.put_setting(STORE_ROOT, place)
        catalog.close()
    return found


def _clear(folder: Path) -> None:
    """Make the folder; what is left of a database that was there would be taken for the new one's."""
    with disk.explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / CATALOG_FILE).exists():
            for rest in ("-wal", "-shm"):
                (folder / f"{CATALOG_FILE}{rest}").unlink(missing_ok=True)
