"""What can be wrong with a database although it answers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from headwater.catalog.snapshot import RESTORED
from headwater.errors import HeadwaterError
from headwater.ports.health import Examined, examine_clock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headwater.catalog.engine import Database, Tx

OLDEST = 130000
"""The oldest PostgreSQL that is tried."""


def examine(database: Database) -> Iterator[Examined]:
    """Version, place, clock, readiness to be written to; nothing is changed."""
    yield database.read(_version)
    here = time.time()
    yield examine_clock("catalog clock", database.read(lambda tx: tx.now) / 1_000_000, here)
    yield _writable(database)
    restored = database.read(lambda tx: tx.value("SELECT value FROM settings WHERE key = :key", key=RESTORED))
    if restored:
        yield Examined("restored", False, f"the catalog was restored from backup {restored} and refuses writers",
                       "run `headwater repair`", 4)  # fmt: skip


def _version(tx: Tx) -> Examined:
    if tx.dialect.name == "sqlite":
        return Examined("catalog", True, f"SQLite {tx.value('SELECT sqlite_version()')}")
    number, text = int(tx.value("SHOW server_version_num")), str(tx.value("SHOW server_version"))
    if number < OLDEST:
        return Examined("catalog", False, f"PostgreSQL {text} is older than any that is tested", "use 13 or newer")
    return Examined("catalog", True, f"PostgreSQL {text}")


def _writable(database: Database) -> Examined:
    try:
        why = database.write(_ready)
    except HeadwaterError as error:
        return Examined("catalog write", False, str(error), exit_code=error.exit_code)
    if why:
        return Examined("catalog write", False, why, "connect to the primary: add target_session_attrs=read-write")
    return Examined("catalog write", True, "versions can be committed")


def _ready(tx: Tx) -> str:
    """A write that changes nothing: it needs the rights and the server that a commit needs."""
    if tx.dialect.name == "postgresql" and tx.value("SELECT pg_is_in_recovery()"):
        return "this server is a standby, it takes no commits"
    tx.run("UPDATE settings SET value = value WHERE key = 'repository_id'")
    return ""
