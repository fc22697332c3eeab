"""The graph: everything upstream or downstream, walked by one recursive query.

There is no depth column inside the UNION unless a depth is asked for: it would
defeat deduplication, and a diamond-rich graph would be walked once per path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headwater.catalog.rows import RUN, VERSION, VERSIONS, run_record, version_records
from headwater.errors import InvalidInputError, VersionNotFoundError
from headwater.model.records import GraphRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headwater.catalog.engine import Database, Tx
    from headwater.model.records import Direction

_STEPS = {"upstream": ("version", "source"), "downstream": ("source", "version")}
_ALL = (
    "(SELECT version, source FROM derivations UNION ALL SELECT l.version, u.version AS source FROM logs l"
    " JOIN uses u ON u.run = l.run WHERE l.kind = 'reproduced' AND l.version <> u.version)"
)


class Lineage:
    """`ports.LineageCatalog` in SQL."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def closure(
        self, version_ids: Sequence[str], direction: Direction, *, depth: int | None = None, all_edges: bool = False,
        limit: int | None = None,
    ) -> GraphRecord:  # fmt: skip
        if direction not in _STEPS:
            raise InvalidInputError(what=f"{direction!r} is no direction", fix="upstream or downstream")
        statement = walk(direction, depth=depth is not None, all_edges=all_edges, limit=limit is not None)
        bounds = {name: value for name, value in (("depth", depth), ("limit", limit)) if value is not None}

        def work(tx: Tx) -> GraphRecord:
            starts = _starts(tx, version_ids)
            having, marks = tx.dialect.having("id", starts)
            keys = [row[0] for row in tx.rows(statement.replace("{having}", having), **marks, **bounds)]
            return _graph(tx, keys, direction, all_edges=all_edges)

        return self._db.read(work)


def walk(direction: Direction, *, depth: bool, all_edges: bool, limit: bool) -> str:
    """The recursive query: keys of all versions reached, the starting ones (`{having}`) included."""
    here, there = _STEPS[direction]
    edges = _ALL if all_edges else "derivations"
    if depth:
        query = (
            "WITH RECURSIVE reached(id, depth) AS (SELECT id, 0 FROM versions WHERE {having}"
            f" UNION SELECT d.{there}, reached.depth + 1 FROM reached JOIN {edges} d ON d.{here} = reached.id"
            " WHERE reached.depth < :depth) SELECT DISTINCT id FROM reached"
        )
    else:
        query = (
            "WITH RECURSIVE reached(id) AS (SELECT id FROM versions WHERE {having}"
            f" UNION SELECT d.{there} FROM reached JOIN {edges} d ON d.{here} = reached.id) SELECT id FROM reached"
        )
    return query + (" LIMIT :limit" if limit else "")


def _starts(tx: Tx, uids: Sequence[str]) -> list[int]:
    rows = tx.rows_having("SELECT uid, coalesce(became, id) FROM versions WHERE {having}", "uid", list(uids))
    found: dict[str, int] = {row[0]: row[1] for row in rows}
    for uid in uids:
        if uid not in found:
            raise VersionNotFoundError(name=uid)
    return sorted(set(found.values()))


def _graph(tx: Tx, keys: list[int], direction: Direction, *, all_edges: bool) -> GraphRecord:
    rows = list(tx.rows_having(f"SELECT {VERSION} FROM {VERSIONS} WHERE {{having}}", "v.id", keys))
    records = version_records(tx, rows)
    versions = {row[0]: row[1] for row in rows}
    uses, logs, runs = _edges(tx, keys, direction, all_edges=all_edges)
    run_rows = list(tx.rows_having(f"SELECT {RUN} FROM runs r WHERE {{having}}", "r.id", sorted(runs)))
    run_ids = {row[0]: row[1] for row in run_rows}
    derived = [
        (versions[version], versions[source])
        for version, source in tx.rows_having("SELECT version, source FROM derivations WHERE {having}", "version", keys)
        if source in versions
    ]
    now = tx.now
    return GraphRecord(
        versions=tuple(records),
        runs=tuple([run_record(row, now) for row in run_rows]),
        uses=tuple([(run_ids[run], versions[v], role or None) for run, v, role in uses]),
        logs=tuple([(run_ids[run], versions[v], role or None, kind) for run, v, role, kind in logs]),
        derivations=tuple(derived),
    )


def _edges(tx: Tx, keys: list[int], direction: Direction, *, all_edges: bool) -> tuple[list[Any], list[Any], set[int]]:
    """(uses, logs, runs): upstream the makers of what was reached, downstream its users."""
    inside = set(keys)
    kinds = "" if all_edges else " AND kind = 'created'"
    logs = list(tx.rows_having(f"SELECT run, version, role, kind FROM logs WHERE {{having}}{kinds}", "version", keys))
    if direction == "upstream":
        runs = {row[0] for row in logs}
        uses = [
            row for row in tx.rows_having("SELECT run, version, role FROM uses WHERE {having}", "run", sorted(runs))
            if row[1] in inside
        ]  # fmt: skip
        return uses, logs, runs
    uses = list(tx.rows_having("SELECT run, version, role FROM uses WHERE {having}", "version", keys))
    runs = {row[0] for row in uses}
    return uses, [row for row in logs if row[0] in runs], runs
