"""The graph: everything upstream or downstream, walked by one recursive query.

There is no depth column inside the UNION unless a depth is asked for: it would
defeat deduplication, and a diamond-rich graph would be walked once per path.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from headwater.catalog.rows import RUN, VERSION, VERSIONS, run_record, version_records
from headwater.errors import InvalidInputError, VersionNotFoundError
from headwater.model.records import EdgeRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headwater.catalog.engine import Database, Tx
    from headwater.model.records import Direction, RunRecord, VersionRecord

_STEPS = {"upstream": ("version", "source"), "downstream": ("source", "version")}
_ALL = (
    "(SELECT version, source FROM derivations UNION ALL SELECT l.version, u.version AS source FROM logs l"
    " JOIN uses u ON u.run = l.run WHERE l.kind = 'reproduced' AND l.version <> u.version)"
)
_UID = "(SELECT uid FROM versions WHERE versions.id = reached.id)"  # a join would be free to scan all versions


class Lineage:
    """`ports.LineageCatalog` in SQL."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def closure(
        self, version_ids: Sequence[str], direction: Direction, *, depth: int | None = None, all_edges: bool = False,
        limit: int | None = None,
    ) -> Sequence[str]:  # fmt: skip
        if direction not in _STEPS:
            raise InvalidInputError(what=f"{direction!r} is no direction", fix="upstream or downstream")
        statement = walk(direction, depth=depth is not None, all_edges=all_edges, limit=limit is not None)
        bounds = {name: value for name, value in (("depth", depth), ("limit", limit)) if value is not None}

        def work(tx: Tx) -> Sequence[str]:
            having, marks = tx.dialect.having("id", _starts(tx, version_ids))
            return [row[0] for row in tx.tuples(statement.replace("{having}", having), **marks, **bounds)]

        return self._db.read(work)

    def edges(self, version_ids: Sequence[str], direction: Direction, *, all_edges: bool = False) -> EdgeRecord:
        return self._db.read(lambda tx: _edges(tx, version_ids, direction, all_edges=all_edges))

    def nodes(
        self, version_ids: Sequence[str], run_ids: Sequence[str]
    ) -> tuple[Sequence[VersionRecord], Sequence[RunRecord]]:
        def work(tx: Tx) -> tuple[list[VersionRecord], list[RunRecord]]:
            versions = list(tx.rows_having(f"SELECT {VERSION} FROM {VERSIONS} WHERE {{having}}", "v.uid", version_ids))
            runs = tx.rows_having(f"SELECT {RUN} FROM runs r WHERE {{having}}", "r.uid", run_ids)
            return version_records(tx, versions), [run_record(row, tx.now) for row in runs]

        return self._db.read(work)


def walk(direction: Direction, *, depth: bool, all_edges: bool, limit: bool) -> str:
    """The recursive query: ids of all versions reached, the starting ones (`{having}`) included."""
    here, there = _STEPS[direction]
    edges = _ALL if all_edges else "derivations"
    if depth:
        query = (
            "WITH RECURSIVE reached(id, depth) AS (SELECT id, 0 FROM versions WHERE {having}"
            f" UNION SELECT d.{there}, reached.depth + 1 FROM reached JOIN {edges} d ON d.{here} = reached.id"
            f" WHERE reached.depth < :depth) SELECT DISTINCT {_UID} FROM reached"
        )
    else:
        query = (
            "WITH RECURSIVE reached(id) AS (SELECT id FROM versions WHERE {having}"
            f" UNION SELECT d.{there} FROM reached JOIN {edges} d ON d.{here} = reached.id) SELECT {_UID} FROM reached"
        )
    return query + (" LIMIT :limit" if limit else "")


def _starts(tx: Tx, uids: Sequence[str]) -> list[int]:
    rows = tx.rows_having("SELECT uid, coalesce(became, id) FROM versions WHERE {having}", "uid", list(uids))
    found: dict[str, int] = {row[0]: row[1] for row in rows}
    for uid in uids:
        if uid not in found:
            raise VersionNotFoundError(name=uid)
    return sorted(set(found.values()))


def _edges(tx: Tx, version_ids: Sequence[str], direction: Direction, *, all_edges: bool) -> EdgeRecord:
    versions = dict(tx.rows_having("SELECT id, uid FROM versions WHERE {having}", "uid", version_ids))
    keys = list(versions)
    kinds = "" if all_edges else " AND kind = 'created'"
    logged = list(tx.rows_having(f"SELECT run, version, role, kind FROM logs WHERE {{having}}{kinds}", "version", keys))
    column, around = "version", keys
    if direction == "upstream":
        column, around = "run", list({row[0] for row in logged})
    used = list(tx.rows_having("SELECT run, version, role FROM uses WHERE {having}", column, around))
    seen = list({row[0] for row in chain(used, logged)})
    runs = dict(tx.rows_having("SELECT id, uid FROM runs WHERE {having}", "id", seen))
    shown = runs.keys() if direction == "upstream" else {row[0] for row in used}
    derived = tx.rows_having("SELECT version, source FROM derivations WHERE {having}", "version", keys)
    uses = sorted([(runs[r], versions[v], role) for r, v, role in used if v in versions])
    logs = sorted([(runs[r], versions[v], role, kind) for r, v, role, kind in logged if r in shown])
    return EdgeRecord(
        uses=tuple([(run, version, role or None) for run, version, role in uses]),
        logs=tuple([(run, version, role or None, kind) for run, version, role, kind in logs]),
        derivations=tuple(sorted([(versions[v], versions[source]) for v, source in derived if source in versions])),
    )
