"""The two edges of lineage: uses and logs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.catalog.rows import RUN, VERSION, aliases_of, moment, run_record, version_record
from headwater.catalog.search import find_runs
from headwater.errors import RunNotFoundError, StateError, VersionNotFoundError
from headwater.model.records import LogEdge, RunRecord, UseEdge

if TYPE_CHECKING:
    import builtins
    from collections.abc import Sequence
    from typing import Any

    from headwater.catalog.engine import Database, Row, Tx
    from headwater.model.records import Query


class Edges:
    """The half of `ports.RunCatalog` that is about edges."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def record_uses(self, run_id: str, uses: Sequence[tuple[str, str | None, str]]) -> None:
        self._db.write(lambda tx: _record_uses(tx, run_id, uses))

    def used(self, run_id: str) -> builtins.list[UseEdge]:
        return [
            UseEdge(run_id=run_id, version=version, role=row.role or None, asked=row.asked, at=moment(row.at))
            for row, version in self._db.read(lambda tx: _edges(tx, run_id, "uses", "e.asked"))
        ]

    def logged(self, run_id: str) -> builtins.list[LogEdge]:
        return [
            LogEdge(run_id=run_id, version=version, role=row.role or None, kind=row.kind, at=moment(row.at))
            for row, version in self._db.read(lambda tx: _edges(tx, run_id, "logs", "e.kind"))
        ]

    def users(self, version_id: str, query: Query) -> builtins.list[tuple[RunRecord, str | None]]:
        def work(tx: Tx) -> list[tuple[RunRecord, str | None]]:
            version = followed(tx, version_id)
            roles: dict[str, str] = dict(tx.rows(  # one role is enough to say how; a run with two roles is listed once
                "SELECT r.uid, min(u.role) FROM uses u JOIN runs r ON r.id = u.run WHERE u.version = :v GROUP BY r.uid",
                v=version,
            ))  # fmt: skip
            return [(run, roles[run.id] or None) for run in find_runs(tx, query, using=version)]

        return self._db.read(work)

    def loggers(self, version_id: str) -> builtins.list[tuple[RunRecord, str | None, str]]:
        def work(tx: Tx) -> list[tuple[RunRecord, str | None, str]]:
            rows = tx.rows(
                f"SELECT {RUN}, e.role, e.kind FROM logs e JOIN runs r ON r.id = e.run WHERE e.version = :v"
                " ORDER BY e.at, e.kind, r.id",
                v=followed(tx, version_id),
            )  # fmt: skip
            return [(run_record(row[:-2], tx.now), row[-2] or None, row[-1]) for row in rows]

        return self._db.read(work)


def followed(tx: Tx, uid: str) -> int:
    """The key of a version; of a draft that became an older version, that one's.

    Raises:
        VersionNotFoundError
    """
    row = tx.row("SELECT id, became FROM versions WHERE uid = :uid", uid=uid)
    if row is None:
        raise VersionNotFoundError(name=uid)
    key: int = row[1] if row[1] is not None else row[0]
    return key


def _record_uses(tx: Tx, run_id: str, uses: Sequence[tuple[str, str | None, str]]) -> None:
    # A shared lock on the run would do; FOR UPDATE keeps the order of locks the same as in a commit.
    run = tx.row(f"SELECT id, state FROM runs WHERE uid = :uid{tx.dialect.for_update}", uid=run_id)
    if run is None:
        raise RunNotFoundError(id=run_id)
    new = [(_usable(tx, uid), role or "", asked) for uid, role, asked in uses]
    if run.state == "finished":
        raise StateError(what=f"run {run_id} has finished, it can use nothing more", fix="open another run")
    tx.run_many(
        "INSERT INTO uses (run, version, role, asked, at) VALUES (:run, :version, :role, :asked, :at)"
        " ON CONFLICT DO NOTHING",
        [{"run": run.id, "version": v, "role": role, "asked": asked, "at": tx.now} for v, role, asked in new],
    )


def _usable(tx: Tx, uid: str) -> int:
    key = followed(tx, uid)
    state = tx.value("SELECT state FROM versions WHERE id = :id", id=key)
    if state in ("deleted", "discarded"):
        raise StateError(what=f"version {uid} is {state} and cannot be used", fix="use another version")
    return key


def _edges(tx: Tx, run_id: str, table: str, column: str) -> list[tuple[Row, Any]]:
    run = tx.value("SELECT id FROM runs WHERE uid = :uid", uid=run_id)
    if run is None:
        raise RunNotFoundError(id=run_id)
    rows = tx.rows(
        f"SELECT {VERSION}, e.role, {column}, e.at FROM {table} e JOIN versions v ON v.id = e.version"
        " JOIN artifacts a ON a.id = v.artifact LEFT JOIN runs r ON r.id = v.run WHERE e.run = :run"
        " ORDER BY e.at, e.version, e.role",
        run=run,
    )  # fmt: skip
    aliases = aliases_of(tx, [row[0] for row in rows])
    return [(row, version_record(row[:-3], aliases.get(row[0], ()))) for row in rows]
