"""Versions and runs that come from another repository: ids and facts are kept, numbers are given here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from headwater.catalog import facts, packs
from headwater.catalog.commit import ensure_artifact, insert_version, log, number, prove
from headwater.catalog.edges import followed
from headwater.catalog.rows import VERSION, VERSIONS, dump, event, microseconds, version_by_key, version_records
from headwater.errors import VersionNotFoundError
from headwater.model.digest import Digest
from headwater.model.records import ENDED, Publication

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from headwater.catalog.engine import Database, Row, Tx
    from headwater.model.records import RunRecord, UseEdge, VersionRecord
    from headwater.ports.arriving import Arrival


class Arrivals:
    """`ports.arriving.ArrivalCatalog` in SQL."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def known(self, version_ids: Collection[str]) -> dict[str, VersionRecord]:
        def work(tx: Tx) -> dict[str, VersionRecord]:
            query = f"SELECT {VERSION} FROM {VERSIONS} WHERE {{having}}"
            rows = list(tx.rows_having(query, "v.uid", sorted(set(version_ids))))
            return {record.id: record for record in version_records(tx, rows)}

        return self._db.read(work) if version_ids else {}

    def run(self, run: RunRecord, origin: str, actor: str) -> None:
        self._db.write(lambda tx: _take_run(tx, run, origin, actor))

    def version(self, arrival: Arrival, publication: Publication | None, actor: str) -> VersionRecord:
        return self._db.write(lambda tx: _take_version(tx, arrival, publication, actor))

    def uses(self, edges: Collection[UseEdge]) -> None:
        self._db.write(lambda tx: _take_uses(tx, edges))


def _take_run(tx: Tx, run: RunRecord, origin: str, actor: str) -> None:
    known = _run(tx, run.id)
    state = run.state if run.state in ENDED else "lost"
    if known is not None and (known.state != "lost" or state == "lost"):
        return
    ended = microseconds(run.finished_at) if run.finished_at else None
    if known is None:
        key = _insert_run(tx, run, _free_key(tx, run, origin))
        tx.events.append(event("run.imported", project=run.project, actor=actor, run=run.id, origin=origin,
                               name=run.name, state=state))  # fmt: skip
    else:
        key = known.id
        tx.run("DELETE FROM run_facts WHERE run = :run", run=key)
    tx.run(
        "UPDATE runs SET state = :state, finished_at = :ended, error = :error, config = :config, summary = :summary"
        " WHERE id = :id",
        state=state, ended=ended, error=run.error, config=dump(run.config), summary=dump(run.summary), id=key,
    )  # fmt: skip
    facts.put(tx, "run_facts", key, [*facts.leaves("config", run.config), *facts.leaves("summary", run.summary)])


def _free_key(tx: Tx, run: RunRecord, origin: str) -> str:
    """The run's key; if another run has it here with the same attempt, a key that says where this one is from."""
    taken = tx.value("SELECT 1 FROM runs WHERE key = :key AND attempt = :n", key=run.key, n=run.attempt)
    return run.key if taken is None else f"{run.key} (from {origin})"


def _insert_run(tx: Tx, run: RunRecord, key: str) -> int:
    made: int = tx.value(
        "INSERT INTO runs (uid, key, attempt, project, name, grp, parent, state, links, code, actor, host, pid,"
        " started_at, lease_until, cached_from) VALUES (:uid, :key, :attempt, :project, :name, :grp, :parent, 'lost',"
        " :links, :code, :actor, :host, :pid, :started, 0, :cached) RETURNING id",
        uid=run.id, key=key, attempt=run.attempt, project=run.project, name=run.name, grp=run.group,
        parent=run.parent, links=dump(run.links), code=dump(run.code), actor=run.actor, host=run.host, pid=run.pid,
        started=microseconds(run.started_at), cached=run.cached_from,
    )  # fmt: skip
    return made


def _run(tx: Tx, uid: str) -> Row | None:
    return tx.row("SELECT id, uid, state, fence FROM runs WHERE uid = :uid", uid=uid)


def _take_version(tx: Tx, arrival: Arrival, p: Publication | None, actor: str) -> VersionRecord:
    there = p or _tombstone(arrival, actor)
    artifact = ensure_artifact(tx, there)
    done = tx.value("SELECT id FROM versions WHERE uid = :uid", uid=arrival.version.id)
    if done is not None:
        return version_by_key(tx, done)
    if p is not None:
        packs.check_lease(tx, p.lease)
        packs.seal(tx, p.seals, None)
        prove(tx, p)
    makers = [(row, role, kind) for uid, role, kind in arrival.runs if (row := _run(tx, uid)) is not None]
    created = next((row for row, _, kind in makers if kind == "created"), None)
    at = microseconds(arrival.version.created_at)
    told = msgspec.structs.replace(there, actor=arrival.version.created_by, draft=False)
    key = insert_version(tx, told, artifact.id, created, at)
    leaves = [*facts.leaves("metadata", there.metadata), *facts.tag_leaves(sorted(set(there.tags)))]
    facts.put(tx, "version_facts", key, leaves)
    _derive(tx, key, arrival.sources, created)
    for row, role, kind in makers:
        log(tx, row, key, role, kind="created" if kind == "created" else "reproduced", at=at)
    number(tx, key, artifact, actor, there.aliases)
    if p is None:
        tx.run("UPDATE versions SET state = 'deleted', deleted_at = :now, deleted_by = :actor WHERE id = :id",
               now=tx.now, actor=f"{actor}, who brought its lineage only", id=key)  # fmt: skip
    return version_by_key(tx, key)


def _tombstone(arrival: Arrival, actor: str) -> Publication:
    v = arrival.version
    return Publication(
        version_id=v.id, project=v.project, artifact=v.artifact, partition=v.partition, type=v.type,
        root=bytes(Digest.parse(v.digest)), root_packs=frozenset(), pages=(), lease="", n_entries=v.n_entries,
        stored_size=v.stored_size, referenced_size=v.referenced_size, codec=v.codec, metadata=v.metadata,
        description=v.description, tags=v.tags, actor=actor,
    )  # fmt: skip


def _derive(tx: Tx, key: int, sources: Iterable[str], run: Row | None) -> None:
    """What it derives from there; if nothing was known there (a spool), what its run has used here."""
    found = {source for uid in sources if (source := _version(tx, uid)) is not None}
    if not found and run is not None:
        found = {row[0] for row in tx.rows("SELECT version FROM uses WHERE run = :run", run=run.id)}
    tx.run_many(
        "INSERT INTO derivations (version, source) VALUES (:version, :source) ON CONFLICT DO NOTHING",
        [{"version": key, "source": source} for source in sorted(found - {key})],
    )


def _version(tx: Tx, uid: str) -> int | None:
    try:
        return followed(tx, uid)
    except VersionNotFoundError:
        return None


def _take_uses(tx: Tx, edges: Iterable[UseEdge]) -> None:
    for edge in edges:
        run, version = _run(tx, edge.run_id), _version(tx, edge.version.id)
        if run is not None and version is not None:
            tx.run(
                "INSERT INTO uses (run, version, role, asked, at) VALUES (:run, :version, :role, :asked, :at)"
                " ON CONFLICT DO NOTHING",
                run=run.id, version=version, role=edge.role or "", asked=edge.asked, at=microseconds(edge.at),
            )  # fmt: skip
