"""The schema's life: made whole for a new repository, upgraded step by step on command, never by itself.

`create` makes the newest schema from `tables.py` and stamps it; `upgrade` runs the
Alembic steps in `migrations/`. A test holds the two equal.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import inspect

from headwater.catalog.engine import Database, Tx
from headwater.catalog.tables import READER, SCHEMA, metadata
from headwater.errors import FormatError, NotFoundError, StateError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

MIGRATIONS = Path(__file__).parent / "migrations"


def make_schema(database: Database, first: Callable[[Tx], None]) -> bool:
    """Make all tables and run `first`, in one transaction; False if there is a repository already."""

    def work(tx: Tx) -> bool:
        if inspect(tx.conn).has_table("settings"):
            return False
        metadata.create_all(tx.conn)
        tx.conn.exec_driver_sql(
            "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL,"
            " CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
        )
        tx.conn.exec_driver_sql(f"INSERT INTO alembic_version (version_num) VALUES ('{SCHEMA}')")
        first(tx)
        return True

    return database.define(work)


def check_readable(database: Database) -> None:
    """Raise unless this code can read the catalog.

    Raises:
        NotFoundError: No repository.
        FormatError: Only newer Headwaters read it.
        StateError: Its schema must be upgraded first.
    """

    def work(tx: Tx) -> tuple[str | None, str | None]:
        if not inspect(tx.conn).has_table("settings"):
            raise NotFoundError(what="there is no repository", where=database.where, fix="`headwater init` makes one")
        return (
            tx.value("SELECT value FROM settings WHERE key = 'min_reader'"),
            tx.value("SELECT version_num FROM alembic_version"),
        )

    floor, schema = database.read(work)
    if floor is None or int(floor) > READER:
        raise FormatError(
            what=f"this catalog takes readers of generation {floor} and later, this is {READER}",
            where=database.where, fix="upgrade headwater on this machine",
        )  # fmt: skip
    if schema is not None and schema < SCHEMA:
        raise StateError(
            what=f"the catalog's schema is {schema}, this Headwater's {SCHEMA}", where=database.where,
            fix="stop older workers, then upgrade it: run `headwater init` with its URL",
        )  # fmt: skip


def upgrade(url: str) -> str:
    """Bring the catalog's schema to this code's, in one transaction; return the schema it has then.

    Raises:
        NotFoundError: No repository there.
        StorageError: The database failed; nothing was changed.
    """
    database = Database(url)
    try:
        return database.define(_upgrade)
    finally:
        database.close()


def _upgrade(tx: Tx) -> str:
    if not inspect(tx.conn).has_table("settings"):
        raise NotFoundError(what="there is no repository", fix="`headwater init` makes one")
    run_migrations(tx.conn, SCHEMA)
    return SCHEMA


def run_migrations(connection: Connection, to: str) -> None:
    """Run the Alembic steps up to `to` on an open transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS))
    command.upgrade(config, to)


def _partial(index: Any) -> str | None:
    options = index.get("dialect_options", {})
    where = options.get("sqlite_where", options.get("postgresql_where"))
    return None if where is None else str(where)


def describe(connection: Connection) -> dict[str, Any]:
    """The schema as plain values: what the golden test and `doctor` compare."""
    inspector = inspect(connection)
    return {
        table: {
            "columns": {
                c["name"]: [str(c["type"]), bool(c["nullable"]), c["default"]] for c in inspector.get_columns(table)
            },
            "primary_key": inspector.get_pk_constraint(table)["constrained_columns"],
            "unique": sorted(u["column_names"] for u in inspector.get_unique_constraints(table)),
            "foreign_keys": sorted(
                [k["constrained_columns"][0], k["referred_table"]] for k in inspector.get_foreign_keys(table)
            ),
            "indexes": sorted(
                [str(i["name"]), [str(c) for c in i["column_names"]], bool(i["unique"]), _partial(i)]
                for i in inspector.get_indexes(table)
            ),
        }
        for table in sorted(inspector.get_table_names()) if table != "alembic_version"
    }  # fmt: skip
