"""The append-only feed, which is also everybody's history, and the cursors of those who follow it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.catalog.rows import load, moment
from headwater.errors import InvalidInputError
from headwater.model.records import Event

if TYPE_CHECKING:
    from collections.abc import Collection

    from headwater.catalog.engine import Database, Row, Tx

SELECT = (
    "SELECT e.cursor, e.at, e.kind, e.project, a.name, a.partition, v.uid, v.number, e.run, e.actor, e.details"
    " FROM events e LEFT JOIN artifacts a ON a.id = e.artifact LEFT JOIN versions v ON v.id = e.version"
)


class Events:
    """`ports.EventCatalog` in SQL."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def after(
        self, cursor: int, limit: int = 1000, *, kinds: Collection[str] = (), project: str | None = None,
        artifact: str | None = None,
    ) -> list[Event]:  # fmt: skip
        conditions, values = ["e.cursor > :cursor"], {"cursor": cursor, "limit": limit}
        for column, wanted in (("e.project", project), ("a.name", artifact)):
            if wanted is not None:
                conditions.append(f"{column} = :{column[2:]}")
                values[column[2:]] = wanted  # type: ignore[assignment]
        for n, kind in enumerate(sorted(kinds)):
            values[f"kind{n}"] = kind  # type: ignore[assignment]
        if kinds:
            conditions.append(f"e.kind IN ({', '.join(f':kind{n}' for n in range(len(kinds)))})")
        statement = f"{SELECT} WHERE {' AND '.join(conditions)} ORDER BY e.cursor LIMIT :limit"
        return self._db.read(lambda tx: [event_record(row) for row in tx.rows(statement, **values)])

    def head(self) -> int:
        return self._db.read(lambda tx: int(tx.value("SELECT max(cursor) FROM events") or 0))

    def consumer(self, name: str) -> int:
        return self._db.read(
            lambda tx: int(tx.value("SELECT cursor FROM consumers WHERE name = :name", name=name) or 0)
        )

    def acknowledge(self, name: str, cursor: int) -> None:
        if not name or len(name) > 1000:
            raise InvalidInputError(what=f"a consumer's name has 1 to 1000 characters, not {name!r}")

        def work(tx: Tx) -> None:
            head = tx.value("SELECT max(cursor) FROM events") or 0
            if not 0 <= cursor <= head:
                raise InvalidInputError(what=f"cursor {cursor} is not in the feed, whose newest event is {head}")
            tx.run(
                "INSERT INTO consumers (name, cursor, updated_at) VALUES (:name, :cursor, :now)"
                " ON CONFLICT (name) DO UPDATE SET cursor = excluded.cursor, updated_at = excluded.updated_at"
                " WHERE consumers.cursor < excluded.cursor",
                name=name, cursor=cursor, now=tx.now,
            )  # fmt: skip

        self._db.write(work)


def event_record(row: Row) -> Event:
    """One row of `SELECT`."""
    cursor, at, kind, project, artifact, partition, version, number, run, actor, details = row
    return Event(
        cursor=cursor, at=moment(at), kind=kind, project=project, artifact=artifact, partition=partition or "",
        version_id=version, number=number, run_id=run, actor=actor, details=load(details),
    )  # fmt: skip
