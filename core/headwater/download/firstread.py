"""Digests of references whose pins prove no bytes, as they were when this client first read them."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING

from headwater import disk
from headwater.errors import StorageError
from headwater.model.digest import Digest

if TYPE_CHECKING:
    from pathlib import Path


class FirstReads:
    """Reference key → digest, in a small SQLite file. Safe between threads and processes; opened per question.

    Not a cache: losing it would let a changed reference pass unnoticed, so damage is an error.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "references.sqlite"
        self._lock = threading.Lock()
        self._known: dict[bytes, Digest] = {}

    def find(self, key: bytes) -> Digest | None:
        """The digest first read under `key`, or None."""
        with self._lock:
            if key not in self._known and self._path.exists():
                found = self._ask("SELECT digest FROM first_read WHERE key = ?", (key,))
                if found:
                    self._known[key] = Digest(found[0])
            return self._known.get(key)

    def settle(self, key: bytes, digest: Digest) -> Digest:
        """Record `digest` unless one is recorded; return the one that holds."""
        with self._lock:
            self._ask("INSERT OR IGNORE INTO first_read VALUES (?, ?)", (bytes(key), bytes(digest)))
            found = self._ask("SELECT digest FROM first_read WHERE key = ?", (key,))
            self._known[key] = Digest(found[0]) if found else digest
            return self._known[key]

    def _ask(self, sql: str, values: tuple[bytes, ...]) -> tuple[bytes] | None:
        with disk.explained(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with closing(sqlite3.connect(self._path, timeout=30)) as db, db:
                db.execute("CREATE TABLE IF NOT EXISTS first_read (key BLOB PRIMARY KEY, digest BLOB) WITHOUT ROWID")
                row: tuple[bytes] | None = db.execute(sql, values).fetchone()
                return row
        except sqlite3.Error as error:
            raise StorageError(
                what=f"the record of what references held said: {error}", where=str(self._path),
                fix="remove it to trust what the references hold now",
            ) from error  # fmt: skip
