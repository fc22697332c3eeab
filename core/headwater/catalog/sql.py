"""The catalog, put together: `create` makes one, `open_catalog` opens it."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from headwater.catalog.arrivals import Arrivals
from headwater.catalog.collection import Collector
from headwater.catalog.condition import examine
from headwater.catalog.engine import Database
from headwater.catalog.events import Events
from headwater.catalog.joins import Joins
from headwater.catalog.lineage import Lineage
from headwater.catalog.migrate import check_readable, make_schema
from headwater.catalog.packs import Packs
from headwater.catalog.repairs import Repairs
from headwater.catalog.runs import Runs
from headwater.catalog.snapshot import RESTORED, load
from headwater.catalog.survey import Survey
from headwater.catalog.tables import READER, WRITER
from headwater.catalog.versions import Versions
from headwater.errors import ConflictError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO

    from headwater.catalog.engine import Tx
    from headwater.ports import CollectorCatalog, EventCatalog, LineageCatalog, PackCatalog, RunCatalog, VersionCatalog
    from headwater.ports.arriving import ArrivalCatalog
    from headwater.ports.care import RepairCatalog, SurveyCatalog
    from headwater.ports.health import Examined
    from headwater.ports.joining import JoinCatalog


class SqlCatalog:
    """`ports.Catalog` in SQL. Safe between threads; a forked child opens its own connections.

    Get one from `create` or `open_catalog`.
    """

    def __init__(self, database: Database, repository_id: str) -> None:
        self.database = database
        self._id = repository_id
        database.serve(repository_id)
        self._packs = Packs(database)
        self._versions = Versions(database, self._packs)
        self._runs = Runs(database)
        self._lineage = Lineage(database)
        self._events = Events(database)
        self._collector = Collector(database)
        self._survey = Survey(database)
        self._repairs = Repairs(database)
        self._joins = Joins(database)
        self._arrivals = Arrivals(database)

    def __repr__(self) -> str:
        return f"SqlCatalog({self.database.where!r})"

    @property
    def repository_id(self) -> str:
        return self._id

    @property
    def packs(self) -> PackCatalog:
        return self._packs

    @property
    def versions(self) -> VersionCatalog:
        return self._versions

    @property
    def runs(self) -> RunCatalog:
        return self._runs

    @property
    def lineage(self) -> LineageCatalog:
        return self._lineage

    @property
    def events(self) -> EventCatalog:
        return self._events

    @property
    def collector(self) -> CollectorCatalog:
        """What clean-up needs beyond `ports.Catalog`."""
        return self._collector

    @property
    def survey(self) -> SurveyCatalog:
        """What upkeep asks."""
        return self._survey

    @property
    def repairs(self) -> RepairCatalog:
        """What upkeep mends."""
        return self._repairs

    @property
    def joins(self) -> JoinCatalog:
        """Drafts that several writers extend."""
        return self._joins

    def examine(self) -> list[Examined]:
        """What is right and wrong with the database."""
        return list(examine(self.database))

    @property
    def arrivals(self) -> ArrivalCatalog:
        """What comes from other repositories."""
        return self._arrivals

    def setting(self, key: str) -> str | None:
        return self.database.read(lambda tx: _setting(tx, key))

    def set_setting(self, key: str, value: str) -> None:
        self.database.write(lambda tx: _set_setting(tx, key, value))

    def close(self) -> None:
        self.database.close()


def create(url: str, *, clock: Callable[[], int] | None = None, **settings: str) -> SqlCatalog:
    """Make the schema of a new repository at `url`, with its first settings, and open it.

    Args:
        url: As of `open_catalog`. The folder of a SQLite file must exist.
        clock: Microseconds, instead of the database's clock; for tests.
        **settings: What `setting` shall return.

    Raises:
        ConflictError: There is a repository already; nothing was changed.
        StorageError, AccessError: The database cannot be reached or written to.
    """
    database = Database(url, clock)
    repository_id = settings.pop("repository_id", None) or str(uuid.uuid4())
    first = {
        "repository_id": repository_id, "min_reader": str(READER), "min_writer": str(WRITER), **settings,
    }  # fmt: skip

    def work(tx: Tx) -> None:
        for key, value in first.items():
            _set_setting(tx, key, value)

    if make_schema(database, work) is False:
        database.close()
        raise ConflictError(what="there is a repository already", where=database.where, fix="open it")
    return SqlCatalog(database, repository_id)


def open_catalog(url: str, *, clock: Callable[[], int] | None = None) -> SqlCatalog:
    """Open the catalog at `url`: `sqlite:////abs/path.sqlite`, `postgresql://…`, or `sqlite://`, a new one in memory.

    Args:
        url: Where it is. A password in it is never shown again.
        clock: Microseconds, instead of the database's clock; for tests.

    Raises:
        NotFoundError: There is no repository.
        FormatError: It was written by a newer Headwater, or is damaged.
        StateError: Its schema is older than this Headwater's: it must be upgraded on command.
        StorageError, AccessError: The database cannot be reached.
    """
    database = Database(url, clock)
    if database.memory:
        database.close()
        return create(url, clock=clock)
    if database.path is not None and not database.path.exists():
        raise NotFoundError(what="there is no repository", where=database.where, fix="`headwater init` makes one")
    check_readable(database)
    repository_id = database.read(lambda tx: _setting(tx, "repository_id"))
    assert repository_id is not None
    return SqlCatalog(database, repository_id)


def restore(url: str, source: IO[bytes], backup: str) -> dict[str, int]:
    """Fill an empty (or no) catalog at `url` from a dump, in one transaction; it refuses writers until repaired.

    Args:
        url: As of `open_catalog`.
        source: What `repairs.dump` wrote.
        backup: Which backup it is, to be remembered.

    Raises:
        ConflictError: The catalog there is not empty.
        FormatError: The dump is damaged, or of a newer Headwater. Nothing was changed.
        StorageError, AccessError: The database failed.
    """
    database = Database(url)

    def work(tx: Tx) -> dict[str, int]:
        source.seek(0)
        counts = load(tx, source)
        _set_setting(tx, RESTORED, backup)
        return counts

    try:
        return database.define(work)
    finally:
        database.close()


def _setting(tx: Tx, key: str) -> str | None:
    value: str | None = tx.value("SELECT value FROM settings WHERE key = :key", key=key)
    return value


def _set_setting(tx: Tx, key: str, value: str) -> None:
    tx.run(
        "INSERT INTO settings (key, value) VALUES (:key, :value)"
        " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        key=key, value=value,
    )  # fmt: skip
